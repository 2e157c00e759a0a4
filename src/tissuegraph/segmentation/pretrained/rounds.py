"""The two rounds of the pretrained assignment over a slide: maps over tiles, and small sums between them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse
from scipy.spatial import cKDTree

from tissuegraph import keys
from tissuegraph.io.profiles import ReferenceProfiles
from tissuegraph.memory import let_go
from tissuegraph.nn.pair_inference import infer
from tissuegraph.nn.pairs import PairNet
from tissuegraph.parallel import compiled, in_order
from tissuegraph.segmentation.axes import LocalAxes
from tissuegraph.segmentation.predict import BASELINE_DISTANCE, RESULT_SCHEMA
from tissuegraph.segmentation.pretrained.cell_counts import CellCounts, total
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles, find_profiles
from tissuegraph.segmentation.pretrained.evidence import first_evidence, second_evidence
from tissuegraph.segmentation.pretrained.fragments import (
    UNEXPLAINED,
    Fragments,
    find_fragments,
    in_cores,
    with_fragments,
)
from tissuegraph.segmentation.pretrained.ground import Ground, ground_of
from tissuegraph.segmentation.pretrained.model import PairModel
from tissuegraph.segmentation.pretrained.params import (
    HEARD,
    NEIGHBOUR_DISTANCE,
    SURE,
)
from tissuegraph.segmentation.pretrained.start import Start
from tissuegraph.segmentation.pretrained.territories import Territories, moments_of
from tissuegraph.segmentation.pretrained.tile_pairs import (
    Floats,
    Floats32,
    Indices,
    TilePairs,
    pairs_heard,
    read_pairs,
)
from tissuegraph.segmentation.stages import Progress, no_progress
from tissuegraph.segmentation.tile_graphs import gene_tokens, inside
from tissuegraph.tiles.plan import Tile, grown
from tissuegraph.tiles.store import TileStore
from tissuegraph.tiles.survey import Survey

NONE, OPEN = -1, -2
"""Owner of a transcript that is not sure of its cell, and of one that no nucleus explains."""


@dataclass(frozen=True)
class FirstRound:
    """What the first round tells the second.

    Attributes
    ----------
    survey, ground
        Of nuclei and, after them, fragments.
    profiles
        Of these cells, from the transcripts that were sure.
    territories
        Where these transcripts lay.
    owner
        [rows of the source]: the cell in whose profile each transcript was counted, or `NONE`.
    unexplained
        [F], of the fragments: mean probability of belonging to none in the core.
    unexplained_on_slide
        The same of all transcripts.
    """

    survey: Survey
    ground: Ground
    profiles: CellProfiles
    territories: Territories
    owner: npt.NDArray[np.int32]
    unexplained: Floats
    unexplained_on_slide: float

    @property
    def n_nuclei(self) -> int:
        """How many of the cells have a nucleus."""
        return len(self.survey.outlines) - len(self.unexplained)


@dataclass(frozen=True)
class _Tally:
    """What the tiles found in the first round: sums over cells [M, ...], fragments, and over transcripts."""

    counts: sparse.csr_matrix
    territories: Floats
    fragments: Fragments
    q_none: float
    transcripts: int


@dataclass(frozen=True)
class _Look:
    """What one tile found in the first round.

    Of its core's transcripts: their rows, the cell whose profile each counts for (`NONE`, `OPEN`) and, of
    those, the genes; of its cells: where they lie; its fragments; and how much is unexplained.
    """

    rows: npt.NDArray[np.uint64]
    owner: npt.NDArray[np.int32]
    counts: CellCounts
    cells: Indices
    moments: Floats
    fragments: Fragments
    q_none: float


def first_round(
    network: PairNet,
    store: TileStore,
    begin: Start,
    tiles: Collection[Tile],
    owner: npt.NDArray[np.int32],
    *,
    progress: Progress = no_progress,
    seed: int = 0,
    reference: ReferenceProfiles | None = None,
) -> FirstRound:
    """Assign once, to learn what the cells hold, where they lie, and where one has no nucleus.

    `owner` [rows of the source] is filled.
    """
    moments = np.zeros((len(begin.survey.outlines), 6))
    counts, fragments, q_none, transcripts = [], [], 0.0, 0
    looks = in_order(lambda tile: _look(network, store, begin, tile), tiles)
    for look in progress(looks, "assigning transcripts, first round", len(tiles)):
        owner[look.rows] = look.owner
        let_go(owner)
        moments[look.cells] += look.moments
        counts.append(look.counts)
        fragments.append(look.fragments)
        q_none, transcripts = q_none + look.q_none, transcripts + len(look.rows)
    shape = begin.profiles.counts.shape
    tally = _Tally(total(counts, shape), moments, Fragments.joined(fragments), q_none, transcripts)
    cores = _fill_cores(store, begin, tiles, tally.fragments, owner)
    return _conclude(begin, tally, cores, owner, seed, reference)


def _look(network: PairNet, store: TileStore, begin: Start, tile: Tile) -> _Look:
    """Assign the transcripts of a tile, and of as much around it as decides on its fragments."""
    pairs = read_pairs(store, begin.survey, grown(tile.core, begin.sizes.reach))
    core = inside(pairs.positions, tile.core)
    q, q_none = infer(network, first_evidence(pairs, begin.ground, begin.profiles), pairs.first)
    near = inside(pairs.positions, grown(tile.core, begin.sizes.reach))
    sure = np.flatnonzero((q > SURE) & core[pairs.tx])
    cell, tx = pairs.cells[pairs.cell[sure]], pairs.tx[sure]
    owner = np.where(q_none > UNEXPLAINED, OPEN, NONE).astype(np.int32)
    owner[tx] = cell
    return _Look(
        rows=pairs.rows[core],
        owner=owner[core],
        counts=CellCounts.of(cell, pairs.tokens[tx]),
        cells=pairs.cells,
        moments=moments_of(pairs, q, begin.ground, core),
        fragments=find_fragments(pairs.positions[near], q_none[near], core[near], begin.sizes),
        q_none=float(q_none[core].sum(dtype=np.float64)),
    )


def _fill_cores(
    store: TileStore,
    begin: Start,
    tiles: Collection[Tile],
    fragments: Fragments,
    owner: npt.NDArray[np.int32],
) -> sparse.csr_matrix:
    """Give what no nucleus explains to the fragment in whose core it lies, and count it, [F, G]."""
    n_nuclei, shape = len(begin.survey.outlines), (len(fragments.middles), len(begin.survey.genes))
    counts = []
    for tile in tiles:
        table = store.read(tile.core)
        unexplained = owner[table[keys.ROW].to_numpy()] == OPEN
        table = table.filter(pl.Series(unexplained))
        positions = table.select(keys.X, keys.Y).to_numpy().astype(np.float64)
        fragment = in_cores(positions, fragments.middles, begin.sizes)
        held = fragment >= 0
        owner[table[keys.ROW].to_numpy()] = np.where(held, n_nuclei + fragment, NONE)
        let_go(owner)
        gene = gene_tokens(table[keys.GENE], begin.survey.genes)[held]
        counts.append(CellCounts.of(fragment[held], gene))
    return total(counts, shape)


def _conclude(
    begin: Start,
    tally: _Tally,
    cores: sparse.csr_matrix,
    owner: npt.NDArray[np.int32],
    seed: int,
    reference: ReferenceProfiles | None,
) -> FirstRound:
    """Put nuclei and fragments together."""
    middles, axes = tally.fragments.middles, begin.ground.axes
    survey = with_fragments(begin.survey, middles, begin.sizes)
    nearest = cKDTree(begin.ground.centres).query(middles)[1] if len(middles) else np.empty(0, int)
    angle, ratio = (np.concatenate([part, part[nearest]]) for part in (axes.angle, axes.ratio))
    counts = sparse.vstack([tally.counts, cores]).tocsr()
    return FirstRound(
        survey=survey,
        ground=ground_of(survey, LocalAxes(angle, ratio)),
        profiles=find_profiles(counts, seed=seed, reference=reference),
        territories=Territories(np.pad(tally.territories, ((0, len(middles)), (0, 0)))),
        owner=owner,
        unexplained=tally.fragments.unexplained,
        unexplained_on_slide=tally.q_none / max(tally.transcripts, 1),
    )


def second_features(pairs: TilePairs, before: FirstRound) -> npt.NDArray[np.float32]:
    """Features of the second round, [P, len(SECOND_ROUND)]."""
    owner = in_tile(pairs, before.owner[pairs.rows])
    unexplained = np.concatenate([np.zeros(before.n_nuclei), before.unexplained])[pairs.cells]
    return second_evidence(
        pairs,
        before.ground,
        before.profiles,
        before.territories,
        owner,
        unexplained,
        before.unexplained_on_slide,
    )


def in_tile(pairs: TilePairs, owner: npt.NDArray[np.int32]) -> Indices:
    """Turn numbers of cells on the slide [N] into their numbers in the tile, -1 where it is not there."""
    if len(pairs.cells) == 0:
        return np.full(len(owner), -1, np.int64)
    place = np.minimum(np.searchsorted(pairs.cells, owner), len(pairs.cells) - 1)
    return np.where(pairs.cells[place] == owner, place, -1).astype(np.int64)


def place_in_cell(pairs: TilePairs, ground: Ground) -> npt.NDArray[np.float32]:
    """Where each pair's transcript lies, um from the centre of the candidate, [P, 2]."""
    return (pairs.positions[pairs.tx] - ground.centres[pairs.cells[pairs.cell]]).astype(np.float32)


