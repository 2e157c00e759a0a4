"""The two rounds of the pretrained assignment over a slide: maps over tiles, and small sums between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import shapely
from scipy import sparse
from scipy.spatial import cKDTree

from tissuegraph import keys
from tissuegraph.graph.candidates import candidate_pairs
from tissuegraph.nn.pairs import PairNet
from tissuegraph.segmentation.axes import LocalAxes, find_axes, mean_density
from tissuegraph.segmentation.gene_vectors import gene_vectors
from tissuegraph.segmentation.predict import BASELINE_DISTANCE, RESULT_SCHEMA
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles, find_profiles
from tissuegraph.segmentation.pretrained.evidence import Ground, first_evidence, second_evidence
from tissuegraph.segmentation.pretrained.fragments import (
    UNEXPLAINED,
    Sizes,
    find_middles,
    in_cores,
    sizes_of,
    with_fragments,
)
from tissuegraph.segmentation.pretrained.model import PairModel, probabilities
from tissuegraph.segmentation.pretrained.params import (
    HEARD,
    LAYERS,
    NEIGHBOUR_DISTANCE,
    NUCLEAR_DISTANCE,
    REACH,
    SURE,
)
from tissuegraph.segmentation.pretrained.territories import Territories
from tissuegraph.segmentation.pretrained.tile_pairs import Floats, Indices, TilePairs, pairs_heard, read_pairs
from tissuegraph.segmentation.tile_graphs import gene_tokens, inside
from tissuegraph.tiles.plan import Tile, grown
from tissuegraph.tiles.store import TileStore
from tissuegraph.tiles.survey import Survey

FOURTH = 5
"""Centres asked for to find the fourth nearest other one."""
NONE, OPEN = -1, -2
"""Owner of a transcript that is not sure of its cell, and of one that no nucleus explains."""


@dataclass(frozen=True)
class Start:
    """What the nuclei tell: the ground they lie on, and what their cells express."""

    survey: Survey
    ground: Ground
    profiles: CellProfiles

    @property
    def sizes(self) -> Sizes:
        """What fragments are measured by."""
        return sizes_of(self.ground.areas, np.asarray(self.profiles.counts.sum(1)).ravel())


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
    """

    survey: Survey
    ground: Ground
    profiles: CellProfiles
    territories: Territories
    owner: npt.NDArray[np.int32]
    n_nuclei: int


def start(store: TileStore, survey: Survey, tiles: Iterable[Tile], *, seed: int = 0) -> Start:
    """Count in the nuclei, find types among them and the tissue's axis at each."""
    tiles = list(tiles)
    counts = nuclear_counts(store, survey, tiles)
    axes = find_axes(store, survey, survey.genes, gene_vectors(counts), tiles)
    return Start(survey, ground_of(survey, axes), find_profiles(counts, seed=seed))


def nuclear_counts(store: TileStore, survey: Survey, tiles: Iterable[Tile]) -> sparse.csr_matrix:
    """Count the transcripts in or near each nucleus, [M, G]."""
    total = sparse.csr_matrix((len(survey.outlines), len(survey.genes)))
    for tile in tiles:
        table = store.read(tile.core)
        if len(table) == 0:
            continue
        numbers = survey.outlines_in(grown(tile.core, NUCLEAR_DISTANCE))
        x, y = (table[axis].to_numpy().astype(np.float64) for axis in (keys.X, keys.Y))
        tx, cell, _ = candidate_pairs(x, y, survey.outlines[numbers], k=1, max_distance=NUCLEAR_DISTANCE)
        total = total + _count(numbers[cell], gene_tokens(table[keys.GENE], survey.genes)[tx], survey)
    return total


def ground_of(survey: Survey, axes: LocalAxes) -> Ground:
    """Look at the slide's nuclei, given the tissue's axis at each."""
    centres = shapely.get_coordinates(shapely.centroid(survey.outlines))
    asked = min(FOURTH, len(centres))
    distance = np.asarray(cKDTree(centres).query(centres, k=[asked])[0])[:, 0]
    return Ground(
        outlines=survey.outlines,
        centres=centres,
        areas=np.maximum(shapely.area(survey.outlines), 1e-3),
        spacing=np.maximum(distance, 1.0),
        axes=axes,
        typical_reach=float(np.sqrt(10 / (np.pi * max(mean_density(survey), 1e-9)))),
    )


