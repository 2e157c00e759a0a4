"""From the tile store to the graph of a tile, as wide as the network and the assignment look."""

from __future__ import annotations

import numpy as np
import polars as pl
import shapely

from tissuegraph import keys
from tissuegraph.graph.hetero import TileGraph, tile_graph
from tissuegraph.graph.params import GraphParams
from tissuegraph.tiles.plan import Bounds, grown
from tissuegraph.tiles.store import TileStore
from tissuegraph.tiles.survey import Survey


def inside(positions: np.ndarray, core: Bounds) -> np.ndarray:
    """Whether positions [N, 2] lie in the core, [N]."""
    x, y = positions[:, 0].astype(np.float64), positions[:, 1].astype(np.float64)
    return (x >= core[0]) & (x < core[2]) & (y >= core[1]) & (y < core[3])


def reach(core: Bounds, survey: Survey, params: GraphParams, *, hops: int, rounds: int) -> Bounds:
    """How far around a core transcripts matter to its assignments, um.

    An assignment hears from transcripts `rounds` neighbours away, each of which is compared with the
    boundaries near it; a boundary is known by all transcripts inside it, and each transcript by those
    `hops` neighbours away.
    """
    heard = grown(core, rounds * params.dist_tx)
    compared = survey.outlines_in(grown(heard, params.dist_bd))
    boxes = [heard]
    if len(compared):
        boxes.append(tuple(shapely.total_bounds(survey.outlines[compared])))
    x0, y0 = (min(box[i] for box in boxes) for i in (0, 1))
    x1, y1 = (max(box[i] for box in boxes) for i in (2, 3))
    return grown((x0, y0, x1, y1), hops * params.dist_tx)


def gene_tokens(genes: pl.Series, panel: tuple[str, ...]) -> np.ndarray:
    """Number of each gene in the sorted panel, [N]; every gene must be in it."""
    return genes.cast(pl.Enum(panel)).to_physical().to_numpy().astype(np.int64)


def read_tile_graph(
    store: TileStore,
    survey: Survey,
    bounds: Bounds,
    panel: tuple[str, ...],
    params: GraphParams,
    listens_to: int = 0,
) -> TileGraph:
    """Build the graph of all that lies within `bounds`, without transcripts of genes outside the panel."""
    table = store.read(bounds).filter(pl.col(keys.GENE).is_in(list(panel)))
    numbers = survey.outlines_in(bounds)
    return tile_graph(
        tokens=gene_tokens(table[keys.GENE], panel),
        rows=table[keys.ROW].to_numpy(),
        positions=table.select(keys.X, keys.Y).to_numpy(),
        outlines=survey.outlines[numbers],
        boundaries=numbers,
        params=params,
        listens_to=listens_to,
    )
