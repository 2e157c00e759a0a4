"""What expression says of the candidate pairs of a tile: a trained network, and profiles of the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from tissuegraph.graph.hetero import TileGraph, hetero_data
from tissuegraph.segmentation.params import AssignParams
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles
from tissuegraph.segmentation.pretrained.params import NUCLEAR_DISTANCE

if TYPE_CHECKING:  # Lightning takes seconds, and the pretrained model needs none
    from tissuegraph.nn.lit import LitSegger

LEAST_PRIOR = 30.0
"""Transcripts that the profile of a cell's type counts for, beside its own, at least."""
PRIOR_OF_A_GENE = 0.1
"""The same, for each gene of the panel."""


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

    `log((n_g + a t_g) / (n + a) / mean_g)` with the candidate's counts n and its type's profile t, which
    counts for a transcripts: more in a large panel, of whose genes a cell shows few. A transcript that was
    counted for the candidate is taken out of n.
    """
    tx, bd = graph.candidates
    gene, cell = graph.tokens[tx], cells[bd]
    itself = near_nucleus(graph)[tx] == bd
    own = np.maximum(np.asarray(profiles.counts[cell, gene]).ravel() - itself, 0)
    depth = np.maximum(profiles.depth[cell] - itself, 0)
    expected = (profiles.membership[cells] @ profiles.types)[bd, gene]
    prior = max(LEAST_PRIOR, PRIOR_OF_A_GENE * len(profiles.mean))
    return np.log((own + prior * expected) / ((depth + prior) * profiles.mean[gene]))


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
