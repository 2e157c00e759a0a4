"""The transcripts of a slide, rewritten once by tile, and read back as core + halo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tissuegraph import keys
from tissuegraph.tiles.curve import curve
from tissuegraph.tiles.plan import Bounds, Tile, tile_of

TILE_COLUMNS = (keys.ROW, keys.GENE, keys.X, keys.Y, keys.Z, keys.QV)
"""What a tile file holds: the transcripts that are segmented, without those that were dropped."""


@dataclass(frozen=True)
class TileStore:
    """A folder with one parquet file a tile, rows in the order of the source."""

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
        table = pl.scan_parquet(files, glob=False).filter(inside).collect()
        places = curve(table[keys.X].to_numpy(), table[keys.Y].to_numpy())
        return table[np.lexsort((table[keys.ROW].to_numpy(), places))]

    def files(self, tile: Tile) -> list[Path]:
        """The parquet files of a tile; none where the tile holds no transcript."""
        return sorted((self.folder / f"tile={tile.index}").glob("*.parquet"))


STORE_SCHEMA = {
    keys.ROW: pl.UInt64,
    keys.GENE: pl.String,
    keys.X: pl.Float32,
    keys.Y: pl.Float32,
    keys.Z: pl.Float32,
    keys.QV: pl.Float32,
}


def write_store(transcripts: pl.LazyFrame, tiles: list[Tile], folder: Path) -> TileStore:
    """Cut canonical transcripts into one parquet file a tile, in one streaming pass."""

    def lookup(position: pl.Series) -> pl.Series:
        x, y = (position.struct.field(axis).cast(pl.Float64).to_numpy() for axis in (keys.X, keys.Y))
        return pl.Series(tile_of(x, y, tiles))

    tile = pl.struct(keys.X, keys.Y).map_batches(lookup, return_dtype=pl.Int32, is_elementwise=True)
    target = pl.PartitionBy(folder, key="tile", include_key=False)
    transcripts.select(*TILE_COLUMNS, tile.alias("tile")).sink_parquet(target, mkdir=True, engine="streaming")
    return TileStore(folder, tiles)


def _overlap(a: Bounds, b: Bounds) -> bool:
    return bool(np.all((a[0] < b[2], b[0] < a[2], a[1] < b[3], b[1] < a[3])))
