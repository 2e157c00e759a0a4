"""The pretrained networks, and their file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from tissuegraph import keys
from tissuegraph.errors import ModelError
from tissuegraph.nn.pairs import LEARNT, PairNet
from tissuegraph.segmentation.pretrained.evidence import FIRST_ROUND, SECOND_ROUND

KIND, FORMAT = "pairs", 2
SHIPPED = Path(__file__).parent / "weights"
"""The model that comes with the package."""


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
        card = {
            "kind": KIND,
            "format": FORMAT,
            "features": features,
            "attention": self.second.attention,
            **self.card,
        }
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
            message = "it is of another format or looks at other features than this version"
            raise ValueError(message)
        first = _network(tensors, "first", len(FIRST_ROUND))
        second = _network(tensors, "second", len(SECOND_ROUND), card.pop("attention", LEARNT))
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


def _network(tensors: dict[str, torch.Tensor], name: str, features: int, attention: str = LEARNT) -> PairNet:
    """The network of a round; how wide and deep it is, its tensors say."""
    state = {key.removeprefix(f"{name}."): one for key, one in tensors.items() if key.startswith(f"{name}.")}
    layers = [one for key, one in state.items() if key.endswith(".att")]
    heads = layers[0].shape[1] if layers else 1
    network = PairNet(features, len(state["encode.0.bias"]), len(layers), heads, attention)
    network.load_state_dict(state)
    return network.eval()