def assign_tile(
    model: PairModel, store: TileStore, before: FirstRound, tile: Tile, min_probability: float
) -> pl.DataFrame:
    """Assign the transcripts of a tile's core; the columns of `segmentation.predict.RESULT_SCHEMA`."""
    heard_from = len(model.second.listen) * NEIGHBOUR_DISTANCE
    pairs = read_pairs(store, before.survey, grown(tile.core, heard_from))
    core = inside(pairs.positions, tile.core)
    if not core.any():
        return pl.DataFrame(schema=RESULT_SCHEMA)
    features, place = second_features(pairs, before), place_in_cell(pairs, before.ground)
    let_go(before.owner)
    heard = pairs_heard(pairs, HEARD)
    q, _ = infer(model.second, features, pairs.first, place, heard, core)
    cell, probability = most_likely(pairs, q, min_probability)
    columns = {
        keys.ROW: pairs.rows,
        "gene": pairs.tokens,
        keys.X: pairs.positions[:, 0],
        keys.Y: pairs.positions[:, 1],
        "boundary": cell,
        "probability": probability,
        "nearest": nearest_within(pairs, BASELINE_DISTANCE, before.n_nuclei),
    }
    return pl.DataFrame(columns).filter(pl.Series(core)).cast(RESULT_SCHEMA)  # type: ignore[arg-type]


