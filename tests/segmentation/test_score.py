"""What expression says of candidate pairs, by plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tissuegraph.graph.hetero import hetero_data
from tissuegraph.nn.lit import LitSegger
from tissuegraph.segmentation.params import AssignParams
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles, find_profiles
from tissuegraph.segmentation.pretrained.params import NUCLEAR_DISTANCE
from tissuegraph.segmentation.score import (
    affinity,
    count_genes,
    evidence,
    gene_ratios,
    in_panel,
    near_nucleus,
)

GENES = 6
tiles = given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 6))


def nearest_by_loop(graph, i: int) -> int:
    own = [(d, b) for (t, b), d in zip(graph.candidates.T, graph.distance, strict=True) if t == i]
    near = [(d, b) for d, b in own if d <= NUCLEAR_DISTANCE]
    return int(min(near)[1]) if near else -1


@settings(max_examples=30, deadline=None)
@tiles
def test_transcripts_in_and_at_nuclei_are_counted(seed, n, m):
    graph = toy.random_tile(seed, n, m)
    nearest = near_nucleus(graph)
    counts = count_genes(graph, GENES)
    expected = np.zeros((m, GENES))
    for i in range(n):
        assert nearest[i] == nearest_by_loop(graph, i)
        if nearest[i] >= 0:
            expected[nearest[i], graph.tokens[i]] += 1
    assert np.array_equal(counts.toarray(), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 6), st.sampled_from([GENES, 800]))
def test_a_transcript_is_no_evidence_for_having_been_counted(seed, n, m, genes):
    """`log((n_g + a t_g) / (n + a) / mean_g)`, with the transcript itself left out of n."""
    graph = toy.random_tile(seed, n, m)
    counts = count_genes(graph, genes)
    profiles = find_profiles(counts)
    cells = np.arange(m)[::-1]  # other numbers than the tile's own
    turned = CellProfiles(counts[cells], profiles.types, profiles.membership[cells], profiles.mean)
    found = gene_ratios(graph, turned, cells)
    types = profiles.membership @ profiles.types
    prior = 30 if genes == GENES else 80
    for p, (i, b) in enumerate(graph.candidates.T):
        gene, itself = graph.tokens[i], nearest_by_loop(graph, i) == b
        own, depth = counts[b, gene] - itself, counts[b].sum() - itself
        share = (own + prior * types[b, gene]) / (depth + prior)
        assert found[p] == pytest.approx(math.log(share / profiles.mean[gene]), abs=1e-6)


@settings(max_examples=20, deadline=None)
@tiles
def test_each_half_of_a_nucleus_is_scored_while_it_is_hidden(seed, n, m):
    graph = toy.random_tile(seed, n, m)
    network = LitSegger(GENES).eval()
    pairs = torch.from_numpy(graph.candidates)
    with torch.inference_mode():
        one, other = (network(hetero_data(graph, graph.fold == half), pairs).numpy() for half in (0, 1))
    fold = graph.fold[graph.candidates[0]]
    expected = np.select([fold == 0, fold == 1], [one, other], (one + other) / 2)
    assert affinity(network, graph) == pytest.approx(expected, abs=1e-5)


def test_evidence_is_the_weighted_sum():
    graph = toy.random_tile(5, 80, 6)
    network = LitSegger(GENES).eval()
    profiles = find_profiles(count_genes(graph, GENES))
    cells = np.arange(6)
    parts = affinity(network, graph), gene_ratios(graph, profiles, cells)
    for weights in ((0.0, 1.0), (1.0, 0.0), (0.7, 0.2)):
        params = AssignParams(affinity_weight=weights[0], profile_weight=weights[1])
        found = evidence(network, graph, profiles, cells, params)
        assert found == pytest.approx(weights[0] * parts[0] + weights[1] * parts[1])


def test_counts_in_another_panel():
    counts = sparse.csr_matrix(np.array([[1.0, 2, 3], [4, 5, 6]]))
    found = in_panel(counts, ("a", "c", "d"), ("b", "c", "d", "e"))
    assert found.toarray().tolist() == [[0, 2, 3, 0], [0, 5, 6, 0]]
    assert np.array_equal(in_panel(counts, ("a", "b", "c"), ("a", "b", "c")).toarray(), counts.toarray())
