"""The pretrained networks, and their file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save

from tissuegraph import keys
from tissuegraph.errors import ModelError
from tissuegraph.nn.neighbour_lists import NeighbourLists
from tissuegraph.nn.pairs import PairNet, log_probabilities
from tissuegraph.segmentation.pretrained.evidence import FIRST_ROUND, SECOND_ROUND
from tissuegraph.segmentation.pretrained.tile_pairs import Floats, TilePairs

KIND, FORMAT = "pairs", 1
SHIPPED = Path(__file__).parent / "weights"
"""The model that comes with the package."""
AT_A_TIME = 50_000
"""Transcripts whose pairs go through the network at a time."""


@dataclass(frozen=True)
class PairModel:
    """Networks for the first look and for the second, after the neighbours; `card`: how they were made."""

    first: PairNet
    second: PairNet
    card: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `model.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        networks = {"first": self.first, "second": self.second}
        tensors = {
            f"{name}.{key}": value.contiguous()
            for name, network in networks.items()
            for key, value in network.state_dict().items()
        }
        (folder / keys.MODEL_WEIGHTS_FILE).write_bytes(save(tensors))
        features = {"first": list(FIRST_ROUND), "second": list(SECOND_ROUND)}
        card = {"kind": KIND, "format": FORMAT, "features": features, **self.card}
        (folder / keys.MODEL_CARD_FILE).write_text(json.dumps(card, indent=1) + "\n")


def is_pair_model(folder: Path) -> bool:
    """Tell whether a folder holds such a model, and not one that was trained on a slide."""
    try:
        card = json.loads((_in_run(folder) / keys.MODEL_CARD_FILE).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(card, dict) and card.get("kind") == KIND


def load_pair_model(folder: Path = SHIPPED) -> PairModel:
    """Read a pretrained model, by default the one that comes with the package.

    Raises
    ------
    ModelError
        If the folder holds no such model, or one of another version.
    """
    folder = _in_run(folder)
    try:
        card = json.loads((folder / keys.MODEL_CARD_FILE).read_text())
        tensors = load_file(folder / keys.MODEL_WEIGHTS_FILE)
        features = {"first": list(FIRST_ROUND), "second": list(SECOND_ROUND)}
        if (card.pop("kind"), card.pop("format"), card.pop("features")) != (KIND, FORMAT, features):
            message = "it looks at other features than this version"
            raise ValueError(message)
        first = _network(tensors, "first", len(FIRST_ROUND))
        second = _network(tensors, "second", len(SECOND_ROUND))
    except Exception as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        message = (
            f"the pretrained model in {folder} cannot be read ({type(error).__name__}: {reason}); "
            "give one of this version, or install the package anew"
        )
        raise ModelError(message) from error
    return PairModel(first, second, card)


def _in_run(folder: Path) -> Path:
    """The model's own folder, where that of a run is given."""
    inner = folder / keys.MODEL_DIR
    return inner if (inner / keys.MODEL_CARD_FILE).exists() else folder


def _network(tensors: dict[str, torch.Tensor], name: str, features: int) -> PairNet:
    state = {key.removeprefix(f"{name}."): one for key, one in tensors.items() if key.startswith(f"{name}.")}
    network = PairNet(features, len(state["pair.0.weight"]))
    network.load_state_dict(state)
    return network.eval()


@torch.inference_mode()
def probabilities(
    network: PairNet,
    features: npt.NDArray[np.float32],
    pairs: TilePairs,
    place: npt.NDArray[np.float32] | None = None,
    heard: NeighbourLists | None = None,
) -> tuple[Floats, Floats]:
    """Probability of each pair [P] and of none [N].

    features [P, F]; place [P, 2] and `heard` are for a network with layers, see `PairNet.forward`.
    """
    q, q_none = np.zeros(len(pairs.tx)), np.ones(len(pairs.tokens))
    for transcripts, chosen in _parts(pairs, AT_A_TIME if heard is None else len(pairs.tokens)):
        tx = torch.from_numpy(pairs.tx[chosen] - transcripts.start)
        where = None if place is None else torch.from_numpy(place[chosen])
        number = transcripts.stop - transcripts.start
        logits, none = network(torch.from_numpy(features[chosen]), tx, number, where, heard)
        of_pairs, of_none = log_probabilities(logits, none, tx)
        q[chosen], q_none[transcripts] = of_pairs.exp().numpy(), of_none.exp().numpy()
    return q, q_none


def _parts(pairs: TilePairs, size: int) -> Iterator[tuple[slice, slice]]:
    """Slices of transcripts, and of their pairs."""
    for start in range(0, len(pairs.tokens), size):
        end = min(start + size, len(pairs.tokens))
        yield slice(start, end), slice(int(pairs.first[start]), int(pairs.first[end]))