def most_likely(pairs: TilePairs, q: Floats32, min_probability: float) -> tuple[Indices, Floats32]:
    """The likeliest cell [N] (number on the slide, -1 where none is likely enough), and its probability."""
    cell, probability = np.full(len(pairs.tokens), -1, np.int64), np.zeros(len(pairs.tokens), np.float32)
    _most_likely(pairs.first, pairs.cell, pairs.cells, q, min_probability, cell, probability)
    return cell, probability


@compiled
def _most_likely(first, cell, numbers, q, least, chosen, probability):  # type: ignore[no-untyped-def]
    for i in range(len(chosen)):
        if first[i] == first[i + 1]:
            continue
        best = first[i]
        for p in range(first[i] + 1, first[i + 1]):
            if q[p] > q[best]:  # of equal ones the nearest
                best = p
        if q[best] >= least:
            chosen[i], probability[i] = numbers[cell[best]], q[best]


def nearest_within(pairs: TilePairs, distance: float, n_nuclei: int) -> Indices:
    """The nearest nucleus of each transcript if near enough, else -1, by its number on the slide, [N]."""
    if len(pairs.cells) == 0:
        return np.full(len(pairs.tokens), -1, np.int64)
    nearest = pairs.nearest(distance, pairs.cells < n_nuclei)
    return np.where(nearest >= 0, pairs.cells[nearest], -1)
