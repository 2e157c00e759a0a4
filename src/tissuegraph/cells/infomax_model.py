"""A fitted encoder of Deep Graph Infomax: weights, what it is given, and how it was trained."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save

from tissuegraph import keys
from tissuegraph.cells.embed_params import InfomaxParams
from tissuegraph.cells.inputs import Features, graph_of
from tissuegraph.cells.records import keep_record, versions
from tissuegraph.errors import ModelError
from tissuegraph.features.components import Components
from tissuegraph.nn.encoders import Encoder
from tissuegraph.nn.hop_graph import HopGraph
from tissuegraph.nn.infomax import Infomax
from tissuegraph.nn.row_chunks import own_threads
from tissuegraph.output import whole_folder

if TYPE_CHECKING:
    from anndata import AnnData

FORMAT, KIND = 1, "tissuegraph infomax"
PACKAGES = ("tissuegraph", "torch", "torch_geometric", "lightning", "numpy", "scipy", "anndata")
COMPONENTS = "components."
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
            found |= {
                COMPONENTS + name: torch.from_numpy(np.ascontiguousarray(value))
                for name, value in self.features.components.arrays().items()
            }
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
        marker = keys.MODEL_CARD_FILE
        with whole_folder(Path(folder), overwrite=overwrite, marker=marker, kind="model") as staging:
            (staging / keys.MODEL_WEIGHTS_FILE).write_bytes(save(self.tensors()))
            (staging / keys.MODEL_CARD_FILE).write_text(json.dumps(self.card(), indent=1) + "\n")


def new_network(params: InfomaxParams, num_features: int, seed: int = 0) -> Infomax:
    """Build an untrained network; the generator of torch stays as it is."""
    dims = (num_features, *[params.hidden] * (params.layers - 1), params.dimensions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Infomax(Encoder(params.encoder, dims, params.heads), params.dimensions)


def restored(card: dict[str, Any], tensors: dict[str, torch.Tensor]) -> InfomaxModel:
    """Put a model together from its card and tensors; the inverse of both."""
    if (card["kind"], card["format"]) != (KIND, FORMAT):
        raise ValueError(f"it is a {card['kind']!r} of format {card['format']}, not a {KIND!r} of {FORMAT}")
    params, how, tensors = InfomaxParams(**card["params"]), card["features"], dict(tensors)
    parts = {
        name.removeprefix(COMPONENTS): tensors.pop(name).numpy()
        for name in list(tensors)
        if name.startswith(COMPONENTS)
    }
    components = None
    if parts:
        components = Components.restored(parts, by_section=how["by_section"], z_score=how["z_score"])
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
    folder = Path(folder)
    try:
        card = json.loads((folder / keys.MODEL_CARD_FILE).read_text())
        return restored(card, load_file(folder / keys.MODEL_WEIGHTS_FILE))
    except FileNotFoundError as error:
        name = Path(error.filename or keys.MODEL_WEIGHTS_FILE).name
        message = f"{folder} holds no model ({name} is missing); give a folder that InfomaxModel.save wrote"
        raise ModelError(message) from error
    except Exception as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        message = f"the model in {folder} cannot be read ({type(error).__name__}: {reason}); fit it again"
        raise ModelError(message) from error


def model_in(adata: AnnData, key: str) -> InfomaxModel:
    """Take the model that `tg.infomax` left in `uns`.

    Raises
    ------
    ModelError
        If there is none.
    """
    record = adata.uns.get(keys.UNS_RUN, {}).get(key)
    if not record or "card" not in record:
        raise ModelError(
            f"the AnnData holds no model in uns['{keys.UNS_RUN}']['{key}']; fit one with tg.infomax, or pass "
            "the key_added under which it was fitted"
        )
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in record["weights"].items()}
    return restored(json.loads(record["card"]), tensors)
