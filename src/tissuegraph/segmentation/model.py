"""A trained model on disk: weights as safetensors, everything else as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn

from tissuegraph import keys
from tissuegraph.errors import ModelError
from tissuegraph.graph.params import GraphParams
from tissuegraph.nn.params import SeggerParams
from tissuegraph.segmentation.assign import FittedAssignment
from tissuegraph.segmentation.params import AssignParams

if TYPE_CHECKING:  # Lightning takes seconds, and the pretrained model needs none
    from tissuegraph.nn.lit import LitSegger

FORMAT = 2
GENE_VECTORS = "gene_vectors"


@dataclass(frozen=True)
class SegmentationModel:
    """All that is needed to segment another slide of the same panel."""

    network: LitSegger
    genes: tuple[str, ...]
    segger: SeggerParams
    graph: GraphParams
    assign: AssignParams
    fitted: FittedAssignment
    gene_vectors: np.ndarray
    num_tx_tokens: int
    training: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `model.json` into a new folder."""
        folder.mkdir(parents=True, exist_ok=True)
        card = {
            "format": FORMAT,
            "genes": list(self.genes),
            "num_tx_tokens": self.num_tx_tokens,
            "segger": asdict(self.segger),
            "graph": asdict(self.graph),
            "assign": asdict(self.assign),
            "fitted": asdict(self.fitted),
            "training": self.training,
        }
        tensors = weights(self.network) | {GENE_VECTORS: torch.from_numpy(self.gene_vectors)}
        # not save_file, which lets nobody but the owner read the file
        (folder / keys.MODEL_WEIGHTS_FILE).write_bytes(save(tensors))
        (folder / keys.MODEL_CARD_FILE).write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")


def weights(network: LitSegger) -> dict[str, Any]:
    """The weights of the network and its pair score, without the state of the metrics."""
    parts: dict[str, nn.Module] = {"model": network.model, "score": network.score}
    return {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }


def load_model(folder: Path | str) -> SegmentationModel:
    """Read a model that `train` or `segment` wrote.

    Raises
    ------
    ModelError
        If the folder is missing, is no model, or was cut short.
    """
    folder = Path(folder)
    if (folder / keys.MODEL_DIR / keys.MODEL_CARD_FILE).exists():
        folder = folder / keys.MODEL_DIR
    try:
        card = json.loads((folder / keys.MODEL_CARD_FILE).read_text())
        genes, tokens, training = tuple(card["genes"]), card["num_tx_tokens"], card["training"]
        segger, graph = SeggerParams(**card["segger"]), GraphParams(**card["graph"])
        assign = AssignParams(**card["assign"])
        fitted = FittedAssignment(**{**card["fitted"], "log_weights": tuple(card["fitted"]["log_weights"])})
        tensors = load_file(folder / keys.MODEL_WEIGHTS_FILE)
        vectors = tensors.pop(GENE_VECTORS).numpy()
        from tissuegraph.nn.lit import LitSegger

        network = LitSegger(tokens, segger)
        network.load_state_dict(tensors)
        _check_card(card["format"], genes, tokens, vectors)
    except FileNotFoundError as error:
        message = (
            f"{folder} holds no model ({Path(error.filename or keys.MODEL_WEIGHTS_FILE).name} is missing); "
            "give the folder model/ that `tissuegraph train` or `tissuegraph segment` wrote"
        )
        raise ModelError(message) from error
    except Exception as error:
        reason = (str(error).splitlines() or ["no reason given"])[0].rstrip(":")
        message = f"the model in {folder} cannot be read ({type(error).__name__}: {reason}); train it again"
        raise ModelError(message) from error
    network.eval()
    return SegmentationModel(network, genes, segger, graph, assign, fitted, vectors, tokens, training)


def _check_card(made_as: int, genes: tuple[str, ...], tokens: int, vectors: np.ndarray) -> None:
    """Raise `ValueError` where the parts of a model do not belong together."""
    if made_as != FORMAT:
        message = f"its format is {made_as}, this version reads {FORMAT}"
        raise ValueError(message)
    if list(genes) != sorted(set(genes)) or not len(vectors) == len(genes) <= tokens:
        message = f"its {len(genes)} genes, {len(vectors)} gene vectors and {tokens} tokens do not fit"
        raise ValueError(message)
