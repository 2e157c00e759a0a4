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
from tissuegraph.segmentation.axes import find_axes, mean_density
from tissuegraph.segmentation.gene_vectors import gene_vectors
from tissuegraph.segmentation.predict import BASELINE_DISTANCE, RESULT_SCHEMA
from tissuegraph.segmentation.pretrained.agreement import Territories, second_evidence, sure_owner
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles, find_profiles
from tissuegraph.segmentation.pretrained.evidence import Ground, first_evidence
from tissuegraph.segmentation.pretrained.model import PairModel, probabilities
from tissuegraph.segmentation.pretrained.params import NEIGHBOUR_DISTANCE, NUCLEAR_DISTANCE, REACH
from tissuegraph.segmentation.pretrained.tile_pairs import Floats, Indices, TilePairs, read_pairs
from tissuegraph.segmentation.tile_graphs import gene_tokens, inside
from tissuegraph.tiles.plan import Tile, grown
from tissuegraph.tiles.store import TileStore
from tissuegraph.tiles.survey import Survey

FOURTH = 5
"""Centres asked for to find the fourth nearest other one."""


@dataclass(frozen=True)
class FirstRound:
    """What the first round tells the second: profiles and territories of the cells."""

    profiles: CellProfiles
    territories: Territories


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


def find_ground(store: TileStore, survey: Survey, counts: sparse.csr_matrix, tiles: Iterable[Tile]) -> Ground:
    """Look at the slide's nuclei, and find the tissue's axis at each."""
    axes = find_axes(store, survey, survey.genes, gene_vectors(counts), tiles)
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


def look(
    model: PairModel, pairs: TilePairs, ground: Ground, profiles: CellProfiles
) -> tuple[npt.NDArray[np.float32], Floats, Floats]:
    """First round on a tile: features [P, F], probabilities of pairs [P] and of none [N]."""
    features = first_evidence(pairs, ground, profiles)
    return features, *probabilities(model.first, features, pairs)


def first_round(
    model: PairModel,
    store: TileStore,
    survey: Survey,
    ground: Ground,
    profiles: CellProfiles,
    tiles: Iterable[Tile],
    *,
    seed: int = 0,
) -> FirstRound:
    """Assign once, to learn what the cells hold and where they lie."""
    counts = sparse.csr_matrix(profiles.counts.shape)
    sums = np.zeros((len(survey.outlines), 6))
    for tile in tiles:
        pairs = read_pairs(store, survey, grown(tile.core, REACH))
        core = inside(pairs.positions, tile.core)
        if not core.any() or len(pairs.tx) == 0:
            continue
        _, q, _ = look(model, pairs, ground, profiles)
        owner = np.where(core, sure_owner(pairs, q), -1)
        known = owner >= 0
        counts = counts + _count(pairs.cells[owner[known]], pairs.tokens[known], survey)
        sums += Territories.of(pairs, q, ground, core).sums
    return FirstRound(find_profiles(counts, seed=seed), Territories(sums))


def second_round(
    model: PairModel, pairs: TilePairs, ground: Ground, profiles: CellProfiles, before: FirstRound
) -> tuple[Floats, Floats]:
    """Probabilities of a tile's pairs [P] and of none [N], once the neighbours were heard."""
    features, q, q_none = look(model, pairs, ground, profiles)
    added = second_evidence(pairs, q, q_none, ground, before.profiles, before.territories)
    return probabilities(model.second, np.concatenate([features, added], 1), pairs)


def assign_tile(
    model: PairModel,
    store: TileStore,
    survey: Survey,
    ground: Ground,
    profiles: CellProfiles,
    before: FirstRound,
    tile: Tile,
    min_probability: float,
) -> pl.DataFrame:
    """Assign the transcripts of a tile's core; the columns of `segmentation.predict.RESULT_SCHEMA`."""
    pairs = read_pairs(store, survey, grown(tile.core, REACH + NEIGHBOUR_DISTANCE))
    core = inside(pairs.positions, tile.core)
    if not core.any():
        return pl.DataFrame(schema=RESULT_SCHEMA)
    q, _ = second_round(model, pairs, ground, profiles, before)
    cell, probability = most_likely(pairs, q, min_probability)
    columns = {
        keys.ROW: pairs.rows,
        "gene": pairs.tokens,
        keys.X: pairs.positions[:, 0],
        keys.Y: pairs.positions[:, 1],
        "boundary": cell,
        "probability": probability,
        "nearest": nearest_within(pairs, BASELINE_DISTANCE),
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


def nearest_within(pairs: TilePairs, distance: float) -> Indices:
    """The nearest nucleus of each transcript if near enough, else -1, by its number on the slide, [N]."""
    nearest = np.full(len(pairs.tokens), -1, np.int64)
    first = (np.diff(pairs.tx, prepend=-1) != 0) & (pairs.distance <= distance)
    nearest[pairs.tx[first]] = pairs.cells[pairs.cell[first]]
    return nearest


def _count(cell: Indices, gene: Indices, survey: Survey) -> sparse.csr_matrix:
    shape = (len(survey.outlines), len(survey.genes))
    return sparse.coo_matrix((np.ones(len(cell)), (cell, gene)), shape=shape).tocsr()
