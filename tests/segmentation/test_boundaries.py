"""Outlines of cells: valid, disjoint, around their transcripts and nuclei, for every cell however small."""

from __future__ import annotations

from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import polars as pl
import pytest
import shapely
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

import tissuegraph as tg
from tissuegraph import keys
from tissuegraph.segmentation import cell_tables
from tissuegraph.segmentation.boundaries import cell_outlines
from tissuegraph.segmentation.outlines import windows
from tissuegraph.segmentation.outlines.contours import contours
from tissuegraph.segmentation.pretrained.cell_counts import total

NOTHING = shapely.Polygon()
seeds = st.integers(0, 10**6)


def shares_inside(outlines: np.ndarray, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Share of each cell's transcripts in its outline, 1 for a cell without any."""
    inside = shapely.intersects_xy(outlines[cell], *positions.astype(float).T)
    counts = np.bincount(cell, minlength=len(outlines))
    held = np.bincount(cell, inside, len(outlines))
    return np.divide(held, counts, out=np.ones(len(outlines)), where=counts > 0)


def shared_area(outlines: np.ndarray) -> float:
    one, other = shapely.STRtree(outlines).query(outlines)
    shared = shapely.intersection(outlines[one], outlines[other])
    return float(shapely.area(shared)[one < other].sum())


def check(outlines: np.ndarray, cells: np.ndarray) -> None:
    """Single valid polygons, disjoint; those of `cells` are not empty."""
    assert (shapely.get_type_id(outlines) == shapely.GeometryType.POLYGON).all()
    assert shapely.is_valid(outlines).all()
    assert (shapely.area(outlines[cells]) > 0).all()
    assert shared_area(outlines) < 1e-9


@st.composite
def slides(draw, apart=False):
    """Cells of all kinds: empty, single, collinear, piled up, thin, with strays, without a nucleus.

    On one heap, in the same place too; or, if `apart`, 300 um from each other.
    """
    generator = np.random.default_rng(draw(seeds))
    nuclei = toy.random_outlines(draw(seeds), draw(st.integers(1, 6)), 30.0)
    kinds = st.sampled_from(["none", "one", "two", "line", "pile", "cloud", "strays", "copy"])
    positions, cell = [np.empty((0, 2))], []
    for number, nucleus in enumerate(nuclei):
        kind = draw(kinds)
        n = {"none": 0, "one": 1, "two": 2}.get(kind, draw(st.integers(1, 60)))
        spread = {"line": (6, 0), "pile": (0, 0), "strays": (3, 3)}.get(kind, (5, 2))
        own = generator.normal(nucleus.centroid.coords[0], spread, (n, 2))
        if kind == "strays":
            own[:: max(n // 2, 1)] += generator.uniform(-60, 60, 2)
        if kind == "copy" and not apart:
            own = positions[-1].copy()
        if draw(st.booleans()) and len(own):
            nuclei[number] = NOTHING
        positions.append(own)
        cell += [number] * len(own)
    cell, positions = np.array(cell, np.int64), np.vstack(positions)
    if apart:
        step = 300.0 * np.arange(len(nuclei))
        positions[:, 0] += step[cell]
        nuclei = np.array(
            [shapely.affinity.translate(one, x) for one, x in zip(nuclei, step, strict=True)], object
        )
    order = generator.permutation(len(cell))
    return positions[order].astype(np.float32), cell[order], nuclei


@settings(max_examples=60, deadline=None)
@given(slides())
def test_outlines_are_valid_and_disjoint(slide):
    positions, cell, nuclei = slide
    check(cell_outlines(positions, cell, nuclei), np.unique(cell))


@settings(max_examples=40, deadline=None)
@given(slides(apart=True))
def test_outlines_without_rivals_hold_their_transcripts_and_nuclei(slide):
    positions, cell, nuclei = slide
    outlines = cell_outlines(positions, cell, nuclei)
    check(outlines, np.unique(cell))
    assert (shares_inside(outlines, positions, cell) >= 0.9).all()
    assert shapely.covers(shapely.buffer(outlines, 1e-6), nuclei)[~shapely.is_empty(nuclei)].all()


@settings(max_examples=40, deadline=None)
@given(slides())
def test_a_nucleus_that_no_other_touches_lies_in_its_cell(slide):
    positions, cell, nuclei = slide
    outlines = shapely.buffer(cell_outlines(positions, cell, nuclei), 1e-6)
    free = shapely.intersects(nuclei, nuclei[:, None]).sum(0) == 1
    assert shapely.covers(outlines[free], nuclei[free]).all()


@settings(max_examples=30, deadline=None)
@given(slides(), seeds)
def test_no_order_matters(slide, seed):
    positions, cell, nuclei = slide
    generator = np.random.default_rng(seed)
    order, named = generator.permutation(len(cell)), generator.permutation(len(nuclei))
    number = np.argsort(named)  # cell i is called number[i]
    outlines = cell_outlines(positions, cell, nuclei)
    shuffled = cell_outlines(positions[order], number[cell[order]], nuclei[named])
    twins = shapely.is_empty(nuclei).sum() > 1  # cells that nothing tells apart may change places
    if not twins:
        assert shapely.equals_exact(shuffled, outlines[named], 0).all()
    else:
        assert sorted(shapely.to_wkb(shuffled)) == sorted(shapely.to_wkb(outlines))


def crowd(seed: int, n_cells: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells that overlap each other on a square of 90 um, some without a nucleus."""
    generator = np.random.default_rng(seed)
    nuclei = toy.random_outlines(seed, n_cells, 90.0)
    nuclei[::7] = NOTHING
    cell = np.sort(generator.integers(0, n_cells, 60 * n_cells))
    middles = np.random.default_rng(seed).uniform(0, 90, (n_cells, 2))
    return generator.normal(middles[cell], 3).astype(np.float32), cell, nuclei


@pytest.mark.parametrize(("side", "transcripts"), [(1000.0, 10**6), (40.0, 10**6), (1000.0, 500)])
def test_outlines_do_not_depend_on_the_windows(side, transcripts, monkeypatch):
    positions, cell, nuclei = crowd(3)
    x, y = positions.T
    probability = np.linspace(0.5, 1, len(cell), dtype=np.float32)
    table = pl.DataFrame(
        {
            keys.ROW: np.arange(len(cell)),
            keys.X: x,
            keys.Y: y,
            "boundary": 10 + cell.astype(np.int32),
            "gene": np.arange(len(cell)) % 7,
            "probability": probability,
        }
    )
    monkeypatch.setattr(windows, "WINDOW", side)
    monkeypatch.setattr(windows, "TRANSCRIPTS", transcripts)
    assigned = table.sample(fraction=1, shuffle=True, seed=1).lazy()
    outlines = np.concatenate([np.full(10, NOTHING), nuclei])
    survey = SimpleNamespace(outlines=outlines, boxes=shapely.bounds(outlines))
    cells = cell_tables._drawn_cells(assigned, cell_tables._spans(assigned), survey)
    drawn = shapely.from_wkb(cells.outlines)
    check(drawn, np.arange(len(nuclei)))
    assert shapely.equals_exact(drawn, cell_outlines(positions, cell, nuclei), 0).all()
    assert np.array_equal(cells.areas, shapely.area(drawn))
    assert cells.centres[5] == pytest.approx(positions[cell == 5].mean(0), abs=1e-4)
    assert cells.mean_probability[5] == pytest.approx(probability[cell == 5].mean(), abs=1e-6)
    expected = np.zeros((len(nuclei), 7))
    np.add.at(expected, (cell, np.arange(len(cell)) % 7), 1)
    assert np.array_equal(total(cells.counts, expected.shape).toarray(), expected)
    assert np.array_equal(cells.n_genes, (expected > 0).sum(1))


def test_a_slide_without_cells_has_no_outlines():
    columns = (keys.ROW, keys.X, keys.Y, "gene", "probability")
    assigned = pl.LazyFrame({"boundary": [0], **{name: [0.0] for name in columns}}).head(0)
    survey = SimpleNamespace(outlines=toy.nuclei(), boxes=shapely.bounds(toy.nuclei()))
    cells = cell_tables._drawn_cells(assigned, cell_tables._spans(assigned), survey)
    assert cells.outlines.shape == (0,)
    assert cells.centres.shape == (0, 2)
    assert total(cells.counts, (0, 3)).shape == (0, 3)


def test_outlines_hold_the_nucleus():
    outlines = cell_outlines(toy.positions(), toy.OWNER, toy.nuclei())
    check(outlines, np.arange(5))
    assert (shares_inside(outlines, toy.positions(), toy.OWNER) == 1).all()
    assert shapely.covers(outlines, toy.nuclei()).all()
    assert shapely.covers(shapely.buffer(toy.cells(), 2), outlines).all()


def test_the_border_is_where_it_was_however_dense_the_cells():
    """Two squares side by side, the right one with eight times as many transcripts."""
    generator = np.random.default_rng(1)
    left, right = (
        generator.uniform((0, 0), (10, 10), (100, 2)),
        generator.uniform((10, 0), (20, 10), (800, 2)),
    )
    nuclei = np.array([toy.ellipse((5, 5), 2, 2), toy.ellipse((15, 5), 2, 2)])
    cell = np.repeat([0, 1], [100, 800])
    outlines = cell_outlines(np.vstack([left, right]), cell, nuclei)
    true = np.array([shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10)])
    assert (shapely.area(outlines & true) / shapely.area(outlines | true) > 0.85).all()
    assert shapely.area(outlines) == pytest.approx([100, 100], rel=0.12)


def test_a_large_nucleus_takes_the_ground_of_a_small_one_in_it():
    nuclei = np.array([toy.ellipse((0, 0), 2, 2), toy.ellipse((0.5, 0), 6, 6)])
    positions = np.array([(0, 0), (-1, 0), (-8, 0), (-8.5, 0.5), (3, 3)], float)
    outlines = cell_outlines(positions, np.array([0, 0, 0, 0, 1]), nuclei)
    check(outlines, np.arange(2))
    assert shapely.covers(shapely.buffer(outlines[1], 1e-6), nuclei[1])


@pytest.mark.parametrize("n_cells", [2, 5])
def test_cells_in_one_place_share_it(n_cells):
    nuclei = np.full(n_cells, toy.ellipse((0, 0), 3, 2))
    outlines = cell_outlines(np.zeros((n_cells, 2)), np.arange(n_cells), nuclei)
    check(outlines, np.arange(n_cells))


def test_a_cell_in_another_is_cut_out_of_it():
    labels = np.full((30, 30), -1, np.int32)
    labels[3:25, 3:25], labels[10:15, 10:15] = 0, 1
    outer, inner = contours(labels, np.array([7, -4]), 2)
    assert shapely.covers(outer, inner)
    generator = np.random.default_rng(0)
    angle, far = generator.uniform(0, 2 * np.pi, 300), generator.uniform(5, 8, 300)
    around = np.column_stack([far * np.cos(angle), far * np.sin(angle)])
    positions = np.vstack([around, generator.normal(0, 0.6, (60, 2))])
    outlines = cell_outlines(positions, np.repeat([0, 1], [300, 60]), np.full(2, NOTHING))
    check(outlines, np.arange(2))


def test_borders_are_smooth():
    """A slanting border on the raster becomes a line, and a disc becomes round."""
    i, j = np.mgrid[:60, :60]
    labels = np.where(j > 0.4 * i + 12, 0, 1).astype(np.int32)
    labels[:2] = labels[-2:] = -1
    labels[:, :2] = labels[:, -2:] = -1
    one, other = contours(labels, np.zeros(2, int), 2)
    border = shapely.get_coordinates(one.intersection(other))
    inner = border[(border[:, 0] > 6) & (border[:, 0] < 24)]
    off_line = inner[:, 1] - 0.4 * inner[:, 0]
    assert np.ptp(off_line) < 0.25
    disc = np.where(np.hypot(i - 30, j - 30) < 20, 0, -1).astype(np.int32)
    (round_one,) = contours(disc, np.zeros(2, int), 1)
    assert 4 * np.pi * round_one.area / round_one.length**2 > 0.98


def test_one_stray_transcript_draws_no_spike():
    positions = np.vstack([np.random.default_rng(0).uniform(0, 10, (60, 2)), [[80.0, 5.0]]])
    (outline,) = cell_outlines(positions, np.zeros(61, np.int64), toy.nuclei()[:1])
    assert outline.bounds[2] < 11.5


def test_a_bent_cell_is_not_made_convex():
    angle = np.linspace(0, np.pi, 200)
    positions = 20 * np.column_stack([np.cos(angle), np.sin(angle)])
    nucleus = np.array([toy.ellipse((20, 0), 2, 2)])
    (outline,) = cell_outlines(positions, np.zeros(200, np.int64), nucleus)
    assert outline.area < 0.97 * outline.convex_hull.area


@pytest.mark.parametrize("cells", [0, 2])
def test_without_transcripts_the_nucleus_is_the_cell(cells):
    nuclei = toy.nuclei()[:cells]
    outlines = cell_outlines(np.empty((0, 2)), np.empty(0, np.int64), nuclei)
    assert len(outlines) == cells
    assert shapely.area(outlines) == pytest.approx(shapely.area(nuclei))


def test_outlines_of_the_true_cells_are_close_to_the_truth(tmp_path):
    """On elongated tissue; the hulls of nucleus and transcripts reach a median IoU of 0.77."""
    bundle = tg.simulate.tissue(tmp_path / "slide", cells=120, elongation=3, seed=5)
    true = gpd.read_parquet(bundle / keys.TRUTH_CELLS_FILE).set_index(keys.CELL_ID).geometry
    rows = tg.read_xenium(bundle).scan().select(keys.TRANSCRIPT_ID, keys.X, keys.Y).collect()
    truth = pl.read_parquet(bundle / keys.TRUTH_FILE)
    rows = rows.join(truth, on=keys.TRANSCRIPT_ID, maintain_order="left").drop_nulls(keys.TRUE_CELL_ID)
    cell = true.index.get_indexer(rows[keys.TRUE_CELL_ID].to_numpy())
    positions = rows.select(keys.X, keys.Y).to_numpy()
    outlines = cell_outlines(positions, cell, np.full(len(true), NOTHING))
    check(outlines, np.unique(cell))
    true = true.to_numpy()
    assert np.median(shapely.area(outlines & true) / shapely.area(outlines | true)) > 0.83
    assert (shares_inside(outlines, positions, cell) >= 0.9).mean() > 0.95
