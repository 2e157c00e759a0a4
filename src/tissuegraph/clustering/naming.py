"""Clusters are named by size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Labels = npt.NDArray[np.int64]


def rank_by_size(labels: Labels, names: npt.NDArray[Any]) -> Labels:
    """Return the rank of each label, [labels]: 0 for the one of most cells; labels of no cell have rank 0.

    A tie goes to the one whose first cell, by name [N], comes first, so that the order of cells has no part.
    """
    sizes = np.bincount(labels)
    first = pd.Series(names).groupby(labels).min().reindex(range(len(sizes))).fillna("")
    order = sorted(np.flatnonzero(sizes), key=lambda label: (-sizes[label], first[label]))
    rank = np.zeros(len(sizes), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def as_categories(codes: Labels, number: int) -> pd.Categorical[str]:
    """Return the categories "1", "2", ... of codes [N] from 0; -1 is none."""
    return pd.Categorical.from_codes(codes, categories=pd.Index([str(i + 1) for i in range(number)]))
