"""How domains follow each other: PAGA, and a pseudotime from cell to cell through domains that touch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from tissuegraph import keys
from tissuegraph.domains.diffusion import diffusion_positions
from tissuegraph.domains.labels import domain_labels, note
from tissuegraph.domains.neighbourhood import FEWEST_CELLS, NEIGHBORS, neighbourhood
from tissuegraph.errors import InputError
from tissuegraph.features.embeddings import embedding
from tissuegraph.graph.stored import adjacency

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

MIN_BORDER = 0.05
"""Share of a domain's border from which it touches another."""

log = logging.getLogger(__name__)


def paga(
    adata: AnnData,
    domain_key: str = keys.DOMAIN,
    use_rep: str = "X_stagate",
    *,
    n_neighbors: int = NEIGHBORS,
    key_added: str = keys.UNS_PAGA,
    seed: int = 0,
) -> None:
    """Measure how strongly domains are connected in an embedding (PAGA, Wolf et al. 2019), as scanpy does.

    Neighbours are found on a copy, so that those of the user in `uns["neighbors"]` and `obsp` stay.

    Parameters
    ----------
    domain_key
        Column of `obs`; cells without a label are left out.
    use_rep
        Embedding in `obsm` in which neighbours are sought.
    n_neighbors
        How many.
    key_added
        Written are, under scanpy's names, `uns[key_added]` with `connectivities` and
        `connectivities_tree`, sparse [K, K] in the order of the categories of `obs[domain_key]` (one without
        a cell is connected to none), and `uns["<domain_key>_sizes"]`.
    seed
        Of the search for neighbours.

    Raises
    ------
    InputError
        Where the column or the embedding is missing, or there are fewer than two domains.
    """
    import scanpy  # takes seconds

    labels = domain_labels(adata, domain_key, fewest=2)
    codes = np.asarray(labels.codes, np.int64)
    known = codes >= 0
    work = neighbourhood(embedding(adata, use_rep)[known], n_neighbors, seed)
    work.obs["domain"] = labels[known].remove_unused_categories()
    scanpy.tl.paga(work, "domain")
    present, size = np.unique(codes[known]), len(labels.categories)
    found = {
        name: _spread(work.uns["paga"][name], present, size)
        for name in ("connectivities", "connectivities_tree")
    }
    adata.uns[key_added] = {**found, "groups": domain_key}
    adata.uns[f"{domain_key}_sizes"] = np.bincount(codes[known], minlength=size)


def pseudotime(
    adata: AnnData,
    root: str,
    domain_key: str = keys.DOMAIN,
    use_rep: str = "X_stagate",
    *,
    n_neighbors: int = NEIGHBORS,
    min_border: float = MIN_BORDER,
    key_added: str = keys.OBS_PSEUDOTIME,
    seed: int = 0,
) -> None:
    """Order cells by how far they are from a root, on the way through domains that touch in the tissue.

    Diffusion pseudotime (Haghverdi et al. 2016) on the neighbours in the embedding, of which only those in
    one domain, or in two that share a border, are kept: no way leads past the domains between.

    Parameters
    ----------
    root
        A domain, or the name of a cell. Of a domain, the cell is taken that is farthest from all others.
    domain_key
        Column of `obs`.
    use_rep
        Embedding in `obsm`.
    n_neighbors
        Neighbours of a cell in the embedding.
    min_border
        Two domains touch where at least this share of the edges of `obsp["spatial_connectivities"]` that
        leave one of them lead to the other.
    key_added
        Written is `obs[key_added]`: 0 at the root, 1 at the farthest cell, NaN where a cell has no label or
        no way leads to it; root and touching domains stand in `uns["tissuegraph"][key_added]`.
    seed
        Of the search for neighbours.

    Raises
    ------
    InputError
        Where a column, the graph or the embedding is missing, or the root is none or leads nowhere.
    """
    labels = domain_labels(adata, domain_key)
    codes = np.asarray(labels.codes, np.int64)
    start = _start(adata, labels, root, domain_key)
    known = np.flatnonzero(codes >= 0)
    touching = touching_domains(adjacency(adata), codes, len(labels.categories), min_border)
    work = neighbourhood(embedding(adata, use_rep)[known], n_neighbors, seed)
    graph = _within(work.obsp["connectivities"], codes[known], touching)
    pieces = connected_components(graph, directed=False)[1]
    piece = np.bincount(pieces[start[known]]).argmax()
    reached = known[pieces == piece]
    if len(reached) < FEWEST_CELLS:
        raise InputError(f"only {len(reached)} cells can be reached from {root!r}; choose another root")
    inside = np.flatnonzero(pieces == piece)
    where = diffusion_positions(graph[inside][:, inside], seed)
    time = np.full(adata.n_obs, np.nan)
    time[reached] = _distances(where, start[reached])
    adata.obs[key_added] = time
    lost = len(known) - len(reached)
    if lost:
        log.warning("no way leads from %r to %d of %d labelled cells; they are NaN", root, lost, len(known))
    pairs = [f"{labels.categories[i]} - {labels.categories[j]}" for i, j in np.argwhere(np.triu(touching, 1))]
    note(adata, key_added, {"root": root, "domain_key": domain_key, "use_rep": use_rep, "touching": pairs})


