"""Cells to clusters, by their expression or any embedding, without labels."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph import keys
from tissuegraph.cells.cluster_params import ClusterParams
from tissuegraph.clustering.consensus import consensus
from tissuegraph.clustering.naming import as_categories, rank_by_size
from tissuegraph.clustering.number import Stability, stability
from tissuegraph.clustering.partition import leading, partition, partition_at
from tissuegraph.clustering.silhouette import silhouettes
from tissuegraph.errors import InputError
from tissuegraph.features.components import fit_components
from tissuegraph.features.embeddings import embedding
from tissuegraph.features.expression import log_expression, modelled_genes
from tissuegraph.graph.averages import average_over_neighbours
from tissuegraph.graph.stored import adjacency
from tissuegraph.training.params import check_seed

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Method = Literal["leiden", "louvain", "gmm", "kmeans", "mclust"]

DIMENSIONS = (10, 15, 20)
"""Leading components that a mixture is given: with one covariance, each direction of noise counts as much as
one of types. The consensus of the three is taken."""
LOW_SILHOUETTE = 0.05

log = logging.getLogger(__name__)


def cluster_cells(
    adata: AnnData,
    n_clusters: int | None = ClusterParams.n_clusters,
    method: Method | str = ClusterParams.method,
    *,
    use_rep: str | None = None,
    layer: str | None = None,
    resolution: float | None = ClusterParams.resolution,
    n_components: int = ClusterParams.n_components,
    smooth: int = ClusterParams.smooth,
    graph_key: str = "spatial",
    n_seeds: int = ClusterParams.n_seeds,
    n_starts: int = ClusterParams.n_starts,
    fewest: int = ClusterParams.fewest,
    most: int = ClusterParams.most,
    seed: int = 0,
    key_added: str = "cluster",
) -> None:
    """Find clusters of cells, and say how far they can be trusted.

    Parameters
    ----------
    adata
        Cells with raw counts, or expression that is normalised and log-transformed; where
        `var["highly_variable"]` is there, only those genes are used. Written are `obs[key_added]` (categories
        "1", "2", ..., the largest first), `obs["<key_added>_silhouette"]` (see Notes), and in
        `uns["tissuegraph"][key_added]` the parameters, the mean silhouette and the stability.
    n_clusters
        How many. By default the number between `fewest` and `most` that halves of the cells find most
        reliably, beyond what they find in a cloud without clusters; one, if there is no such number.
    method
        "leiden", "louvain", "gmm", "kmeans" or "mclust", as in `tg.ClusterParams`.
    use_rep
        An embedding in `obsm`, [N, d], such as "X_stagate"; by default components of the expression.
    layer
        Where the expression stands; `X` by default.
    resolution
        Of "leiden" and "louvain", instead of a number.
    n_components
        Principal components of the expression; with fewer genes, the genes themselves.
    smooth, graph_key
        How often cells are averaged over their neighbours in `obsp["<graph_key>_connectivities"]` first.
    n_seeds
        Partitions, from other starts, that are joined by co-association.
    n_starts
        Of "gmm" and "kmeans".
    fewest, most
        Between which the number is sought.
    seed
        The same seed gives the same clusters, in whatever order the cells stand, if their names are unique.
    key_added
        Names what is written.

    Raises
    ------
    InputError
        Where the expression, the embedding or the graph is missing or not finite, or a number does not fit.
    MachineError
        Where R with mclust is needed and missing.

    Notes
    -----
    The silhouette is that of sklearn in what is clustered; of more than 5,000 cells, distances are measured
    to a sample of as many. Stability is the adjusted Rand index of what is found in halves of the cells,
    beside the same in a Gaussian cloud (`tissuegraph.clustering.number`). Beyond 20,000 cells a sample is
    clustered, and decides for the others.
    """
    check_seed(seed)
    params = ClusterParams(
        n_clusters, method, resolution, n_components, smooth, n_seeds, n_starts, fewest, most
    )
    order = np.argsort(adata.obs_names.to_numpy().astype(str), kind="stable")
    if n_clusters is not None and n_clusters > len(order):
        raise InputError(f"{n_clusters} clusters are wanted of {len(order)} cells; ask for fewer")
    graph = adjacency(adata, graph_key)[order][:, order] if smooth else None
    points = _averaged(_points(adata, use_rep, layer, params, order), graph, smooth)
    found = _how_many(points, params, seed)
    labels = _clusters(points, params, found, seed)
    rank = rank_by_size(labels, adata.obs_names.to_numpy()[order])
    values, measured = silhouettes(points, rank[labels], np.random.default_rng([seed, 3]))
    back = np.argsort(order)
    number = int(labels.max()) + 1
    adata.obs[key_added] = as_categories(rank[labels][back], number)
    adata.obs[f"{key_added}_silhouette"] = values[back]
    record = _record(params, found, number) | {"silhouette": float(values.mean()), "seed": seed}
    record |= {"silhouette_cells": measured, "use_rep": use_rep or "", "layer": layer or ""}
    record |= {"graph_key": graph_key if smooth else ""}
    adata.uns[keys.UNS_RUN] = {**adata.uns.get(keys.UNS_RUN, {}), key_added: record}
    _say(record)


def _points(
    adata: AnnData, use_rep: str | None, layer: str | None, params: ClusterParams, order: Labels
) -> Floats:
    """What is clustered, [N, d], in an order of the cells' own, so that no sum depends on theirs."""
    if use_rep is not None:
        return embedding(adata, use_rep)[order]
    whole: Any = log_expression(adata, layer)
    genes = adata.var_names.get_indexer(list(modelled_genes(adata)))
    matrix: Any = whole[order][:, genes]
    if matrix.shape[1] <= params.n_components:
        return np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray(), np.float64)
    alike = np.zeros(len(order), np.int64)
    return fit_components(matrix, params.n_components, alike, z_score=False)[1].astype(np.float64)


