"""Candidate pairs against shapely, which measures every pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.errors import InputError
from tissuegraph.graph.candidates import CHUNK, candidate_pairs, signed_distance

TOLERANCE = 1e-5


def star(generator: np.random.Generator, center, radius: float, corners: int) -> shapely.Polygon:
    angles = np.sort(generator.uniform(0, 2 * np.pi, corners)) + np.linspace(0, 0.01, corners)
    radii = generator.uniform(0.5, 1, corners) * radius
    return shapely.Polygon(center + np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None])


def outline(generator: np.random.Generator) -> shapely.Geometry:
    """A star, a ring or two islands, one of them with a hole."""
    center = generator.uniform(0, 40, 2)
    solid = star(generator, center, generator.uniform(1, 10), int(generator.integers(3, 12)))
    solid = solid if solid.is_valid else solid.convex_hull
    kind = generator.integers(3)
    if kind == 0:
        return solid
    ring = shapely.box(*(center - 4), *(center + 4)).difference(shapely.box(*(center - 2), *(center + 1)))
    return ring if kind == 1 else shapely.MultiPolygon([ring, shapely.box(*(center + 6), *(center + 8))])


def points_for(generator: np.random.Generator, outlines) -> np.ndarray:
    """Anywhere, on corners and on the middles of sides."""
    corners = shapely.get_coordinates(outlines)
    middles = (corners[1:] + corners[:-1]) / 2
    chosen = generator.integers(len(middles), size=(2, 15))
    return np.vstack([generator.uniform(-15, 60, (40, 2)), corners[chosen[0]], middles[chosen[1]]])


def reference(points, outlines) -> np.ndarray:
    """Signed distances of all pairs, by shapely."""
    point, shape = shapely.points(points)[:, None], np.asarray(outlines, object)[None]
    border = shapely.distance(point, shapely.boundary(shape))
    return np.where(shapely.within(point, shape), -border, border)


def scene(seed: int, count: int):
    generator = np.random.default_rng(seed)
    outlines = np.array([outline(generator) for _ in range(count)], dtype=object)
    return points_for(generator, outlines), outlines


scenes = given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 5), st.sampled_from([0.0, 1.0, 8.0]))


@settings(max_examples=60, deadline=None)
@scenes
def test_pairs_are_those_that_shapely_finds(seed, count, k, max_distance):
    points, outlines = scene(seed, count)
    every = reference(points, outlines)
    tx_index, boundary_index, distance = candidate_pairs(*points.T, outlines, k=k, max_distance=max_distance)
    assert distance == pytest.approx(every[tx_index, boundary_index], abs=TOLERANCE)
    assert np.array_equal(tx_index, np.sort(tx_index))
    for i in range(len(points)):
        found, wanted = distance[tx_index == i], np.sort(every[i])[:k]
        assert len(set(boundary_index[tx_index == i])) == len(found)
        assert (np.diff(found) >= 0).all()
        # rounding decides about what lies on the limit itself
        assert (
            (wanted < max_distance - TOLERANCE).sum()
            <= len(found)
            <= (wanted < max_distance + TOLERANCE).sum()
        )
        assert found == pytest.approx(wanted[: len(found)], abs=TOLERANCE)


@settings(max_examples=30, deadline=None)
@scenes
def test_a_cut_changes_no_pair(seed, count, k, max_distance):
    points, outlines = scene(seed, count)
    limits = {"k": k, "max_distance": max_distance}
    whole = candidate_pairs(*points.T, outlines, **limits)
    mine = np.flatnonzero(points[:, 0] < 20)
    if not mine.size:
        return
    reach = shapely.MultiPoint(points[mine]).envelope.buffer(max_distance + 0.1)
    near = np.flatnonzero(shapely.intersects(outlines, reach))
    tx_index, boundary_index, distance = candidate_pairs(*points[mine].T, outlines[near], **limits)
    of_mine = np.isin(whole[0], mine)
    assert np.array_equal(mine[tx_index], whole[0][of_mine])
    assert np.array_equal(near[boundary_index], whole[1][of_mine])
    assert np.array_equal(distance, whole[2][of_mine])


@settings(max_examples=30, deadline=None)
@scenes
def test_given_pairs_are_measured_alike(seed, count, k, max_distance):
    points, outlines = scene(seed, count)
    tx_index, boundary_index, distance = candidate_pairs(*points.T, outlines, k=k, max_distance=max_distance)
    assert np.array_equal(signed_distance(*points.T, outlines, tx_index, boundary_index), distance)


def test_equal_distances_keep_the_order_of_the_outlines():
    r"""Four squares around a point, each 1 um away; and it stands twice in the same square."""
    squares = [
        shapely.box(1, -1, 3, 1),
        shapely.box(-3, -1, -1, 1),
        shapely.box(-1, 1, 1, 3),
        shapely.box(5, 5, 6, 6),
    ]
    outlines = [*squares, shapely.box(-1, -3, 1, -1)]
    _, boundary_index, distance = candidate_pairs([0.0], [0.0], outlines, k=3, max_distance=9)
    assert boundary_index.tolist() == [0, 1, 2]
    assert distance.tolist() == [1, 1, 1]
    _, twice, _ = candidate_pairs([2.0], [0.0], [squares[3], squares[0], squares[0]], k=2, max_distance=1)
    assert twice.tolist() == [1, 2]


def test_the_limit_counts_as_near_and_inside_is_negative():
    #  +---+        x = -2 (2 away), x = 0 (border), x = 1 (1 inside)
    #  |   |
    box = shapely.box(0, -5, 10, 5)
    tx_index, _, distance = candidate_pairs([-2.0, 0.0, 1.0, -2.001], [0.0] * 4, [box], k=1, max_distance=2)
    assert tx_index.tolist() == [0, 1, 2]
    assert distance.tolist() == [2, 0, -1]
    assert not math.copysign(1, distance[1]) < 0


def test_a_hole_is_outside():
    ring = shapely.box(0, 0, 10, 10).difference(shapely.box(3, 3, 7, 7))
    _, _, distance = candidate_pairs([5.0, 1.0], [5.0, 5.0], [ring], k=1, max_distance=3)
    assert distance.tolist() == [2, -1]


def test_missing_and_empty_outlines_are_nobodys():
    outlines = [None, shapely.Polygon(), shapely.box(0, 0, 1, 1)]
    _, boundary_index, _ = candidate_pairs([0.5], [0.5], outlines, k=3, max_distance=1)
    assert boundary_index.tolist() == [2]
    assert np.isinf(signed_distance([0.5], [0.5], outlines, [0], [0])).all()


@pytest.mark.parametrize(("x", "outlines"), [([], [shapely.box(0, 0, 1, 1)]), ([1.0], []), ([1.0], [None])])
def test_nothing_gives_no_pairs(x, outlines):
    tx_index, boundary_index, distance = candidate_pairs(x, x, outlines, k=2, max_distance=5)
    assert (tx_index.dtype, boundary_index.dtype, distance.dtype) == (np.int64, np.int64, np.float32)
    assert len(tx_index) == len(boundary_index) == len(distance) == 0


def test_an_outlier_does_not_blow_up_the_grid():
    far = shapely.box(1e8, 1e8, 1e8 + 5, 1e8 + 5)
    outlines = [shapely.box(0, 0, 5, 5), far, shapely.box(0, 1e9, 3, 1e9 + 3)]
    tx_index, boundary_index, _ = candidate_pairs(
        [1.0, 1e8, 7e7], [1.0, 1e8, 7e7], outlines, k=2, max_distance=2
    )
    assert tx_index.tolist() == [0, 1]
    assert boundary_index.tolist() == [0, 1]


def test_threads_change_nothing():
    generator = np.random.default_rng(0)
    _, outlines = scene(1, 30)
    x, y = generator.uniform(-5, 45, (2, 2 * CHUNK + 7)).astype(np.float32)
    one, two = (candidate_pairs(x, y, outlines, k=3, max_distance=6, threads=threads) for threads in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert one[0].max() > 2 * CHUNK


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"max_distance": -1}, "max_distance is -1"),
        ({"max_distance": math.inf}, "finite"),
        ({"y": [1.0, 2.0]}, "one length"),
        ({"outlines": [shapely.Point(0, 0)]}, "is a Point"),
    ],
)
def test_refuses(change, message):
    arguments = {"x": [1.0], "y": [1.0], "outlines": [shapely.box(0, 0, 1, 1)], "k": 1, "max_distance": 5}
    arguments |= change
    with pytest.raises(InputError, match=message):
        candidate_pairs(**arguments)
