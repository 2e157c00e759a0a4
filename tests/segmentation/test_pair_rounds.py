"""The two rounds over a slide: however it is cut, every transcript is given the same cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import shapely
import toy
from drawn_pairs import random_model
from scipy.spatial import cKDTree

import tissuegraph as tg
from tissuegraph import keys
from tissuegraph.io.profiles import ReferenceProfiles
from tissuegraph.nn.pair_inference import infer
from tissuegraph.segmentation.predict import RESULT_SCHEMA
from tissuegraph.segmentation.pretrained import rounds
from tissuegraph.segmentation.pretrained.cell_profiles import find_profiles
from tissuegraph.segmentation.pretrained.evidence import first_evidence
from tissuegraph.segmentation.pretrained.fragments import NAME
from tissuegraph.segmentation.pretrained.model import PairModel
from tissuegraph.segmentation.pretrained.params import (
    LAYERS,
    MAX_DISTANCE,
    NEIGHBOUR_DISTANCE,
    NUCLEAR_DISTANCE,
)
from tissuegraph.segmentation.pretrained.rounds import FirstRound
from tissuegraph.segmentation.pretrained.start import Start, start
from tissuegraph.segmentation.pretrained.tile_pairs import read_pairs
from tissuegraph.tiles.plan import Tile, grown, plan_tiles
from tissuegraph.tiles.store import TILE_COLUMNS, TileStore, write_store
from tissuegraph.tiles.survey import kept_transcripts, survey

SEEN = MAX_DISTANCE + (1 + LAYERS) * NEIGHBOUR_DISTANCE
EVERYWHERE = (-np.inf, -np.inf, np.inf, np.inf)
LEAST = 0.5


@dataclass(frozen=True)
class Cut:
    """A slide in tiles, and all that is found out about it before the second round."""

    store: TileStore
    begin: Start
    before: FirstRound

    def assigned(self, model: PairModel) -> pl.DataFrame:
        """The result of all tiles, by row."""
        parts = [rounds.assign_tile(model, self.store, self.before, tile, LEAST) for tile in self.store.tiles]
        return pl.concat(parts).sort(keys.ROW)


@pytest.fixture(scope="module")
def model() -> PairModel:
    return random_model(7)


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> tg.Sample:
    folder = tmp_path_factory.mktemp("rounds") / "slide"
    return tg.read_xenium(tg.simulate.tissue(folder, cells=150, genes=40, counts_per_cell=40, seed=5))


def cut_up(
    sample: tg.Sample, folder, model: PairModel, size: int, reference: ReferenceProfiles | None = None
) -> Cut:
    found = survey(sample, 20.0)
    tiles = plan_tiles(found.histogram, max_transcripts=size, min_side=5.0)
    store = write_store(kept_transcripts(sample, 20.0).select(TILE_COLUMNS), tiles, folder)
    begin = start(store, found, reference=reference)
    owner = np.full(sum(found.counts.values()), -1, np.int32)
    before = rounds.first_round(model.first, store, begin, tiles, owner, reference=reference)
    return Cut(store, begin, before)


@pytest.fixture(scope="module")
def whole(sample, model, tmp_path_factory) -> Cut:
    return cut_up(sample, tmp_path_factory.mktemp("whole") / "tiles", model, 10**9)


@pytest.fixture(scope="module")
def parts(sample, model, tmp_path_factory) -> Cut:
    return cut_up(sample, tmp_path_factory.mktemp("parts") / "tiles", model, 700)


def test_one_tile_or_many_give_the_same_cells(whole, parts, model):
    assert len(whole.store.tiles) == 1
    assert len(parts.store.tiles) >= 8
    one, other = whole.assigned(model), parts.assigned(model)
    exact = [name for name in one.columns if name != "probability"]
    assert one.select(exact).equals(other.select(exact))
    np.testing.assert_allclose(other["probability"], one["probability"], atol=1e-5)
    assert 0.05 < (one["boundary"] >= 0).mean() < 0.95
    assert one["boundary"].n_unique() > 100
    assert (one["boundary"] >= whole.before.n_nuclei).sum() > 50  # of cells without a nucleus
    assert (one["boundary"] != one["nearest"]).mean() > 0.05


def test_one_tile_or_many_tell_the_second_round_the_same(whole, parts):
    assert (whole.begin.profiles.counts != parts.begin.profiles.counts).nnz == 0
    one, other = whole.before, parts.before
    assert one.profiles.counts.sum() > 150
    assert (one.profiles.counts != other.profiles.counts).nnz == 0
    assert (one.owner == other.owner).all()
    assert one.survey.boundary_ids.tolist() == other.survey.boundary_ids.tolist()
    assert shapely.equals(one.survey.outlines, other.survey.outlines).all()
    assert other.territories.sums == pytest.approx(one.territories.sums, abs=1e-3)
    assert other.profiles.membership == pytest.approx(one.profiles.membership, abs=1e-6)
    assert other.ground.axes.ratio == pytest.approx(one.ground.axes.ratio, abs=1e-9)


def test_fragments_come_after_the_nuclei_and_are_counted_from_one(whole):
    before, nuclei = whole.before, whole.begin.survey
    fragments = len(before.survey.outlines) - before.n_nuclei
    assert before.n_nuclei == len(nuclei.outlines)
    assert fragments > 5
    assert before.survey.boundary_ids[: before.n_nuclei].tolist() == nuclei.boundary_ids.tolist()
    names = before.survey.boundary_ids[before.n_nuclei :].tolist()
    assert names == [f"{NAME}{number}" for number in range(1, fragments + 1)]
    of_fragments = before.owner[before.owner >= before.n_nuclei]
    assert set(of_fragments) == set(range(before.n_nuclei, len(before.survey.outlines)))
    held = np.asarray(before.profiles.counts.sum(1)).ravel()[before.n_nuclei :]
    assert (held == np.bincount(of_fragments - before.n_nuclei)).all()


def test_every_candidate_has_its_chance_where_no_probability_is_asked(whole, model):
    tile = whole.store.tiles[0]
    least, every = (
        rounds.assign_tile(model, whole.store, whole.before, tile, asked) for asked in (LEAST, 0.0)
    )
    likely = every["probability"] >= LEAST
    assert least["boundary"].equals(
        pl.select(pl.when(likely).then(every["boundary"]).otherwise(-1)).to_series()
    )
    assert 0.05 < likely.mean() < (every["boundary"] >= 0).mean()


def test_both_rounds_take_the_types_from_a_reference(sample, model, tmp_path):
    genes = 40
    shares = np.random.default_rng(0).dirichlet(np.ones(genes), 3)
    reference = ReferenceProfiles(("a", "b", "c"), shares)
    cut = cut_up(sample, tmp_path / "tiles", model, 10**9, reference)
    for part in (cut.begin, cut.before):
        expected = find_profiles(part.profiles.counts, reference=reference)
        assert (part.profiles.types == expected.types).all()
        without = find_profiles(part.profiles.counts)
        assert without.types.shape != expected.types.shape or (without.types != expected.types).any()


def test_a_round_sees_no_farther_than_it_says(whole, model):
    core = (50.0, 50.0, 70.0, 65.0)
    begin, before = whole.begin, whole.before

    def first(bounds):
        pairs = read_pairs(whole.store, begin.survey, bounds)
        return pairs, infer(model.first, first_evidence(pairs, begin.ground, begin.profiles), pairs.first)

    def second(bounds):
        pairs = read_pairs(whole.store, before.survey, bounds)
        place = rounds.place_in_cell(pairs, before.ground)
        features, heard = rounds.second_features(pairs, before), rounds.pairs_heard(pairs, rounds.HEARD)
        return pairs, infer(model.second, features, pairs.first, place, heard)

    for look, reach in ((first, NEIGHBOUR_DISTANCE), (second, (1 + LAYERS) * NEIGHBOUR_DISTANCE)):
        looks = []
        for bounds in (grown(core, reach), EVERYWHERE):
            pairs, (q, q_none) = look(bounds)
            inside = rounds.inside(pairs.positions, core)
            own = inside[pairs.tx]
            looks.append((pairs.rows[inside], q_none[inside], pairs.cells[pairs.cell[own]], q[own]))
        for one, other in zip(*looks, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
        assert len(looks[0][0]) > 50


def test_counts_are_those_of_a_loop(whole, parts):
    table = parts.store.read(EVERYWHERE)
    x, y, gene = table[keys.X].to_numpy(), table[keys.Y].to_numpy(), table[keys.GENE].to_list()
    tree = shapely.STRtree(whole.begin.survey.outlines)
    expected = np.zeros(whole.begin.profiles.counts.shape)
    code = {name: number for number, name in enumerate(whole.begin.survey.genes)}
    for at, name in zip(shapely.points(x.astype(float), y.astype(float)), gene, strict=True):
        near = tree.query(at, "dwithin", NUCLEAR_DISTANCE)
        outlines = whole.begin.survey.outlines[near]
        signed = np.where(outlines_contain(outlines, at), -1, 1) * shapely.distance(
            shapely.boundary(outlines), at
        )
        if len(near):
            expected[near[signed.argmin()], code[name]] += 1
    assert expected.sum() > 700
    assert (whole.begin.profiles.counts.toarray() == expected).all()


def outlines_contain(outlines: np.ndarray, at: shapely.Point) -> np.ndarray:
    return np.array([outline.contains(at) for outline in outlines], bool)


def test_the_ground_is_what_it_says(whole):
    ground, outlines = whole.begin.ground, whole.begin.survey.outlines
    centres = np.array([[outline.centroid.x, outline.centroid.y] for outline in outlines])
    assert ground.centres == pytest.approx(centres)
    assert ground.areas == pytest.approx([outline.area for outline in outlines])
    apart = np.sort(np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1)), 1)
    assert ground.spacing == pytest.approx(apart[:, 4])  # itself is the first
    positions = whole.store.read(EVERYWHERE).select(keys.X, keys.Y).to_numpy()
    tenth = cKDTree(positions).query(positions, k=[11])[0]
    assert ground.typical_reach == pytest.approx(np.median(tenth), rel=0.4)


def test_the_result_holds_every_transcript_and_the_nearest_nucleus(whole, model):
    found = whole.assigned(model)
    table = whole.store.read(EVERYWHERE).sort(keys.ROW)
    assert found.schema == RESULT_SCHEMA
    assert found[keys.ROW].to_list() == table[keys.ROW].to_list()
    assert [whole.begin.survey.genes[i] for i in found["gene"]] == table[keys.GENE].to_list()
    assert found.select(keys.X, keys.Y).equals(table.select(keys.X, keys.Y))
    assigned = found.filter(pl.col("boundary") >= 0)
    assert assigned["probability"].is_between(LEAST, 1).all()
    assert (found.filter(pl.col("boundary") < 0)["probability"] == 0).all()
    points = shapely.points(found[keys.X].to_numpy().astype(float), found[keys.Y].to_numpy().astype(float))
    distance = shapely.distance(points[:300, None], whole.begin.survey.outlines[None])
    is_near = distance.min(1) <= 5
    nearest = found["nearest"].to_numpy()[:300]
    assert ((nearest >= 0) == is_near).all()
    assert distance[is_near, nearest[is_near]] == pytest.approx(distance[is_near].min(1))


def test_a_core_far_from_all_gives_what_it_has(whole, model):
    empty = rounds.assign_tile(model, whole.store, whole.before, Tile(0, (1e6, 1e6, 2e6, 2e6)), LEAST)
    assert len(empty) == 0
    assert empty.schema == RESULT_SCHEMA


def drawn_slide(folder, positions: np.ndarray, outlines: np.ndarray, genes: int = 4) -> tg.Sample:
    n = len(positions)
    table = pl.DataFrame(
        {
            keys.GENE: [f"g{i % genes}" for i in range(n)],
            keys.X: positions[:, 0].astype(np.float32),
            keys.Y: positions[:, 1].astype(np.float32),
        }
    ).with_columns(z=pl.lit(0.0, pl.Float32), qv=pl.lit(30.0, pl.Float32), is_control=pl.lit(False))
    return toy.sample(folder, table, outlines)


@pytest.mark.parametrize("genes", [1, 4])
@pytest.mark.parametrize("nuclei", [1, 3])
def test_few_nuclei_few_genes_and_tiles_without_nuclei(tmp_path, model, nuclei, genes):
    positions = np.random.default_rng(0).uniform(0, 400, (1500, 2))
    outlines = toy.random_outlines(0, nuclei, 30.0)
    sample = drawn_slide(tmp_path, positions, outlines, genes)
    one = cut_up(sample, tmp_path / "one", model, 10**9)
    many = cut_up(sample, tmp_path / "many", model, 100)
    without = [
        tile for tile in many.store.tiles if len(many.before.survey.outlines_in(grown(tile.core, SEEN))) == 0
    ]
    found = one.assigned(model)
    assert len(without) > 0
    assert len(found) == 1500
    other = many.assigned(model)
    assert found["boundary"].equals(other["boundary"])
    np.testing.assert_allclose(other["probability"], found["probability"], atol=1e-5)
    assert (found["boundary"] >= 0).any()
