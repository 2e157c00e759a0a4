"""How cells are clustered: the only place of the defaults, without anything heavy to import."""

from __future__ import annotations

from dataclasses import dataclass

from tissuegraph.errors import InputError
from tissuegraph.training.params import check_ranges

METHODS = ("leiden", "louvain", "gmm", "kmeans", "mclust")
COMMUNITIES = ("leiden", "louvain")


@dataclass(frozen=True)
class ClusterParams:
    """How cells are clustered."""

    n_clusters: int | None = None
    """How many; by default the number that halves of the cells find most reliably, which may be one."""
    method: str = "leiden"
    """"leiden" or "louvain": communities of the graph of nearest neighbours; "gmm": a mixture of Gaussians
    with one covariance; "kmeans"; "mclust": the mixture of R."""
    resolution: float | None = None
    """Of "leiden" and "louvain", instead of a number of clusters."""
    n_components: int = 50
    """Principal components of the expression; with fewer genes than that, the genes themselves."""
    smooth: int = 0
    """How often cells are averaged over their neighbours in a graph first."""
    n_seeds: int = 1
    """Partitions, from other starts, whose consensus is taken."""
    n_starts: int = 24
    """Starts of "gmm" and "kmeans", of which the best is kept."""
    fewest: int = 2
    """Smallest number that is tried where none is given,"""
    most: int = 20
    """and the largest."""

    def __post_init__(self) -> None:
        """Refuse what makes no clusters."""
        if self.method not in METHODS:
            raise InputError(f"method is {self.method!r}; expected one of: {', '.join(METHODS)}")
        check_ranges(self, n_clusters=(1, 10_000), n_components=(1, 1_000), smooth=(0, 100))
        check_ranges(self, n_seeds=(1, 1_000), n_starts=(1, 10_000), resolution=(1e-6, 1e6))
        check_ranges(self, fewest=(2, 1_000), most=(self.fewest, 1_000))
        if self.resolution is None:
            return
        if self.method not in COMMUNITIES:
            raise InputError(f"resolution is given, which {self.method!r} does not have; give n_clusters")
        if self.n_clusters is not None:
            raise InputError("both n_clusters and resolution are given; give one of them")
