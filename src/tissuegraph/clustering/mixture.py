"""A Gaussian mixture whose components share one covariance, fitted from many starts at once.

The shared ("tied") covariance is mclust's model EEE. The likelihood has many maxima, and what a single start
finds is a lottery; so many are climbed and the highest is kept. As the covariance is shared, a step needs no
work of [N, d, d]: the second moments of the data are summed once, and all starts go through two products.

The likelihood is also blind to scale: a direction of pure noise counts as much as one of tissue, and where
there are many of noise they decide, by chance. So the shared covariance may be drawn towards what is known to
be noise, by an inverse-Wishart prior that counts as much as the points do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tissuegraph.errors import InputError

Floats = npt.NDArray[np.float64]

RIDGE = 1e-6
"""Added to the covariance's diagonal, as a share of the mean variance."""
PRIOR = 1.0
"""How much the prior of noise counts, relative to the points."""
TOLERANCE = 1e-5
"""Rise of the mean log-likelihood of a cell at which a start stands still."""
SHORT_STEPS, MOST_STEPS = 20, 300
MOST_MOVES, FEWEST_MOVED = 6, 5
"""Rounds of moves of components, and points at least that a moved one starts from."""
BLOCK = 200_000
"""Cells whose memberships are computed at a time."""


@dataclass(frozen=True)
class Mixture:
    """Means [k, d], one covariance [d, d] and the components' shares [k]; log-likelihood by cell."""

    means: Floats
    covariance: Floats
    shares: Floats
    log_likelihood: float

    def scores(self, points: Floats) -> Floats:
        """Return log of share times density of each component, but for what they have in common, [N, k]."""
        weights = np.linalg.solve(self.covariance, self.means.T)
        offset = np.log(self.shares) - 0.5 * (self.means.T * weights).sum(0)
        return points @ weights + offset

    def predict(self, points: Floats) -> npt.NDArray[np.int64]:
        """Return the likeliest component of each point, [N]."""
        parts = [self.scores(points[i : i + BLOCK]).argmax(1) for i in range(0, len(points), BLOCK)]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)


