"""A tile sees as far as its answers depend: however a slide is cut, it is given the same cells."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph import keys
from tissuegraph.graph.params import GraphParams
from tissuegraph.nn.lit import LitSegger
from tissuegraph.nn.params import SeggerParams
from tissuegraph.segmentation.assign import FittedAssignment
from tissuegraph.segmentation.axes import LocalAxes
from tissuegraph.segmentation.model import SegmentationModel
from tissuegraph.segmentation.params import AssignParams
from tissuegraph.segmentation.predict import predict_tile
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles, find_profiles
from tissuegraph.segmentation.pretrained.start import nuclear_counts
from tissuegraph.segmentation.score import in_panel
from tissuegraph.segmentation.tile_graphs import gene_tokens, inside, reach, read_tile_graph
from tissuegraph.tiles.plan import Tile, plan_tiles
from tissuegraph.tiles.store import TILE_COLUMNS, TileStore, write_store
from tissuegraph.tiles.survey import Survey, survey

SIDE = 80.0
EVERYWHERE = (-np.inf, -np.inf, np.inf, np.inf)
PARAMS = GraphParams(k_tx=4, dist_tx=2.5, k_bd=3, dist_bd=6.0)
PANEL = ("g0", "g1", "g2", "g4", "g5")  # g3 is on the slide, but unknown to the model


@functools.cache
def slide(seed: int) -> tuple[TileStore, Survey]:
    """Random transcripts and nuclei; some transcripts coincide, and one lies far outside."""
    folder, generator = Path(tempfile.mkdtemp()), np.random.default_rng(seed)
    n = 1500
    x, y = generator.uniform(0, SIDE, (2, n)).astype(np.float32)
    x[:40], y[:40] = x[40:80], y[40:80]
    x[-1] = 1e5
    table = pl.DataFrame({keys.GENE: [f"g{i}" for i in generator.integers(0, 6, n)], keys.X: x, keys.Y: y})
    table = table.with_columns(
        z=pl.lit(0.0, pl.Float32), qv=pl.lit(30.0, pl.Float32), is_control=pl.lit(False)
    )
    sample = toy.sample(folder, table, toy.random_outlines(seed, 30, SIDE))
    found = survey(sample, 20.0)
    tiles = plan_tiles(found.histogram, max_transcripts=400, min_side=0.0)
    return write_store(sample.scan().select(TILE_COLUMNS), tiles, folder / "tiles"), found


def axes_of(found: Survey) -> LocalAxes:
    generator = np.random.default_rng(0)
    return LocalAxes(
        generator.uniform(0, np.pi, len(found.outlines)), generator.uniform(1, 1.4, len(found.outlines))
    )


@functools.cache
def model() -> SegmentationModel:
    """A network with random weights that says something of every pair."""
    torch.manual_seed(0)
    segger = SeggerParams(init_emb=4, hidden_channels=8, out_channels=4, heads=2, mid_layers=1)
    network = LitSegger(len(PANEL), segger).eval()
    for parameter in network.model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    fitted, assign = FittedAssignment(stretch_power=2.0), AssignParams(rounds=2)
    return SegmentationModel(network, PANEL, segger, PARAMS, assign, fitted, np.zeros((5, 8), np.float32), 5)


@functools.cache
def profiles(seed: int) -> CellProfiles:
    store, found = slide(seed)
    counts = nuclear_counts(store, found, store.tiles)
    return find_profiles(in_panel(counts, found.genes, PANEL))


def predicted(seed: int, tile: Tile) -> pl.DataFrame:
    store, found = slide(seed)
    return predict_tile(store, found, model(), axes_of(found), profiles(seed), tile, 0.3)


@functools.cache
def predicted_whole(seed: int) -> pl.DataFrame:
    return predicted(seed, Tile(0, EVERYWHERE))


corner = st.floats(-5, SIDE)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1), corner, corner, st.floats(0.5, 40), st.floats(0.5, 40))
def test_a_tile_gives_what_the_whole_slide_gives(seed, x, y, width, height):
    core = (x, y, x + width, y + height)
    found, whole = predicted(seed, Tile(0, core)), predicted_whole(seed)
    expected = whole.filter(pl.Series(inside(whole.select("x", "y").to_numpy(), core)))
    exact = [name for name in whole.columns if name != "probability"]
    assert found.select(exact).equals(expected.select(exact))
    assert found["probability"].to_numpy() == pytest.approx(expected["probability"].to_numpy(), abs=1e-5)


def test_the_whole_slide_is_not_trivial():
    whole = predicted_whole(0)
    assert 0.05 < (whole["boundary"] >= 0).mean() < 0.95
    assert whole["boundary"].n_unique() > 15
    assert len(whole) < 1500


def test_a_core_without_transcripts_gives_an_empty_table():
    found = predicted(0, Tile(0, (1e3, 1e3, 2e3, 2e3)))
    assert len(found) == 0
    assert found.schema == predicted_whole(0).schema


def test_reach_is_bounded_and_holds_the_core():
    _, found = slide(0)
    core = (30.0, 30.0, 50.0, 50.0)
    x0, y0, x1, y1 = reach(core, found, PARAMS, hops=3, rounds=2)
    # rounds and hops of neighbours, and a nucleus of at most 10 um that is just near enough
    most = 2 * 2.5 + 6.0 + 10.0 + 3 * 2.5
    assert 30 - most <= x0 <= 30 - 5 * 2.5
    assert 50 + 5 * 2.5 <= y1 <= 50 + most
    assert y0 < 30 < 50 < x1
    assert reach((1e3, 1e3, 1e3 + 1, 1e3 + 1), found, PARAMS, hops=3, rounds=2) == (
        1e3 - 12.5,
        1e3 - 12.5,
        1e3 + 13.5,
        1e3 + 13.5,
    )
    assert reach(EVERYWHERE, found, PARAMS, hops=3, rounds=2) == EVERYWHERE


def test_genes_outside_the_panel_are_left_out():
    store, found = slide(0)
    graph = read_tile_graph(store, found, EVERYWHERE, PANEL, PARAMS)
    table = store.read(EVERYWHERE).filter(pl.col(keys.GENE) != "g3")
    assert np.array_equal(graph.rows, table[keys.ROW].to_numpy())
    assert [PANEL[token] for token in graph.tokens] == table[keys.GENE].to_list()


def test_tokens_are_places_in_the_sorted_panel():
    panel = tuple(sorted(["ACTB", "Zeb2", "a", "Ärger", "😀", "z"]))
    assert gene_tokens(pl.Series(list(panel[::-1])), panel).tolist() == [5, 4, 3, 2, 1, 0]
    assert pl.Series(panel[::-1]).sort().to_list() == list(panel)
