"""Whom a cell listens to when its type is asked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph.errors import InputError
from tissuegraph.graph.expression import nearest_in_features
from tissuegraph.graph.stored import adjacency

if TYPE_CHECKING:
    from anndata import AnnData

AUTO, SPATIAL, EXPRESSION = "auto", "spatial", "expression"

log = logging.getLogger(__name__)


def resolve_graph(graph: str, query: AnnData, known: AnnData | None, method: str) -> str | None:
    """Name the graph that is meant; None where the method listens to nobody."""
    if method == "logistic":
        return None
    if graph != AUTO:
        return graph
    spatial = known is None and "spatial_connectivities" in query.obsp
    log.info("cells listen to their %s neighbours", SPATIAL if spatial else EXPRESSION)
    return SPATIAL if spatial else EXPRESSION


def joint_graph(
    graph: str,
    x: npt.NDArray[np.float32],
    query: AnnData,
    known: AnnData | None,
    n_neighbors: int,
    seed: int,
) -> sparse.csr_matrix:
    """The graph of the reference's cells and the query's, in this order, [N, N].

    Parameters
    ----------
    graph
        "expression" for the cells nearest in features x [N, D]; else what stands in `obsp` of either, without
        an edge between the two.

    Raises
    ------
    InputError
        If one of them lacks the graph.
    """
    if graph == EXPRESSION:
        source, cell = nearest_in_features(x, n_neighbors, seed=seed)
        ones = np.ones(len(cell), np.float32)
        return sparse.csr_matrix((ones, (cell, source)), (len(x), len(x)))
    own = adjacency(query, graph)
    if known is None:
        return own
    try:
        theirs = adjacency(known, graph)
    except InputError as error:
        raise InputError(
            f"the reference has {str(error)[:1].lower()}{str(error)[1:]}; or pass graph='{EXPRESSION}'"
        ) from error
    return sparse.csr_matrix(sparse.block_diag([theirs, own]))
