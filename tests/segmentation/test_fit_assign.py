"""What the fit of the assignment finds in data drawn from its own model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import toy
from scipy import sparse

from tissuegraph.graph.params import GraphParams
from tissuegraph.nn.lit import LitSegger
from tissuegraph.segmentation.assign import DISTANCE_EDGES, MAX_STRETCH, Candidates, local_stretch, step_of
from tissuegraph.segmentation.axes import LocalAxes
from tissuegraph.segmentation.dataset import SpatialTranscriptomicsDataset
from tissuegraph.segmentation.fit_assign import (
    FAR,
    ScoredTile,
    fit_assignment,
    fit_distance,
    fit_offset,
    fit_on_tiles,
)
from tissuegraph.segmentation.params import AssignParams

STEPS = len(DISTANCE_EDGES) + 1
NONE = -3.0


def drawn(seed: int, n: int, log_weights: np.ndarray, strength: float = 2.0) -> Candidates:
    """Transcripts whose true candidate follows the weights, and evidence that is a likelihood ratio.

    Normal with variance `s` and mean `s / 2` for the true pair and `-s / 2` for a wrong one, so that
    `exp(evidence)` is the ratio of the two densities.
    """
    generator = np.random.default_rng(seed)
    distance = generator.uniform(-3, 12, (n, 3)).ravel()
    tx, first = np.repeat(np.arange(n), 3), 3 * np.arange(n + 1)
    weights = np.column_stack(
        [np.exp(log_weights[step_of(distance)]).reshape(n, 3), np.full(n, np.exp(NONE))]
    )
    running = np.cumsum(weights / weights.sum(1, keepdims=True), axis=1)
    true = (generator.random((n, 1)) > running).sum(1)
    right = (true[:, None] == np.arange(3)).ravel()
    evidence = generator.normal(np.where(right, 0.5, -0.5) * strength, strength**0.5)
    return Candidates(tx, np.tile(np.arange(3), n), distance, evidence, first)


def test_the_fit_finds_the_weights_that_the_data_were_drawn_with():
    truth = np.where(np.arange(STEPS) < 6, 0.0, -4.0) - 0.2 * np.arange(STEPS)
    tiles = [drawn(seed, 6000, truth, strength=6.0) for seed in (0, 1)]
    log_weights = None
    for _ in range(4):  # iterative scaling converges slowly; a start where the last one stopped helps
        log_weights, gain = fit_distance(tiles, NONE, start=log_weights)
    assert log_weights[1:12] - truth[1:12] == pytest.approx(np.zeros(11), abs=0.6)
    assert np.abs(log_weights - truth).mean() < 0.3
    assert gain > 0
    assert fit_distance(tiles, NONE, start=truth + 0.0)[0] == pytest.approx(truth, abs=0.6)


def test_the_fit_falls_where_the_data_fall():
    log_weights, _ = fit_distance([drawn(3, 6000, -0.5 * np.arange(STEPS))], NONE)
    assert np.polyfit(np.arange(STEPS), log_weights, 1)[0] == pytest.approx(-0.5, abs=0.15)


def test_more_rounds_never_lose_likelihood():
    tiles = [drawn(4, 2000, -0.5 * np.arange(STEPS))]
    gains, log_weights = [], None
    for _ in range(4):
        log_weights, gain = fit_distance(tiles, NONE, start=log_weights)
        gains.append(gain)
    assert np.diff(gains).min() > -1e-4


def test_the_offset_makes_wrong_pairs_neutral():
    graph = toy.random_tile(3, 300, 10, params=GraphParams(k_bd=5, dist_bd=14.0))
    outlines = toy.random_outlines(3, 10, 40.0)
    evidence = np.random.default_rng(0).normal(-2, 1.5, len(graph.distance))
    axes = LocalAxes(np.zeros(10), np.ones(10))
    tile = ScoredTile(graph, evidence, outlines, axes, np.ones(300, bool))
    far = graph.distance > FAR
    assert far.sum() > 50
    assert np.exp(evidence[far] - fit_offset([tile])).mean() == pytest.approx(1)
    near = dataclasses.replace(graph, distance=np.minimum(graph.distance, 1.0))
    assert fit_offset([dataclasses.replace(tile, graph=near)]) == 0.0


def test_pairs_of_those_who_count_are_numbered_anew():
    graph, outlines = toy.random_tile(4, 50, 5), toy.random_outlines(4, 5, 40.0)
    evidence = np.arange(len(graph.distance), dtype=float)
    counts = np.arange(50) % 3 > 0
    tile = ScoredTile(graph, evidence, outlines, LocalAxes(np.zeros(5), np.full(5, 1.3)), counts)
    pairs = tile.pairs(0.0, 0.5)
    chosen = counts[graph.candidates[0]]
    assert np.array_equal(np.flatnonzero(counts)[pairs.tx], graph.candidates[0, chosen])
    assert np.array_equal(pairs.evidence, evidence[chosen] - 0.5)
    assert np.array_equal(pairs.distance, graph.distance[chosen])
    assert len(pairs.first) == counts.sum() + 1
    for i in range(len(pairs.first) - 1):
        assert (pairs.tx[pairs.first[i] : pairs.first[i + 1]] == i).all()
    assert not np.array_equal(tile.pairs(3.0, 0.5).distance, pairs.distance)


def elongated_tile(ratio: float, seed: int = 0) -> ScoredTile:
    """Cells that are 3.2 times as long as wide around round nuclei; evidence tells whose a transcript is."""
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
    evidence = generator.normal(np.where(right, 1.5, -1.5), 3**0.5)
    axes = LocalAxes(np.zeros(len(middle)), np.full(len(middle), ratio))
    return ScoredTile(graph, evidence, outlines, axes, np.ones(len(owner), bool))


def test_elongated_cells_are_fitted_with_a_stretch():
    tile, params = elongated_tile(1.25), AssignParams()
    fitted = fit_assignment([tile], params)
    assert fitted.stretch_power > 0
    assert 1.5 < local_stretch(np.array([1.25]), fitted.stretch_power)[0] <= MAX_STRETCH
    assert len(fitted.log_weights) == STEPS
    across = dataclasses.replace(tile, axes=LocalAxes(tile.axes.angle + np.pi / 2, tile.axes.ratio))
    assert fit_assignment([across], params).stretch_power == 0


def test_tiles_are_fitted_with_what_other_nuclei_tell_of_the_types(training_tiles):
    tiles = SpatialTranscriptomicsDataset(training_tiles / "val")
    network, params = LitSegger(len(tiles.genes)).eval(), AssignParams(affinity_weight=0.0)
    nothing = sparse.csr_matrix((0, len(tiles.genes)))
    fitted = fit_on_tiles(tiles, network, nothing, params, 0)
    assert np.isfinite(fitted.log_weights).all()
    assert fitted.log_weights[0] > fitted.log_weights[-1]
    more = sparse.csr_matrix(np.random.default_rng(0).poisson(3.0, (200, len(tiles.genes))))
    assert fit_on_tiles(tiles, network, more, params, 0) != fitted
    assert fit_on_tiles(tiles, network, nothing, params, 0) == fitted
