"""Hand-made Xenium bundles: five square cells of 10 um in a row, four transcripts in each.

+--------+  +--------+
| +----+ |  | +----+ |
| | a  | |  | | b  | |   ...   cell n spans x = 20 n .. 20 n + 10, its nucleus the middle 4 um
| +----+ |  | +----+ |
+--------+  +--------+
"""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
CELLS = ["aaaa-1", "bbbb-1", "cccc-1", "dddd-1", "eeee-1"]
SUFFIXES = [".parquet", ".csv", ".csv.gz"]

Ring = list[tuple[float, float]]


def square(x: float, y: float, side: float) -> Ring:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]


def vertex_table(rings: list[tuple[object, Ring]]) -> pl.DataFrame:
    """One row a vertex; `rings` are (cell_id, vertices)."""
    rows = [(cell, float(x), float(y)) for cell, ring in rings for x, y in ring]
    ids, xs, ys = zip(*rows, strict=True) if rows else ((), (), ())
    coordinates = {"vertex_x": pl.Series(xs, dtype=pl.Float64), "vertex_y": pl.Series(ys, dtype=pl.Float64)}
    ids = pl.Series(list(ids)) if rows else pl.Series([], dtype=pl.String)
    return pl.DataFrame({"cell_id": ids, **coordinates})


def transcripts(cells: list | None = None) -> pl.DataFrame:
    """Four transcripts a cell, and two outside all cells."""
    cells = CELLS if cells is None else cells
    n = 4 * len(cells) + 2
    unassigned = "UNASSIGNED" if isinstance(cells[0], str) else -1
    genes = ["EPCAM", "CD3E", "NegControlProbe_00001", "KRT8"] * len(cells)
    return pl.DataFrame(
        {
            "transcript_id": pl.Series(range(2**60, 2**60 + n), dtype=pl.UInt64),
            "cell_id": [*(cell for cell in cells for _ in range(4)), unassigned, None],
            "overlaps_nucleus": pl.Series([1, 0] * (n // 2), dtype=pl.UInt8),
            "feature_name": [*genes, "BLANK_0001", "ACTB"],
            "x_location": pl.Series([20.0 * (i // 4) + i % 4 for i in range(n)], dtype=pl.Float32),
            "y_location": pl.Series([0.1 * i for i in range(n)], dtype=pl.Float32),
            "z_location": pl.Series([12.25] * n, dtype=pl.Float32),
            "qv": pl.Series([40.0, 12.5] * (n // 2), dtype=pl.Float32),
            "fov_name": ["A1"] * n,
        }
    )


def write_table(table: pl.DataFrame, path: Path) -> None:
    if path.suffix == ".parquet":
        table.write_parquet(path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(table.write_csv().encode()))
    else:
        table.write_csv(path)


def write_bundle(
    folder: Path,
    *,
    tx: pl.DataFrame | None = None,
    nuclei: pl.DataFrame | None = None,
    cells: pl.DataFrame | None = None,
    suffix: str = ".parquet",
) -> Path:
    """Write a bundle with two boundary tables and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if nuclei is None:
        nuclei = vertex_table([(cell, square(20 * i + 3, 3, 4)) for i, cell in enumerate(CELLS)])
    if cells is None:
        cells = vertex_table([(cell, square(20 * i, 0, 10)) for i, cell in enumerate(CELLS)])
    write_table(transcripts() if tx is None else tx, folder / f"transcripts{suffix}")
    write_table(nuclei, folder / f"nucleus_boundaries{suffix}")
    write_table(cells, folder / f"cell_boundaries{suffix}")
    return folder
