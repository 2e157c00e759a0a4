"""Whether a classifier is right as often as it is sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tissuegraph.errors import InputError
from tissuegraph.metrics.segmentation.calibration import (
    CALIBRATION_BINS,
    expected_calibration_error,
)
from tissuegraph.metrics.segmentation.calibration import reliability as by_bin
from tissuegraph.plot.classes import LAST, Labels, check_index, paired
from tissuegraph.plot.graphs import BLUE, GREY, tidy

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

Z = 1.96
"""Standard errors that a bar reaches to both sides: 95%."""
STRIP = 0.0, -0.28, 1.0, 0.22
"""Where the strip of counts lies under the curve, in axes: left, bottom, width, height."""


def reliability(
    truth: Labels,
    predicted: Labels | pd.DataFrame,
    confidence: npt.ArrayLike | None = None,
    ax: Axes | None = None,
    *,
    classes: Sequence[str] | None = None,
    n_bins: int = CALIBRATION_BINS,
) -> Axes:
    """Draw the share of cells that are right against how sure the classifier was, by bins of equal width.

    Bars are 95% intervals (Wilson 1927). Below stands how many cells are in each bin. The title has the
    expected calibration error (ECE): the mean distance from the diagonal, weighed by cells.

    Parameters
    ----------
    truth
        True label of each cell, [N]; cells without one are left out.
    predicted
        Probabilities, [N, C]: a table with a column for each label, or an array and `classes`. Or labels,
        [N], with their `confidence`; cells without a label, or "unknown", promise nothing and are left out.
    confidence
        Probability of each predicted label, [N], where labels are given.
    classes
        Labels of the columns, where an array is given.
    n_bins
        Number of bins.

    Raises
    ------
    InputError
        Where lengths differ, numbers are no probabilities, or no cell has both a true and a predicted label.
    """
    sure, right = promises(truth, predicted, confidence, classes)
    if n_bins < 1:
        raise InputError(f"n_bins is {n_bins}; give 1 or more")
    promised, true, items = by_bin(sure, right, bins=n_bins)
    error = expected_calibration_error(sure, right, bins=n_bins, min_items=1)
    ax = plt.subplots(figsize=(4.5, 5), layout="constrained")[1] if ax is None else ax
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    low, high = _wilson(true, items)
    ax.errorbar(
        promised, true, np.maximum([true - low, high - true], 0), color=BLUE, marker="o", markersize=4,
        linewidth=1.2, elinewidth=1, alpha=0.9,
    )  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(0, 1.02))
    ax.set_title(f"ECE {error:.3f}, {right.mean():.1%} of {len(right):,} cells right", fontsize=10)
    tidy(ax, "", "share that is right")
    ax.tick_params(labelbottom=False)
    _strip(ax, sure, n_bins)
    return ax


def promises(
    truth: Labels,
    predicted: Labels | pd.DataFrame,
    confidence: npt.ArrayLike | None,
    classes: Sequence[str] | None,
) -> tuple[Floats, Flags]:
    """How sure the classifier was, and whether it was right, [n] of the cells that can be judged.

    Parameters and errors as in `reliability`.
    """
    if (np.ndim(predicted) == 2) == (confidence is not None):
        raise InputError("give labels with their confidence, or a table of probabilities without")
    named: Any = predicted
    if confidence is None:
        named, confidence = _best(predicted, classes)
    check_index(truth, named, confidence)
    true, given = paired(truth, named)
    sure = np.asarray(confidence, np.float64)
    if sure.shape != (len(given),):
        raise InputError(f"confidence has shape {sure.shape} for {len(given):,} cells; give a number a cell")
    judged = (true.codes >= 0) & (given.codes >= 0) & ~np.isin(np.asarray(given, object), LAST)
    if not judged.any():
        raise InputError("no cell has both a true and a predicted label, so there is nothing to judge")
    right = np.asarray(true, object)[judged] == np.asarray(given, object)[judged]
    return sure[judged], right.astype(bool)


def _best(table: Labels | pd.DataFrame, classes: Sequence[str] | None) -> tuple[Labels, Floats]:
    """The most probable label of each cell, and its probability, of a table [N, C]."""
    values = np.asarray(table, np.float64)
    given = table.columns if isinstance(table, pd.DataFrame) else classes
    names = [] if given is None else list(map(str, given))
    if len(names) != values.shape[1]:
        raise InputError(
            f"probabilities of {values.shape[1]} labels, but {len(names)} names; pass classes=, one a column"
        )
    known = ~np.isnan(values).all(1)
    best = np.where(known, np.where(np.isnan(values), -1, values).argmax(1), -1)
    labels = np.array([*names, None], object)[best]
    index = table.index if isinstance(table, pd.DataFrame) else None
    return (labels if index is None else pd.Series(labels, index)), values[np.arange(len(best)), best]


def _wilson(share: Floats, items: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The interval of a share of so many cells."""
    middle = (share + Z**2 / (2 * items)) / (1 + Z**2 / items)
    half = Z / (1 + Z**2 / items) * np.sqrt(share * (1 - share) / items + Z**2 / (4 * items**2))
    return middle - half, middle + half


def _strip(ax: Axes, sure: Floats, n_bins: int) -> None:
    """Under the curve, draw how many cells are in each bin."""
    strip = ax.inset_axes(STRIP)
    counts = np.bincount(np.minimum((sure * n_bins).astype(np.int64), n_bins - 1), minlength=n_bins)
    strip.bar((np.arange(n_bins) + 0.5) / n_bins, counts, width=0.9 / n_bins, color=BLUE)
    strip.set(xlim=(0, 1), ylim=(0, 1.05 * counts.max()))
    strip.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    strip.yaxis.set_major_formatter("{x:,.0f}")
    tidy(strip, "confidence", "cells")
