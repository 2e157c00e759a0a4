"""A fitted annotation: all that is needed to name the types of other cells."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import sparse

from tissuegraph.cells.annotate_params import AnnotateParams
from tissuegraph.cells.annotation.calibration import Calibration
from tissuegraph.cells.annotation.crossfit import new_network, predict
from tissuegraph.cells.annotation.logistic import logits_of
from tissuegraph.cells.annotation.numbers import Numbers, Scale
from tissuegraph.cells.annotation.unknown import Familiar
from tissuegraph.features.components import Components
from tissuegraph.features.expression import Matrix
from tissuegraph.nn.type_classifier import TypeClassifier
from tissuegraph.training.model_files import check_kind, read_model, versions, write_model

FORMAT = 1
KIND = "tissuegraph annotation"
PACKAGES = ("tissuegraph", "torch", "numpy", "scipy", "scikit-learn", "anndata")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Guess:
    """What is said of some cells.

    Attributes
    ----------
    said
        [N] number of the type.
    probability
        [N, T] calibrated probabilities.
    unlike
        [N] distance from what is known; above 1 a cell is unknown.
    """

    said: npt.NDArray[np.int64]
    probability: Floats
    unlike: Floats


@dataclass(frozen=True)
class AnnotateModel:
    """A classifier of cell types, as `tg.annotate` fits it.

    Attributes
    ----------
    types, genes
        What it tells apart, and by which genes.
    method, graph
        "gat", "gcn" or "logistic", and the graph that its networks listen along.
    scores
        Accuracy, macro-F1 and calibration on held-out labelled cells, beside a logistic regression.
    by_type
        Recall, precision and F1 of each type, held out.
    """

    types: tuple[str, ...]
    genes: tuple[str, ...]
    method: str
    graph: str
    params: AnnotateParams
    seed: int
    scale: Scale
    components: Components
    length: float
    """What components are divided by: their root mean square."""
    networks: tuple[TypeClassifier, ...]
    logistic: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
    calibration: Calibration
    familiar: Familiar
    scores: pd.DataFrame
    by_type: pd.DataFrame
    history: list[dict[str, Any]] = field(default_factory=list)
    held_out: pd.DataFrame = field(default_factory=pd.DataFrame)
    """`truth`, `said` and `probability` of each labelled cell, by what was fitted without it; not saved."""

    def features(self, numbers: Numbers, what: str = "the cells") -> npt.NDArray[np.float32]:
        """What the classifier is given of cells, [N, D]."""
        return features_of(self.scale.apply(numbers, what), self.components, self.length)

    def guess(self, x: npt.NDArray[np.float32], graph: sparse.csr_matrix | None, cells: Any) -> Guess:
        """Name some cells, numbers [n] of those with features x [N, D] and graph [N, N]."""
        if self.networks and graph is not None:
            logits = predict(self.networks, x, graph, cells)
        else:
            logits = logits_of(x[cells], *self.logistic)
        return Guess(
            logits.argmax(1), self.calibration.apply(logits), self.familiar.distance(x[cells], self.seed)
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that is numbers, by name."""
        arrays: dict[str, npt.NDArray] = {
            "logistic.weight": self.logistic[0],
            "logistic.bias": self.logistic[1],
            "calibration.bias": self.calibration.bias,
            "anchors": self.familiar.anchors,
        }
        found = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
        found |= self.components.tensors()
        for number, network in enumerate(self.networks):
            found |= {
                f"network{number}.{name}": value.detach().cpu().contiguous()
                for name, value in network.state_dict().items()
            }
        return found

    def card(self) -> dict[str, Any]:
        """Everything else, fit for JSON."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "types": list(self.types),
            "genes": list(self.genes),
            "method": self.method,
            "graph": self.graph,
            "params": asdict(self.params),
            "seed": self.seed,
            "scale": asdict(self.scale),
            "z_score": self.components.z_score,
            "length": self.length,
            "networks": len(self.networks),
            "temperature": self.calibration.temperature,
            "farthest": self.familiar.farthest,
            "farthest_alone": self.familiar.farthest_alone,
            "scores": json.loads(self.scores.to_json(orient="split")),
            "by_type": json.loads(self.by_type.to_json(orient="split")),
            "history": self.history,
            "versions": versions(*PACKAGES),
        }

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write `model.safetensors` and `model.json` into a new folder, whole or not at all.

        Raises
        ------
        OutputError
            If the folder exists and is not to be replaced, or cannot be written.
        """
        write_model(self, folder, overwrite=overwrite)


def features_of(matrix: Matrix, components: Components, length: float) -> npt.NDArray[np.float32]:
    """Components [N, D] of expression, with a root mean square of one."""
    sections = np.zeros(matrix.shape[0], np.int64)
    by = components.moments_of(matrix, sections)
    return components.project(matrix, sections, by) / np.float32(length)


def load_annotator(folder: Path | str) -> AnnotateModel:
    """Read a model that `AnnotateModel.save` wrote.

    Raises
    ------
    ModelError
        If the folder is missing, is no such model, or was cut short.
    """
    return read_model(folder, restored, "AnnotateModel.save")


def restored(card: dict[str, Any], tensors: dict[str, torch.Tensor]) -> AnnotateModel:
    """Put a model together from its card and tensors; the inverse of both."""
    check_kind(card, KIND, FORMAT)
    params = AnnotateParams(**card["params"])
    components, tensors = Components.taken_from(tensors, by_section=False, z_score=card["z_score"])
    if components is None:
        raise ValueError("its components are missing")
    arrays = {name: value.numpy() for name, value in tensors.items() if not name.startswith("network")}
    logistic = arrays["logistic.weight"], arrays["logistic.bias"]
    networks = []
    for number in range(card["networks"]):
        network = new_network(logistic, card["method"], params)
        prefix = f"network{number}."
        state = {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}
        network.load_state_dict(state)
        networks.append(network.eval())
    return AnnotateModel(
        types=tuple(card["types"]),
        genes=tuple(card["genes"]),
        method=card["method"],
        graph=card["graph"],
        params=params,
        seed=card["seed"],
        scale=Scale(**card["scale"]),
        components=components,
        length=card["length"],
        networks=tuple(networks),
        logistic=logistic,
        calibration=Calibration(card["temperature"], arrays["calibration.bias"]),
        familiar=Familiar(arrays["anchors"], card["farthest"], card["farthest_alone"]),
        scores=pd.DataFrame(**card["scores"]),
        by_type=pd.DataFrame(**card["by_type"]),
        history=card["history"],
    )
