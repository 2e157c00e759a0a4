"""From scored pairs to cells: distance along the tissue's axis, expression, and what neighbours say.

Every transcript chooses between its candidates and none. The logit of candidate c is

    evidence(i, c) - offset + log w(d(i, c)) + sum_j a(i, j) q(j, c)

with the evidence of expression (`score.evidence`), the weight w of the distance d to the outline (measured
in coordinates stretched along the local axis), and what the neighbours j say: their own probability q for
the same c, by a few rounds of mean field, of less weight a the farther they are. That of none is
`none_logit + sum_j a(i, j) q(j, none)`. Offset and w are found on the slide itself (`fit_assign`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely

from tissuegraph.graph.candidates import signed_distance
from tissuegraph.graph.hetero import TileGraph
from tissuegraph.parallel import compiled, over_chunks
from tissuegraph.segmentation.axes import stretching
from tissuegraph.segmentation.params import AssignParams

DISTANCE_EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)
"""um; the distance weight is a step function, the first step being the inside."""
FALL_OFF = 0.6
"""per um: where the fit of the distance weights starts."""
SLACK = 5.0
"""Pairs whose logit, with all neighbours in favour, stays this far below the best are left out."""
NEARBY = 2.0
"""um: a neighbour so far away counts for exp(-1/2) of one close by."""
MAX_STRETCH = 4.0


@dataclass(frozen=True)
class FittedAssignment:
    """What the slide told.

    log_weights by step of the distance; stretch_power, which turns ratios into stretch; and offset, which
    makes `exp(evidence - offset)` a likelihood ratio: one on average over wrong pairs.
    """

    log_weights: tuple[float, ...] = field(
        default_factory=lambda: tuple(-FALL_OFF * np.array((*DISTANCE_EDGES, 12.0)))
    )
    stretch_power: float = 0.0
    offset: float = 0.0


@dataclass(frozen=True)
class Candidates:
    """Scored pairs of a tile, sorted by transcript.

    tx, bd [P] as in the tile's graph; distance [P] um; evidence [P] of expression; first [N + 1], where
    each transcript's pairs start.
    """

    tx: np.ndarray
    bd: np.ndarray
    distance: np.ndarray
    evidence: np.ndarray
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


def pairs_of(graph: TileGraph, distance: np.ndarray, evidence: np.ndarray) -> Candidates:
    """Put the scored pairs of a tile together."""
    tx, bd = graph.candidates
    first = np.searchsorted(tx, np.arange(len(graph.tokens) + 1))
    return Candidates(tx, bd, distance, evidence, first)


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


def listening(positions: np.ndarray, neighbours: np.ndarray, params: AssignParams) -> np.ndarray:
    """Weight [E] of what each neighbour says: `neighbour_weight / listens_to`, less with its distance.

    The weights are not divided by their sum: few neighbours within reach are little evidence.
    """
    source, target = neighbours
    squared = ((positions[source].astype(np.float64) - positions[target]) ** 2).sum(1)
    return params.neighbour_weight / params.listens_to * np.exp(-squared / (2 * NEARBY**2))


def assign(
    pairs: Candidates,
    neighbours: np.ndarray,
    weight: np.ndarray,
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
    weight
        [E], how much: `listening`.

    Returns
    -------
    The chosen boundary [N], -1 where none is likely enough, and its probability [N] (0 there).
    """
    prior = np.asarray(fitted.log_weights)[step_of(pairs.distance)]
    base = prior + pairs.evidence.astype(np.float64) - fitted.offset
    best = _best_logit(base, params.none_logit, pairs)
    heard = np.bincount(neighbours[1], weight, len(best))
    chance = base >= (best - heard - SLACK)[pairs.tx]
    pairs, base = _some(pairs, chance), base[chance]
    q = mean_field(base, pairs, neighbours, weight, params)
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
    return Candidates(tx, pairs.bd[chosen], pairs.distance[chosen], pairs.evidence[chosen], first)


def mean_field(
    base: np.ndarray, pairs: Candidates, neighbours: np.ndarray, weight: np.ndarray, params: AssignParams
) -> np.ndarray:
    """Probabilities [P] of the pairs, when everyone listens to its neighbours for some rounds.

    base [P] are the pairs' own logits, neighbours [2, E] and weight [E] as in `assign`. All transcripts
    change at once, so the order plays no role.
    """
    n, none = len(pairs.first) - 1, params.none_logit
    first_neighbour = np.searchsorted(neighbours[1], np.arange(n + 1))
    q, q_none = np.empty(len(base)), np.empty(n)
    support, support_none = np.zeros(len(base)), np.zeros(n)
    own = (base, none, pairs.first, support, support_none, q, q_none)
    heard = (pairs.first, pairs.bd, neighbours[0], first_neighbour, weight, q, q_none, support, support_none)
    over_chunks(lambda i, j: _decide(i, j, *own), n)
    for _ in range(params.rounds):
        over_chunks(lambda i, j: _listen(i, j, *heard), n)
        over_chunks(lambda i, j: _decide(i, j, *own), n)
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
def _decide(begin, end, base, none, first, support, support_none, q, q_none):  # type: ignore[no-untyped-def]
    """Softmax of the logits and the support, for transcripts begin to end."""
    for i in range(begin, end):
        own = none + support_none[i]
        top = own
        for p in range(first[i], first[i + 1]):
            q[p] = base[p] + support[p]
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
def _listen(begin, end, first, bd, neighbour, first_neighbour, weight, q, q_none, support, support_none):  # type: ignore[no-untyped-def]
    """Weighted sum of the neighbours' probabilities, for transcripts begin to end."""
    for i in range(begin, end):
        support_none[i] = 0.0
        for p in range(first[i], first[i + 1]):
            support[p] = 0.0
        for e in range(first_neighbour[i], first_neighbour[i + 1]):
            j = neighbour[e]
            support_none[i] += weight[e] * q_none[j]
            for rank in range(first[i + 1] - first[i]):
                p, r = first[i] + rank, first[j] + rank
                # neighbours mostly have the same candidates in the same order
                if r >= first[j + 1] or bd[r] != bd[p]:
                    r = first[j]
                    while r < first[j + 1] and bd[r] != bd[p]:
                        r += 1
                if r < first[j + 1]:
                    support[p] += weight[e] * q[r]
