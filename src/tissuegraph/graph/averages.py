"""What the neighbours say of a cell: averages over them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]


def average_over_neighbours(embedding: Floats, graph: sparse.csr_matrix, times: int = 1) -> Floats:
    """Return the mean of each cell and its neighbours, weighted by their edges, [N, d]; `times` times."""
    total = 1.0 + np.asarray(graph.sum(1)).ravel()
    for _ in range(times):
        embedding = (embedding + graph @ embedding) / total[:, None]
    return embedding
