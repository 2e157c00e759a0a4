"""What expression says of the candidate pairs of a tile: a trained network, and profiles of the cells."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from tissuegraph.graph.hetero import TileGraph, hetero_data
from tissuegraph.nn.lit import LitSegger
from tissuegraph.segmentation.params import AssignParams
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles
from tissuegraph.segmentation.pretrained.params import NUCLEAR_DISTANCE


def evidence(
    network: LitSegger, graph: TileGraph, profiles: CellProfiles, cells: np.ndarray, params: AssignParams
) -> np.ndarray:
    """Weighted sum [P] of the network's logits and of what the transcripts' own genes say.

    cells [M] are the numbers of the graph's boundaries in the profiles.
    """
    own_gene = gene_ratios(graph, profiles, cells)
    return params.affinity_weight * affinity(network, graph) + params.profile_weight * own_gene


@torch.inference_mode()
def affinity(network: LitSegger, graph: TileGraph) -> np.ndarray:
    """Logits [P] of the tile's candidate pairs.

    A transcript inside a nucleus is scored while its half of the nucleus is hidden from message passing;
    one outside is scored with either half hidden, and the mean is taken.
    """
    total = np.zeros(graph.candidates.shape[1], np.float64)
    fold = graph.fold[graph.candidates[0]]
    for hidden in (0, 1):
        data = hetero_data(graph, graph.fold == hidden).to(network.device)
        pairs = torch.from_numpy(graph.candidates).to(network.device)
        logits = network(data, pairs).float().cpu().numpy()
        total += np.where(fold == hidden, logits, np.where(fold < 0, logits / 2, 0.0))
    return total


def gene_ratios(graph: TileGraph, profiles: CellProfiles, cells: np.ndarray) -> np.ndarray:
    """Log of how much more of a pair's gene its candidate makes than the slide, [P].

    A transcript that was counted for the candidate is taken out of its counts.
    """
    tx, bd = graph.candidates
    gene, counted = graph.tokens[tx], near_nucleus(graph)[tx] == bd
    with_all, with_one_less = profiles.log_ratios(cells)
    return np.where(counted, with_one_less[bd, gene], with_all[bd, gene]).astype(np.float64)


def near_nucleus(graph: TileGraph) -> np.ndarray:
    """The nearest boundary of each transcript if it lies in it or at its rim, else -1, [N]."""
    tx, bd = graph.candidates
    near = (np.diff(tx, prepend=-1) != 0) & (graph.distance <= NUCLEAR_DISTANCE)
    nearest = np.full(len(graph.tokens), -1, np.int64)
    nearest[tx[near]] = bd[near]
    return nearest


def count_genes(graph: TileGraph, genes: int) -> sparse.csr_matrix:
    """Count the transcripts in or near each boundary of a tile, [M, genes]."""
    cell = near_nucleus(graph)
    known = cell >= 0
    shape = (len(graph.features), genes)
    return sparse.coo_matrix((np.ones(known.sum()), (cell[known], graph.tokens[known])), shape=shape).tocsr()


def in_panel(counts: sparse.csr_matrix, genes: tuple[str, ...], panel: tuple[str, ...]) -> sparse.csr_matrix:
    """Counts [M, len(genes)] with the columns of another sorted panel: some left out, some empty."""
    _, here, there = np.intersect1d(genes, panel, return_indices=True)
    shape = (len(genes), len(panel))
    return counts @ sparse.csr_matrix((np.ones(len(here)), (here, there)), shape=shape)
