"""The store: whatever the cut, bounds give what a plain filter gives."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tissuegraph import keys
from tissuegraph.tiles.curve import curve
from tissuegraph.tiles.plan import Tile, plan_tiles, transcript_histogram
from tissuegraph.tiles.store import GROUPS, STORE_SCHEMA, TILE_COLUMNS, write_store

EVERYWHERE = (-np.inf, -np.inf, np.inf, np.inf)


def table_of(seed: int, n: int) -> pl.DataFrame:
    """Canonical transcripts; coordinates on a grid, so that many lie on cuts and on bounds."""
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, 200, (2, n)) / 2
    data = {
        keys.ROW: np.sort(generator.choice(10 * n + 1, n, replace=False)).astype(np.uint64),
        keys.GENE: [f"g{i}" for i in generator.integers(0, 5, n)],
        keys.X: x,
        keys.Y: y,
        keys.Z: pl.Series([None] * n, dtype=pl.Float32),
        keys.QV: generator.uniform(20, 40, n),
        keys.IS_CONTROL: [False] * n,
    }
    return pl.DataFrame(data).cast(STORE_SCHEMA)  # type: ignore[arg-type]


def cut(table: pl.DataFrame, max_transcripts: int) -> list[Tile]:
    histogram = transcript_histogram(table.lazy(), (10.0, 10.0, 90.0, 50.0))
    return plan_tiles(histogram, max_transcripts=max_transcripts, min_side=0.0)


def plain(table: pl.DataFrame, bounds) -> pl.DataFrame:
    x0, y0, x1, y1 = bounds
    x, y = (table[axis].cast(pl.Float64) for axis in (keys.X, keys.Y))
    return table.filter((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).select(TILE_COLUMNS)


def along_curve(table: pl.DataFrame) -> pl.DataFrame:
    places = curve(table[keys.X].to_numpy(), table[keys.Y].to_numpy())
    return table.with_columns(pl.Series("place", places)).sort("place", keys.ROW).drop("place")


coordinate = st.one_of(st.floats(-10, 110), st.sampled_from([0.0, 10.0, 50.5, 99.5, -np.inf, np.inf]))


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 300),
    st.sampled_from([5, 40, 1000]),
    st.lists(st.tuples(*[coordinate] * 4), min_size=5, max_size=5),
)
def test_bounds_give_what_a_plain_filter_gives(seed, n, max_transcripts, all_bounds):
    table = table_of(seed, n)
    tiles = cut(table, max_transcripts)
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(table.lazy(), tiles, Path(folder) / "tiles")
        for bounds in [EVERYWHERE, *all_bounds]:
            assert_frame_equal(store.read(bounds), along_curve(plain(table, bounds)))


def test_cores_give_every_transcript_once(tmp_path):
    table = table_of(3, 400)
    store = write_store(table.lazy(), cut(table, 30), tmp_path / "tiles")
    parts = [store.read(tile.core) for tile in store.tiles]
    assert len(store.tiles) > 10
    assert_frame_equal(pl.concat(parts).sort(keys.ROW), table.select(TILE_COLUMNS))


def test_files_hold_their_core_along_the_curve(tmp_path):
    table = table_of(4, 400)
    store = write_store(table.lazy(), cut(table, 50), tmp_path / "tiles")
    for tile in store.tiles:
        stored = [pl.read_parquet(file, hive_partitioning=False) for file in store.files(tile)]
        expected = along_curve(plain(table, tile.core))
        assert_frame_equal(pl.concat(stored) if stored else expected.clear(), expected)


def test_a_halo_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("tissuegraph.tiles.store.ROWS_A_PIECE", 7)
    table = table_of(10, 3_000)
    store = write_store(table.lazy(), cut(table, 400), tmp_path / "tiles")
    for bounds in [EVERYWHERE, (20.5, 10.0, 40.0, 30.5), (33.3, 11.1, 33.4, 50.0)]:
        assert_frame_equal(store.read(bounds), along_curve(plain(table, bounds)))


def test_twice_the_same_bytes(tmp_path):
    table = table_of(5, 5000)
    contents = []
    for name in ("first", "second"):
        store = write_store(table.lazy(), cut(table, 300), tmp_path / name)
        files = sorted(store.folder.rglob("*.parquet"))
        contents.append({file.relative_to(store.folder): file.read_bytes() for file in files})
    assert contents[0] == contents[1]
    assert len(contents[0]) > 10


@pytest.mark.parametrize("name", ["out[1]", "out*", "a b", "x=3"])
def test_folders_may_have_any_name(tmp_path, name):
    table = table_of(6, 50)
    store = write_store(table.lazy(), cut(table, 10), tmp_path / name)
    assert_frame_equal(store.read(EVERYWHERE).sort(keys.ROW), table.select(TILE_COLUMNS))


def test_an_empty_slide_reads_as_an_empty_table(tmp_path):
    store = write_store(table_of(7, 0).lazy(), cut(table_of(7, 0), 10), tmp_path / "tiles")
    assert store.read(EVERYWHERE).schema == STORE_SCHEMA
    assert len(store.read(EVERYWHERE)) == 0


def test_many_tiles_have_one_file_each_and_nothing_else_is_left(tmp_path):
    table = table_of(8, 20_000).sample(fraction=1.0, shuffle=True, seed=1)
    tiles = cut(table, 60)
    assert len(tiles) > 3 * GROUPS
    store = write_store(table.lazy(), tiles, tmp_path / "tiles")
    held = [tile for tile in tiles if store.count(tile)]
    assert {path.name for path in store.folder.iterdir()} == {f"tile_{tile.index}.parquet" for tile in held}
    assert sum(map(store.count, tiles)) == len(table)
    for tile in held[:: len(held) // 10]:
        assert_frame_equal(pl.read_parquet(store.files(tile)), along_curve(plain(table, tile.core)))


def test_rows_that_are_written_at_several_times_are_all_there(tmp_path, monkeypatch):
    monkeypatch.setattr("tissuegraph.tiles.store.ROWS_BUFFERED", 50)
    table = table_of(9, 30_000)
    table.write_parquet(tmp_path / "source.parquet", row_group_size=700)
    store = write_store(pl.scan_parquet(tmp_path / "source.parquet"), cut(table, 4_000), tmp_path / "tiles")
    for tile in store.tiles:
        assert_frame_equal(pl.read_parquet(store.files(tile)), along_curve(plain(table, tile.core)))
