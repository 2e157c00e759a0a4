"""The simplest baseline: a transcript belongs to the nearest nucleus, if that is near enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tissuegraph.errors import InputError
from tissuegraph.metrics.segmentation import Encoded, Scores, encode, score_codes

DEFAULT_DISTANCE = 5.0
"""um: the distance to take where there is no truth to choose one by."""

ORACLE_DISTANCES = np.arange(0, 20.5, 0.5)
"""um: what the oracle tries."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Oracle:
    """The distance (um) that the truth itself says is best, and the scores it gives."""

    distance: float
    scores: Scores


def nearest_nucleus(
    n_transcripts: int,
    tx_index: Indices,
    boundary_index: Indices,
    distance: npt.NDArray[np.float32],
    *,
    max_distance: float = DEFAULT_DISTANCE,
) -> Indices:
    """Assign each transcript to the nucleus with the nearest outline.

    Parameters
    ----------
    n_transcripts
        How many transcripts there are (N).
    tx_index, boundary_index, distance
        Pairs as `graph.candidates.candidate_pairs` gives them (k = 1 is enough), shape (P,): sorted by
        transcript, nearest first; distance in um, negative inside.
    max_distance
        In um. Transcripts farther from every nucleus stay unassigned.

    Returns
    -------
    int64, shape (N,): the position of the nucleus, -1 = unassigned.
    """
    is_nearest = np.diff(tx_index, prepend=-1) != 0
    chosen = is_nearest & (distance <= max_distance)
    nucleus = np.full(n_transcripts, -1, np.int64)
    nucleus[tx_index[chosen]] = boundary_index[chosen]
    return nucleus


def best_distance(
    tx_index: Indices,
    boundary_index: Indices,
    distance: npt.NDArray[np.float32],
    *,
    nucleus_id: Any,
    true_cell: Any,
    seen_cells: Any,
    distances: npt.ArrayLike = ORACLE_DISTANCES,
) -> Oracle:
    """Try nearest-nucleus distances against the truth and keep the one with the highest F1.

    An oracle: it sees the answer, so it is the strongest form of the baseline. Of equal ones the shortest.

    Parameters
    ----------
    tx_index, boundary_index, distance
        Pairs as in `nearest_nucleus`, up to the largest of `distances`.
    nucleus_id
        The cell of each outline, shape (B,).
    true_cell
        The true cell of each transcript, shape (N,), as in `metrics.segmentation.score_assignment`.
    seen_cells
        Ids of the true cells whose nucleus was seen.
    distances
        In um.

    Raises
    ------
    InputError
        If there is no distance to try, or as `score_assignment` does.
    """
    tried = np.sort(np.asarray(distances, np.float64))
    if tried.size == 0:
        raise InputError("there is no distance to try; give at least one, in micrometres.")
    pairs = tx_index, boundary_index, distance
    ids = np.asarray(nucleus_id, dtype=object)
    farthest = nearest_nucleus(len(true_cell), *pairs, max_distance=float(tried[-1]))
    encoded = encode(true_cell, take_ids(ids, farthest), seen_cells)
    gap = np.full(len(farthest), np.inf)
    first = np.diff(tx_index, prepend=-1) != 0
    gap[tx_index[first]] = distance[first]
    scores = [_score_within(encoded, gap <= limit) for limit in tried]
    best = int(np.argmax([score.f1 for score in scores]))
    return Oracle(float(tried[best]), scores[best])


def take_ids(ids: npt.NDArray[np.object_], index: Indices) -> npt.NDArray[np.object_]:
    """Return the id at each position, None at -1: object, shape of `index`."""
    return np.concatenate([ids, np.array([None], dtype=object)])[index]


def _score_within(encoded: Encoded, is_near: npt.NDArray[np.bool_]) -> Scores:
    assigned = np.where(is_near, encoded.assigned_cell, -1)
    return score_codes(Encoded(encoded.true_cell, assigned, encoded.is_seen))
