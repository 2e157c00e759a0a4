"""Moran's I of many genes on one graph, and how likely it is where place means nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import perm

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import gammainc, gammaincc, ndtr

Floats = npt.NDArray[np.float64]

FEWEST_CELLS = 6
"""As many as three edges may join, so that the third moment is defined."""
SYMMETRIC = 1e-4
"""A skewness below which the normal distribution is as good."""


@dataclass(frozen=True)
class Graph:
    """A weighted graph, and the sums over its edges of which the moments of Moran's I are made.

    `weights` [n, n] is symmetric, without loops. The sums run over ordered pairs: `total` of the weights,
    `squares` and `cubes` of their powers; the others count, by weight, two or three edges of one shape.
    """

    weights: sparse.csr_matrix
    total: float
    squares: float
    cubes: float
    wedges: float
    doubled: float
    triangles: float
    stars: float
    paths: float


def as_graph(adjacency: sparse.csr_matrix) -> Graph:
    """Prepare a graph [n, n], directed or not; Moran's I only sees the mean of both directions."""
    weights = sparse.csr_matrix((adjacency + adjacency.T) / 2, dtype=np.float64)
    weights.setdiag(0)
    weights.eliminate_zeros()
    second, third = weights.power(2), weights.power(3)
    degree, degree2, degree3 = (np.asarray(part.sum(1)).ravel() for part in (weights, second, third))
    triangles = float((weights @ weights).multiply(weights).sum())
    cubes = float(degree3.sum())
    return Graph(
        weights,
        total=float(degree.sum()),
        squares=float(degree2.sum()),
        cubes=cubes,
        wedges=float((degree**2 - degree2).sum()),
        doubled=float((degree * degree2 - degree3).sum()),
        triangles=triangles,
        stars=float((degree**3 - 3 * degree * degree2 + 2 * degree3).sum()),
        paths=float(degree @ (weights @ degree) - 2 * (degree * degree2).sum() + cubes - triangles),
    )


@dataclass(frozen=True)
class Moments:
    """For each gene [G], `observed` = sum_ij w_ij z_i z_j of centred values, and what permutations give."""

    observed: Floats
    scale: Floats
    """What divides `observed` to give Moran's I: the sum of the weights times the variance."""
    mean: Floats
    variance: Floats
    third: Floats
    """The third central moment."""

    def __add__(self, other: Moments) -> Moments:
        """Of two pieces of tissue in which cells are permuted separately: cumulants add up."""
        return Moments(
            self.observed + other.observed,
            self.scale + other.scale,
            self.mean + other.mean,
            self.variance + other.variance,
            self.third + other.third,
        )

    def index(self) -> Floats:
        """Moran's I."""
        return self.observed / self.scale

    def score(self) -> Floats:
        """Standard deviations above what permutations give."""
        return (self.observed - self.mean) / np.sqrt(self.variance)

    def p_values(self) -> Floats:
        """The chance of so much or more, by Pearson's type III distribution (gamma) of these moments."""
        return upper_tail(self.score(), self.third / self.variance**1.5)


def moran_moments(values: Floats, graph: Graph) -> Moments:
    """Moran's I of values [n, G] and its first three moments over all permutations of the cells.

    Exact, for any distribution of the values (Cliff and Ord 1981 for the variance; Siemiatycki 1978).
    """
    centred = values - values.mean(0)
    observed = np.einsum("ng,ng->g", centred, graph.weights @ centred)
    powers = _power_sums(centred)
    n = len(values)
    first = _mean_of(powers, n, 1, 1) * graph.total
    second = _second(graph, powers, n)
    third = _third(graph, powers, n)
    return Moments(
        observed,
        graph.total * powers[2] / n,
        first,
        np.maximum(second - first**2, 0),
        third - 3 * first * second + 2 * first**3,
    )


def upper_tail(score: Floats, skewness: Floats) -> Floats:
    """The chance of a score or more under the standardised gamma distribution of that skewness."""
    skewed = abs(skewness) > SYMMETRIC
    shape = 4 / np.where(skewed, skewness, 1) ** 2
    at = np.maximum(shape + np.sign(skewness) * score * np.sqrt(shape), 0)
    gamma = np.where(skewness > 0, gammaincc(shape, at), gammainc(shape, at))
    return np.where(skewed, gamma, ndtr(-score))


def _power_sums(centred: Floats) -> list[Floats]:
    """Sums over cells of the powers 0 to 6; the first is zero by construction."""
    sums = [np.full(centred.shape[1], float(len(centred))), np.zeros(centred.shape[1])]
    power = centred
    for _ in range(5):
        power = power * centred
        sums.append(power.sum(0))
    return sums


def _over_distinct(powers: list[Floats], *exponents: int) -> Floats:
    """The sum over distinct cells i, j, ... of z_i^a z_j^b ..."""
    *others, last = exponents
    if not others:
        return powers[last]
    total = powers[last] * _over_distinct(powers, *others)
    for i in range(len(others)):
        total = total - _over_distinct(powers, *others[:i], others[i] + last, *others[i + 1 :])
    return total


def _mean_of(powers: list[Floats], n: int, *exponents: int) -> Floats:
    return _over_distinct(powers, *exponents) / perm(n, len(exponents))


def _second(graph: Graph, powers: list[Floats], n: int) -> Floats:
    """The mean of the square: two edges are one, share a cell or are apart."""
    same, touching = 2 * graph.squares, 4 * graph.wedges
    apart = graph.total**2 - same - touching
    return (
        same * _mean_of(powers, n, 2, 2)
        + touching * _mean_of(powers, n, 2, 1, 1)
        + apart * _mean_of(powers, n, 1, 1, 1, 1)
    )


def _third(graph: Graph, powers: list[Floats], n: int) -> Floats:
    """The mean of the cube, by the shape that three edges form."""
    shapes = {
        (3, 3): 4 * graph.cubes,
        (3, 2, 1): 24 * graph.doubled,
        (2, 2, 2): 8 * graph.triangles,
        (3, 1, 1, 1): 8 * graph.stars,
        (2, 2, 1, 1): 6 * (graph.squares * graph.total - 2 * graph.cubes - 4 * graph.doubled)
        + 24 * graph.paths,
        (2, 1, 1, 1, 1): 12 * graph.wedges * graph.total
        - 48 * graph.doubled
        - 24 * graph.triangles
        - 24 * graph.stars
        - 48 * graph.paths,
    }
    shapes[1, 1, 1, 1, 1, 1] = graph.total**3 - sum(shapes.values())
    total = np.zeros_like(powers[0])
    for exponents, weight in shapes.items():
        total += weight * _mean_of(powers, n, *exponents)
    return total
