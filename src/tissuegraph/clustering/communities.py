"""Leiden and Louvain communities of the neighbour graph in an embedding, searched to a wanted number."""

from __future__ import annotations

import logging
import random
from types import ModuleType
from typing import Any

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
    return Communities(points, method, seed).find(n_domains)


def communities_at(points: Floats, resolution: float, method: str, seed: int) -> Labels:
    """Return the communities of the 15-nearest-neighbour graph of the points at a resolution, [N]."""
    return Communities(points, method, seed).at(resolution)


class Communities:
    """The communities of the 15-nearest-neighbour graph of points; what was found once is kept."""

    def __init__(self, points: Floats, method: str, seed: int) -> None:
        self.points, self.method, self.seed = points, method, seed
        self.network, self.weights = _neighbour_graph(points)
        self.found: dict[float, Labels] = {}

    def at(self, resolution: float) -> Labels:
        """Return the communities at a resolution, [N]."""
        if resolution not in self.found:
            self.found[resolution] = self._split(resolution)
        return self.found[resolution]

    def find(self, number: int, tries: int = TRIES, said: int = logging.WARNING) -> Labels:
        """Return so many communities, [N], as `find_communities`; `said` is the level of what is logged."""
        low, high = np.log(LOWEST), np.log(HIGHEST)
        finer: Labels | None = None
        for resolution, labels in self.found.items():
            if _count(labels) == number:
                return labels
            at = float(np.log(resolution))
            if _count(labels) < number:
                low = max(low, at)
            elif finer is None or at < high:
                high, finer = at, labels
        for _ in range(tries):
            middle = (low + high) / 2
            labels = self.at(float(np.exp(middle)))
            if _count(labels) == number:
                return labels
            if _count(labels) < number:
                low = middle
            else:
                high, finer = middle, labels
        if finer is None:
            raise InputError(
                f"{self.method} finds fewer than {number} communities of {len(self.points)} cells; "
                "ask for fewer"
            )
        log.log(said, "%s jumps over %d; the closest of %d were joined", self.method, number, _count(finer))
        return _join_closest(self.points, finer, number)

    def _split(self, resolution: float) -> Labels:
        igraph = _igraph()
        igraph.set_random_number_generator(random.Random(self.seed))
        try:
            if self.method == "louvain":
                found = self.network.community_multilevel(weights=self.weights, resolution=resolution)
            else:
                found = self.network.community_leiden(
                    "modularity", weights=self.weights, resolution=resolution, n_iterations=5
                )
        finally:
            igraph.set_random_number_generator(random)
        return np.array(found.membership, np.int64)


def _count(labels: Labels) -> int:
    return int(labels.max()) + 1


def _neighbour_graph(points: Floats) -> tuple[Any, list[float]]:
    """The graph of igraph and the weights of its edges: 2 for mutual neighbours, else 1."""
    igraph = _igraph()
    n_neighbors = min(NEIGHBORS, len(points) - 1)
    graph = NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors_graph(mode="connectivity")
    mutual = (graph + graph.T).tocoo()
    upper = mutual.row < mutual.col
    edges = np.stack([mutual.row[upper], mutual.col[upper]], 1)
    return igraph.Graph(n=len(points), edges=edges), mutual.data[upper].tolist()


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
