"""Sample: the one in-memory shape that readers return and `segment()` takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import shapely

from tissuegraph import keys

if TYPE_CHECKING:
    import geopandas as gpd

# What `fingerprint` reads: files up to 64 MB whole, larger ones in pieces.
_PIECE_BYTES, _MOST_PIECES, _FOOTER_BYTES = 1 << 20, 64, 4 << 20


@dataclass(frozen=True)
class Sample:
    """One slide: a parquet of transcripts that stays on disk, and outlines in memory.

    Nothing is loaded until a step scans it, so a sample is small, can be pickled and sent to a
    worker. Units are micrometres.

    Attributes
    ----------
    transcripts_path
        A parquet file with one row a transcript, as the platform wrote it.
    columns
        For each canonical column (`keys.GENE`, `keys.X`, ...) the polars expression, over the columns
        of `transcripts_path`, that gives it.
    nuclei, cells
        GeoDataFrames indexed by `cell_id` (string, unique), one Polygon or MultiPolygon a cell, or None.
    platform
        "xenium", ...
    name
        What a report calls the slide.
    source
        What the user gave: the bundle's folder.
    repairs
        What the reader had to mend, as counts: {"nucleus outlines left out": 2, ...}.
    """

    transcripts_path: Path
    columns: Mapping[str, pl.Expr]
    nuclei: gpd.GeoDataFrame | None
    cells: gpd.GeoDataFrame | None
    platform: str
    name: str
    source: Path
    repairs: Mapping[str, int] = field(default_factory=dict)

    def scan(self) -> pl.LazyFrame:
        """Return the transcripts in canonical columns, lazily and in the order of the source.

        `row` (u64, the row's number in the source), `transcript_id` (as given), `gene` (str),
        `x`, `y`, `z` (f32, um), `qv` (f32), `cell_id` (str or null, the vendor's),
        `overlaps_nucleus` (bool or null), `is_control` (bool). A position or a quality that is missing,
        NaN or infinite in the source is null.
        """
        number = "__row"  # a source may have a column `row` of its own
        chosen = [expression.alias(name) for name, expression in self.columns.items()]
        source = pl.scan_parquet(self.transcripts_path, row_index_name=number, glob=False)
        return source.select(pl.col(number).cast(pl.UInt64).alias(keys.ROW), *chosen)

    @property
    def transcripts(self) -> pl.LazyFrame:
        """The canonical transcripts: `scan()` under the name that readers of AnnData expect."""
        return self.scan()

    def fingerprint(self) -> str:
        """Return a hash of what the sample holds, equal for copies in other folders.

        It covers the outlines with their ids, and of the transcripts file the size, the start, the
        footer (row counts and column statistics) and evenly spaced pieces; a small file is covered whole.
        """
        digest = hashlib.sha256()
        _update_from_file(digest, self.transcripts_path)
        for outlines in (self.nuclei, self.cells):
            digest.update(b"none" if outlines is None else str(len(outlines)).encode())
            if outlines is not None:
                digest.update("\n".join(outlines.index).encode())
                digest.update(b"".join(shapely.to_wkb(outlines.geometry.to_numpy())))
        return digest.hexdigest()


def _update_from_file(digest: hashlib._Hash, path: Path) -> None:
    size = path.stat().st_size
    digest.update(str(size).encode())
    step = max(_PIECE_BYTES, size // _MOST_PIECES)
    with path.open("rb") as file:
        for start in (*range(0, size, step), max(0, size - _FOOTER_BYTES)):
            file.seek(start)
            digest.update(file.read(_PIECE_BYTES if start < size - _FOOTER_BYTES else _FOOTER_BYTES))
