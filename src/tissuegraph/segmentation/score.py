"""What expression says of the candidate pairs of a tile: a trained network, and profiles of the cells."""

from __future__ import annotations

from dataclasses import replace
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
    data = hetero_data(_in_halves(graph), np.zeros(len(graph.tokens), bool)).to(network.device)
    tx, bd = graph.candidates
    fold = graph.fold[tx]
    pairs = np.stack([np.tile(tx, 2), np.concatenate([bd, bd + len(graph.features)])])
    logits = network(data, torch.from_numpy(pairs).to(network.device)).double().cpu().numpy()
    first, second = logits.reshape(2, -1)
    return np.where(fold < 0, (first + second) / 2, np.where(fold == 0, first, second))


def _in_halves(graph: TileGraph) -> TileGraph:
    """Every boundary twice, once without the transcripts of its half 0 and once without those of half 1.

    No transcript hears a boundary, so both copies go through the network together.
    """
    copy = np.where(graph.fold == 0, len(graph.features), 0)
    return replace(
        graph,
        features=np.tile(graph.features, (2, 1)),
        boundaries=np.tile(graph.boundaries, 2),
        owner=np.where(graph.owner >= 0, graph.owner + copy, -1),
    )


def gene_ratios(graph: TileGraph, profiles: CellProfiles, cells: np.ndarray) -> np.ndarray:
    """Log of how much more of a pair's gene its candidate makes than the slide, [P].

    `log((n_g + a t_g) / (n + a) / mean_g)` with the candidate's counts n and its type's profile t, which
    counts for a transcripts: more in a large panel, of whose genes a cell shows few. A transcript that was
    counted for the candidate is taken out of n.
    """
    tx, bd = graph.candidates
    gene, cell = graph.tokens[tx], cells[bd]
    itself = near_nucleus(graph)[tx] == bd
    own = np.maximum(np.asarray(profiles.counts[cell, gene].astype(float)).ravel() - itself, 0)
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
    if genes == panel:
        return counts
    _, here, there = np.intersect1d(genes, panel, return_indices=True)
    shape = (len(genes), len(panel))
    moved = counts @ sparse.csr_matrix((np.ones(len(here), counts.dtype), (here, there)), shape=shape)
    moved.sort_indices()
    return moved
