"""From scores to cells, against plain loops, and what the fit finds in data drawn from its own model."""

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
    FAR,
    MAX_STRETCH,
    Candidates,
    FittedAssignment,
    ScoredTile,
    affinity_offset,
    assign,
    fit_assignment,
    fit_distance,
    local_stretch,
    mean_field,
    pairs_of,
    probabilities,
    step_of,
    stretched_distance,
)
from tissuegraph.segmentation.axes import LocalAxes, stretching
from tissuegraph.segmentation.params import AssignParams

STEPS = len(DISTANCE_EDGES) + 1


def random_pairs(generator: np.random.Generator, n: int, boundaries: int = 6, most: int = 4) -> Candidates:
    """Up to `most` candidates a transcript, for some none, with random distance and affinity."""
    chosen = [generator.permutation(boundaries)[: generator.integers(0, most + 1)] for _ in range(n)]
    tx, bd = np.repeat(np.arange(n), [len(c) for c in chosen]), np.concatenate([np.empty(0, int), *chosen])
    first = np.searchsorted(tx, np.arange(n + 1))
    return Candidates(
        tx, bd.astype(np.int64), generator.uniform(-2, 12, len(tx)), generator.normal(0, 2, len(tx)), first
    )


def random_neighbours(generator: np.random.Generator, n: int) -> np.ndarray:
    positions = generator.uniform(0, 4, (n, 2))
    return nearest_neighbours(positions, 5, 1.5)


def softmax_with_none(logits: list[float], none: float) -> tuple[list[float], float]:
    weights = [math.exp(logit) for logit in logits]
    total = sum(weights) + math.exp(none)
    return [weight / total for weight in weights], math.exp(none) / total


def mean_field_by_loop(base, none, pairs: Candidates, neighbours, weight, rounds) -> list[float]:
    """The formula in the module's docstring, with dictionaries: q[i][c] and none under c = -1."""
    n = len(pairs.first) - 1
    own = [{int(pairs.bd[p]): float(base[p]) for p in np.flatnonzero(pairs.tx == i)} for i in range(n)]
    hears = [neighbours[0][neighbours[1] == i].tolist() for i in range(n)]

    def choose(logits: dict[int, float], none: float) -> dict[int, float]:
        shares, rest = softmax_with_none(list(logits.values()), none)
        return dict(zip(logits, shares, strict=True)) | {-1: rest}

    def said(i: int, c: int, q) -> float:
        return weight * sum(q[j].get(c, 0.0) for j in hears[i]) / max(len(hears[i]), 1)

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
@given(st.integers(0, 10**6), st.integers(0, 25), st.integers(0, 4), st.sampled_from([0.0, 1.0, 8.0]))
def test_mean_field_is_that_of_a_loop(seed, n, rounds, weight):
    generator = np.random.default_rng(seed)
    pairs, neighbours = random_pairs(generator, n), random_neighbours(generator, n)
    base = generator.normal(0, 2, len(pairs.tx))
    params = AssignParams(neighbour_weight=weight, none_logit=-1.5, rounds=rounds)
    found = mean_field(base, pairs, neighbours, params)
    assert found == pytest.approx(
        mean_field_by_loop(base, -1.5, pairs, neighbours, weight, rounds), abs=1e-10
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from([0.05, 0.3, 0.5, 0.9]))
def test_the_choice_is_the_best_candidate_that_is_likely_enough(seed, n, min_probability):
    generator = np.random.default_rng(seed)
    pairs, neighbours = random_pairs(generator, n), random_neighbours(generator, n)
    fitted, params = FittedAssignment(affinity_offset=0.3), AssignParams(rounds=2)
    boundary, probability = assign(pairs, neighbours, fitted, params, min_probability)
    assert boundary.shape == probability.shape == (n,)
    assert np.array_equal(boundary >= 0, probability > 0)
    assert (probability[boundary >= 0] >= min_probability).all()
    assert (probability <= 1).all()
    prior = np.array(fitted.log_weights)[step_of(pairs.distance)]
    base = prior + params.affinity_weight * pairs.affinity - 0.3
    q = mean_field_by_loop(base, params.none_logit, pairs, neighbours, params.neighbour_weight, 2)
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
    pairs, neighbours = random_pairs(generator, n), random_neighbours(generator, n)
    low, high = (assign(pairs, neighbours, FittedAssignment(), AssignParams(), bar) for bar in (0.2, 0.7))
    kept = high[0] >= 0
    assert np.array_equal(kept, low[1] >= 0.7)
    assert np.array_equal(low[0][kept], high[0][kept])


