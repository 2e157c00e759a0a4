"""The manifest: what a store was made of, and the sign that it is whole."""

from __future__ import annotations

import json
import math

import polars as pl
import pytest

from tissuegraph import keys
from tissuegraph.tiles.manifest import Manifest, read_manifest, write_manifest
from tissuegraph.tiles.plan import Tile, plan_tiles, transcript_histogram
from tissuegraph.tiles.store import STORE_SCHEMA, TileStore, write_store

ENDLESS = math.inf


@pytest.fixture
def store(tmp_path) -> TileStore:
    data = {
        keys.ROW: range(100),
        keys.GENE: ["a"] * 100,
        keys.X: [n % 10 for n in range(100)],
        keys.Y: [n // 10 for n in range(100)],
        keys.Z: [None] * 100,
        keys.QV: [30.0] * 100,
    }
    table = pl.DataFrame(data).cast(STORE_SCHEMA)  # type: ignore[arg-type]
    histogram = transcript_histogram(table.lazy(), (0.0, 0.0, 10.0, 10.0))
    tiles = plan_tiles(histogram, max_transcripts=20, min_side=0.0)
    return write_store(table.lazy(), tiles, tmp_path / "tiles")


def write(store: TileStore) -> Manifest:
    return write_manifest(store, fingerprint="abc", parameters={"min_qv": 20.0}, versions={"polars": "2"})


def test_what_is_written_is_read(store):
    manifest = write(store)
    assert read_manifest(store.folder) == manifest
    assert list(manifest.tiles) == store.tiles
    assert sum(manifest.transcripts) == 100
    assert max(manifest.transcripts) <= 20


def test_it_is_json_that_any_program_reads(store):
    def refuse(word: str) -> None:
        raise AssertionError(word)

    write(store)
    card = json.loads((store.folder / "manifest.json").read_text(), parse_constant=refuse)
    assert card["fingerprint"] == "abc"
    assert card["parameters"] == {"min_qv": 20.0}
    assert card["transcripts"] == 100
    assert card["tiles"][0]["bounds"][0] is None
    assert sum(tile["transcripts"] for tile in card["tiles"]) == 100


def test_a_store_without_it_is_not_whole(store):
    assert read_manifest(store.folder) is None
    assert not any(path.suffix == ".json" for path in store.folder.iterdir())


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "tissuegraph tile store 99"}'])
def test_one_that_is_broken_or_of_another_format_is_none(store, content):
    write(store)
    (store.folder / "manifest.json").write_text(content)
    assert read_manifest(store.folder) is None


def test_a_store_that_lost_a_tile_is_not_whole(store):
    write(store)
    store.files(store.tiles[0])[0].unlink()
    assert read_manifest(store.folder) is None


def test_tiles_without_transcripts_have_no_file(tmp_path):
    tiles = [Tile(0, (-ENDLESS, -ENDLESS, 5.0, ENDLESS)), Tile(1, (5.0, -ENDLESS, ENDLESS, ENDLESS))]
    table = pl.DataFrame({name: [1] for name in STORE_SCHEMA}).cast(STORE_SCHEMA)  # type: ignore[arg-type]
    store = write_store(table.lazy(), tiles, tmp_path / "tiles")
    assert write(store).transcripts == (1, 0)
    assert read_manifest(store.folder) is not None
