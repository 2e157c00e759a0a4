"""expression_neighbors(): which cells are alike, in an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph.errors import InputError
from tissuegraph.features.components import fit_components
from tissuegraph.features.embeddings import embedding
from tissuegraph.features.expression import log_expression
from tissuegraph.graph import expression as make
from tissuegraph.graph.stored import store_graph

if TYPE_CHECKING:
    from anndata import AnnData

METHODS = ("knn", "cosine", "gaussian", "shared")
EXPRESSION = "expression"
NEIGHBORS = 15
COMPONENTS = 50
"""Principal components in which cells are compared, unless an embedding is named."""
COSINE, SHARED = 0.5, 1 / 15
"""Least cosine, and least share of common neighbours, of an edge."""


def expression_neighbors(
    adata: AnnData,
    method: str = "knn",
    n_neighbors: int = NEIGHBORS,
    *,
    use_rep: str | None = None,
    threshold: float | None = None,
    width: float | None = None,
    key_added: str = EXPRESSION,
    seed: int = 0,
) -> None:
    """Join cells whose expression is alike, wherever they lie.

    Parameters
    ----------
    method
        "knn": the nearest cells, a directed graph. "cosine": all with a cosine of `threshold` or more, and
        the nearest one where there is none. "gaussian": all pairs, weighted by `exp(-d^2 / 2 width^2)`; for
        5,000 cells or fewer. "shared": weighted by the Jaccard index of the lists of nearest neighbours,
        where it is `threshold` or more.
    n_neighbors
        Neighbours a cell; "cosine" does not read it.
    use_rep
        Features in `obsm`, or "X". By default 50 principal components of `X`, of which raw counts are
        normalised and log-transformed first, or all genes where there are no more than 50.
    threshold
        Of "cosine", by default 0.5, and of "shared", by default 1/15.
    width
        Of "gaussian"; by default half the median distance to the `n_neighbors`-th nearest cell.
    key_added
        Written are `obsp["<key>_connectivities"]` (f32; row i holds the neighbours of i),
        `obsp["<key>_distances"]` (f64: Euclidean, and for "cosine" one minus the cosine) and
        `uns["<key>_neighbors"]`, as scanpy and squidpy name them.
    seed
        Of the approximate search beyond 30,000 cells.

    Raises
    ------
    InputError
        If the method is unknown or does not read what is given, or the features are missing or not finite.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
    _refuse_unread(method, threshold, width)
    points = representation(adata, use_rep)
    found, weights, parameters = _edges(points, method, n_neighbors, threshold, width, seed)
    metric = "cosine" if method == "cosine" else "euclidean"
    distances = (make.cosine_distances if metric == "cosine" else make.lengths)(points, found)
    parameters = {"method": method, "metric": metric, **parameters, "random_state": int(seed)}
    if use_rep is not None:
        parameters["use_rep"] = use_rep
    store_graph(adata, found, weights, distances, parameters, key_added)


def expression_graph(adata: AnnData) -> sparse.csr_matrix:
    """The connectivities [N, N] that `expression_neighbors` would write by default, without writing them."""
    found, weights, _ = _edges(representation(adata, None), "knn", NEIGHBORS, None, None, 0)
    return sparse.csr_matrix((weights, (found[1], found[0])), (adata.n_obs, adata.n_obs))


def representation(adata: AnnData, use_rep: str | None = None) -> npt.NDArray[np.float64]:
    """Features [N, D] in which cells are compared, as `use_rep` of `expression_neighbors` names them."""
    if use_rep not in (None, "X"):
        return embedding(adata, str(use_rep))
    matrix: Any = adata.X if use_rep == "X" else log_expression(adata, None)
    if use_rep is None and adata.n_vars > COMPONENTS:
        sections = np.zeros(adata.n_obs, np.int64)
        return fit_components(matrix, COMPONENTS, sections, z_score=False)[1].astype(np.float64)
    return make.finite(matrix if isinstance(matrix, np.ndarray) else matrix.toarray())


def _refuse_unread(method: str, threshold: float | None, width: float | None) -> None:
    if threshold is not None and method not in ("cosine", "shared"):
        raise InputError(f"method {method!r} reads no threshold; leave it out, or take 'cosine' or 'shared'")
    if width is not None and method != "gaussian":
        raise InputError(f"method {method!r} reads no width; leave it out, or take 'gaussian'")


def _edges(
    points: npt.NDArray[np.float64],
    method: str,
    n_neighbors: int,
    threshold: float | None,
    width: float | None,
    seed: int,
) -> tuple[make.Edges, npt.NDArray[np.float32], dict[str, Any]]:
    """Edges, their weights, and the parameters that made them."""
    if method == "cosine":
        least = COSINE if threshold is None else threshold
        found = make.cosine_edges(points, least)
        return found, np.ones(found.shape[1], np.float32), {"threshold": float(least)}
    parameters: dict[str, Any] = {"n_neighbors": int(n_neighbors)}
    if method == "shared":
        least = SHARED if threshold is None else threshold
        found, weights = make.shared_neighbour_edges(points, n_neighbors, least, seed=seed)
        return found, weights, parameters | {"threshold": float(least)}
    if method == "gaussian":
        wide = _typical_distance(points, n_neighbors) if width is None else width
        table = make.gaussian_weights(points, wide)
        cell, neighbour = np.nonzero(table)
        found = np.stack([neighbour, cell]).astype(np.int64)
        return found, table[cell, neighbour], parameters | {"width": float(wide)}
    found = make.nearest_in_features(points, n_neighbors, seed=seed)
    return found, np.ones(found.shape[1], np.float32), parameters


def _typical_distance(points: npt.NDArray[np.float64], n_neighbors: int) -> float:
    """Half the median distance to the farthest of the nearest neighbours."""
    if len(points) > make.MOST_DENSE:
        return 1.0  # refused in the next step, which says why
    found = make.nearest_in_features(points, n_neighbors)
    farthest = np.zeros(len(points))
    np.maximum.at(farthest, found[1], make.lengths(points, found))
    return float(np.median(farthest)) / 2 or 1.0
