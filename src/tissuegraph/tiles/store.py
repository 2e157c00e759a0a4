"""The transcripts of a slide, rewritten once by tile, and read back as core + halo."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from tissuegraph import keys
from tissuegraph.tiles.curve import curve
from tissuegraph.tiles.plan import Bounds, Tile, tile_finder

TILE_COLUMNS = (keys.ROW, keys.GENE, keys.X, keys.Y, keys.Z, keys.QV)
"""What a tile file holds: the transcripts that are segmented, without those that were dropped."""

STORE_SCHEMA = {
    keys.ROW: pl.UInt64,
    keys.GENE: pl.String,
    keys.X: pl.Float32,
    keys.Y: pl.Float32,
    keys.Z: pl.Float32,
    keys.QV: pl.Float32,
}

MAX_TILES = 1300
"""Tiles of a slide, at most: with the results of the run, its files stay below 2,000."""
GROUPS = 64
"""Files that are written at a time, each with many tiles; polars keeps no more than 128 open."""
ROWS_A_PIECE = 5_000
"""Rows of a tile's file that lie together: who reads what is around a neighbour skips most of them."""
ROWS_BUFFERED = 10_000
"""Rows that wait for each of these files: bounds the memory, whatever the slide."""


@dataclass(frozen=True)
class TileStore:
    """A folder with one parquet file a tile, rows along the slide's `curve`."""

    folder: Path
    tiles: list[Tile]

    def read(self, bounds: Bounds) -> pl.DataFrame:
        """Transcripts inside `bounds` (um), whichever tiles they lie in.

        They are sorted along the slide's `curve`, those of one square by `row`: any two stand in the same
        order in every tile that holds both.
        """
        x0, y0, x1, y1 = bounds
        x, y = pl.col(keys.X).cast(pl.Float64), pl.col(keys.Y).cast(pl.Float64)
        inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        files = [file for tile in self.tiles if _overlap(tile.core, bounds) for file in self.files(tile)]
        if not files:
            return pl.DataFrame(schema=STORE_SCHEMA)
        return _along_curve(pl.scan_parquet(files, glob=False).filter(_nearly(bounds), inside).collect())

    def files(self, tile: Tile) -> list[Path]:
        """The parquet file of a tile; none where the tile holds no transcript."""
        file = self.folder / f"tile_{tile.index}.parquet"
        return [file] if file.exists() else []

    def count(self, tile: Tile) -> int:
        """Transcripts in the core of a tile."""
        return sum(pq.read_metadata(file).num_rows for file in self.files(tile))


def write_store(transcripts: pl.LazyFrame, tiles: list[Tile], folder: Path) -> TileStore:
    """Cut canonical transcripts into one parquet file a tile; only a share of them is ever in memory.

    One streaming pass writes groups of tiles, `GROUPS` at most; each group is then cut into its tiles.
    """
    find, a_group = tile_finder(tiles), max(ceil(len(tiles) / GROUPS), 1)

    def lookup(position: pl.Series) -> pl.Series:
        x, y = (position.struct.field(axis).cast(pl.Float64).to_numpy() for axis in (keys.X, keys.Y))
        return pl.Series(find(x, y))

    tile = pl.struct(keys.X, keys.Y).map_batches(lookup, return_dtype=pl.Int32, is_elementwise=True)
    placed = transcripts.select(*TILE_COLUMNS, tile.alias("tile"))
    groups = folder / "groups"
    groups.mkdir(parents=True)
    target = pl.PartitionBy(groups, key={"group": pl.col("tile") // a_group}, include_key=False)
    placed.sink_parquet(target, mkdir=True, engine="streaming", row_group_size=ROWS_BUFFERED)
    for group in sorted(groups.iterdir()):
        _cut_group(sorted(group.iterdir()), folder)
    shutil.rmtree(groups)
    return TileStore(folder, tiles)


def _cut_group(files: Iterable[Path], folder: Path) -> None:
    """Write the tiles of one group, and take the group's own files away."""
    table = pl.concat([pl.read_parquet(file, glob=False, hive_partitioning=False) for file in files])
    parts = table.partition_by("tile", maintain_order=True, include_key=False, as_dict=True)
    for (index,), part in parts.items():
        _along_curve(part).write_parquet(folder / f"tile_{index}.parquet", row_group_size=ROWS_A_PIECE)
    for file in files:
        file.unlink()


def _nearly(bounds: Bounds) -> pl.Expr:
    """What holds for all inside `bounds`, in the precision of the files, whose statistics can then tell."""
    x0, y0, x1, y1 = (
        float(np.nextafter(np.float32(bound), np.float32(side * np.inf)))
        for bound, side in zip(bounds, (-1, -1, 1, 1), strict=True)
    )
    low_x, low_y, high_x, high_y = (pl.lit(bound, pl.Float32) for bound in (x0, y0, x1, y1))
    x, y = pl.col(keys.X), pl.col(keys.Y)
    return (x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y)


def _along_curve(table: pl.DataFrame) -> pl.DataFrame:
    """Rows sorted along the slide's curve, those of one square of it by their number in the source."""
    places = curve(table[keys.X].to_numpy(), table[keys.Y].to_numpy())
    return table[np.lexsort((table[keys.ROW].to_numpy(), places))]


def _overlap(a: Bounds, b: Bounds) -> bool:
    return bool(np.all((a[0] < b[2], b[0] < a[2], a[1] < b[3], b[1] < a[3])))
