"""From an embedding to tissue domains."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph import keys
from tissuegraph.clustering import stability
from tissuegraph.clustering.consensus import consensus
from tissuegraph.clustering.naming import as_categories, rank_by_size
from tissuegraph.clustering.partition import leading, partition
from tissuegraph.domains.refine import neighbour_noise, refine_labels
from tissuegraph.errors import InputError
from tissuegraph.features.embeddings import embedding
from tissuegraph.graph.averages import average_over_neighbours

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Method = Literal["gmm", "leiden", "louvain", "mclust"]

METHODS = ("gmm", "leiden", "louvain", "mclust")
SMOOTH = (1, 2)
DIMENSIONS = (10, 15, 20)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """Dimensions of an averaged embedding [N, d]; where it is known, the covariance [d, d] of its noise."""

    points: Floats
    noise: Floats | None


def cluster_domains(
    adata: AnnData,
    n_domains: int | None = None,
    method: Method = "gmm",
    refine: bool = True,
    seed: int = 0,
    use_rep: str | Sequence[str] = "X_stagate",
    n_seeds: int = 1,
    key_added: str = "domain",
    *,
    smooth: int | Sequence[int] | None = None,
    dimensions: Sequence[int] | None = DIMENSIONS,
    noise: bool = False,
    rare: bool = False,
    n_starts: int = 24,
    graph_key: str = "spatial",
) -> None:
    """Find tissue domains: clusters of an embedding averaged over spatial neighbours.

    All sections of `adata` are clustered together, so a domain has one name on all of them.

    Parameters
    ----------
    n_domains
        How many; by default the number from 4 to 20 that is found most reliably, see `tg.plot.stability`.
    method
        "gmm": Gaussian mixture with one covariance, the likeliest of `n_starts`; "mclust": the same in R;
        "leiden", "louvain": communities, their resolution searched to the wanted number.
    refine
        Let a cell follow its spatial surroundings where more than half of them agree.
    use_rep
        Embedding in `obsm`, [N, d]; of several, as of networks trained from several seeds, the consensus. One
        that stands there twice counts twice, each time from other starts.
    n_seeds
        Partitions of each embedding, from other starts; more than one partition is joined by co-association.
    key_added
        Written are `obs["<key>"]` and, before refinement, `obs["<key>_raw"]`: categories "1", "2", ..., the
        largest first. Parameters and the curve of stability stand in `uns["tissuegraph"]["<key>"]`.
    smooth
        How often the embedding is averaged over spatial neighbours first; of several, the consensus. By
        default 1 and 2 for "gmm", else 1.
    dimensions
        Leading components of the averaged embedding that "gmm" is given: of several numbers, the
        consensus; None for all. A shared covariance makes the mixture blind to scale, so that the many
        directions of noise would count as much as the few of tissue. The other methods are given all.
    noise
        Tell "gmm" instead what is noise, in all dimensions: that which a cell does not share with its
        neighbours. It pays where domains are wide; where many cells lie at a border it takes them for noise.
    rare
        Let "gmm" look for domains of few cells that no start has found. It may then split off what is no
        domain, at the price of two that are alike.
    graph_key
        The graph is `obsp["<key>_connectivities"]`, or `obsp["<key>"]`: along the "stagate_attention" of a
        network with `alpha`, thin structures of one cell type are not averaged away.

    Raises
    ------
    InputError
        Where the embedding or the graph is missing or not finite, or the number of domains does not fit.
    MachineError
        Where R with mclust, or igraph, is needed and missing.

    Notes
    -----
    The same cells in another order get the same domains. On many cells, starts are tried on a sample.
    """
    if method not in METHODS:
        raise InputError(f"method is '{method}'; expected one of: {', '.join(METHODS)}")
    names = [use_rep] if isinstance(use_rep, str) else list(use_rep)
    if smooth is None:
        smooth = SMOOTH if method == "gmm" else 1
    times = [smooth] if isinstance(smooth, int) else list(smooth)
    graph = _graph(adata, graph_key) if any(times) or refine else None
    # in an order of their own, so that the order of the cells does not matter
    order = np.lexsort(embedding(adata, names[0]).T)
    dimensions = dimensions if method == "gmm" and not noise else None
    views = partial(_views, adata, names, times, graph, order, dimensions, noise=noise and method == "gmm")
    record: dict[str, Any] = {
        "method": method,
        "use_rep": names,
        "seed": seed,
        "n_seeds": n_seeds,
        "smooth": times,
        "dimensions": sorted(dimensions or {embedding(adata, name).shape[1] for name in names}),
        "noise": noise,
        "rare": rare,
    }
    if n_domains is None:
        first = next(views())
        curve = stability.curve(first.points, np.random.default_rng([seed, 1]), first.noise)
        n_domains = curve.best()
        record["stability"] = {
            "n_domains": curve.numbers,
            "agreement": curve.agreement,
            "standard_error": curve.errors,
        }
        log.info("%d domains are found most reliably", n_domains)
    if not 1 <= n_domains <= adata.n_obs:
        raise InputError(
            f"n_domains is {n_domains}; give a number from 1 to {adata.n_obs}, the number of cells"
        )
    seeds = count(seed)
    partitions = [
        partition(view.points, n_domains, method, next(seeds), n_starts=n_starts, noise=view.noise, rare=rare)
        for view in views()
        for _ in range(n_seeds)
    ]
    labels = np.empty(adata.n_obs, np.int64)
    labels[order] = (
        partitions[0]
        if len(partitions) == 1
        else consensus(partitions, n_domains, np.random.default_rng([seed, 2]))
    )
    refined = refine_labels(labels, graph) if refine and graph is not None else labels
    _write(adata, labels, refined, key_added)
    record |= {"n_domains": int(n_domains), "refine": refine}
    adata.uns[keys.UNS_RUN] = {**adata.uns.get(keys.UNS_RUN, {}), key_added: record}


def _views(
    adata: AnnData,
    names: list[str],
    times: list[int],
    graph: sparse.csr_matrix | None,
    order: npt.NDArray[np.int64],
    dimensions: Sequence[int] | None,
    *,
    noise: bool,
) -> Iterator[View]:
    """Yield every embedding, averaged so many times; one at a time, as all would fill the memory."""
    for name in names:
        points = embedding(adata, name)
        for number in times:
            averaged = points if graph is None else average_over_neighbours(points, graph, number)
            found = None if graph is None or not noise else neighbour_noise(points, averaged, graph)
            for part in leading(averaged, dimensions):
                yield View(part[order], found)


def _graph(adata: AnnData, key: str) -> sparse.csr_matrix:
    name = key if key in adata.obsp else f"{key}_connectivities"
    if name not in adata.obsp:
        raise InputError(
            f"no spatial graph in obsp['{name}']; build one with tg.spatial_neighbors(adata), or pass "
            "refine=False and smooth=0"
        )
    return sparse.csr_matrix(adata.obsp[name])


def _write(adata: AnnData, labels: Labels, refined: Labels, key: str) -> None:
    """Write both as categories that are named by size, before refinement."""
    rank = rank_by_size(labels, adata.obs_names.to_numpy())
    number = len(np.unique(labels))
    for name, values in ((key, refined), (f"{key}_raw", labels)):
        adata.obs[name] = as_categories(rank[values], number)
    lost = number - adata.obs[key].nunique()
    if lost:
        log.warning("refinement left %d domains without a cell; they stand in obs['%s_raw']", lost, key)
