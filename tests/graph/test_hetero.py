"""A tile as a graph: features, halves, what is hidden, and how far the network looks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import shapely
import torch
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

from tissuegraph.graph.hetero import boundary_features, halves, hetero_data, receptive_field, tile_graph
from tissuegraph.graph.params import GraphParams
from tissuegraph.nn.lit import LitSegger
from tissuegraph.nn.params import SeggerParams

tiles = st.builds(
    toy.random_tile, st.integers(0, 10**6), st.integers(0, 150), st.integers(0, 12), st.just(25.0)
)


def some(tile, seed: int, share: float = 0.4) -> np.ndarray:
    """A random choice of transcripts."""
    return np.random.default_rng(seed).random(len(tile.tokens)) < share


# --- features


def test_features_of_known_shapes():
    square, wide = shapely.box(0, 0, 5, 5), shapely.box(0, 0, 8, 4)
    corner = shapely.box(0, 0, 4, 4).difference(shapely.box(2, 2, 4, 4))
    expected = [
        [np.log(25 / 40), 0, 1, np.pi / 4],
        [np.log(32 / 40), np.log(2), 1, 4 * np.pi * 32 / 24**2],
        [np.log(12 / 40), 0, 12 / 14, 4 * np.pi * 12 / 16**2],
    ]
    assert boundary_features(np.array([square, wide, corner])) == pytest.approx(np.array(expected), abs=1e-6)
    circle = toy.ellipse((3, 3), 4, 4, corners=256)
    assert boundary_features(np.array([circle]))[0, 1:] == pytest.approx([0, 1, 1], abs=1e-3)
    assert boundary_features(np.array([], dtype=object)).shape == (0, 4)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.floats(2, 8)] * 2),
    st.floats(0, 6),
    st.tuples(*[st.floats(-2e4, 2e4)] * 2),
    st.floats(0, 6),
)
def test_features_depend_on_neither_place_nor_direction(axes, turn, shift, angle):
    still = toy.ellipse((0, 0), *axes, angle)
    moved = affinity.translate(affinity.rotate(still, turn, use_radians=True), *shift)
    features = boundary_features(np.array([still, moved]))
    assert features[1] == pytest.approx(features[0], abs=1e-4)


def test_only_the_area_depends_on_the_size():
    shape = toy.ellipse((0, 0), 5, 3, 0.4)
    features = boundary_features(np.array([shape, affinity.scale(shape, 2, 2)]))
    assert features[1] - features[0] == pytest.approx([np.log(4), 0, 0, 0], abs=1e-5)


# --- the tile's arrays


def test_the_toy_tile_is_what_is_drawn():
    tile = toy.tile()
    assert np.array_equal(tile.owner, np.where(toy.NUCLEAR, toy.OWNER, -1))
    assert np.array_equal(tile.fold >= 0, toy.NUCLEAR)
    tx, bd = tile.candidates
    first = np.r_[True, tx[1:] != tx[:-1]]
    assert np.array_equal(bd[first], toy.OWNER)


@settings(max_examples=30, deadline=None)
@given(tiles)
def test_the_owner_is_the_outline_that_holds_a_transcript(tile):
    tx, bd = tile.candidates
    for i in range(len(tile.tokens)):
        pairs = tx == i
        assert (np.diff(tile.distance[pairs]) >= 0).all()
        inside = bd[pairs][tile.distance[pairs] < 0]
        assert tile.owner[i] == (inside[0] if len(inside) else -1)
    assert np.array_equal(tile.fold >= 0, tile.owner >= 0)


def test_halves_are_cut_through_the_middle_and_follow_the_number():
    generator = np.random.default_rng(0)
    outlines = np.array([toy.ellipse((0, 0), 5, 5), toy.ellipse((100, 50), 6, 3, 1.0)])
    positions = np.vstack(
        [generator.uniform(-2, 2, (500, 2)), generator.uniform((98, 48), (102, 52), (500, 2))]
    )
    owner = np.repeat([0, 1], 500)
    fold = halves(positions, owner, outlines, np.array([17, 4]))
    assert set(fold) == {0, 1}
    assert fold.reshape(2, 500).mean(1) == pytest.approx([0.5, 0.5], abs=0.08)
    mirrored = halves(
        2 * np.repeat([[0, 0], [100, 50]], 500, 0) - positions, owner, outlines, np.array([17, 4])
    )
    assert (fold + mirrored == 1).all()
    # another tile, in which the same outlines have other places
    again = halves(positions, 1 - owner, outlines[::-1], np.array([4, 17]))
    assert np.array_equal(fold, again)
    for which in (0, 1):
        pair = [positions[(owner == which) & (fold == half)] for half in (0, 1)]
        assert not shapely.MultiPoint(pair[0]).convex_hull.intersects(shapely.MultiPoint(pair[1]).convex_hull)


def test_outside_there_is_no_half():
    fold = halves(np.zeros((3, 2)), np.array([-1, 0, -1]), toy.nuclei()[:1], np.array([0]))
    assert (fold[[0, 2]] == -1).all()


# --- what the network is told


@settings(max_examples=40, deadline=None)
@given(tiles, st.integers(0, 100))
def test_supervised_edges_are_hidden(tile, seed):
    supervised = some(tile, seed)
    belongs = hetero_data(tile, supervised)["tx", "belongs", "bd"]
    tx, bd = belongs.edge_index.numpy()
    assert not supervised[tx].any()
    told = {(i, tile.owner[i]) for i in np.flatnonzero((tile.owner >= 0) & ~supervised)}
    assert set(zip(tx, bd, strict=True)) == told
    assert len(tx) == len(told)
    assert (np.diff(bd) >= 0).all()


@settings(max_examples=40, deadline=None)
@given(tiles, st.integers(0, 100))
def test_labels_are_right(tile, seed):
    supervised = some(tile, seed)
    belongs = hetero_data(tile, supervised)["tx", "belongs", "bd"]
    (tx, bd), label = belongs.edge_label_index.numpy(), belongs.edge_label.numpy()
    pairs = {(i, b) for i, b in tile.candidates.T if supervised[i]}
    assert set(zip(tx, bd, strict=True)) == pairs
    assert np.array_equal(label == 1, tile.owner[tx] == bd)
    assert set(label) <= {0.0, 1.0}
    positives = np.bincount(tx, label, len(tile.tokens))
    assert np.array_equal(positives == 1, supervised & (tile.owner >= 0))
    assert positives.max(initial=0) <= 1


@settings(max_examples=20, deadline=None)
@given(tiles, st.integers(0, 100))
def test_whose_a_supervised_transcript_is_shows_in_the_labels_alone(tile, seed):
    supervised = some(tile, seed)
    owner = tile.owner.copy()
    owner[supervised] = np.random.default_rng(seed).permutation(owner[supervised])
    one, other = (hetero_data(dataclasses.replace(tile, owner=o), supervised) for o in (tile.owner, owner))
    assert torch.equal(one["tx", "belongs", "bd"].edge_index, other["tx", "belongs", "bd"].edge_index)
    for kind, name in [("tx", "x"), ("bd", "x"), (("tx", "neighbors", "tx"), "edge_index")]:
        assert torch.equal(one[kind][name], other[kind][name])


# --- how far the network looks


def network_for(mid_layers: int) -> tuple[LitSegger, int]:
    """A network with random weights, and its hops."""
    torch.manual_seed(0)
    params = SeggerParams(init_emb=4, hidden_channels=8, out_channels=4, heads=2, mid_layers=mid_layers)
    network = LitSegger(6, params).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return network, params.hops


def logits_of(network: LitSegger, tile, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    data = hetero_data(tile, asked)
    belongs = data["tx", "belongs", "bd"]
    with torch.inference_mode():
        return network(data, belongs.edge_label_index).numpy(), belongs.edge_label.numpy()


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 250),
    st.integers(0, 8),
    st.integers(0, 1),
    st.tuples(*[st.floats(0, 40)] * 2),
)
def test_scores_on_the_receptive_field_are_those_on_the_whole_tile(seed, n, m, mid_layers, middle):
    tile = toy.random_tile(seed, n, m)
    asked = np.hypot(*(tile.positions - middle).T) < 6
    network, hops = network_for(mid_layers)
    smaller, kept = receptive_field(tile, asked, hops)
    assert asked[kept].sum() == asked.sum()
    assert np.array_equal(smaller.rows, tile.rows[kept])
    expected, labels = logits_of(network, tile, asked)
    found, found_labels = logits_of(network, smaller, asked[kept])
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(found_labels, labels)


def test_the_receptive_field_is_smaller_and_no_larger_than_needed():
    tile = toy.random_tile(5, 250, 8)
    asked = np.hypot(*(tile.positions - 20).T) < 5
    network, hops = network_for(1)
    smaller, kept = receptive_field(tile, asked, hops)
    assert 0 < len(kept) < 250
    assert len(smaller.boundaries) < 8
    assert set(smaller.boundaries) <= set(tile.boundaries)
    too_small, kept = receptive_field(tile, asked, 0)
    expected = logits_of(network, tile, asked)[0]
    assert np.abs(logits_of(network, too_small, asked[kept])[0] - expected).max() > 1e-3


def test_nobody_asked_leaves_nothing():
    smaller, kept = receptive_field(toy.tile(), np.zeros(40, bool), 3)
    assert len(kept) == len(smaller.tokens) == len(smaller.features) == 0
    assert smaller.candidates.shape == (2, 0)


def test_tiles_without_transcripts_or_nuclei():
    params = GraphParams()
    empty = np.array([], dtype=object)
    for positions, outlines in [(np.empty((0, 2)), toy.nuclei()), (toy.positions(), empty)]:
        n, m = len(positions), len(outlines)
        tile = tile_graph(np.zeros(n, int), np.arange(n), positions, outlines, np.arange(m), params)
        smaller, kept = receptive_field(tile, np.ones(n, bool), 3)
        assert len(kept) == n
        assert (smaller.owner == -1).all()
        assert hetero_data(smaller, np.ones(n, bool))["tx", "belongs", "bd"].edge_label.shape == (0,)
