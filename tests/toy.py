"""Five cells drawn by hand, and random tiles, for tests of every step.

 y
20 +-----+-----+
   |  d  |  e  |          cells are squares of 10 um, their nuclei the middle 4 um;
   |  B  |  A  |          type A expresses A1 and A2, type B expresses B1 and B2
10 +-----+-----+-----+
   |  a  |  b  |  c  |    each cell has four transcripts in its nucleus and four outside:
   |  A  |  B  |  A  |
 0 +-----+-----+-----+        o       o
   0     10    20    30 x       n   n        in this order, the nuclear ones (n) first,
                                n   n        genes 1 and 2 in turns
                              o       o
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
import shapely

from tissuegraph import keys
from tissuegraph.graph.hetero import TileGraph, tile_graph
from tissuegraph.graph.params import GraphParams
from tissuegraph.sample import Sample

GENES = ("A1", "A2", "B1", "B2")
CELLS = ("a", "b", "c", "d", "e")
CORNERS = np.array([(0, 0), (10, 0), (20, 0), (0, 10), (10, 10)], float)
TYPES = ("A", "B", "A", "B", "A")
# Not quite regular, so that no two distances that matter are equal.
OFFSETS = np.array(
    [(4, 4), (6.2, 4.1), (4.3, 6), (5.9, 6.3), (1, 1.2), (8.8, 1), (1.1, 9), (8.9, 8.7)], np.float32
)
NUCLEAR = np.tile(np.arange(8) < 4, 5)
"""Whether each of the 40 transcripts lies in a nucleus, [40]."""
OWNER = np.repeat(np.arange(5), 8)
"""Number of the cell of each transcript, [40]."""


def positions() -> np.ndarray:
    """Positions [40, 2] in um, cell by cell."""
    return (CORNERS[:, None] + OFFSETS[None]).reshape(-1, 2).astype(np.float32)


def tokens() -> np.ndarray:
    """Genes as numbers in `GENES`, [40]."""
    first = np.array([0 if kind == "A" else 2 for kind in TYPES])
    return (first[:, None] + np.arange(8) % 2).ravel()


def nuclei() -> np.ndarray:
    """The five nuclei, [5] polygons."""
    return shapely.box(*(CORNERS + 3).T, *(CORNERS + 7).T)


def cells() -> np.ndarray:
    """The five cells, [5] polygons."""
    return shapely.box(*CORNERS.T, *(CORNERS + 10).T)


def tile(params: GraphParams | None = None) -> TileGraph:
    """The graph of all five cells."""
    params = params or GraphParams(k_tx=5, dist_tx=5.0, k_bd=3, dist_bd=15.0)
    return tile_graph(tokens(), np.arange(40, dtype=np.uint64), positions(), nuclei(), np.arange(5), params)


def transcripts() -> pl.DataFrame:
    """The 40 transcripts in canonical columns, without `row`."""
    x, y = positions().T
    return pl.DataFrame(
        {
            keys.GENE: [GENES[i] for i in tokens()],
            keys.X: x,
            keys.Y: y,
            keys.Z: pl.Series([None] * 40, dtype=pl.Float32),
            keys.QV: pl.Series([30.0] * 40, dtype=pl.Float32),
            keys.IS_CONTROL: [False] * 40,
        }
    )


def sample(folder: Path, table: pl.DataFrame | None = None, outlines: np.ndarray | None = None) -> Sample:
    """A sample over `folder/transcripts.parquet`: the five cells, unless others are given."""
    table = transcripts() if table is None else table
    outlines = nuclei() if outlines is None else outlines
    path = folder / keys.TRANSCRIPTS_FILE
    table.write_parquet(path)
    names = CELLS if len(outlines) == 5 else [f"cell {i}" for i in range(len(outlines))]
    frame = gpd.GeoDataFrame(geometry=list(outlines), index=list(names))
    columns = {name: pl.col(name) for name in table.columns}
    return Sample(path, columns, frame, None, "toy", "toy", folder)


def ellipse(
    centre: Sequence[float] | np.ndarray, long: float, short: float, angle: float = 0.0, corners: int = 32
) -> shapely.Polygon:
    """An ellipse with half axes `long` and `short` um, the long one at `angle` radians from x."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    x, y = long * np.cos(turn), short * np.sin(turn)
    cos, sin = np.cos(angle), np.sin(angle)
    return shapely.Polygon(np.column_stack([cos * x - sin * y, sin * x + cos * y]) + np.asarray(centre))


def random_tile(
    seed: int, n: int = 200, m: int = 8, side: float = 40.0, params: GraphParams | None = None
) -> TileGraph:
    """`n` transcripts of six genes and `m` elliptic nuclei, some of which overlap, on a square, in um."""
    generator = np.random.default_rng(seed)
    where, outlines = generator.uniform(0, side, (n, 2)).astype(np.float32), random_outlines(seed, m, side)
    params = params or GraphParams(k_tx=5, dist_tx=3.0, k_bd=3, dist_bd=8.0)
    rows = np.sort(generator.choice(10 * n, n, replace=False)).astype(np.uint64)
    return tile_graph(generator.integers(0, 6, n), rows, where, outlines, 7 + np.arange(m), params)


def random_outlines(seed: int, m: int, side: float) -> np.ndarray:
    """`m` elliptic nuclei on a square, in um."""
    generator = np.random.default_rng(seed + 1)
    drawn = [
        ellipse(generator.uniform(0, side, 2), *generator.uniform(2, 5, 2), generator.uniform(0, 3))
        for _ in range(m)
    ]
    return np.array(drawn, dtype=object)
