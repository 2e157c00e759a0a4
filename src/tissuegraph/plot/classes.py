"""Who was taken for whom, where the true labels are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from tissuegraph.errors import InputError
from tissuegraph.plot.canvas import figure_of

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Labels = Sequence[Any] | npt.NDArray[Any] | pd.Series | pd.Categorical

LAST = "unknown", "none"
"""What a classifier would not name, and what it left out: behind all other labels."""
SHADES = "Blues"
INCHES = 0.55, 0.24
"""Side of a cell of the matrix with few labels, and with many."""
MANY = 20
AROUND = 2.6, 1.3
"""Inches to the right of the matrix, and above and below, without the names."""
TEXTS = 9.0, 5.5
"""Size of the text, at most and at least."""
CHARACTER = 0.62
"""Width of a letter as a share of the size of the text."""
LINE = 1.2
"""Height of a line as a multiple of the size of the text."""
DARK = 0.55
"""Shade from which a number is written in white."""
BESIDE = 5
"""Points from the matrix to the recall."""


def confusion(truth: Labels, predicted: Labels, ax: Axes | None = None, *, normalize: bool = True) -> Axes:
    """Draw how many cells of each true label (a row) were given each label (a column), with recalls.

    Numbers of cells stand in the matrix where they fit. The title has the share of cells that are right,
    and the mean recall, in which a rare label counts as much as a frequent one.

    Parameters
    ----------
    truth, predicted
        A label for each cell, [N]. Cells without a true label are left out; those without a predicted one
        stand under "none", and are wrong. Categories keep their order, other labels are sorted; labels that
        no cell truly has come behind, "unknown" and "none" last.
    normalize
        Shades are shares of the row; otherwise numbers of cells.

    Raises
    ------
    InputError
        Where the lengths or the indices differ, or no cell has a true label.
    """
    rows, columns, counts = confusion_counts(truth, predicted)
    totals = counts.sum(1)
    right = np.array([counts[i, columns.index(name)] for i, name in enumerate(rows)])
    values = counts / totals[:, None] if normalize else counts.astype(np.float64)
    top = 1.0 if normalize else float(values.max())
    # squares on axes that are given would leave the rest less room than it was promised
    aspect: Literal["equal", "auto"] = "equal" if ax is None else "auto"
    ax = _new_axes(rows, columns) if ax is None else ax
    image = ax.imshow(values, cmap=SHADES, vmin=0, vmax=top, aspect=aspect, interpolation="nearest")
    size = _name_axes(ax, rows, columns)
    _write_recalls(ax, right / totals, totals, size)
    what = "share of the row" if normalize else "cells"
    figure_of(ax).colorbar(image, ax=ax, label=what, shrink=0.8, pad=0.03)
    recall, mean = right.sum() / totals.sum(), (right / totals).mean()
    title = f"{recall:.1%} of {totals.sum():,} cells right, mean recall {mean:.1%}"
    ax.set_title(title, fontsize=10, pad=1.8 * size)
    figure_of(ax).draw_without_rendering()  # now the matrix has the size that the rest leaves it
    _write_counts(ax, counts, values / top, size)
    return ax


def confusion_counts(truth: Labels, predicted: Labels) -> tuple[list[str], list[str], Counts]:
    """Count cells by true and by predicted label: the names of rows and columns, and [rows, columns].

    Every row has its column. Raises as `confusion`.
    """
    true, given = paired(truth, predicted)
    known = true.codes >= 0
    if not known.any():
        raise InputError("no cell has a true label, so there is nothing to compare with")
    true, given = true[known], given[known]
    given = given.set_categories(given.categories.union([LAST[1]], sort=False)).fillna(LAST[1])
    there = set(true), set(given)
    names = list(dict.fromkeys([*true.categories, *given.categories]))
    if not _ordered(truth):
        names.sort(key=_natural)
    rows = _last([name for name in names if name in there[0]])
    columns = _last(rows + [name for name in names if name in there[1] - there[0]])
    counts = np.zeros((len(rows), len(columns)), np.int64)
    np.add.at(counts, (true.set_categories(rows).codes, given.set_categories(columns).codes), 1)
    return rows, columns, counts


def paired(truth: Labels, predicted: Labels) -> tuple[pd.Categorical, pd.Categorical]:
    """Both labels of each cell, as text; NaN where a cell has none.

    Raises
    ------
    InputError
        Where their lengths differ, or both have an index and the two differ.
    """
    if len(truth) != len(predicted):
        raise InputError(
            f"{len(truth):,} true labels, but {len(predicted):,} predicted; give one of each for every cell"
        )
    check_index(truth, predicted)
    return _text(truth), _text(predicted)


def check_index(*columns: object) -> None:
    """Refuse, with `InputError`, series of other cells than the first one, or in another order."""
    indices = [column.index for column in columns if isinstance(column, pd.Series)]
    if any(not index.equals(indices[0]) for index in indices):
        raise InputError(
            "the true and the predicted labels have different indices; bring them into one order, such as by "
            "predicted.loc[truth.index]"
        )


def _text(labels: Labels) -> pd.Categorical:
    given = pd.Series(labels).astype("category").array
    return given.rename_categories(list(map(str, given.categories)))


def _ordered(labels: Labels) -> bool:
    return isinstance(getattr(labels, "dtype", None), pd.CategoricalDtype)


def _natural(name: str) -> list[tuple[bool, int | str]]:
    """For an order in which 10 comes behind 9."""
    return [(not part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", name)]


def _last(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: LAST.index(name) + 1 if name in LAST else 0)


def _new_axes(rows: list[str], columns: list[str]) -> Axes:
    """Axes on which a cell of the matrix is as large as the number of labels allows."""
    side = float(np.interp(len(columns), (2, MANY), INCHES))
    names = max(map(len, columns)) * CHARACTER * TEXTS[0] / 72
    size = (side * len(columns) + names + AROUND[0], side * len(rows) + names + AROUND[1])
    return plt.subplots(figsize=size, layout="constrained")[1]


def _name_axes(ax: Axes, rows: list[str], columns: list[str]) -> float:
    """Write the labels at both sides; returns the size of the text."""
    size = float(np.clip(0.8 * min(_cell(ax, len(rows), len(columns))), TEXTS[1], TEXTS[0]))
    ax.set_xticks(range(len(columns)), columns, rotation=90, fontsize=size)
    ax.set_yticks(range(len(rows)), rows, fontsize=size)
    ax.set(xlabel="predicted", ylabel="true")
    ax.tick_params(length=0)
    ax.spines[:].set_color("#bbbbbb")
    return size


def _cell(ax: Axes, rows: int, columns: int) -> tuple[float, float]:
    """Width and height in points of a cell of the matrix."""
    box, points = ax.get_window_extent(), 72 / figure_of(ax).dpi
    return box.width * points / columns, box.height * points / rows


def _write_counts(ax: Axes, counts: Counts, shades: Floats, size: float) -> None:
    """Write the counts into the matrix, where the longest fits."""
    width, height = _cell(ax, *counts.shape)
    room = min(width / (CHARACTER * len(f"{counts.max():,}") + 0.4), height / LINE)
    if room < TEXTS[1]:
        return
    for i, j in np.argwhere(counts):
        colour = "white" if shades[i, j] > DARK else "black"
        ax.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=min(room, size), color=colour)


def _write_recalls(ax: Axes, recalls: Floats, totals: Counts, size: float) -> None:
    """Write beside each row which share of how many cells is right."""
    shift = ScaledTranslation(BESIDE / 72, 0, figure_of(ax).dpi_scale_trans)
    notes = [f"{recall:.0%} of {total:,}" for recall, total in zip(recalls, totals, strict=True)]
    for row, note in enumerate(notes):
        ax.text(1, row, note, transform=ax.get_yaxis_transform() + shift, va="center", fontsize=size)
    ax.text(1, 1, "recall", transform=ax.transAxes + shift, va="bottom", fontsize=size)
