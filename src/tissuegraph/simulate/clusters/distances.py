"""Points at given distances: classical multidimensional scaling, and distances that make none."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from tissuegraph.errors import InputError
from tissuegraph.simulate.arrays import Floats

TOLERANCE = 1e-9
"""Relative to the largest distance: what is less is rounding."""
FARTHER = 1.5
"""How much farther than its sibling the other types lie by default."""


def sibling_distances(n_types: int, separation: float) -> Floats:
    """Distances [T, T] of types in pairs: siblings at `separation`, any others `FARTHER` times as far.

    They are ultrametric, so there are always points that have them.
    """
    pair = np.arange(n_types) // 2
    distances = np.where(pair[:, None] == pair, separation, FARTHER * separation)
    np.fill_diagonal(distances, 0)
    return distances


def checked(distances: npt.ArrayLike) -> Floats:
    """Return distances [T, T] in double precision.

    Raises
    ------
    InputError
        If they are no square of numbers of 0 or more, symmetric, with zeros on the diagonal.
    """
    try:
        table = np.array(distances, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("distances are no table of numbers; give one row and one column a type") from error
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not len(table):
        raise InputError(f"distances have shape {table.shape}; give one row and one column a type")
    wrong = np.argwhere(~np.isfinite(table))
    if len(wrong):
        raise InputError(f"{_named(table, *wrong[0])}; give a finite number for each pair of types")
    wrong = np.argwhere(table < 0)
    if len(wrong):
        raise InputError(f"{_named(table, *wrong[0])}; give distances of 0 or more")
    wrong = np.argwhere(abs(table - table.T) > TOLERANCE * table.max())
    if len(wrong):
        i, j = wrong[0]
        raise InputError(f"{_named(table, i, j)} but {_named(table, j, i)}; give a symmetric table")
    for i in np.flatnonzero(np.diag(table)):
        raise InputError(f"{_named(table, i, i)}; a type is at distance 0 from itself")
    return (table + table.T) / 2


def _named(table: Floats, i: Any, j: Any) -> str:
    return f"distances[{i}, {j}] is {table[i, j]:g}"


def centres_at(distances: Floats) -> Floats:
    """Place points [T, R] at exactly these distances, in as few dimensions as it takes.

    Classical multidimensional scaling (Torgerson 1952): the inner products of the centred points are
    `B = -J D^2 J / 2` with `J = 1 - 1/T`, and the points are the eigenvectors of B times the roots of its
    eigenvalues. They are then turned such that each axis parts two groups of types: `merging_axes`.

    Raises
    ------
    InputError
        If no points have these distances.
    """
    squares = distances**2
    inner = -(squares - squares.mean(0) - squares.mean(1)[:, None] + squares.mean()) / 2
    values, vectors = np.linalg.eigh(inner)
    largest = float(squares.max())
    if values.min() < -TOLERANCE * max(largest, 1e-300) * len(values):
        raise InputError(_why_not_euclidean(distances, float(values.min())))
    kept = values > 1e-14 * largest * len(values)
    points = vectors[:, kept] * np.sqrt(values[kept])
    return points @ merging_axes(points, distances)


def _why_not_euclidean(distances: Floats, smallest: float) -> str:
    """Name the two types that lie farther apart than the way over a third, if there are such."""
    for middle in range(len(distances)):
        way = distances[:, [middle]] + distances[[middle]]
        wrong = np.argwhere(distances > way * (1 + TOLERANCE))
        if len(wrong):
            i, j = wrong[0]
            return (
                f"{_named(distances, i, j)}, but the way over type {middle} is {way[i, j]:g}; "
                "give distances that obey the triangle inequality"
            )
    return (
        f"no points have these distances (smallest eigenvalue of their inner products: {smallest:.3g}); "
        "give distances between points, as scipy.spatial.distance.pdist does, or enlarge the small ones"
    )


def merging_axes(points: Floats, distances: Floats) -> Floats:
    """Orthonormal axes [R, R], as columns: the i-th parts the two groups of points [T, R] that merge as i-th.

    They merge by average linkage of their distances [T, T], nearest first; directions are made orthogonal in
    this order. So the two nearest points differ along the first axis only.
    """
    dimensions = points.shape[1]
    if dimensions < 2:
        return np.eye(dimensions)
    middles, sizes = list(points), [1] * len(points)
    axes: list[Floats] = []
    for one, other in linkage(squareform(distances), "average")[:, :2].astype(np.int64):
        direction = middles[one] - middles[other]
        total = sizes[one] + sizes[other]
        middles.append((sizes[one] * middles[one] + sizes[other] * middles[other]) / total)
        sizes.append(total)
        for _ in range(2):  # the second pass takes away what rounding left
            for axis in axes:
                direction = direction - (direction @ axis) * axis
        length = np.linalg.norm(direction)
        if length > 1e-6 * np.linalg.norm(points):
            axes.append(direction / length)
    # merges that differ in nothing new give no axis; whatever is left completes them
    rest = np.linalg.svd(np.array(axes))[2][len(axes) :]
    return np.concatenate([np.array(axes), rest]).T
