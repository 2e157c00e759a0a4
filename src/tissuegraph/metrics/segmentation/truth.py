"""How well transcripts were assigned to cells, against a known truth.

Cells are given as strings (numpy, Arrow, pandas or polars, none = null) or as integer codes (none = -1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_rand_score

from tissuegraph.errors import InputError
from tissuegraph.metrics.segmentation.codes import (
    Codes,
    Encoded,
    encode,
    match_one_to_one,
    overlaps,
)


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
    """Match new cells to unseen ones, largest overlap first; tell which transcripts lie in a match."""
    pairs = overlaps(true, assigned)
    n_cells = len(encoded.is_seen)
    size_true = np.bincount(encoded.true_cell + 1, minlength=n_cells + 1)[1:]
    size_assigned = np.bincount(encoded.assigned_cell + 1, minlength=n_cells + 1)[1:]
    size = size_true[pairs.first] + size_assigned[pairs.second]
    return match_one_to_one(pairs, size)[pairs.pair_of_item]


@dataclass(frozen=True)
class CellScores:
    """How well the cells as sets of transcripts were found, whatever they are called.

    Attributes
    ----------
    iou
        Mean over the true cells of the largest intersection over union with any predicted cell.
    cell_f1
        Of finding cells: a true and a predicted cell match where their intersection over union is above a
        half, of which each can have but one; 2 matches / (true cells + predicted cells).
    """

    iou: float
    cell_f1: float


def score_cells(true_cell: Codes, assigned_cell: Codes) -> CellScores:
    """Score the cells as sets of transcripts, as instance segmentation is scored.

    Parameters
    ----------
    true_cell, assigned_cell
        Codes, shape (N,), none = -1.

    Raises
    ------
    InputError
        If there is no true cell.

    References
    ----------
    Caicedo et al. 2019, Cytometry A 95:952 (F1 of objects at an intersection over union).
    """
    true, assigned = np.asarray(true_cell), np.asarray(assigned_cell)
    size_true = np.bincount(true[true >= 0])
    size_assigned = np.bincount(assigned[assigned >= 0])
    n_true, n_assigned = int((size_true > 0).sum()), int((size_assigned > 0).sum())
    if n_true == 0:
        raise InputError("no transcript belongs to a true cell; check that this is the slide's truth.")
    both = (true >= 0) & (assigned >= 0)
    pairs = overlaps(true[both], assigned[both])
    union = size_true[pairs.first] + size_assigned[pairs.second] - pairs.count
    iou = pairs.count / union if len(union) else np.zeros(0)
    best = np.zeros(len(size_true))
    np.maximum.at(best, pairs.first, iou)
    matches = int((iou > 0.5).sum())
    return CellScores(float(best.sum() / n_true), 2 * matches / (n_true + n_assigned))


def adjusted_rand(first_cell: Codes, second_cell: Codes) -> float:
    """Adjusted Rand index over transcripts, each without a cell being a cluster of its own.

    So leaving a transcript out is not rewarded, and those left out do not make one huge cluster.

    Parameters
    ----------
    first_cell, second_cell
        Codes, shape (N,), none = -1.

    References
    ----------
    Hubert & Arabie 1985, J. Classification 2:193.
    """
    return float(adjusted_rand_score(_with_singletons(first_cell), _with_singletons(second_cell)))


def _with_singletons(cell: Codes) -> Codes:
    return np.where(cell >= 0, cell, -1 - np.arange(len(cell)))
