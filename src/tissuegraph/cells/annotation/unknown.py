"""Which cells are like none of the labelled ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tissuegraph.graph.expression import directions, nearest_in_features

NEAREST = 3
"""The distance of a cell is that to its so many-th nearest labelled cell."""
SHARED_WITH = 10
"""Cells most alike whose mean a distance is, itself included."""
ANCHORS = 5_000
"""Labelled cells that are kept to measure from, at most."""
AT_A_TIME = 20_000_000
"""Numbers of a block of similarities."""

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Familiar:
    """Labelled cells from which distance is measured, and how far a cell of a known type may lie."""

    anchors: Floats
    """[A, D] their features."""
    farthest: float
    """Distance beyond which a cell is unknown."""
    farthest_alone: float
    """The same of a distance that is not averaged, as there are too few cells."""

    def distance(self, x: Floats, seed: int = 0) -> npt.NDArray[np.float64]:
        """How unlike any labelled cell each is, [N], 1 where it becomes unknown.

        One minus the cosine with the third nearest anchor, averaged over the cells here that are most alike.
        """
        own = _to_anchors(x, self.anchors, NEAREST)
        if len(x) <= SHARED_WITH:
            return own / self.farthest_alone
        return smoothed(x, own, seed) / self.farthest


def choose_anchors(y: Codes, generator: np.random.Generator) -> Codes:
    """Rows of labelled cells that are kept, all where they are few; of each type the same share, but ten."""
    if len(y) <= ANCHORS:
        return np.arange(len(y))
    parts = []
    for kind in np.unique(y):
        rows = np.flatnonzero(y == kind)
        kept = max(min(10, len(rows)), round(ANCHORS * len(rows) / len(y)))
        parts.append(generator.choice(rows, min(kept, len(rows)), replace=False))
    return np.sort(np.concatenate(parts))


def fit_familiar(x: Floats, y: Codes, share: float, seed: int) -> Familiar:
    """Measure how far labelled cells x [N, D] lie from each other.

    A cell is judged as if it were not there, but its own type is. The limit is the quantile of those
    distances that leaves a `share` of known cells beyond it (split conformal; Vovk et al. 2005).
    """
    kept = choose_anchors(y, np.random.default_rng(seed))
    anchors = x[kept]
    # an anchor is its own nearest: those are looked for one farther
    is_anchor = np.isin(np.arange(len(x)), kept)
    own = np.empty(len(x))
    own[~is_anchor] = _to_anchors(x[~is_anchor], anchors, NEAREST)
    own[is_anchor] = _to_anchors(anchors, anchors, NEAREST + 1)
    level = min(1.0, (1 - share) * (1 + 1 / len(x)))
    limits = [max(float(np.quantile(values, level)), 1e-6) for values in (smoothed(x, own, seed), own)]
    return Familiar(anchors, *limits)


def smoothed(x: Floats, values: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """Mean of values [N] over each cell and those most alike; strange cells of one type lie together."""
    if len(x) <= SHARED_WITH:
        return values
    source, cell = nearest_in_features(x, SHARED_WITH - 1, "cosine", seed)
    total = np.bincount(cell, values[source], len(x)) + values
    return total / (np.bincount(cell, minlength=len(x)) + 1)


def _to_anchors(points: npt.NDArray[Any], anchors: Floats, rank: int) -> npt.NDArray[np.float64]:
    """One minus the cosine with the `rank`-th nearest anchor, [N]."""
    rank = min(rank, len(anchors))
    points, anchors = (directions(part.astype(np.float64)).astype(np.float32) for part in (points, anchors))
    out = np.empty(len(points))
    step = max(1, AT_A_TIME // len(anchors))
    for start in range(0, len(points), step):
        alike = points[start : start + step] @ anchors.T
        out[start : start + step] = 1 - np.partition(alike, -rank, axis=1)[:, -rank]
    return out