def _averaged(points: Floats, graph: sparse.csr_matrix | None, times: int) -> Floats:
    if graph is None:
        return points
    graph.sort_indices()
    return average_over_neighbours(points, graph, times)


def _views(points: Floats, params: ClusterParams) -> Iterator[Floats]:
    """Yield what the method is given."""
    yield from leading(points, DIMENSIONS if params.method in ("gmm", "mclust") else None)


def _how_many(points: Floats, params: ClusterParams, seed: int) -> Stability:
    """How reliably clusters are found: of the given number, or of all that may be taken."""
    first = next(_views(points, params))
    if params.resolution is not None:
        numbers = [int(partition_at(first, params.resolution, params.method, seed).max()) + 1]
    elif params.n_clusters is not None:
        numbers = [params.n_clusters]
    else:
        numbers = list(range(params.fewest, params.most + 1))
        if params.fewest > len(points) // 4:
            raise InputError(
                f"{len(points)} cells are too few to find a number of clusters of {params.fewest} or more; "
                "give n_clusters"
            )
    return stability(first, [number for number in numbers if number > 1], params.method, seed)


def _clusters(points: Floats, params: ClusterParams, found: Stability, seed: int) -> Labels:
    """The cluster of each cell, [N], from 0."""
    number = params.n_clusters or found.best()
    parts: list[Labels] = []
    for view in _views(points, params):
        for _ in range(params.n_seeds):
            at = seed + len(parts)
            if params.resolution is not None:
                parts.append(partition_at(view, params.resolution, params.method, at))
                number = int(parts[0].max()) + 1
            else:
                parts.append(partition(view, number, params.method, at, n_starts=params.n_starts))
    joined = parts[0] if len(parts) == 1 else consensus(parts, number, np.random.default_rng([seed, 2]))
    labels = np.unique(joined, return_inverse=True)[1]
    if labels.max() + 1 < number:
        log.warning("%d of %d clusters were left without a cell", number - labels.max() - 1, number)
    return labels


def _record(params: ClusterParams, found: Stability, number: int) -> dict[str, Any]:
    """What is kept of how clusters were found; h5ad has no None."""
    record = {name: value for name, value in vars(params).items() if value is not None}
    curve = found.record()
    record |= {"n_clusters": number, "n_clusters_given": params.n_clusters is not None}
    at = np.flatnonzero(curve["n_clusters"] == number)
    for name in ("agreement", "agreement_by_chance"):
        record[name] = float(curve[name][at[0]]) if len(at) else float("nan")
    record["stable"] = bool(len(at) and curve["stable"][at[0]])
    if params.n_clusters is None and params.resolution is None:
        record["stability"] = curve
    return record


def _say(record: dict[str, Any]) -> None:
    """Log what was found, and warn where it is not to be trusted."""
    number, silhouette = record["n_clusters"], record["silhouette"]
    if number == 1 and "stability" in record:
        log.warning(
            "no number of clusters from %d to %d is found more reliably than in a cloud without clusters, so "
            "all cells are one; give n_clusters to divide them all the same",
            record["fewest"],
            record["most"],
        )
        return
    if number == 1:
        return
    if np.isnan(record["agreement"]):
        log.info("%d clusters, mean silhouette %.2f; too few cells to tell how stable", number, silhouette)
        return
    log.info(
        "%d clusters; halves of the cells agree by %.2f (%.2f by chance), mean silhouette %.2f",
        *(number, record["agreement"], record["agreement_by_chance"], silhouette),
    )
    if not record["stable"]:
        log.warning(
            "%d clusters are not stable: halves of the cells agree by %.2f, in a cloud without clusters by "
            "%.2f; take fewer, or do not read them as types",
            *(number, record["agreement"], record["agreement_by_chance"]),
        )
    elif silhouette < LOW_SILHOUETTE:
        log.warning("the mean silhouette is %.2f: the clusters overlap almost wholly", silhouette)
