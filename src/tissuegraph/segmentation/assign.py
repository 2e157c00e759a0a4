"""From scored pairs to cells: distance along the tissue's axis, expression, and what neighbours say.

Every transcript chooses between its candidates and none. The logit of candidate c is

    affinity_weight * affinity(i, c) + log w(d(i, c)) + neighbour_weight * mean_j q(j, c)

with the network's affinity, the weight w of the distance d to the outline (measured in coordinates
stretched along the local axis), and the mean over neighbours j of their own probability q for the same
c, by a few rounds of mean field; that of none is `none_logit + neighbour_weight * mean_j q(j, none)`.
The affinity is trained on nuclei, where every distance is negative, so the weights w cannot be learnt
there: they, and how much to stretch, are found by the likelihood of the affinities on the slide itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import shapely

from tissuegraph.graph.candidates import signed_distance
from tissuegraph.graph.hetero import TileGraph
from tissuegraph.parallel import compiled, over_chunks
from tissuegraph.segmentation.axes import LocalAxes, stretching
from tissuegraph.segmentation.params import AssignParams

DISTANCE_EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)
"""um; the distance weight is a step function, the first step being the inside."""
FALL_OFF = 0.6
"""per um: where the fit of the distance weights starts."""
SLACK = 5.0
"""Pairs whose logit, with all neighbours in favour, stays this far below the best are left out."""
FIT_ROUNDS = 12
STRETCH_POWERS = (0.0, 1.5, 3.0, 4.5, 6.0, 8.0, 10.0)
FAR = 6.0
"""um; pairs farther apart are nearly all wrong, and show what affinity a wrong pair has."""
MAX_STRETCH = 4.0


@dataclass(frozen=True)
class FittedAssignment:
    """What the slide told.

    log_weights by step of the distance; stretch_power, which turns ratios into stretch; and
    affinity_offset, which makes `exp(affinity)` a likelihood ratio: one on average over wrong pairs.
    """

    log_weights: tuple[float, ...] = field(
        default_factory=lambda: tuple(-FALL_OFF * np.array((*DISTANCE_EDGES, 12.0)))
    )
    stretch_power: float = 0.0
    affinity_offset: float = 0.0


@dataclass(frozen=True)
class Candidates:
    """Scored pairs of a tile, sorted by transcript.

    tx, bd [P] as in the tile's graph; distance [P] um; affinity [P]; first [N + 1], where each
    transcript's pairs start.
    """

    tx: np.ndarray
    bd: np.ndarray
    distance: np.ndarray
    affinity: np.ndarray
    first: np.ndarray


def stretched_distance(
    graph: TileGraph, outlines: np.ndarray, angle: np.ndarray, stretch: np.ndarray
) -> np.ndarray:
    """Distance [P] of the graph's pairs after stretching each outline's surroundings along its axis.

    outlines, angle (radians) and stretch are those of the graph's boundaries, [M].
    """
    tx, bd = graph.candidates
    if (stretch == 1.0).all() or len(tx) == 0:
        return graph.distance
    maps = stretching(angle, stretch)
    centre = shapely.get_coordinates(shapely.centroid(outlines))
    corners, owner = shapely.get_coordinates(outlines, return_index=True)
    moved = np.einsum("nij,nj->ni", maps[owner], corners - centre[owner])
    warped = shapely.set_coordinates(outlines.copy(), moved)
    points = np.einsum("nij,nj->ni", maps[bd], graph.positions[tx].astype(np.float64) - centre[bd])
    return signed_distance(points[:, 0], points[:, 1], warped, np.arange(len(tx)), bd)


def local_stretch(ratio: np.ndarray, power: float) -> np.ndarray:
    """How much longer than wide cells are, [M], from how much less expression changes along them."""
    return np.clip(ratio**power, 1.0, MAX_STRETCH)


def pairs_of(graph: TileGraph, distance: np.ndarray, affinity: np.ndarray) -> Candidates:
    """Put the scored pairs of a tile together."""
    tx, bd = graph.candidates
    first = np.searchsorted(tx, np.arange(len(graph.tokens) + 1))
    return Candidates(tx, bd, distance, affinity, first)


def step_of(distance: np.ndarray) -> np.ndarray:
    """Number of the distance's step, [P]."""
    return np.digitize(distance, DISTANCE_EDGES)