def first_round(
    network: PairNet,
    store: TileStore,
    begin: Start,
    tiles: Iterable[Tile],
    owner: npt.NDArray[np.int32],
    *,
    seed: int = 0,
) -> FirstRound:
    """Assign once, to learn what the cells hold, where they lie, and where one has no nucleus.

    `owner` [rows of the source] is filled.
    """
    tiles, survey, ground = list(tiles), begin.survey, begin.ground
    counts = sparse.csr_matrix(begin.profiles.counts.shape)
    sums = np.zeros((len(survey.outlines), 6))
    middles = []
    for tile in tiles:
        pairs = read_pairs(store, survey, grown(tile.core, REACH + begin.sizes.reach))
        core = inside(pairs.positions, tile.core)
        if not core.any():
            continue
        q, q_none = probabilities(network, first_evidence(pairs, ground, begin.profiles), pairs)
        sure = np.flatnonzero((q > SURE) & core[pairs.tx])
        counts = counts + _count(pairs.cells[pairs.cell[sure]], pairs.tokens[pairs.tx[sure]], survey)
        sums += Territories.of(pairs, q, ground, core).sums
        middles.append(find_middles(pairs.positions, q_none > UNEXPLAINED, core, begin.sizes))
        owner[pairs.rows[core]] = np.where(q_none[core] > UNEXPLAINED, OPEN, NONE)
        owner[pairs.rows[pairs.tx[sure]]] = pairs.cells[pairs.cell[sure]]
    found = np.concatenate([np.empty((0, 2)), *middles])
    return _with_fragments(store, begin, found, counts, Territories(sums), tiles, owner, seed)


def _with_fragments(
    store: TileStore,
    begin: Start,
    middles: Floats,
    counts: sparse.csr_matrix,
    territories: Territories,
    tiles: list[Tile],
    owner: npt.NDArray[np.int32],
    seed: int,
) -> FirstRound:
    """Add the fragments around some middles to the cells, with what lies in their cores."""
    n_nuclei = len(begin.survey.outlines)
    survey = with_fragments(begin.survey, middles, begin.sizes)
    counts.resize(len(survey.outlines), len(survey.genes))
    for tile in tiles:
        table = store.read(tile.core)
        rows = table[keys.ROW].to_numpy()
        unexplained = owner[rows] == OPEN
        owner[rows[unexplained]] = NONE
        table, rows = table.filter(pl.Series(unexplained)), rows[unexplained]
        positions = table.select(keys.X, keys.Y).to_numpy().astype(np.float64)
        cell = in_cores(positions, middles, begin.sizes)
        held = cell >= 0
        owner[rows[held]] = n_nuclei + cell[held]
        tokens = gene_tokens(table[keys.GENE], survey.genes)
        counts = counts + _count(n_nuclei + cell[held], tokens[held], survey)
    nearest = cKDTree(begin.ground.centres).query(middles)[1] if len(middles) else np.empty(0, int)
    axes = LocalAxes(
        *(np.concatenate([part, part[nearest]]) for part in (begin.ground.axes.angle, begin.ground.axes.ratio))
    )
    sums = np.pad(territories.sums, ((0, len(middles)), (0, 0)))
    profiles = find_profiles(counts, seed=seed)
    return FirstRound(survey, ground_of(survey, axes), profiles, Territories(sums), owner, n_nuclei)


def second_features(pairs: TilePairs, before: FirstRound) -> npt.NDArray[np.float32]:
    """Features of the second round, [P, len(SECOND_ROUND)]."""
    owner = in_tile(pairs, before.owner[pairs.rows])
    is_fragment = pairs.cells >= before.n_nuclei
    return second_evidence(pairs, before.ground, before.profiles, before.territories, owner, is_fragment)


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
    pairs = read_pairs(store, before.survey, grown(tile.core, REACH + LAYERS * NEIGHBOUR_DISTANCE))
    core = inside(pairs.positions, tile.core)
    if not core.any():
        return pl.DataFrame(schema=RESULT_SCHEMA)
    q, _ = probabilities(
        model.second,
        second_features(pairs, before),
        pairs,
        place_in_cell(pairs, before.ground),
        pairs_heard(pairs, HEARD),
    )
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


def most_likely(pairs: TilePairs, q: Floats, min_probability: float) -> tuple[Indices, Floats]:
    """The likeliest cell [N] (number on the slide, -1 where none is likely enough), and its probability."""
    best = np.full(len(pairs.tokens), -1.0)
    np.maximum.at(best, pairs.tx, q)
    cell = np.full(len(pairs.tokens), -1, np.int64)
    chosen = (q >= best[pairs.tx]) & (q >= min_probability)
    cell[pairs.tx[chosen][::-1]] = pairs.cells[pairs.cell[chosen]][::-1]  # of equal ones the nearest
    return cell, np.where(cell >= 0, best, 0.0)


def nearest_within(pairs: TilePairs, distance: float, n_nuclei: int) -> Indices:
    """The nearest nucleus of each transcript if near enough, else -1, by its number on the slide, [N]."""
    nearest = pairs.nearest(distance, pairs.cells < n_nuclei)
    return np.where(nearest >= 0, pairs.cells[nearest], -1)


def _count(cell: Indices, gene: Indices, survey: Survey) -> sparse.csr_matrix:
    shape = (len(survey.outlines), len(survey.genes))
    return sparse.coo_matrix((np.ones(len(cell)), (cell, gene)), shape=shape).tocsr()
