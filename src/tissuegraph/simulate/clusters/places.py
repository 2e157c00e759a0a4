"""Where cells lie in the plane, and which of them are neighbours."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from tissuegraph.errors import InputError
from tissuegraph.simulate.arrays import Floats, Integers
from tissuegraph.simulate.fields import random_field

JITTER = 0.2
"""How far a cell is off its place on the lattice, in distances of neighbours."""
NEIGHBORS = 6


def draw_positions(n_samples: int, spacing: float, rng: np.random.Generator) -> Floats:
    """Positions [N, 2] in um, in a random order: an irregular hexagonal lattice, in a disc."""
    side = int(np.ceil(1.3 * np.sqrt(n_samples))) + 4
    column, row = (axis.ravel() for axis in np.meshgrid(np.arange(side), np.arange(int(side / 0.8))))
    points = np.stack([column + 0.5 * (row % 2), row * np.sqrt(0.75)], 1)
    points -= points.mean(0)
    nearest = np.argsort(np.hypot(*points.T), kind="stable")[:n_samples]
    points = points[rng.permutation(nearest)]
    return (points + rng.normal(0, JITTER, points.shape)) * spacing


def arranged(
    types: Integers,
    positions: Floats,
    same_neighbors: float,
    patch: float,
    rng: np.random.Generator,
) -> Integers:
    """Give the types [N] to the cells such that neighbours share them, [N].

    First they form patches: type by type, the free places get it where its own smooth field stands highest
    above the mean of those that follow. Of the neighbours then a share `h` is of the cell's type; by chance
    it would be `r`. Then a random share `p` of the cells trade their types, which leaves
    `(1 - p)^2 h + (1 - (1 - p)^2) r`: this is solved for `p`.

    Raises
    ------
    InputError
        If `same_neighbors` is above what patches of this size give, or below chance.
    """
    n = len(types)
    if n < 2:
        return types
    given = _patches(types, positions, patch, rng)
    near = neighbours_of(positions)
    highest, chance = same_share(given, near), _chance(types)
    if same_neighbors > highest:
        raise InputError(
            f"same_neighbors is {same_neighbors:g}, but patches of {patch:g} um give {highest:.2f} with "
            f"{n:,} cells; take a larger patch or more cells, or ask for less"
        )
    if same_neighbors < chance:
        raise InputError(
            f"same_neighbors is {same_neighbors:g}, but by chance a share of {chance:.2f} is of one type; "
            "ask for more, or for spatial='random'"
        )
    kept = 1.0 if highest <= chance else np.sqrt((same_neighbors - chance) / (highest - chance))
    trading = np.sort(rng.choice(n, round((1 - kept) * n), replace=False))
    given[trading] = given[rng.permutation(trading)]
    return given


def neighbours_of(positions: Floats) -> Integers:
    """The nearest cells [N, 6] of each."""
    number = min(NEIGHBORS + 1, len(positions))
    return np.asarray(cKDTree(positions).query(positions, k=number)[1])[:, 1:]


def same_share(types: Integers, near: Integers) -> float:
    """Share of neighbours [N, k] that are of a cell's type."""
    return float((types[near] == types[:, None]).mean())


def _chance(types: Integers) -> float:
    sizes = np.bincount(types).astype(float)
    return float((sizes * (sizes - 1)).sum() / (len(types) * (len(types) - 1)))


def _patches(types: Integers, positions: Floats, patch: float, rng: np.random.Generator) -> Integers:
    sizes = np.bincount(types)
    fields = np.stack([random_field(patch, rng)(positions) for _ in sizes])
    given = np.full(len(types), len(sizes) - 1)
    free = np.arange(len(types))
    for kind, size in enumerate(sizes[:-1]):
        height = fields[kind, free] - fields[kind + 1 :, free].mean(0)
        order = np.argsort(-height, kind="stable")
        given[free[order[:size]]] = kind
        free = np.sort(free[order[size:]])
    return given