@settings(max_examples=30, deadline=None)
@scenes
def test_other_numbers_of_the_boundaries_give_the_same_cells(seed, n):
    generator = np.random.default_rng(seed)
    pairs, neighbours = random_pairs(generator, n), random_neighbours(generator, n)
    numbers = generator.permutation(6)
    fitted, params = FittedAssignment(), AssignParams()
    boundary, probability = assign(pairs, neighbours, fitted, params, 0.3)
    renamed = dataclasses.replace(pairs, bd=numbers[pairs.bd])
    again, same = assign(renamed, neighbours, fitted, params, 0.3)
    assert np.array_equal(again, np.where(boundary >= 0, numbers[boundary], -1))
    assert same == pytest.approx(probability)


def test_a_tie_goes_to_the_boundary_that_comes_first():
    pairs = Candidates(np.array([0, 0]), np.array([5, 2]), np.ones(2), np.ones(2), np.array([0, 2]))
    boundary, _ = assign(pairs, np.empty((2, 0), int), FittedAssignment(), AssignParams(), 0.1)
    assert boundary.tolist() == [2]


def test_neighbours_that_agree_pull_a_doubtful_transcript():
    """Transcript 0 slightly prefers boundary 0; the nine around it are sure of boundary 1."""
    tx = np.repeat(np.arange(10), 2)
    affinity = np.array([0.2, 0.0] + [-3.0, 3.0] * 9)
    pairs = Candidates(tx, np.tile([0, 1], 10), np.zeros(20), affinity, np.arange(0, 21, 2))
    neighbours = np.array([np.arange(1, 10), np.zeros(9, int)])
    alone, heard = (
        assign(pairs, neighbours, FittedAssignment(), AssignParams(neighbour_weight=weight), 0.3)[0]
        for weight in (0.0, 8.0)
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


# --- what is learnt from the slide


def drawn(
    seed: int, n: int, log_weights: np.ndarray, params: AssignParams, strength: float = 2.0
) -> Candidates:
    """Transcripts whose true candidate follows the weights, and affinities that are likelihood ratios.

    Normal with variance `s` and mean `s / 2` for the true pair and `-s / 2` for a wrong one, so that
    `exp(affinity)` is the ratio of the two densities.
    """
    generator = np.random.default_rng(seed)
    distance = generator.uniform(-3, 12, (n, 3)).ravel()
    tx, first = np.repeat(np.arange(n), 3), 3 * np.arange(n + 1)
    weights = np.column_stack(
        [np.exp(log_weights[step_of(distance)]).reshape(n, 3), np.full(n, np.exp(params.none_logit))]
    )
    running = np.cumsum(weights / weights.sum(1, keepdims=True), axis=1)
    true = (generator.random((n, 1)) > running).sum(1)
    right = (true[:, None] == np.arange(3)).ravel()
    affinity = generator.normal(np.where(right, 0.5, -0.5) * strength, strength**0.5)
    return Candidates(tx, np.tile(np.arange(3), n), distance, affinity / params.affinity_weight, first)


def test_the_fit_finds_the_weights_that_the_data_were_drawn_with():
    params = AssignParams(none_logit=-3.0)
    truth = np.where(np.arange(STEPS) < 6, 0.0, -4.0) - 0.2 * np.arange(STEPS)
    tiles = [drawn(seed, 6000, truth, params, strength=6.0) for seed in (0, 1)]
    log_weights = None
    for _ in range(4):  # iterative scaling converges slowly; a start where the last one stopped helps
        log_weights, gain = fit_distance(tiles, params, start=log_weights)
    assert log_weights[1:12] - truth[1:12] == pytest.approx(np.zeros(11), abs=0.6)
    assert np.abs(log_weights - truth).mean() < 0.3
    assert gain > 0
    assert fit_distance(tiles, params, start=truth + 0.0)[0] == pytest.approx(truth, abs=0.6)


def test_the_fit_falls_where_the_data_fall():
    params = AssignParams(none_logit=-3.0)
    log_weights, _ = fit_distance([drawn(3, 6000, -0.5 * np.arange(STEPS), params)], params)
    assert np.polyfit(np.arange(STEPS), log_weights, 1)[0] == pytest.approx(-0.5, abs=0.15)


def test_more_rounds_never_lose_likelihood():
    params = AssignParams(none_logit=-3.0)
    tiles = [drawn(4, 2000, -0.5 * np.arange(STEPS), params)]
    gains, log_weights = [], None
    for _ in range(4):
        log_weights, gain = fit_distance(tiles, params, start=log_weights)
        gains.append(gain)
    assert np.diff(gains).min() > -1e-4


def test_the_offset_makes_wrong_pairs_neutral():
    graph = toy.random_tile(3, 300, 10, params=GraphParams(k_bd=5, dist_bd=14.0))
    outlines = toy.random_outlines(3, 10, 40.0)
    affinity = np.random.default_rng(0).normal(-2, 1.5, len(graph.distance))
    axes = LocalAxes(np.zeros(10), np.ones(10))
    tile = ScoredTile(graph, affinity, outlines, axes, np.ones(300, bool))
    far = graph.distance > FAR
    assert far.sum() > 50
    for weight in (1.0, 1.7):
        offset = affinity_offset([tile], weight)
        assert np.exp(weight * affinity[far] - offset).mean() == pytest.approx(1)
    near = dataclasses.replace(graph, distance=np.minimum(graph.distance, 1.0))
    assert affinity_offset([dataclasses.replace(tile, graph=near)], 1.0) == 0.0


def test_pairs_of_those_who_count_are_numbered_anew():
    graph, outlines = toy.random_tile(4, 50, 5), toy.random_outlines(4, 5, 40.0)
    affinity = np.arange(len(graph.distance), dtype=float)
    counts = np.arange(50) % 3 > 0
    tile = ScoredTile(graph, affinity, outlines, LocalAxes(np.zeros(5), np.full(5, 1.3)), counts)
    pairs = tile.pairs(0.0, 0.5)
    chosen = counts[graph.candidates[0]]
    assert np.array_equal(np.flatnonzero(counts)[pairs.tx], graph.candidates[0, chosen])
    assert np.array_equal(pairs.affinity, affinity[chosen] - 0.5)
    assert np.array_equal(pairs.distance, graph.distance[chosen])
    assert len(pairs.first) == counts.sum() + 1
    for i in range(len(pairs.first) - 1):
        assert (pairs.tx[pairs.first[i] : pairs.first[i + 1]] == i).all()
    assert not np.array_equal(tile.pairs(3.0, 0.5).distance, pairs.distance)


def elongated_tile(ratio: float, seed: int = 0) -> ScoredTile:
    """Cells that are 3.2 times as long as wide around round nuclei; affinities tell whose a transcript is."""
    generator = np.random.default_rng(seed)
    middle = np.stack(np.meshgrid(np.arange(3) * 26.0, np.arange(8) * 9.0), -1).reshape(-1, 2)
    outlines = np.array([toy.ellipse(centre, 3, 3) for centre in middle])
    positions = np.vstack([centre + generator.normal(0, (5.4, 1.7), (120, 2)) for centre in middle])
    owner = np.repeat(np.arange(len(middle)), 120)
    params = GraphParams(k_bd=5, dist_bd=15.0)
    number = np.arange(len(middle))
    graph = toy.tile_graph(
        np.zeros(len(owner), int),
        np.arange(len(owner)),
        positions.astype(np.float32),
        outlines,
        number,
        params,
    )
    right = owner[graph.candidates[0]] == graph.candidates[1]
    affinity = generator.normal(np.where(right, 1.5, -1.5), 3**0.5)
    axes = LocalAxes(np.zeros(len(middle)), np.full(len(middle), ratio))
    return ScoredTile(graph, affinity, outlines, axes, np.ones(len(owner), bool))


def test_elongated_cells_are_fitted_with_a_stretch():
    tile, params = elongated_tile(1.25), AssignParams()
    fitted = fit_assignment([tile], params)
    assert fitted.stretch_power > 0
    assert 1.5 < local_stretch(np.array([1.25]), fitted.stretch_power)[0] <= MAX_STRETCH
    assert len(fitted.log_weights) == STEPS
    across = dataclasses.replace(tile, axes=LocalAxes(tile.axes.angle + np.pi / 2, tile.axes.ratio))
    assert fit_assignment([across], params).stretch_power == 0


def test_distances_of_stretched_tiles_use_the_same_kernel():
    graph, outlines = toy.random_tile(6, 40, 4), toy.random_outlines(6, 4, 40.0)
    x, y = graph.positions.T
    assert np.array_equal(signed_distance(x, y, outlines, *graph.candidates), graph.distance)