def touching_domains(
    graph: sparse.csr_matrix, codes: Codes, n_domains: int, min_border: float = MIN_BORDER
) -> npt.NDArray[np.bool_]:
    """Tell which domains share a border, [K, K], each with itself too; codes [N] are -1 where unlabelled."""
    edges = graph.tocoo()
    first, second = codes[edges.row], codes[edges.col]
    between = (first >= 0) & (second >= 0) & (first != second)
    border = np.zeros((n_domains, n_domains))
    np.add.at(border, (first[between], second[between]), 1)
    border += border.T
    share = border / np.maximum(border.sum(1, keepdims=True), 1)
    return (np.maximum(share, share.T) >= min_border) & (border > 0) | np.eye(n_domains, dtype=bool)


def _start(adata: AnnData, labels: pd.Categorical, root: str, key: str) -> npt.NDArray[np.bool_]:
    """The cells among which the root is, [N]."""
    start = np.asarray(labels == str(root))
    if not start.any():
        start = np.asarray(adata.obs_names == str(root))
    if not start.any():
        found = ", ".join(labels.remove_unused_categories().categories)
        raise InputError(f"the root {root!r} is no domain of obs['{key}'] ({found}) and no name of a cell")
    if not (start & (labels.codes >= 0)).any():
        raise InputError(f"the root {root!r} has no label in obs['{key}']; choose a cell with one")
    return start


def _within(likeness: sparse.csr_matrix, codes: Codes, touching: npt.NDArray[np.bool_]) -> sparse.csr_matrix:
    edges = likeness.tocoo()
    kept = touching[codes[edges.row], codes[edges.col]]
    return sparse.csr_matrix((edges.data[kept], (edges.row[kept], edges.col[kept])), edges.shape, np.float64)


def _distances(where: Floats, start: npt.NDArray[np.bool_]) -> Floats:
    """Distance of each position [n, d] from that among `start` which is farthest from all others, to 1."""
    others = where[~start] if not start.all() else where
    candidates = np.flatnonzero(start)
    root = candidates[((where[candidates] - others.mean(0)) ** 2).sum(1).argmax()]
    distance = np.sqrt(((where - where[root]) ** 2).sum(1))
    return distance / max(distance.max(), np.finfo(float).tiny)


def _spread(matrix: sparse.csr_matrix, present: Codes, size: int) -> sparse.csr_matrix:
    """Give the present domains [k, k] their places among all of them [K, K]."""
    given = matrix.tocoo()
    return sparse.csr_matrix((given.data, (present[given.row], present[given.col])), (size, size))
