"""What the slide itself tells of the assignment: the weight of the distance, how much to stretch, an offset.

The evidence of expression is trained on nuclei, where every distance is negative, so what distance means
cannot be learnt there. It is found by the likelihood of the evidence, over transcripts anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from tissuegraph.graph.hetero import TileGraph
from tissuegraph.segmentation.assign import (
    DISTANCE_EDGES,
    FALL_OFF,
    Candidates,
    FittedAssignment,
    local_stretch,
    probabilities,
    step_of,
    stretched_distance,
)
from tissuegraph.segmentation.axes import LocalAxes
from tissuegraph.segmentation.dataset import SpatialTranscriptomicsDataset
from tissuegraph.segmentation.params import AssignParams
from tissuegraph.segmentation.pretrained.cell_profiles import find_profiles
from tissuegraph.segmentation.score import count_genes, evidence

if TYPE_CHECKING:  # Lightning takes seconds, and the pretrained model needs none
    from tissuegraph.nn.lit import LitSegger

FIT_ROUNDS = 12
STRETCH_POWERS = (0.0, 1.5, 3.0, 4.5, 6.0, 8.0, 10.0)
FAR = 6.0
"""um; pairs farther apart are nearly all wrong, and show what evidence a wrong pair has."""


@dataclass(frozen=True)
class ScoredTile:
    """A tile to learn from: evidence [P] of its pairs, outlines [M], axes [M], and who counts [N]."""

    graph: TileGraph
    evidence: np.ndarray
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
            number[tx[chosen]], bd[chosen], distance[chosen], self.evidence[chosen] - offset, first
        )


def fit_on_tiles(
    tiles: SpatialTranscriptomicsDataset,
    network: LitSegger,
    others: sparse.csr_matrix,
    params: AssignParams,
    seed: int,
) -> FittedAssignment:
    """Fit the assignment to tiles that the network was not trained on.

    others [nuclei, genes] are counts of further nuclei, which help to find the types of cells.
    """
    raw = [tiles.raw_tile(index) for index in range(len(tiles))]
    counts = [count_genes(one.graph, len(tiles.genes)) for one in raw]
    profiles = find_profiles(sparse.vstack([*counts, others]).tocsr(), seed=seed)
    numbers = np.split(np.arange(len(profiles.membership)), np.cumsum([one.shape[0] for one in counts]))
    scored = [
        ScoredTile(
            one.graph,
            evidence(network, one.graph, profiles, cells, params),
            one.outlines,
            one.axes,
            one.in_core,
        )
        for one, cells in zip(raw, numbers, strict=False)
    ]
    return fit_assignment(scored, params)


def fit_assignment(tiles: list[ScoredTile], params: AssignParams) -> FittedAssignment:
    """Choose the stretch, and fit the distance weights, by the likelihood of the evidence."""
    offset = fit_offset(tiles)
    best, best_gain = FittedAssignment(offset=offset), -np.inf
    log_weights = None
    for power in STRETCH_POWERS:
        pairs = [tile.pairs(power, offset) for tile in tiles]
        log_weights, gain = fit_distance(pairs, params.none_logit, start=log_weights)
        if gain > best_gain:
            best_gain = gain
            best = replace(best, log_weights=tuple(map(float, log_weights)), stretch_power=power)
    return best


def fit_offset(tiles: list[ScoredTile]) -> float:
    """Log of the mean `exp(evidence)` over far pairs; 0 where there are none."""
    far = np.concatenate([tile.evidence[tile.graph.distance > FAR] for tile in tiles])
    return float(np.log(np.exp(far).mean())) if len(far) else 0.0


def fit_distance(
    tiles: list[Candidates], none_logit: float, start: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Distance weights under which distance and evidence agree, and their mean log-likelihood gain.

    Iterative scaling: a step's weight grows by the ratio of what its pairs receive with the evidence to
    what they receive without. The gain is the log-likelihood of the evidence, a transcript.
    """
    steps = [step_of(pairs.distance) for pairs in tiles]
    centres = np.array((*DISTANCE_EDGES, 12.0))
    log_weights = -FALL_OFF * centres if start is None else start
    for _ in range(FIT_ROUNDS):
        given, expected = np.ones(len(centres)), np.ones(len(centres))
        for pairs, step in zip(tiles, steps, strict=True):
            prior = log_weights[step]
            given += np.bincount(step, probabilities(prior + pairs.evidence, none_logit, pairs), len(centres))
            expected += np.bincount(step, probabilities(prior, none_logit, pairs), len(centres))
        log_weights = log_weights + np.log(given / expected)
    gain = sum(_gain(p, log_weights[s], none_logit) for p, s in zip(tiles, steps, strict=True))
    return log_weights, gain / max(sum(len(p.first) - 1 for p in tiles), 1)


def _gain(pairs: Candidates, prior: np.ndarray, none_logit: float) -> float:
    n = len(pairs.first) - 1
    none = np.exp(none_logit)
    given = np.bincount(pairs.tx, np.exp(prior + pairs.evidence), n) + none
    return float(np.log(given / (np.bincount(pairs.tx, np.exp(prior), n) + none)).sum())
