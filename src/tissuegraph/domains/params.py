"""The hyper-parameters of STAGATE and its presets, without anything heavy to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tissuegraph.errors import InputError

CHOICES = {
    "nonlinearity": ("elu", "none"),
    "loss": ("mse", "frobenius", "row_norms"),
    "attention": ("learned", "uniform"),
    "initialisation": ("auto", "components", "xavier_normal", "glorot_uniform"),
}
SMOOTH_TARGET = 2
EPOCHS, EPOCHS_OF_GENES = 60, 500
Z_SCORE_GENES = 1_000
"""Genes up to which "auto" z-scores them."""
POSITIVE = ("learning_rate", "gradient_clipping", "pre_resolution")


@dataclass(frozen=True)
class StagateParams:
    """The network, its training and what it is given; the defaults are ours, the presets the ports'."""

    hidden_dims: tuple[int, int] = (128, 30)
    """Hidden and latent dimensions; (512, 30) in the paper."""
    n_components: int | None = 100
    """Leading principal components that the network is given instead of genes; None for the genes."""
    z_score: bool | Literal["auto"] = "auto"
    """Whether genes are divided by their standard deviation before the components are taken; "auto" does so
    up to 1,000 genes: on a panel every gene was chosen, among thousands many are noise."""
    section_key: str | Sequence[str] | None = "auto"
    """Column(s) of `obs` whose sections are centred, and z-scored, each by itself before the components are
    taken; "auto" finds them by name (section, sample, library_id, ...), None treats all cells alike."""
    smooth_target: int | Literal["auto"] = "auto"
    """How often what is to be reconstructed is averaged over neighbours; 0 reconstructs the cell itself, as
    the paper does. Only what a cell shares with its surroundings can then be learnt. "auto": twice for
    components, not for genes."""
    epochs: int | Literal["auto"] = "auto"
    """Passes over the cells; with automatic batches fewer (see `batch_cells`). "auto": 60 for components, as
    training then begins near its end and would go on to fit noise, 500 for genes."""
    learning_rate: float = 2e-3
    """Of Adam."""
    weight_decay: float = 1e-4
    """Of the weights, added to their gradient."""
    decay_last_only: bool = False
    """Decay only the weights to the latent dimensions, as a part of the loss (what the TensorFlow port's code
    does)."""
    gradient_clipping: float = 5.0
    """Largest norm of the gradient."""
    nonlinearity: str = "elu"
    """After the hidden layers: "elu" or "none"."""
    loss: str = "mse"
    """Mean squared error ("mse", the PyG port), Frobenius norm ("frobenius", the TensorFlow port) or sum of
    the norms of rows ("row_norms", the paper)."""
    attention: str = "learned"
    """"learned", or "uniform": every neighbour counts alike, which shows what attention is worth."""
    alpha: float = 0.0
    """Share of the attention between cells of one type only, 0 to 1."""
    pre_labels: str | None = None
    """Column of `obs` with cell types for `alpha`; None for a clustering of the expression."""
    pre_resolution: float = 0.2
    """Resolution of that clustering (Leiden)."""
    batch_cells: int | Literal["auto"] | None = "auto"
    """Cells a step: None for all; "auto" for all up to 20,000 and else 10,000, with as many steps as `epochs`
    but at least 2 passes."""
    initialisation: str = "auto"
    """Of the weights: "components" (at first the network lets the leading components pass), or at random
    "xavier_normal" (PyG port) or "glorot_uniform" (TensorFlow port). "auto": "components" where it is given
    components, else "xavier_normal"."""
    two_updates: bool = False
    """Change each tied weight twice a step, as the PyG port does: its decoder weights share the storage of
    the encoder's, and both sit in Adam, with moments of their own."""

    def __post_init__(self) -> None:
        """Refuse what makes no network."""
        dims = tuple(self.hidden_dims)
        object.__setattr__(self, "hidden_dims", dims)
        if len(dims) != 2 or min(dims) < 1:
            raise InputError(f"hidden_dims is {dims}; give two numbers of 1 or more, such as (512, 30)")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                found, listed = getattr(self, name), ", ".join(choices)
                raise InputError(f"{name} is {found!r}; choose one of {listed}")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; give a number above 0")
        if self.epochs != "auto" and not self.epochs > 0:
            raise InputError(f"epochs is {self.epochs}; give a number above 0, or 'auto'")
        if self.initialisation == "components" and self.n_components is None:
            raise InputError("initialisation is 'components', but genes are the input; set n_components")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha is {self.alpha}; give a share between 0 and 1")
        if self.weight_decay < 0:
            raise InputError(f"weight_decay is {self.weight_decay}; give 0 or more")
        if self.n_components is not None and self.n_components < 1:
            raise InputError(f"n_components is {self.n_components}; give 1 or more, or None for the genes")
        if not isinstance(self.z_score, bool) and self.z_score != "auto":
            raise InputError(f"z_score is {self.z_score!r}; give True, False or 'auto'")
        times = self.smooth_target
        if times != "auto" and (times < 0 or (times and self.n_components is None)):
            raise InputError(
                f"smooth_target is {times}; give 0 or more, and 0 for genes as input (n_components=None)"
            )
        batch = self.batch_cells
        if batch not in ("auto", None) and not (isinstance(batch, int) and batch > 0):
            raise InputError(f"batch_cells is {batch!r}; give a number of cells, 'auto', or None for all")

    @property
    def rounds(self) -> int:
        """How many passes over the cells."""
        if self.epochs == "auto":
            return EPOCHS_OF_GENES if self.n_components is None else EPOCHS
        return self.epochs

    @property
    def start(self) -> str:
        """How the weights begin."""
        if self.initialisation == "auto":
            return "xavier_normal" if self.n_components is None else "components"
        return self.initialisation

    @property
    def target_rounds(self) -> int:
        """How often the target is averaged."""
        if self.smooth_target == "auto":
            return 0 if self.n_components is None else SMOOTH_TARGET
        return self.smooth_target


PRESETS: dict[str, dict[str, Any]] = {
    "paper-tf": {
        "hidden_dims": (512, 30),
        "n_components": None,
        "epochs": 500,
        "learning_rate": 1e-4,
        "decay_last_only": True,
        "loss": "frobenius",
        "initialisation": "glorot_uniform",
    },
    "paper-pyg": {
        "hidden_dims": (512, 30),
        "n_components": None,
        "epochs": 1000,
        "learning_rate": 1e-3,
        "two_updates": True,
    },
}
"""What each public port does by default, where it differs from ours."""


def stagate_params(preset: str | None) -> StagateParams:
    """Return the parameters of a preset, or the defaults for None."""
    if preset is None:
        return StagateParams()
    if preset not in PRESETS:
        raise InputError(f"no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    return StagateParams(**PRESETS[preset])
