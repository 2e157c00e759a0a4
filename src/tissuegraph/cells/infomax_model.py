"""A fitted encoder of Deep Graph Infomax: weights, what it is given, and how it was trained."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tissuegraph.cells.embed_params import InfomaxParams
from tissuegraph.cells.inputs import Features, graph_of
from tissuegraph.cells.records import keep_record
from tissuegraph.errors import ModelError
from tissuegraph.features.components import Components
from tissuegraph.nn.encoders import Encoder
from tissuegraph.nn.hop_graph import HopGraph
from tissuegraph.nn.infomax import Infomax
from tissuegraph.nn.row_chunks import own_threads

if TYPE_CHECKING:
    from anndata import AnnData

from tissuegraph.training.model_files import check_kind, model_of_record, read_model, versions, write_model

FORMAT, KIND = 1, "tissuegraph infomax"
PACKAGES = ("tissuegraph", "torch", "torch_geometric", "lightning", "numpy", "scipy", "anndata")
KEY = "X_infomax"


@dataclass(frozen=True)
class InfomaxModel:
    """All that is needed to embed other cells with the same features."""

    network: Infomax
    params: InfomaxParams
    features: Features
    graph: str
    seed: int
    history: dict[str, Any]
    """How training went: epochs, steps, why it stopped, best loss."""

    def embed(self, adata: AnnData, *, layer: str | None = None, key_added: str = KEY) -> None:
        """Embed cells; as `tg.infomax_transform`."""
        rows = self.features.of(adata, layer)
        wanted = _inputs(self.params, self.network.state_dict())
        if rows.shape[1] != wanted:
            raise ModelError(
                f"{self.features.in_words} has {rows.shape[1]} columns, but the model takes {wanted}; "
                "give the table that it was fitted to"
            )
        self.write(adata, rows, HopGraph(self._graph_of(adata, rows)), key_added)

    def _graph_of(self, adata: AnnData, rows: np.ndarray) -> Any:
        return graph_of(adata, self.graph, rows, self.params.n_neighbors, self.seed)

    @torch.no_grad()
    def write(self, adata: AnnData, rows: np.ndarray, graph: HopGraph, key_added: str) -> None:
        """Embed cells from their features [N, F] and graph, all at once, and write what is documented."""
        with own_threads():
            found = self.network.encoder(torch.tensor(rows), graph.whole(self.params.layers))
        adata.obsm[key_added] = found.numpy()
        card = self.card()
        kept = {name: card[name] for name in ("input", "graph", "versions")}
        kept["weights"] = {name: value.numpy() for name, value in self.tensors().items()}
        keep_record(adata, key_added, self.params, self.seed, card=json.dumps(card), **kept)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that is numbers, by name."""
        found = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        if self.features.components is not None:
            found |= self.features.components.tensors()
        return found

    def card(self) -> dict[str, Any]:
        """Everything else, fit for JSON."""
        components = self.features.components
        return {
            "format": FORMAT,
            "kind": KIND,
            "input": self.features.in_words,
            "params": asdict(self.params),
            "graph": self.graph,
            "seed": self.seed,
            "features": {
                "name": self.features.name,
                "genes": list(self.features.genes),
                "section_key": self.features.section_key,
                "scale": self.features.scale,
                "by_section": components is not None and components.by_section,
                "z_score": components is not None and components.z_score,
            },
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


def new_network(params: InfomaxParams, num_features: int, seed: int = 0) -> Infomax:
    """Build an untrained network; the generator of torch stays as it is."""
    dims = (num_features, *[params.hidden] * (params.layers - 1), params.dimensions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Infomax(Encoder(params.encoder, dims, params.heads), params.dimensions)


def restored(card: dict[str, Any], tensors: dict[str, torch.Tensor]) -> InfomaxModel:
    """Put a model together from its card and tensors; the inverse of both."""
    check_kind(card, KIND, FORMAT)
    params, how = InfomaxParams(**card["params"]), card["features"]
    as_fitted = {"by_section": how["by_section"], "z_score": how["z_score"]}
    components, tensors = Components.taken_from(tensors, **as_fitted)
    features = Features(how["name"], tuple(how["genes"]), components, how["section_key"], how["scale"])
    network = new_network(params, _inputs(params, tensors))
    network.load_state_dict(tensors)
    return InfomaxModel(network.eval(), params, features, card["graph"], card["seed"], card["history"])


def _inputs(params: InfomaxParams, tensors: dict[str, torch.Tensor]) -> int:
    """Features that the first layer takes."""
    name = "weight" if params.encoder == "gcn" else "conv.lin_l.weight"
    return int(tensors[f"encoder.layers.0.{name}"].shape[1])


def load_infomax(folder: Path | str) -> InfomaxModel:
    """Read a model that `InfomaxModel.save` wrote.

    Raises
    ------
    ModelError
        If the folder is missing, is no such model, or was cut short.
    """
    return read_model(folder, restored, "InfomaxModel.save")


def model_in(adata: AnnData, key: str) -> InfomaxModel:
    """Take the model that `tg.infomax` left in `uns`.

    Raises
    ------
    ModelError
        If there is none.
    """
    return model_of_record(adata, key, restored, "tg.infomax")
