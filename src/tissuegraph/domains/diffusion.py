"""Diffusion on a graph: positions of cells between which distance is that of diffusion pseudotime."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import eigsh

N_COMPONENTS = 10


def diffusion_positions(graph: sparse.csr_matrix, seed: int) -> npt.NDArray[np.float64]:
    """Return positions [n, d] of the cells of a connected, symmetric graph [n, n] with positive weights.

    `psi_k lambda_k / (1 - lambda_k)` for the right eigenvectors of the transition matrix, whose density is
    normalised (Coifman and Lafon 2006), but for the stationary one: the accumulated transitions of Haghverdi
    et al. 2016. In double precision, and not by `scanpy.tl.dpt`: in single precision that takes every
    eigenvalue above 0.9994 for stationary, which on large tissue are those of the longest ways.
    """
    n = graph.shape[0]
    density = np.asarray(graph.sum(0)).ravel()
    even = sparse.diags_array(1 / density) @ graph @ sparse.diags_array(1 / density)
    root = np.sqrt(np.asarray(even.sum(0)).ravel())
    symmetric = sparse.csr_matrix(sparse.diags_array(1 / root) @ even @ sparse.diags_array(1 / root))
    number = min(N_COMPONENTS, n - 1)
    begin = np.random.default_rng(seed).standard_normal(n)
    values, vectors = eigsh(symmetric, number, which="LA", v0=begin)
    order = np.argsort(-values)[1:]
    # the sign of a vector is free, and does not matter to distances
    return vectors[:, order] / root[:, None] * (values[order] / (1 - values[order]))
