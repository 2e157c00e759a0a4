"""From scores to cells, against plain loops."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import shapely
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.graph.candidates import signed_distance
from tissuegraph.graph.neighbours import nearest_neighbours
from tissuegraph.graph.params import GraphParams
from tissuegraph.segmentation.assign import (
    DISTANCE_EDGES,
    MAX_STRETCH,
    NEARBY,
    Candidates,
    FittedAssignment,
    assign,
    listening,
    local_stretch,
    mean_field,
    pairs_of,
    probabilities,
    step_of,
    stretched_distance,
)
from tissuegraph.segmentation.axes import stretching
from tissuegraph.segmentation.params import AssignParams

STEPS = len(DISTANCE_EDGES) + 1


def random_pairs(generator: np.random.Generator, n: int, boundaries: int = 6, most: int = 4) -> Candidates:
    """Up to `most` candidates a transcript, for some none, with random distance and evidence."""
    chosen = [generator.permutation(boundaries)[: generator.integers(0, most + 1)] for _ in range(n)]
    tx, bd = np.repeat(np.arange(n), [len(c) for c in chosen]), np.concatenate([np.empty(0, int), *chosen])
    first = np.searchsorted(tx, np.arange(n + 1))
    return Candidates(
        tx, bd.astype(np.int64), generator.uniform(-2, 12, len(tx)), generator.normal(0, 2, len(tx)), first
    )


def random_neighbours(generator: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Who listens to whom, and how much."""
    neighbours = nearest_neighbours(generator.uniform(0, 4, (n, 2)), 5, 1.5)
    return neighbours, generator.uniform(0, 2, neighbours.shape[1])


def softmax_with_none(logits: list[float], none: float) -> tuple[list[float], float]:
    weights = [math.exp(logit) for logit in logits]
    total = sum(weights) + math.exp(none)
    return [weight / total for weight in weights], math.exp(none) / total


def mean_field_by_loop(base, none, pairs: Candidates, neighbours, weight, rounds) -> list[float]:
    """The formula in the module's docstring, with dictionaries: q[i][c] and none under c = -1."""
    n = len(pairs.first) - 1
    own = [{int(pairs.bd[p]): float(base[p]) for p in np.flatnonzero(pairs.tx == i)} for i in range(n)]
    hears = [
        [(int(neighbours[0, e]), weight[e]) for e in np.flatnonzero(neighbours[1] == i)] for i in range(n)
    ]

    def choose(logits: dict[int, float], none: float) -> dict[int, float]:
        shares, rest = softmax_with_none(list(logits.values()), none)
        return dict(zip(logits, shares, strict=True)) | {-1: rest}

    def said(i: int, c: int, q) -> float:
        return sum(how_much * q[j].get(c, 0.0) for j, how_much in hears[i])

    q = [choose(own[i], none) for i in range(n)]
    for _ in range(rounds):
        q = [
            choose({c: logit + said(i, c, q) for c, logit in own[i].items()}, none + said(i, -1, q))
            for i in range(n)
        ]
    return [q[i][c] for i, c in zip(pairs.tx.tolist(), pairs.bd.tolist(), strict=True)]


scenes = given(st.integers(0, 10**6), st.integers(0, 25))


# --- probabilities


@settings(max_examples=50, deadline=None)
@scenes
def test_probabilities_are_a_softmax_over_candidates_and_none(seed, n):
    generator = np.random.default_rng(seed)
    pairs, none = random_pairs(generator, n), generator.normal(0, 3, n)
    logits = generator.normal(0, 4, len(pairs.tx))
    found = probabilities(logits, none, pairs)
    for i in range(n):
        own = slice(pairs.first[i], pairs.first[i + 1])
        assert found[own] == pytest.approx(softmax_with_none(logits[own].tolist(), none[i])[0])
    same_none = probabilities(logits, -1.0, pairs)
    assert same_none == pytest.approx(probabilities(logits, np.full(n, -1.0), pairs))


def test_probabilities_of_extreme_logits_are_finite():
    pairs = Candidates(
        np.array([0, 0, 1]), np.array([0, 1, 0]), np.zeros(3), np.zeros(3), np.array([0, 2, 3])
    )
    found = probabilities(np.array([5000.0, -5000.0, -5000.0]), -3.0, pairs)
    assert found.tolist() == [1.0, 0.0, 0.0]