def fit_mixture(
    points: Floats,
    n_components: int,
    generator: np.random.Generator,
    *,
    n_starts: int = 24,
    noise: Floats | None = None,
    rare: bool = False,
) -> Mixture:
    """Return the mixture with the highest likelihood among those that the starts lead to.

    All starts climb a few steps, and the best quarter of them to the top. From there components are moved.

    Parameters
    ----------
    points
        [N, d].
    n_components
        k, at most N.
    n_starts
        Each begins at k-means++ seeds.
    rare
        Look for small components that no start has found: move one to where the mixture fits badly, for as
        long as that raises the likelihood.
    noise
        [d, d] covariance of noise; the shared covariance becomes the mean of this and what the points say,
        and the log-likelihood is that of the posterior.
    """
    n = len(points)
    if not 1 <= n_components <= n:
        raise InputError(f"{n_components} domains are wanted of {n} cells; ask for 1 to {n}")
    seeds = np.stack([_seeds(points, n_components, generator) for _ in range(n_starts)])
    begun = _climb(points, _nearest(points, seeds), SHORT_STEPS, noise)
    begun.sort(key=lambda mixture: -mixture.log_likelihood)
    best = climb(points, begun[: -(-n_starts // 4)], noise)
    return _relocate(points, best, generator, n_starts, noise) if rare else best


def _relocate(
    points: Floats, best: Mixture, generator: np.random.Generator, n_tries: int, noise: Floats | None
) -> Mixture:
    """Move one component to where the mixture fits badly, for as long as that raises the likelihood.

    A small component far from the others is hardly ever among the seeds: in the metric of the points the
    distances between large components count for more. So the best mixture is changed in the spirit of Ueda et
    al. (2000), in the metric of its own covariance: one of the components that are nearest to another gives
    way, and takes up the surroundings of a point that is far from its component.
    """
    n, k = len(points), len(best.means)
    few = min(n, max(FEWEST_MOVED, n // 200))
    for _ in range(MOST_MOVES if k > 1 else 0):
        turn = np.linalg.cholesky(np.linalg.inv(best.covariance))
        white, centres = points @ turn, best.means @ turn
        beyond = ((white - centres[best.predict(points)]) ** 2).sum(1)
        apart = ((centres[:, None] - centres) ** 2).sum(2) + np.diag(np.full(k, np.inf))
        spare = np.argsort(apart.min(1) * best.shares, kind="stable")[: max(3, k // 2)]
        seeds = np.repeat(centres[None], n_tries, axis=0)
        for number, moved in enumerate(seeds):
            target = white[_drawn(beyond, generator)]
            near = np.argpartition(((white - target) ** 2).sum(1), few - 1)[:few]
            moved[spare[number % len(spare)]] = white[near].mean(0)
        begun = _climb(points, _nearest(white, seeds), SHORT_STEPS, noise)
        begun.sort(key=lambda mixture: -mixture.log_likelihood)
        found = climb(points, begun[: -(-n_tries // 8)], noise)
        if found.log_likelihood < best.log_likelihood + TOLERANCE:
            break
        best = found
    return best


def climb(points: Floats, mixtures: list[Mixture], noise: Floats | None = None) -> Mixture:
    """Return the best of what the mixtures become when fitted to the points, each from where it stands."""
    scores = np.stack([mixture.scores(points) for mixture in mixtures], 1)
    members = np.exp(scores - scores.max(2, keepdims=True))
    members /= members.sum(2, keepdims=True)
    return max(_climb(points, members, MOST_STEPS, noise), key=lambda mixture: mixture.log_likelihood)


def _nearest(points: Floats, seeds: Floats) -> Floats:
    """Return memberships [N, starts, k] of 0 and 1."""
    distance = (seeds**2).sum(2) - 2 * np.einsum("nd,skd->nsk", points, seeds, optimize=True)
    members = np.zeros(distance.shape)
    np.put_along_axis(members, distance.argmin(2)[:, :, None], 1.0, axis=2)
    return members


def _climb(points: Floats, members: Floats, steps: int, noise: Floats | None) -> list[Mixture]:
    """Expectation-maximisation of all starts side by side; one that stands still takes no more part."""
    n, dimensions = points.shape
    centre = points.mean(0)
    data = points - centre
    moments = data.T @ data / n + (0 if noise is None else PRIOR * noise)
    weight = 1 if noise is None else 1 + PRIOR  # of points and prior, in points
    variance = float(np.trace(moments)) / dimensions or 1.0  # 1 where all points are alike
    done: list[Mixture] = []
    previous = np.full(members.shape[1], -np.inf)
    for step in range(steps):
        sizes = members.sum(0) + np.finfo(float).eps
        shares = sizes / sizes.sum(1, keepdims=True)
        means = (members.reshape(n, -1).T @ data).reshape(*sizes.shape, dimensions) / sizes[:, :, None]
        spread = np.einsum("sk,skd,ske->sde", shares, means, means, optimize=True)
        covariances = (moments - spread) / weight + RIDGE * variance * np.eye(dimensions)
        members, likelihood = _memberships(data, means, covariances, shares, moments, weight)
        still = (likelihood - previous < TOLERANCE) | (step == steps - 1)
        for i in np.flatnonzero(still):
            done.append(Mixture(means[i] + centre, covariances[i], shares[i], float(likelihood[i])))
        if still.all():
            break
        if still.any():
            members, likelihood = members[:, ~still], likelihood[~still]
        previous = likelihood
    return done


def _memberships(
    data: Floats, means: Floats, covariances: Floats, shares: Floats, moments: Floats, weight: float
) -> tuple[Floats, Floats]:
    """Return each start's memberships [N, starts, k] and mean log-likelihood [starts]."""
    weights = np.linalg.solve(covariances, means.transpose(0, 2, 1))  # [starts, d, k]
    offset = np.log(shares) - 0.5 * np.einsum("skd,sdk->sk", means, weights)
    flat = weights.transpose(1, 0, 2).reshape(data.shape[1], -1)
    members = (data @ flat).reshape(len(data), *shares.shape)
    members += offset
    top = members.max(2, keepdims=True)
    np.exp(np.subtract(members, top, out=members), out=members)
    total = members.sum(2, keepdims=True)
    members /= total
    within = np.trace(np.linalg.solve(covariances, np.broadcast_to(moments, covariances.shape)), 0, 1, 2)
    same_for_all = weight * np.linalg.slogdet(2 * np.pi * covariances)[1] + within
    return members, (np.log(total) + top)[:, :, 0].mean(0) - 0.5 * same_for_all


def _seeds(data: Floats, k: int, generator: np.random.Generator) -> Floats:
    """Return k points, each drawn with a chance that grows with its squared distance to those before."""
    chosen = [int(generator.integers(len(data)))]
    distance = ((data - data[chosen[0]]) ** 2).sum(1)
    for _ in range(k - 1):
        chosen.append(_drawn(distance, generator))
        distance = np.minimum(distance, ((data - data[chosen[-1]]) ** 2).sum(1))
    return data[chosen]


def _drawn(weights: Floats, generator: np.random.Generator) -> int:
    """Return a number below N, drawn with a chance that grows with its weight."""
    cumulative = np.cumsum(weights)
    spot = int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))
    return min(spot, len(weights) - 1)
