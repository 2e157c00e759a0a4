"""One partition of points into a wanted number of clusters, by any method; many points through a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tissuegraph.clustering.communities import communities_at, find_communities
from tissuegraph.clustering.mclust import run_mclust
from tissuegraph.clustering.mixture import climb, fit_mixture

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

SAMPLE = 20_000
"""Cells on which many starts are tried; the best is then fitted to more."""
LARGE_SAMPLE = 200_000
VOTERS = 5
"""Nearest cells of the sample whose labels decide for a cell outside of it."""


def partition(
    points: Floats,
    n_clusters: int,
    method: str,
    seed: int,
    *,
    n_starts: int = 24,
    noise: Floats | None = None,
    rare: bool = False,
) -> Labels:
    """Return the cluster of each point, [N], from 0.

    Of many points a sample is clustered. A mixture is then fitted to more of them; for the other methods the
    nearest of the sample vote.

    Parameters
    ----------
    points
        [N, d].
    method
        "gmm", "mclust", "kmeans", "leiden" or "louvain".
    n_starts, noise, rare
        Of "gmm", as in `fit_mixture`; `n_starts` of "kmeans" too.
    """
    generator = np.random.default_rng(seed)
    few = points[draw(len(points), SAMPLE, generator)]
    if method == "gmm":
        mixture = fit_mixture(few, n_clusters, generator, n_starts=n_starts, noise=noise, rare=rare)
        if len(few) < len(points):
            mixture = climb(points[draw(len(points), LARGE_SAMPLE, generator)], [mixture], noise)
        return mixture.predict(points)
    if method == "mclust":
        labels = run_mclust(few, n_clusters, seed)
    elif method == "kmeans":
        labels = k_means(few, n_clusters, seed, n_starts)
    else:
        labels = find_communities(few, n_clusters, method, seed)
    return labels if len(few) == len(points) else vote(points, few, labels)


def partition_at(points: Floats, resolution: float, method: str, seed: int) -> Labels:
    """Return the communities at a resolution, [N], by "leiden" or "louvain"; of many points, of a sample."""
    few = points[draw(len(points), SAMPLE, np.random.default_rng(seed))]
    labels = communities_at(few, resolution, method, seed)
    return labels if len(few) == len(points) else vote(points, few, labels)


def draw(n: int, most: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return at most so many numbers below n, in order."""
    return np.arange(n) if n <= most else np.sort(generator.choice(n, most, replace=False))


def vote(points: Floats, sample: Floats, labels: Labels) -> Labels:
    """Return for each point the label that most of the nearest of the sample have, [N]."""
    from sklearn.neighbors import KNeighborsClassifier

    voters = min(VOTERS, len(sample))
    return KNeighborsClassifier(voters).fit(sample, labels).predict(points)


def k_means(points: Floats, n_clusters: int, seed: int, n_starts: int = 24) -> Labels:
    """Return the clusters of the best of many starts of k-means, [N]."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # threads add up sums in the order in which they end; one alone gives the same bits
    with threadpool_limits(limits=1):
        found = KMeans(n_clusters, n_init=n_starts, random_state=seed).fit(points)
    return found.labels_.astype(np.int64)


def leading(points: Floats, dimensions: Sequence[int] | None) -> list[Floats]:
    """Return the leading principal components of the points, for each number of them that they have."""
    width = points.shape[1]
    if dimensions is None:
        return [points]
    centred = points - points.mean(0)
    turn = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    scores = centred @ (turn * np.where(turn[abs(turn).argmax(0), np.arange(width)] < 0, -1, 1))
    return [scores[:, :number].copy() for number in sorted({min(number, width) for number in dimensions})]
