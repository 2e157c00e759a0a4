"""Leiden and Louvain communities of the neighbour graph in an embedding, searched to a wanted number."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from types import ModuleType

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.neighbors import NearestNeighbors

from tissuegraph.errors import InputError, MachineError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

NEIGHBORS = 15
"""Neighbours in the embedding, as in scanpy."""
LOWEST, HIGHEST = 1e-3, 50.0
"""Between them the resolution is searched."""
TRIES = 24

log = logging.getLogger(__name__)


def find_communities(points: Floats, n_domains: int, method: str, seed: int) -> Labels:
    """Return the communities of the 15-nearest-neighbour graph of the points, `n_domains` of them, [N].

    The resolution is bisected. Where it jumps over the wanted number, the next finer partition is taken and
    its closest communities are joined (Ward, between centroids).
    """
    split = _splitter(points, method, seed)
    low, high = np.log(LOWEST), np.log(HIGHEST)
    finer: Labels | None = None
    for _ in range(TRIES):
        middle = (low + high) / 2
        labels = split(float(np.exp(middle)))
        found = int(labels.max()) + 1
        if found == n_domains:
            return labels
        if found < n_domains:
            low = middle
        else:
            high, finer = middle, labels
    if finer is None:
        raise InputError(
            f"{method} finds fewer than {n_domains} communities of {len(points)} cells; ask for fewer"
        )
    log.warning("%s jumps over %d domains; the closest of %d were joined", method, n_domains, finer.max() + 1)
    return _join_closest(points, finer, n_domains)


def communities_at(points: Floats, resolution: float, method: str, seed: int) -> Labels:
    """Return the communities of the 15-nearest-neighbour graph of the points at a resolution, [N]."""
    return _splitter(points, method, seed)(resolution)


def _splitter(points: Floats, method: str, seed: int) -> Callable[[float], Labels]:
    igraph = _igraph()
    n_neighbors = min(NEIGHBORS, len(points) - 1)
    graph = NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors_graph(mode="connectivity")
    mutual = (graph + graph.T).tocoo()
    upper = mutual.row < mutual.col
    edges = np.stack([mutual.row[upper], mutual.col[upper]], 1)
    network = igraph.Graph(n=len(points), edges=edges)
    weights = mutual.data[upper].tolist()

    def split(resolution: float) -> Labels:
        igraph.set_random_number_generator(random.Random(seed))
        try:
            if method == "louvain":
                found = network.community_multilevel(weights=weights, resolution=resolution)
            else:
                found = network.community_leiden(
                    "modularity", weights=weights, resolution=resolution, n_iterations=5
                )
        finally:
            igraph.set_random_number_generator(random)
        return np.array(found.membership, np.int64)

    return split


def _igraph() -> ModuleType:
    try:
        import igraph
    except ImportError as error:
        message = "leiden and louvain need another package; run 'pip install igraph', or take method='gmm'"
        raise MachineError(message) from error
    return igraph


def _join_closest(points: Floats, labels: Labels, n_domains: int) -> Labels:
    centroids = np.stack([points[labels == label].mean(0) for label in range(labels.max() + 1)])
    return (fcluster(linkage(centroids, "ward"), n_domains, "maxclust") - 1).astype(np.int64)[labels]