def test_pairs_of_a_tile_know_where_they_start():
    graph = toy.random_tile(1, 60, 4)
    pairs = pairs_of(graph, graph.distance, np.zeros(len(graph.distance)))
    for i in range(60):
        assert (pairs.tx[pairs.first[i] : pairs.first[i + 1]] == i).all()
    assert pairs.first[-1] == len(pairs.tx)


def test_steps_of_the_distance():
    below, above = np.nextafter(DISTANCE_EDGES, -np.inf), np.array(DISTANCE_EDGES)
    assert step_of(below).tolist() == list(range(STEPS - 1))
    assert step_of(above).tolist() == list(range(1, STEPS))
    assert step_of(np.array([-100.0, 1e9])).tolist() == [0, STEPS - 1]
    assert len(FittedAssignment().log_weights) == STEPS


# --- mean field and the choice


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 25), st.integers(0, 4))
def test_mean_field_is_that_of_a_loop(seed, n, rounds):
    generator = np.random.default_rng(seed)
    pairs, (neighbours, weight) = random_pairs(generator, n), random_neighbours(generator, n)
    base = generator.normal(0, 2, len(pairs.tx))
    params = AssignParams(none_logit=-1.5, rounds=rounds)
    found = mean_field(base, pairs, neighbours, weight, params)
    assert found == pytest.approx(
        mean_field_by_loop(base, -1.5, pairs, neighbours, weight, rounds), abs=1e-10
    )


@settings(max_examples=40, deadline=None)
@scenes
def test_neighbours_count_less_the_farther_they_are(seed, n):
    generator = np.random.default_rng(seed)
    positions = generator.uniform(0, 6, (n, 2)).astype(np.float32)
    neighbours = nearest_neighbours(positions, 4, 3.0)
    params = AssignParams(neighbour_weight=5.0, listens_to=4)
    weight = listening(positions, neighbours, params)
    for e, (j, i) in enumerate(neighbours.T):
        x, y = positions[j].astype(float) - positions[i].astype(float)
        assert weight[e] == pytest.approx(5 / 4 * math.exp(-(x * x + y * y) / (2 * NEARBY**2)))
    assert (np.bincount(neighbours[1], weight, n) <= 5).all()
    assert not listening(positions, neighbours, AssignParams(neighbour_weight=0.0)).any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from([0.05, 0.3, 0.5, 0.9]))
def test_the_choice_is_the_best_candidate_that_is_likely_enough(seed, n, min_probability):
    generator = np.random.default_rng(seed)
    pairs, heard = random_pairs(generator, n), random_neighbours(generator, n)
    fitted, params = FittedAssignment(offset=0.3), AssignParams(rounds=2)
    boundary, probability = assign(pairs, *heard, fitted, params, min_probability)
    assert boundary.shape == probability.shape == (n,)
    assert np.array_equal(boundary >= 0, probability > 0)
    assert (probability[boundary >= 0] >= min_probability).all()
    assert (probability <= 1).all()
    base = np.array(fitted.log_weights)[step_of(pairs.distance)] + pairs.evidence - 0.3
    q = mean_field_by_loop(base, params.none_logit, pairs, *heard, 2)
    for i in np.flatnonzero(boundary >= 0):
        own = slice(pairs.first[i], pairs.first[i + 1])
        best = int(np.argmax(q[own]))
        assert boundary[i] in pairs.bd[own]
        # pairs without a chance may be left out, which moves the others a little
        doubtful = sorted([0.0, *q[own]])[-2] > q[own][best] - 0.1
        assert doubtful or boundary[i] == pairs.bd[own][best]


@settings(max_examples=30, deadline=None)
@scenes
def test_a_higher_bar_only_takes_away(seed, n):
    generator = np.random.default_rng(seed)
    pairs, heard = random_pairs(generator, n), random_neighbours(generator, n)
    low, high = (assign(pairs, *heard, FittedAssignment(), AssignParams(), bar) for bar in (0.2, 0.7))
    kept = high[0] >= 0
    assert np.array_equal(kept, low[1] >= 0.7)
    assert np.array_equal(low[0][kept], high[0][kept])


@settings(max_examples=30, deadline=None)
@scenes
def test_other_numbers_of_the_boundaries_give_the_same_cells(seed, n):
    generator = np.random.default_rng(seed)
    pairs, heard = random_pairs(generator, n), random_neighbours(generator, n)
    numbers = generator.permutation(6)
    fitted, params = FittedAssignment(), AssignParams()
    boundary, probability = assign(pairs, *heard, fitted, params, 0.3)
    renamed = dataclasses.replace(pairs, bd=numbers[pairs.bd])
    again, same = assign(renamed, *heard, fitted, params, 0.3)
    assert np.array_equal(again, np.where(boundary >= 0, numbers[boundary], -1))
    assert same == pytest.approx(probability)


