"""Fitted models on disk: numbers as safetensors, everything else as JSON; nothing is unpickled."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from tissuegraph import keys
from tissuegraph.errors import ModelError
from tissuegraph.output import whole_folder

if TYPE_CHECKING:
    from anndata import AnnData

Restored = TypeVar("Restored")


class Fitted(Protocol):
    """A model that can be kept."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is numbers, by name."""

    def card(self) -> dict[str, Any]:
        """Everything else, fit for JSON."""


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of packages."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def write_model(model: Fitted, folder: Path | str, *, overwrite: bool = False) -> None:
    """Write `model.safetensors` and `model.json` into a new folder, whole or not at all.

    Raises
    ------
    OutputError
        If the folder exists and is not to be replaced, or cannot be written.
    """
    marker = keys.MODEL_CARD_FILE
    with whole_folder(Path(folder), overwrite=overwrite, marker=marker, kind="model") as staging:
        # not save_file, which lets nobody but the owner read the file
        (staging / keys.MODEL_WEIGHTS_FILE).write_bytes(save(model.tensors()))
        (staging / keys.MODEL_CARD_FILE).write_text(json.dumps(model.card(), indent=1) + "\n")


def read_model(
    folder: Path | str,
    restored: Callable[[dict[str, Any], dict[str, Tensor]], Restored],
    writer: str,
) -> Restored:
    """Read a model that `write_model` wrote.

    Parameters
    ----------
    restored
        Puts a model together from its card and tensors.
    writer
        What writes such a folder, for the message where it is none.

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
        message = f"{folder} holds no model ({name} is missing); give a folder that {writer} wrote"
        raise ModelError(message) from error
    except Exception as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        message = f"the model in {folder} cannot be read ({type(error).__name__}: {reason}); fit it again"
        raise ModelError(message) from error


def model_of_record(
    adata: AnnData,
    key: str,
    restored: Callable[[dict[str, Any], dict[str, Tensor]], Restored],
    fit: str,
) -> Restored:
    """Take the model that stands in `uns["tissuegraph"][key]`, its card and weights.

    Parameters
    ----------
    restored
        Puts a model together from its card and tensors.
    fit
        What leaves a model there, for the message where there is none.

    Raises
    ------
    ModelError
        If there is none.
    """
    record = adata.uns.get(keys.UNS_RUN, {}).get(key)
    if not record or "card" not in record:
        raise ModelError(
            f"the AnnData holds no model in uns['{keys.UNS_RUN}']['{key}']; fit one with {fit}, or pass "
            "the key_added under which it was fitted"
        )
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in record["weights"].items()}
    return restored(json.loads(record["card"]), tensors)


def check_kind(card: dict[str, Any], kind: str, made_as: int) -> None:
    """Raise `ValueError` where a card is that of another kind or format of model."""
    if (card["kind"], card["format"]) != (kind, made_as):
        raise ValueError(f"it is a {card['kind']!r} of format {card['format']}, not a {kind!r} of {made_as}")
