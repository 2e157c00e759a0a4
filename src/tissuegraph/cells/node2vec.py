"""node2vec on AnnData: embed cells by the walks that pass them."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tissuegraph.cells.embed_params import Node2VecParams
from tissuegraph.cells.records import keep_record
from tissuegraph.errors import MachineError
from tissuegraph.graph.stored import adjacency
from tissuegraph.graph.walks import WalkGraph, random_walks, walk_graph
from tissuegraph.nn.skipgram import SkipGram, fit_skipgram
from tissuegraph.training.model_files import versions
from tissuegraph.training.params import check_seed

if TYPE_CHECKING:
    from anndata import AnnData

WALKS_AT_A_TIME = 50_000
"""Walks that are held in memory."""
DEVICES = ("auto", "cpu")
PACKAGES = ("tissuegraph", "numpy", "numba")

log = logging.getLogger(__name__)


def node2vec(
    adata: AnnData,
    params: Node2VecParams | None = None,
    *,
    graph: str = "spatial",
    key_added: str = "X_node2vec",
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Embed cells such that those that random walks join lie near each other (node2vec).

    Expression plays no part: cells are told apart by the graph alone. On a graph of neighbours in the tissue
    the embedding says where a cell lies, on one of expression how it is alike to others.

    Parameters
    ----------
    adata
        Cells with a graph. Written are `obsm[key_added]` (f32 [N, dimensions]), zeros for cells without a
        neighbour, and in `uns["tissuegraph"][key_added]` the parameters, graph, seed and versions.
    params
        Hyper-parameters.
    graph
        Row i of `obsp["<graph>_connectivities"]`, or of `obsp[graph]`, has the neighbours of cell i; their
        weights are those of the steps. Every edge is open both ways unless `directed` is set; of two weights
        the larger counts. The diagonal is left out.
    key_added
        Name of the embedding.
    device
        "auto" or "cpu": it is learnt on the CPU.
    seed
        Of the walks and the embedding. The same seed gives the same bits, on any number of threads.

    Raises
    ------
    InputError
        If there is no such graph, or its weights are not positive numbers.
    MachineError
        For another device.

    References
    ----------
    Grover and Leskovec 2016, node2vec: scalable feature learning for networks.
    """
    params = params or Node2VecParams()
    check_seed(seed)
    if device not in DEVICES:
        raise MachineError(f"device is {device!r}, but node2vec is learnt on the CPU; pass device='cpu'")
    walked = walk_graph(adjacency(adata, graph), directed=params.directed)
    rounds = params.rounds(adata.n_obs) * params.walks_per_node
    blocks = _starts(adata.n_obs, rounds, seed)
    number = rounds * math.ceil(adata.n_obs / WALKS_AT_A_TIME)
    walks = _walks(walked, _shown(blocks, number), params, seed)
    how = SkipGram(params.dimensions, params.context, params.negatives, params.learning_rate)
    total = rounds * adata.n_obs
    adata.obsm[key_added] = fit_skipgram(walks, total, walked.strengths, how, seed)
    alone = int((walked.strengths == 0).sum())
    if alone:
        log.warning("%s cells are on no edge; their embedding is zero", f"{alone:,}")
    keep_record(adata, key_added, params, seed, graph=graph, versions=versions(*PACKAGES))
    log.info("node2vec: %s walks over %s cells", f"{total:,}", f"{adata.n_obs:,}")


def _starts(num_cells: int, rounds: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Cells at which walks start: all, in another order each time."""
    rng = np.random.default_rng([seed, 1])
    for _ in range(rounds):
        order = rng.permutation(num_cells)
        for first in range(0, num_cells, WALKS_AT_A_TIME):
            yield order[first : first + WALKS_AT_A_TIME]


def _walks(
    graph: WalkGraph, blocks: Iterable[npt.NDArray[np.int64]], params: Node2VecParams, seed: int
) -> Iterator[npt.NDArray[np.int32]]:
    done = 0
    for starts in blocks:
        yield random_walks(graph, starts, params.walk_length, p=params.p, q=params.q, seed=seed, first=done)
        done += len(starts)


def _shown(blocks: Iterable[Any], total: int) -> Iterable[Any]:
    """Show a progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return blocks
    from rich.progress import track

    return track(blocks, "walking", total, transient=True)