def test_a_tie_goes_to_the_boundary_that_comes_first():
    pairs = Candidates(np.array([0, 0]), np.array([5, 2]), np.ones(2), np.ones(2), np.array([0, 2]))
    nobody = np.empty((2, 0), int), np.empty(0)
    boundary, _ = assign(pairs, *nobody, FittedAssignment(), AssignParams(), 0.1)
    assert boundary.tolist() == [2]


def test_neighbours_that_agree_pull_a_doubtful_transcript():
    """Transcript 0 slightly prefers boundary 0; the nine around it are sure of boundary 1."""
    tx = np.repeat(np.arange(10), 2)
    evidence = np.array([0.2, 0.0] + [-3.0, 3.0] * 9)
    pairs = Candidates(tx, np.tile([0, 1], 10), np.zeros(20), evidence, np.arange(0, 21, 2))
    neighbours = np.array([np.arange(1, 10), np.zeros(9, int)])
    alone, heard = (
        assign(pairs, neighbours, np.full(9, weight), FittedAssignment(), AssignParams(), 0.3)[0]
        for weight in (0.0, 1.0)
    )
    assert (alone[0], heard[0]) == (0, 1)
    assert (heard[1:] == 1).all()


# --- stretched distances


def test_without_stretch_the_distance_is_the_graphs():
    graph = toy.random_tile(2, 80, 6)
    outlines = toy.random_outlines(2, 6, 40.0)
    angle = np.linspace(0, 3, 6)
    assert np.array_equal(stretched_distance(graph, outlines, angle, np.ones(6)), graph.distance)
    nearly = stretched_distance(graph, outlines, angle, np.array([1.0] * 5 + [1 + 1e-9]))
    assert nearly == pytest.approx(graph.distance, abs=1e-5)


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.5])
@pytest.mark.parametrize("stretch", [1.5, 4.0])
def test_distances_from_a_circle_by_hand(angle, stretch):
    """A circle becomes an ellipse; beyond the ends of its axes the nearest point is that end."""
    centre, along = np.array([40.0, -7.0]), np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    positions = np.stack([centre + 9 * along, centre - 6 * along, centre + 7 * across]).astype(np.float32)
    outlines = np.array([toy.ellipse(centre, 5, 5, angle, corners=400)])
    params = GraphParams(k_bd=1, dist_bd=10.0)
    graph = toy.tile_graph(np.zeros(3, int), np.arange(3), positions, outlines, np.array([0]), params)
    assert graph.distance == pytest.approx([4, 1, 2], abs=1e-3)
    found = stretched_distance(graph, outlines, np.array([angle]), np.array([stretch]))
    root = stretch**0.5
    assert found == pytest.approx([4 / root, 1 / root, 2 * root], abs=1e-2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_stretched_distances_are_those_between_stretched_shapes(seed):
    generator = np.random.default_rng(seed)
    graph, outlines = toy.random_tile(seed, 60, 5), toy.random_outlines(seed, 5, 40.0)
    angle, stretch = generator.uniform(0, np.pi, 5), generator.uniform(1, 4, 5)
    found = stretched_distance(graph, outlines, angle, stretch)
    for p, (i, b) in enumerate(graph.candidates.T):
        (matrix,) = stretching(angle[b : b + 1], stretch[b : b + 1])
        shape = shapely.transform(outlines[b], lambda corners, matrix=matrix: corners @ matrix.T)
        point = shapely.Point(matrix @ graph.positions[i].astype(float))
        sign = -1 if shape.contains(point) else 1
        assert found[p] == pytest.approx(sign * shape.boundary.distance(point), abs=1e-4)
        assert (found[p] < 0) == (graph.distance[p] < 0)


def test_the_stretch_follows_the_ratio_within_limits():
    assert local_stretch(np.array([1.0, 1.2, 100.0]), 2.0) == pytest.approx([1, 1.44, MAX_STRETCH])
    assert (local_stretch(np.array([1.0, 1.7, 9.0]), 0.0) == 1).all()


def test_distances_of_stretched_tiles_use_the_same_kernel():
    graph, outlines = toy.random_tile(6, 40, 4), toy.random_outlines(6, 4, 40.0)
    x, y = graph.positions.T
    assert np.array_equal(signed_distance(x, y, outlines, *graph.candidates), graph.distance)
