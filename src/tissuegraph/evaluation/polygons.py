"""The outlines that lie beside a segmentation: GeoParquet, or the GeoJSON of Baysor and proseg."""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import shapely

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.io.files import reading
from tissuegraph.io.outlines import merge_rings, polygons_from_rings, split_rings

# Baysor 0.6 writes the outlines of every z-plane into one file, and those of all planes under this name.
_ALL_PLANES = "joint"
_ID_COLUMNS = (keys.CELL_ID, "cell")

_log = logging.getLogger(__name__)


def read_polygons(candidates: Iterable[Path], cell: pl.Series) -> gpd.GeoDataFrame | None:
    """Return the outlines of the cells of `cell`, from the first of the files that is there.

    Parameters
    ----------
    candidates
        Files, the best first. An empty file counts as none.
    cell
        The cell of each transcript, null for none.

    Returns
    -------
    One valid Polygon or MultiPolygon (in the file's units) a cell, indexed by the cell's id, cells without
    an outline left out; None if there is no file, or it has none of these cells.

    Raises
    ------
    InputError
        When the file is broken.
    """
    path = next((path for path in candidates if path.is_file() and path.stat().st_size), None)
    if path is None:
        return None
    names, shapes = _read_geoparquet(path) if path.suffix == ".parquet" else _read_geojson(path)
    ids = _match(names, cell.drop_nulls().unique(maintain_order=True))
    outlines = gpd.GeoDataFrame(geometry=shapes, index=pd.Index(ids, name=keys.CELL_ID, dtype=object))
    outlines = outlines[outlines.index.notna() & ~shapely.is_missing(shapes)]
    if len(outlines) == 0:
        _log.warning("no outline in %s bears the id of a cell of the segmentation: all are left out", path)
        return None
    return outlines.dissolve(level=0, sort=False) if outlines.index.has_duplicates else outlines


def _match(names: list[str], cells: pl.Series) -> list[str | None]:
    """Return the cell that each outline's name means, None where there is no such cell.

    Baysor 0.6, its legacy format and proseg-to-baysor number the outlines of cells "CR1b2c-7" or "cell-7".
    """
    known = set(cells)
    if known.isdisjoint(names):
        numbers = cells.str.extract(r"-(\d+)$")
        by_number = dict(zip(numbers, cells, strict=True)) if numbers.is_unique().all() else {}
        return [by_number.get(name) for name in names]
    return [name if name in known else None for name in names]


def _read_geoparquet(path: Path) -> tuple[list[str], np.ndarray]:
    with reading(path):
        found = pq.read_schema(path).names
        column = next((name for name in _ID_COLUMNS if name in found), None)
        if column is None or "geometry" not in found:  # a vendor's vertices: not those of this segmentation
            return [], np.empty(0, object)
        table = pl.read_parquet(path, columns=[column, "geometry"])
    try:
        shapes = shapely.from_wkb(table["geometry"].to_numpy())
    except (shapely.errors.ShapelyError, TypeError) as error:
        raise InputError(f"the geometry in {path} is not WKB, as GeoParquet has it; write it anew") from error
    shapes[shapely.is_empty(shapes)] = None
    return table[column].cast(pl.String).to_list(), _valid(shapes)


def _valid(shapes: np.ndarray) -> np.ndarray:
    broken = ~shapely.is_valid(shapes) & ~shapely.is_missing(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
    return shapes


def _read_geojson(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the name and the outline of each cell, of outer rings only (neither tool writes holes)."""
    try:
        with reading(path):
            data = path.read_bytes()
            content = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        rings = [(str(name), ring) for name, geometry in _geometries(content) for ring in _outer(geometry)]
        return _outlines(rings)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is not the GeoJSON of Baysor or proseg ({type(error).__name__}: {error}); "
            "write it anew, or take it away, which the evaluation can do without"
        ) from error


def _geometries(content: Any) -> Iterator[tuple[object, dict[str, Any]]]:
    """Yield the cell and the geometry of what has both, of a collection or a list of them, one a plane."""
    if isinstance(content, list):
        joint = [plane for plane in content if plane.get("z") == _ALL_PLANES]
        for plane in joint or content:
            yield from _geometries(plane)
    elif content["type"] == "FeatureCollection":
        for feature in content["features"]:
            properties = feature.get("properties") or {}
            name = next((p[k] for p, k in ((feature, "id"), (properties, "cell")) if k in p), None)
            if name is not None and feature["geometry"] is not None:
                yield name, feature["geometry"]
    else:  # before 0.6 Baysor did not say whose outline it was
        yield from ((shape["cell"], shape) for shape in content["geometries"] if "cell" in shape)


def _outer(geometry: dict[str, Any]) -> list[list[Any]]:
    parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    return [part[0] for part in parts if part and part[0]]


def _outlines(rings: Collection[tuple[str, list[Any]]]) -> tuple[list[str], np.ndarray]:
    if not rings:
        return [], np.empty(0, object)
    number: dict[str, int] = {}
    owner = np.array([number.setdefault(name, len(number)) for name, _ in rings])
    vertices = [np.asarray(ring, float)[:, :2] for _, ring in rings]
    group = np.repeat(np.arange(len(vertices)), [len(ring) for ring in vertices])
    xy, ring, group_of_ring = split_rings(np.concatenate(vertices), group)
    shapes, _ = polygons_from_rings(xy, ring, len(group_of_ring))
    return list(number), merge_rings(shapes, owner[group_of_ring], len(number))
