"""A fitted STAGATE: weights, the genes and components it was given, and how it was trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tissuegraph.domains.params import StagateParams
from tissuegraph.features.components import Components
from tissuegraph.nn.stagate import Stagate
from tissuegraph.training.model_files import check_kind, read_model, versions, write_model

FORMAT = 1
KIND = "tissuegraph stagate"
PACKAGES = ("tissuegraph", "torch", "numpy", "scipy", "anndata")


@dataclass(frozen=True)
class StagateModel:
    """All that is needed to embed another section of the same genes."""

    network: Stagate
    params: StagateParams
    genes: tuple[str, ...]
    components: Components | None
    """What turns genes into the network's input; None where it is given the genes."""
    seed: int
    loss: tuple[float, ...]
    """Loss of every pass."""

    @property
    def input(self) -> str:
        """What the network is given, in words."""
        if self.components is None:
            return f"{len(self.genes)} genes"
        scaled = ", z-scored" if self.components.z_score else ""
        apart = ", section by section" if self.components.by_section else ""
        number = self.components.loadings.shape[1]
        return f"{number} principal components of {len(self.genes)} genes{scaled}{apart}"

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that is numbers, by name."""
        found = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        if self.components is not None:
            found |= self.components.tensors()
        return found

    def card(self) -> dict[str, Any]:
        """Everything else, fit for JSON."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "input": self.input,
            "params": asdict(self.params),
            "seed": self.seed,
            "by_section": self.components is not None and self.components.by_section,
            "z_score": self.components is not None and self.components.z_score,
            "versions": versions(*PACKAGES),
            "genes": list(self.genes),
            "loss": list(self.loss),
        }

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write `model.safetensors` and `model.json` into a new folder, whole or not at all.

        Raises
        ------
        OutputError
            If the folder exists and is not to be replaced, or cannot be written.
        """
        write_model(self, folder, overwrite=overwrite)


def restored(card: dict[str, Any], tensors: dict[str, torch.Tensor]) -> StagateModel:
    """Put a model together from its card and tensors; the inverse of both."""
    check_kind(card, KIND, FORMAT)
    params = StagateParams(**card["params"])
    how = {"by_section": card["by_section"], "z_score": card["z_score"]}
    components, tensors = Components.taken_from(tensors, **how)
    network = new_network(params, len(tensors["weight0"]))
    network.load_state_dict(tensors)
    return StagateModel(
        network.eval(), params, tuple(card["genes"]), components, card["seed"], tuple(card["loss"])
    )


def new_network(params: StagateParams, num_inputs: int, generator: torch.Generator | None = None) -> Stagate:
    """Build an untrained network."""
    network = Stagate(
        num_inputs,
        *params.hidden_dims,
        alpha=params.alpha,
        nonlinearity=params.nonlinearity,
        initialisation=params.start,
        generator=generator,
    )
    if params.attention == "uniform":
        for vectors in network.attention_vectors():
            nn.init.zeros_(vectors.requires_grad_(False))
    return network


def load_stagate(folder: Path | str) -> StagateModel:
    """Read a model that `StagateModel.save` wrote.

    Raises
    ------
    ModelError
        If the folder is missing, is no such model, or was cut short.
    """
    return read_model(folder, restored, "StagateModel.save")