def probabilities(logits: np.ndarray, none: float | np.ndarray, pairs: Candidates) -> np.ndarray:
    """Softmax over each transcript's candidates and none: the candidates' probabilities [P]."""
    n = len(pairs.first) - 1
    top = np.full(n, none, np.float64)
    np.maximum.at(top, pairs.tx, logits)
    weight = np.exp(logits - top[pairs.tx])
    total = np.bincount(pairs.tx, weight, n) + np.exp(none - top)
    return weight / total[pairs.tx]


def fit_distance(
    tiles: list[Candidates], params: AssignParams, start: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Distance weights under which distance and affinity agree, and their mean log-likelihood gain.

    Iterative scaling: a step's weight grows by the ratio of what its pairs receive with the affinity to
    what they receive without. The gain is the log-likelihood of the affinities, a transcript.
    """
    steps = [step_of(pairs.distance) for pairs in tiles]
    centres = np.array((*DISTANCE_EDGES, 12.0))
    log_weights = -FALL_OFF * centres if start is None else start
    for _ in range(FIT_ROUNDS):
        given, expected = np.ones(len(centres)), np.ones(len(centres))
        for pairs, step in zip(tiles, steps, strict=True):
            prior = log_weights[step]
            with_affinity = prior + params.affinity_weight * pairs.affinity
            given += np.bincount(step, probabilities(with_affinity, params.none_logit, pairs), len(centres))
            expected += np.bincount(step, probabilities(prior, params.none_logit, pairs), len(centres))
        log_weights = log_weights + np.log(given / expected)
    gain = sum(_gain(p, log_weights[s], params) for p, s in zip(tiles, steps, strict=True))
    return log_weights, gain / max(sum(len(p.first) - 1 for p in tiles), 1)


def _gain(pairs: Candidates, prior: np.ndarray, params: AssignParams) -> float:
    n = len(pairs.first) - 1
    none = np.exp(params.none_logit)
    with_affinity = np.exp(prior + params.affinity_weight * pairs.affinity)
    ratio = (np.bincount(pairs.tx, with_affinity, n) + none) / (
        np.bincount(pairs.tx, np.exp(prior), n) + none
    )
    return float(np.log(ratio).sum())


def assign(
    pairs: Candidates,
    neighbours: np.ndarray,
    fitted: FittedAssignment,
    params: AssignParams,
    min_probability: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose a boundary for every transcript of a tile.

    Parameters
    ----------
    pairs
        Scored candidates.
    neighbours
        [2, E] (neighbour, transcript), sorted by transcript: who listens to whom.

    Returns
    -------
    The chosen boundary [N], -1 where none is likely enough, and its probability [N] (0 there).
    """
    prior = np.asarray(fitted.log_weights)[step_of(pairs.distance)]
    base = prior + params.affinity_weight * pairs.affinity.astype(np.float64) - fitted.affinity_offset
    chance = base >= _best_logit(base, params.none_logit, pairs)[pairs.tx] - params.neighbour_weight - SLACK
    pairs, base = _some(pairs, chance), base[chance]
    q = mean_field(base, pairs, neighbours, params)
    return _best(cooled(q, params.temperature), pairs, min_probability)


def _best_logit(logits: np.ndarray, none: float, pairs: Candidates) -> np.ndarray:
    """Largest logit of each transcript, none included, [N]."""
    top = np.full(len(pairs.first) - 1, none, np.float64)
    np.maximum.at(top, pairs.tx, logits)
    return top


def _some(pairs: Candidates, chosen: np.ndarray) -> Candidates:
    """Only the chosen pairs [P] (bool), of the same transcripts."""
    tx = pairs.tx[chosen]
    first = np.searchsorted(tx, np.arange(len(pairs.first)))
    return Candidates(tx, pairs.bd[chosen], pairs.distance[chosen], pairs.affinity[chosen], first)


def mean_field(
    base: np.ndarray, pairs: Candidates, neighbours: np.ndarray, params: AssignParams
) -> np.ndarray:
    """Probabilities [P] of the pairs, when everyone listens to its neighbours for some rounds.

    base [P] are the pairs' own logits. All transcripts change at once, so the order plays no role.
    """
    n, weight, none = len(pairs.first) - 1, params.neighbour_weight, params.none_logit
    first_neighbour = np.searchsorted(neighbours[1], np.arange(n + 1))
    q, q_none = np.empty(len(base)), np.empty(n)
    support, support_none = np.zeros(len(base)), np.zeros(n)
    lists = (pairs.first, pairs.bd, neighbours[0], first_neighbour)
    over_chunks(
        lambda i, j: _decide(i, j, base, none, pairs.first, weight, support, support_none, q, q_none), n
    )
    for _ in range(params.rounds):
        over_chunks(lambda i, j: _listen(i, j, *lists, q, q_none, support, support_none), n)
        over_chunks(
            lambda i, j: _decide(i, j, base, none, pairs.first, weight, support, support_none, q, q_none), n
        )
    return q


def cooled(q: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits of probabilities by a temperature."""
    q = np.clip(q, 1e-12, 1 - 1e-12)
    return 1 / (1 + ((1 - q) / q) ** (1 / temperature))


def _best(q: np.ndarray, pairs: Candidates, min_probability: float) -> tuple[np.ndarray, np.ndarray]:
    n = len(pairs.first) - 1
    boundary, probability = np.full(n, -1, np.int64), np.zeros(n)
    _choose(q, pairs.first, pairs.bd, min_probability, boundary, probability)
    return boundary, probability


@compiled
def _choose(q, first, bd, least, boundary, probability):  # type: ignore[no-untyped-def]
    for i in range(len(first) - 1):
        for p in range(first[i], first[i + 1]):
            better = q[p] > probability[i] or (q[p] == probability[i] and bd[p] < boundary[i])
            if q[p] >= least and better:
                boundary[i], probability[i] = bd[p], q[p]


@compiled
def _decide(begin, end, base, none, first, weight, support, support_none, q, q_none):  # type: ignore[no-untyped-def]
    """Softmax of the logits and the support, for transcripts begin to end."""
    for i in range(begin, end):
        own = none + weight * support_none[i]
        top = own
        for p in range(first[i], first[i + 1]):
            q[p] = base[p] + weight * support[p]
            top = max(top, q[p])
        total = np.exp(own - top)
        q_none[i] = total
        for p in range(first[i], first[i + 1]):
            q[p] = np.exp(q[p] - top)
            total += q[p]
        q_none[i] /= total
        for p in range(first[i], first[i + 1]):
            q[p] /= total


@compiled
def _listen(begin, end, first, bd, neighbour, first_neighbour, q, q_none, support, support_none):  # type: ignore[no-untyped-def]
    """Mean over the neighbours of their probabilities, for transcripts begin to end."""
    for i in range(begin, end):
        degree = max(first_neighbour[i + 1] - first_neighbour[i], 1)
        support_none[i] = 0.0
        for p in range(first[i], first[i + 1]):
            support[p] = 0.0
        for e in range(first_neighbour[i], first_neighbour[i + 1]):
            j = neighbour[e]
            support_none[i] += q_none[j] / degree
            for r in range(first[j], first[j + 1]):
                for p in range(first[i], first[i + 1]):
                    if bd[r] == bd[p]:
                        support[p] += q[r] / degree
                        break


@dataclass(frozen=True)
class ScoredTile:
    """A tile to learn from: affinity [P] of its pairs, outlines [M], axes [M], and who counts [N]."""

    graph: TileGraph
    affinity: np.ndarray
    outlines: np.ndarray
    axes: LocalAxes
    counts: np.ndarray

    def pairs(self, power: float, offset: float) -> Candidates:
        """The pairs of the transcripts that count, with the distance stretched by `ratio ** power`."""
        stretch = local_stretch(self.axes.ratio, power)
        distance = stretched_distance(self.graph, self.outlines, self.axes.angle, stretch)
        tx, bd = self.graph.candidates
        chosen = self.counts[tx]
        number = np.cumsum(self.counts) - 1
        first = np.searchsorted(number[tx[chosen]], np.arange(self.counts.sum() + 1))
        return Candidates(
            number[tx[chosen]], bd[chosen], distance[chosen], self.affinity[chosen] - offset, first
        )


def affinity_offset(tiles: list[ScoredTile], weight: float) -> float:
    """Log of the mean weighted `exp(affinity)` over far pairs; 0 where there are none."""
    far = np.concatenate([tile.affinity[tile.graph.distance > FAR] for tile in tiles])
    return float(np.log(np.exp(weight * far).mean())) if len(far) else 0.0


def fit_assignment(tiles: list[ScoredTile], params: AssignParams) -> FittedAssignment:
    """Choose the stretch, and fit the distance weights, by the likelihood of the affinities."""
    offset = affinity_offset(tiles, params.affinity_weight)
    best, best_gain = FittedAssignment(affinity_offset=offset), -np.inf
    log_weights = None
    for power in STRETCH_POWERS:
        pairs = [tile.pairs(power, offset / params.affinity_weight) for tile in tiles]
        log_weights, gain = fit_distance(pairs, params, start=log_weights)
        if gain > best_gain:
            best_gain = gain
            best = replace(best, log_weights=tuple(map(float, log_weights)), stretch_power=power)
    return best
