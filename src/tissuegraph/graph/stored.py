"""Graphs and positions that stand in an AnnData."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph import keys
from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)


def adjacency(adata: AnnData, key: str = "spatial") -> sparse.csr_matrix:
    """Weights of the edges [N, N]; row i has the neighbours that cell i listens to.

    The graph is `obsp["<key>_connectivities"]`, or `obsp["<key>"]`.

    Raises
    ------
    InputError
        If there is no graph, or its weights are not positive numbers.
    """
    name = key if key in adata.obsp else f"{key}_connectivities"
    if name not in adata.obsp:
        raise InputError(
            f"no graph in obsp['{name}']; build it first with tg.spatial_neighbors(adata), "
            "tg.expression_neighbors(adata) or squidpy.gr.spatial_neighbors"
        )
    graph = sparse.csr_matrix(adata.obsp[name], dtype=np.float32)
    if not (np.isfinite(graph.data).all() and (graph.data >= 0).all()):
        raise InputError(f"obsp['{name}'] has weights that are negative or no numbers; build it anew")
    alone = int((np.diff(graph.indptr) == 0).sum())
    if alone:
        log.warning("%d of %d cells have no neighbour; each listens only to itself", alone, adata.n_obs)
    return graph


def store_graph(
    adata: AnnData,
    edges: npt.NDArray[np.int64],
    weights: npt.NDArray[np.floating],
    distances: npt.NDArray[np.float64],
    parameters: dict[str, Any],
    key_added: str,
) -> None:
    """Write a graph as scanpy and squidpy do.

    Parameters
    ----------
    edges
        [2, E], (neighbour, cell).
    weights, distances
        [E], of each edge.
    parameters
        How it was made.
    key_added
        Written are `obsp["<key>_connectivities"]` (f32; row i holds the neighbours of i),
        `obsp["<key>_distances"]` (f64, with zeros between cells that coincide) and `uns["<key>_neighbors"]`.
    """
    n, place = adata.n_obs, (edges[1], edges[0])
    names = {kind: f"{key_added}_{kind}" for kind in ("connectivities", "distances", "neighbors")}
    adata.obsp[names["connectivities"]] = sparse.csr_matrix((weights.astype(np.float32), place), (n, n))
    adata.obsp[names["distances"]] = sparse.csr_matrix((distances, place), (n, n))
    alone = n - len(np.unique(edges[1]))
    adata.uns[names["neighbors"]] = {
        "connectivities_key": names["connectivities"],
        "distances_key": names["distances"],
        "params": parameters | {"isolated_cells": alone},
    }
    log.info(
        "%s graph: %s edges, %.1f neighbours a cell",
        key_added,
        f"{edges.shape[1]:,}",
        edges.shape[1] / max(n, 1),
    )


def positions(adata: AnnData) -> npt.NDArray[np.float64] | None:
    """Positions [N, D] of the cells, or None."""
    if keys.OBSM_SPATIAL not in adata.obsm:
        return None
    return np.asarray(adata.obsm[keys.OBSM_SPATIAL], np.float64)
