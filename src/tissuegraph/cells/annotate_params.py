"""The hyper-parameters of annotation, without anything heavy to import."""

from __future__ import annotations

from dataclasses import dataclass

from tissuegraph.errors import InputError
from tissuegraph.training.params import MANY, check_ranges

CLASS_WEIGHTS = ("balanced", "none")


@dataclass(frozen=True)
class AnnotateParams:
    """The classifier of cell types, and how it is trained."""

    n_components: int = 50
    """Principal components of the shared genes that the classifier is given."""
    n_neighbors: int = 15
    """Neighbours of a cell in the graph of expression."""
    hidden: int = 32
    """Numbers of a cell in the hidden layers, of all heads together."""
    heads: int = 4
    """Heads of the attention; hidden is a multiple of it."""
    layers: int = 1
    """How many neighbours away a cell is heard."""
    dropout: float = 0.3
    """Share of features and hidden numbers that are left out in a training step."""
    class_weights: str = "balanced"
    """"balanced": every type counts alike in training, however few its cells; "none": every cell does."""
    folds: int = 5
    """Parts that labelled cells are cut into: as many networks, each trained without one part and judged on
    it. Beyond 5,000 labelled cells there are at most 3, beyond 20,000 at most 2."""
    learning_rate: float = 5e-3
    """Of AdamW."""
    weight_decay: float = 1e-3
    """Of AdamW."""
    epochs: int = 200
    """Passes over the labelled cells, at most."""
    patience: int = 15
    """Epochs without a better validation loss before training stops."""
    batch_cells: int = 20_000
    """Labelled cells a training step."""
    unknown_share: float = 0.01
    """Share of cells of a known type that may be called unknown."""
    accelerator: str = "auto"
    """auto, cpu, gpu, cuda or mps."""
    strategy: str = "auto"
    """auto, ddp or ddp_spawn."""
    devices: str = "auto"
    """How many devices, or auto (on the CPU: one process)."""
    precision: str = "auto"
    """32-true, 16-mixed, bf16-mixed or auto: 32-true on the CPU, 16-mixed on a GPU."""

    def __post_init__(self) -> None:
        """Refuse what makes no classifier."""
        check_ranges(
            self,
            n_components=(1, MANY),
            n_neighbors=(1, MANY),
            hidden=(1, MANY),
            heads=(1, MANY),
            layers=(1, 10),
            dropout=(0, 0.95),
            folds=(2, 100),
            learning_rate=(1e-12, 1e3),
            weight_decay=(0, 1e3),
            epochs=(1, MANY),
            patience=(1, MANY),
            batch_cells=(1, MANY),
            unknown_share=(0, 0.5),
        )
        if self.hidden % self.heads:
            raise InputError(f"hidden is {self.hidden}, no multiple of {self.heads} heads; change either")
        if self.class_weights not in CLASS_WEIGHTS:
            raise InputError(
                f"class_weights is {self.class_weights!r}; choose one of {', '.join(CLASS_WEIGHTS)}"
            )
