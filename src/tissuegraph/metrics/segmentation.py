"""How well transcripts were assigned to cells, against a known truth.

Cells are given as strings (numpy, Arrow, pandas or polars, none = null) or as integer codes (none = -1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tissuegraph.errors import InputError

CALIBRATION_BINS = 15
CALIBRATION_ITEMS = 10_000
"""Fewer items than this leave too few in a bin: noise would pass for bad calibration."""

NONE = -1

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """The scores of one assignment.

    Attributes
    ----------
    precision
        Right ones among the assigned transcripts; assigned background is wrong. 0 if none is assigned.
    recall
        Right ones among the transcripts of cells whose nucleus was seen.
    f1
        Harmonic mean of the two.
    unseen
        Right ones among the transcripts of cells whose nucleus was not seen; None if there are none.
    share_assigned
        Assigned ones among all transcripts.
    n_transcripts
        How many transcripts were scored.
    calibration_error
        Expected calibration error of the assignment's probability; None where it was not measured.
    """

    precision: float
    recall: float
    f1: float
    unseen: float | None
    share_assigned: float
    n_transcripts: int
    calibration_error: float | None = None


@dataclass(frozen=True)
class Encoded:
    """Cells as integers: one true and one assigned code a transcript (-1 = none); `is_seen` is by code."""

    true_cell: Codes
    assigned_cell: Codes
    is_seen: npt.NDArray[np.bool_]


def score_assignment(true_cell: Any, assigned_cell: Any, seen_cells: Any) -> Scores:
    """Score an assignment of transcripts to cells.

    A transcript is right if its assigned cell is its true cell. A predicted cell whose id is not that of
    a cell with a seen nucleus is first matched, one to one and by largest overlap, to a true cell whose
    nucleus was not seen; ids of such cells mean nothing by themselves.

    Parameters
    ----------
    true_cell, assigned_cell
        The cell of each transcript, shape (N,): strings or integer codes, none = null or -1. The caller
        has left out controls and transcripts of low quality.
    seen_cells
        Ids of the true cells whose nucleus was seen.

    Raises
    ------
    InputError
        If there are no transcripts, the lengths differ, strings and integers are mixed, or no transcript
        belongs to a cell with a seen nucleus.
    """
    return score_codes(encode(true_cell, assigned_cell, seen_cells))


def is_right(true_cell: Any, assigned_cell: Any, seen_cells: Any) -> npt.NDArray[np.bool_]:
    """Tell of each transcript whether `score_assignment` counts it as right: bool, shape (N,)."""
    return right_codes(encode(true_cell, assigned_cell, seen_cells))


def expected_calibration_error(
    probability: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    bins: int = CALIBRATION_BINS,
    min_items: int = CALIBRATION_ITEMS,
) -> float:
    """Mean gap between what was promised and what came true, over equal-width bins of the promise.

    `sum_b n_b / N * |mean(correct in b) - mean(probability in b)|` (Guo et al. 2017, arXiv:1706.04599).

    Parameters
    ----------
    probability
        Shape (N,), between 0 and 1.
    correct
        Shape (N,), boolean.
    bins
        Number of bins.
    min_items
        Refuse to measure on fewer.

    Raises
    ------
    InputError
        If there are fewer than `min_items`, the lengths differ or a probability is outside [0, 1].
    """
    probability, correct = np.asarray(probability, np.float64), np.asarray(correct, bool)
    if probability.ndim != 1 or probability.shape != correct.shape:
        raise InputError(
            f"probability has shape {probability.shape} and correct {correct.shape}; both need (N,)."
        )
    if len(probability) < max(min_items, 1):
        raise InputError(
            f"a calibration error needs at least {max(min_items, 1):,} items, found {len(probability):,}; "
            "give more, or a smaller min_items if a noisy number will do."
        )
    if not ((probability >= 0) & (probability <= 1)).all():
        raise InputError(
            "a probability is missing or outside 0 to 1; give calibrated probabilities, not logits."
        )
    bin_of_item = np.minimum((probability * bins).astype(np.int64), bins - 1)
    gap = np.bincount(bin_of_item, weights=correct - probability, minlength=bins)
    return float(np.abs(gap).sum() / len(probability))


def encode(true_cell: Any, assigned_cell: Any, seen_cells: Any) -> Encoded:
    """Turn ids into the codes 0..C-1, shared by the three columns. Raises as `score_assignment` does."""
    columns = [_as_column(values) for values in (true_cell, assigned_cell, seen_cells)]
    n_true, n_assigned = len(columns[0]), len(columns[1])
    if n_true != n_assigned:
        raise InputError(
            f"{n_true:,} true cells and {n_assigned:,} assigned ones; give one of each a transcript."
        )
    if n_true == 0:
        raise InputError("there are no transcripts to score; give at least one.")
    known = [column for column in columns if column.null_count() < len(column)]
    if len({column.dtype == pl.String for column in known}) > 1:
        raise InputError("some cells are strings and some integers; give both columns and seen_cells alike.")
    kind = known[0].dtype if known else pl.Int64
    everything = pl.concat([column.cast(kind) for column in columns])
    codes = _dense(everything)
    is_seen = np.zeros(codes.max() + 1, bool)
    seen = codes[2 * n_true :]
    is_seen[seen[seen >= 0]] = True
    return Encoded(codes[:n_true], codes[n_true : 2 * n_true], is_seen)


def score_codes(encoded: Encoded) -> Scores:
    """Score codes that `encode` gave, or others like them; see `score_assignment`."""
    true, n = encoded.true_cell, len(encoded.true_cell)
    right = right_codes(encoded)
    is_seen = np.append(encoded.is_seen, False)  # code -1: background belongs to no cell
    of_seen = is_seen[true]
    of_unseen = ~of_seen & (true >= 0)
    if not of_seen.any():
        raise InputError(
            f"none of the {n:,} transcripts belongs to a cell whose nucleus was seen, so there is no recall; "
            "check that seen_cells and the true cells are ids of one slide."
        )
    n_right, n_assigned = int(right.sum()), int((encoded.assigned_cell >= 0).sum())
    precision = n_right / max(n_assigned, 1)
    recall = int((right & of_seen).sum()) / int(of_seen.sum())
    n_unseen = int(of_unseen.sum())
    return Scores(
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        unseen=int((right & of_unseen).sum()) / n_unseen if n_unseen else None,
        share_assigned=n_assigned / n,
        n_transcripts=n,
    )


def right_codes(encoded: Encoded) -> npt.NDArray[np.bool_]:
    """Tell of each transcript whether it is right, after unseen cells are matched: bool, shape (N,)."""
    true, assigned = encoded.true_cell, encoded.assigned_cell
    is_seen = np.append(encoded.is_seen, False)
    both = (true >= 0) & (assigned >= 0)
    right = both & is_seen[assigned] & (true == assigned)
    free = np.flatnonzero(both & ~is_seen[assigned] & ~is_seen[true])
    right[free] = _matched(true[free], assigned[free], encoded)
    return right


def _matched(true: Codes, assigned: Codes, encoded: Encoded) -> npt.NDArray[np.bool_]:
    """Match new cells to unseen ones, largest overlap first; tell which transcripts lie in a match.

    Of equal overlaps, the pair with fewer transcripts in all comes first (the better fit), then the one that
    comes first in the table: ids play no role.
    """
    n_cells = np.int64(len(encoded.is_seen))
    pair, first_row, pair_of_row, overlap = np.unique(
        true * n_cells + assigned, return_index=True, return_inverse=True, return_counts=True
    )
    true_of_pair, assigned_of_pair = pair // n_cells, pair % n_cells
    size_true = np.bincount(encoded.true_cell + 1, minlength=n_cells + 1)[1:]
    size_assigned = np.bincount(encoded.assigned_cell + 1, minlength=n_cells + 1)[1:]
    size = size_true[true_of_pair] + size_assigned[assigned_of_pair]
    taken_true, taken_assigned = set[int](), set[int]()
    is_match = np.zeros(len(pair), bool)
    for best in np.lexsort((first_row, size, -overlap)):
        cell, new = int(true_of_pair[best]), int(assigned_of_pair[best])
        if cell not in taken_true and new not in taken_assigned:
            taken_true.add(cell)
            taken_assigned.add(new)
            is_match[best] = True
    return is_match[pair_of_row]


def _as_column(values: Any) -> pl.Series:
    """Return cells as strings or integers with nulls, whatever the container."""
    if type(values).__module__.startswith("pandas"):
        values = values.to_numpy(dtype=object, na_value=None)
    if isinstance(values, set | frozenset):
        values = list(values)
    if isinstance(values, np.ndarray) and values.dtype == object:
        values = values.copy()
        values[values != values] = None  # NaN, which pandas writes for "none"
        values = values.tolist()  # polars guesses the type of an object array by its first item alone
    try:
        column = pl.Series(values)
    except TypeError as error:
        raise InputError("some cells are strings and some are not; give them all alike.") from error
    if column.dtype.is_integer():
        codes = column.cast(pl.Int64)
        return codes.set(codes < 0, None)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return column.cast(pl.String)
    raise InputError(f"cells are of type {column.dtype}; give strings (none = null) or integers (none = -1).")


def _dense(column: pl.Series) -> Codes:
    """Number the distinct values, -1 where there is none."""
    if column.dtype == pl.String:
        column = column.cast(pl.Categorical).to_physical()
    _, codes = np.unique(column.cast(pl.Int64).fill_null(NONE).to_numpy(), return_inverse=True)
    return codes.astype(np.int64) - int(column.null_count() > 0)
