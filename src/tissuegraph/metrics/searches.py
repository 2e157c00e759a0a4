"""What a search over parameters says about each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_BINS, TRIALS_A_BIN = 4, 3


def variance_share(values: Sequence[Any], scores: npt.ArrayLike, *, ordered: bool) -> float:
    """Share of the variance of scores that lies between the values of one parameter, 0 to 1.

    Of n trials in k groups it is `1 - (within / (n - k)) / (total / (n - 1))` with sums of squares, at least
    0: unlike the plain share, which grows with the number of groups, it is about 0 where the parameter does
    nothing (epsilon squared, Kelley 1935).

    Parameters
    ----------
    values
        Value of the parameter in each trial, [n].
    scores
        Score of each trial, [n]; trials without one (NaN) are left out, and where `ordered` those whose value
        is no number.
    ordered
        Whether values are numbers of a range, which are put in up to four bins of as many trials.
    """
    given = np.asarray(scores, np.float64)
    kept = [i for i, one in enumerate(values) if np.isfinite(given[i]) and (not ordered or is_number(one))]
    if not kept:
        return 0.0
    chosen = [values[i] for i in kept]
    groups = _bins(np.asarray(chosen, np.float64)) if ordered else _numbers(chosen)
    points, count = given[kept], len(kept)
    number = int(groups.max()) + 1
    total = float(((points - points.mean()) ** 2).sum())
    if number < 2 or number >= count or total <= 1e-12 * count:
        return 0.0
    means = np.bincount(groups, points) / np.bincount(groups)
    within = float(((points - means[groups]) ** 2).sum())
    return max(0.0, 1 - (within / (count - number)) / (total / (count - 1)))


def is_number(value: object) -> bool:
    """Say whether a value is a number, and no truth value."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)


def _numbers(values: Sequence[Any]) -> npt.NDArray[np.int64]:
    """The number of each different value; tables and tuples are told apart by how they are written."""
    return np.unique([repr(value) for value in values], return_inverse=True)[1]


def _bins(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The bin of each number, [n]; bins hold about as many, and equal numbers share one."""
    bins = int(np.clip(len(values) // TRIALS_A_BIN, 1, MOST_BINS))
    edges = np.quantile(values, np.arange(1, bins) / bins)
    return np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]
