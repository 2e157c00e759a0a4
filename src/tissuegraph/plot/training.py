"""How a loss went down, epoch by epoch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tissuegraph.errors import InputError
from tissuegraph.plot.canvas import PALETTE
from tissuegraph.plot.graphs import GREY, tidy

EPOCH, LOSS, VALIDATION = "epoch", "loss", "val"
METRICS_FILE = "metrics.csv"
STEP_ENDING, EPOCH_ENDING = "_step", "_epoch"
"""Of columns that Lightning writes for what is logged on both."""
WIDE = 30
"""From this ratio of the largest to the smallest loss on, the axis is logarithmic."""
FEW = 40
"""Epochs up to which each has a dot."""

History = Mapping[str, Sequence[float]] | Sequence[float] | npt.NDArray[np.floating] | str | os.PathLike[str]


def history(history: History, ax: Axes | None = None) -> Axes:
    """Draw losses by epoch; a line marks the epoch in which the first validation loss is lowest.

    Training losses alone mark no epoch, since they tell nothing of other data. Epochs count from 0, as in
    Lightning.

    Parameters
    ----------
    history
        Losses by name, each [E], NaN where an epoch has none; "epoch" numbers them. Of several, those with
        "loss" in their names are drawn, and names that start with "val" are validation. Or one loss, [E]. Or
        the path of a `metrics.csv` of Lightning, or of its folder; what was logged by step is averaged.

    Raises
    ------
    InputError
        Where there is no file or no loss, or the lengths differ.
    """
    losses = _losses(history)
    ax = plt.subplots(figsize=(5.5, 3.5), layout="constrained")[1] if ax is None else ax
    for number, (name, column) in enumerate(losses.items()):
        known = column.dropna()
        marker = "." if len(known) <= FEW else ""
        colour = PALETTE[number % len(PALETTE)]
        ax.plot(known.index, known, color=colour, linewidth=1.5, marker=marker, label=name)
    _mark_best(ax, losses)
    values = losses.to_numpy()
    lowest, highest = np.nanmin(values), np.nanmax(values)
    if lowest > 0 and lowest * WIDE < highest < np.inf:
        ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    ax.legend(frameon=False, fontsize=9)
    return tidy(ax, "epoch", "loss")


def _mark_best(ax: Axes, losses: pd.DataFrame) -> None:
    validation = [name for name in losses if str(name).startswith(VALIDATION)]
    if not validation:
        return
    column = losses[validation[0]]
    best: Any = column.idxmin()
    ax.axvline(best, color=GREY, linewidth=1, linestyle="--", zorder=0)
    ax.plot(best, column[best], color=GREY, marker="o", zorder=3)
    ax.set_title(f"{validation[0]} is lowest in epoch {best}: {column[best]:.4g}", fontsize=10, loc="left")


def _losses(history: Any) -> pd.DataFrame:
    """A column for each loss, a row for each epoch."""
    in_memory = not isinstance(history, (str, os.PathLike))
    table = (_from_memory(history) if in_memory else _from_file(Path(history))).astype(np.float64)
    empty = [name for name in table if not np.isfinite(table[name]).any()]
    if empty or not len(table):
        raise InputError(f"no epoch has a finite loss{''.join(f' of {name}' for name in empty)}; train first")
    return table


def _from_memory(history: Mapping[str, Sequence[float]] | Sequence[float] | npt.NDArray[Any]) -> pd.DataFrame:
    given = history if isinstance(history, Mapping) else {LOSS: history}
    columns = {str(name): values for name, values in given.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"losses of different lengths: {found}; put NaN where an epoch has none")
    epochs = columns.pop(EPOCH, None)
    chosen = {name: values for name, values in columns.items() if LOSS in name} or columns
    if not chosen:
        raise InputError("the history is empty; give losses by name, such as train_loss and val_loss")
    return pd.DataFrame(chosen, index=None if epochs is None else pd.Index(epochs))


def _from_file(path: Path) -> pd.DataFrame:
    path = path / METRICS_FILE if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"no file {path}; give the {METRICS_FILE} that a training left, or its folder")
    table = pd.read_csv(path)
    names = [name for name in table if LOSS in str(name)]
    if EPOCH not in table or not names:
        found = ", ".join(map(str, table))
        raise InputError(f"no column '{EPOCH}' or none with '{LOSS}' in {path}; found: {found}")
    table = table.groupby(EPOCH)[names].mean()
    whole = {str(name).removesuffix(EPOCH_ENDING) for name in names if str(name).endswith(EPOCH_ENDING)}
    parts = [name for name in table if str(name).removesuffix(STEP_ENDING) in whole]
    table = table.drop(columns=parts)
    return table.rename(columns=lambda name: str(name).removesuffix(EPOCH_ENDING).removesuffix(STEP_ENDING))
