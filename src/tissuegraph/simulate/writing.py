"""The files of a simulated slide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from tissuegraph.simulate.arrays import Floats, Integers

EXPERIMENT_FILE = "experiment.xenium"
GEO = {
    "version": "1.0.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": None}},
}


class Outlines(Protocol):
    """Closed outlines, one a cell, whatever they are made of."""

    def __len__(self) -> int:
        """Return the number of outlines."""

    def areas(self) -> Floats:
        """Return the areas, (n,), um2."""

    def centroids(self) -> Floats:
        """Return the centres of mass, (n, 2), um."""

    def closed_rings(self, part: slice) -> tuple[Floats, Integers]:
        """Return the vertices of the closed rings of a part, (m, 2), and the row in it of each, (m,)."""


def names_of(index: Integers, names: list[str]) -> pa.Array:
    """Return `names[index]` as strings; a negative index gives null."""
    codes = pa.array(index.astype(np.int32), mask=index < 0)
    return pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string())).dictionary_decode()


def cell_names(index: Integers) -> list[str]:
    """Return ids as 10x writes them: the number in the letters a to p, and "-1"."""
    letters = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
    return [f"{number:08x}".translate(letters) + "-1" for number in (np.asarray(index) + 1).tolist()]


def write_rings(path: Path, outlines: Outlines, names: list[str], size: int = 10_000) -> None:
    """Write closed rings as 10x does: one row a vertex (`cell_id`, `vertex_x`, `vertex_y`)."""
    schema = pa.schema([("cell_id", pa.string()), ("vertex_x", pa.float32()), ("vertex_y", pa.float32())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, len(outlines), size):
            vertices, owner = outlines.closed_rings(slice(start, start + size))
            columns = [names_of(owner, names[start : start + size]), *vertices.astype(np.float32).T.copy()]
            writer.write_table(pa.table(columns, schema=schema))


def write_truth_cells(
    path: Path, outlines: Outlines, columns: dict[str, pa.Array], size: int = 10_000
) -> None:
    """Write the true outlines as GeoParquet, with `columns` beside them."""
    fields = [(name, column.type) for name, column in columns.items()]
    schema = pa.schema([fields[0], ("geometry", pa.binary()), *fields[1:]], {"geo": json.dumps(GEO)})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, len(outlines), size):
            vertices, owner = outlines.closed_rings(slice(start, start + size))
            rings = shapely.linearrings(vertices.astype(np.float64), indices=owner)
            shapes = pa.array(shapely.to_wkb(shapely.polygons(rings)), pa.binary())
            rest = [column.slice(start, size) for column in columns.values()]
            writer.write_table(pa.table([rest[0], shapes, *rest[1:]], schema=schema))
