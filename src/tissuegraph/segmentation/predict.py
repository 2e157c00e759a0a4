"""Apply a trained model to a slide, tile by tile."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from tissuegraph import keys
from tissuegraph.errors import ModelError
from tissuegraph.graph.hetero import TileGraph
from tissuegraph.segmentation.assign import (
    assign,
    listening,
    local_stretch,
    pairs_of,
    stretched_distance,
)
from tissuegraph.segmentation.axes import LocalAxes
from tissuegraph.segmentation.model import SegmentationModel
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles
from tissuegraph.segmentation.score import evidence
from tissuegraph.segmentation.tile_graphs import inside, reach, read_tile_graph
from tissuegraph.tiles.plan import Tile
from tissuegraph.tiles.store import TileStore
from tissuegraph.tiles.survey import Survey

BASELINE_DISTANCE = 5.0
"""um to the outline of the nearest nucleus: the rule that `run.json` stands beside the result."""
RESULT_SCHEMA = {
    keys.ROW: pl.UInt64,
    "gene": pl.Int32,
    keys.X: pl.Float32,
    keys.Y: pl.Float32,
    "boundary": pl.Int32,
    "probability": pl.Float32,
    "nearest": pl.Int32,
}
"""Columns of a tile's result: gene and boundaries as numbers, -1 for none; `nearest` is the baseline."""


def unknown_genes(survey: Survey, model: SegmentationModel, policy: str) -> tuple[str, ...]:
    """Name the genes of the slide that the model does not know.

    Raises
    ------
    ModelError
        If there are any and `policy` is "strict", or if no gene is known.
    """
    known = set(model.genes)
    unknown = tuple(gene for gene in survey.genes if gene not in known)
    if len(unknown) == len(survey.genes):
        message = (
            f"the model knows none of the slide's {len(unknown)} genes (it has {', '.join(model.genes[:2])}, "
            f"the slide {', '.join(unknown[:3])}); train one on this panel with `tissuegraph segment`"
        )
        raise ModelError(message)
    if unknown and policy == "strict":
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        message = (
            f"the model does not know {len(unknown)} of the slide's {len(survey.genes)} genes: "
            f"{', '.join(unknown[:10])}{more}; type --genes borrow to take them for genes expressed alike, "
            "or --genes intersect to leave them out"
        )
        raise ModelError(message)
    return unknown


def predict_tiles(
    store: TileStore,
    survey: Survey,
    model: SegmentationModel,
    axes: LocalAxes,
    profiles: CellProfiles,
    tiles: Iterable[Tile],
    folder: Path,
    min_probability: float,
) -> None:
    """Write one parquet file a tile, with the transcripts of its core and their boundaries."""
    for tile in tiles:
        result = predict_tile(store, survey, model, axes, profiles, tile, min_probability)
        result.write_parquet(folder / f"tile_{tile.index}.parquet")


def predict_tile(
    store: TileStore,
    survey: Survey,
    model: SegmentationModel,
    axes: LocalAxes,
    profiles: CellProfiles,
    tile: Tile,
    min_probability: float,
) -> pl.DataFrame:
    """Assign the transcripts of a tile's core, columns as in `RESULT_SCHEMA`, sorted by row."""
    bounds = reach(tile.core, survey, model.graph, hops=model.segger.hops, rounds=model.assign.rounds)
    graph = read_tile_graph(store, survey, bounds, model.genes, model.graph, model.assign.listens_to)
    core = inside(graph.positions, tile.core)
    if not core.any():
        return pl.DataFrame(schema=RESULT_SCHEMA)
    outlines = survey.outlines[graph.boundaries]
    stretch = local_stretch(axes.ratio[graph.boundaries], model.fitted.stretch_power)
    distance = stretched_distance(graph, outlines, axes.angle[graph.boundaries], stretch)
    known = evidence(model.network, graph, profiles, graph.boundaries, model.assign)
    pairs, weight = pairs_of(graph, distance, known), listening(graph.positions, graph.heard, model.assign)
    boundary, probability = assign(pairs, graph.heard, weight, model.fitted, model.assign, min_probability)
    columns = {
        keys.ROW: graph.rows,
        "gene": graph.tokens,
        keys.X: graph.positions[:, 0],
        keys.Y: graph.positions[:, 1],
        "boundary": _numbered(boundary, graph),
        "probability": probability,
        "nearest": _numbered(nearest_within(graph, BASELINE_DISTANCE), graph),
    }
    return pl.DataFrame(columns).filter(pl.Series(core)).cast(RESULT_SCHEMA)  # type: ignore[arg-type]


def nearest_within(graph: TileGraph, distance: float) -> np.ndarray:
    """The nearest boundary of each transcript if it is near enough, else -1, [N]."""
    tx, bd = graph.candidates
    first = np.diff(tx, prepend=-1) != 0
    chosen = first & (graph.distance <= distance)
    nearest = np.full(len(graph.tokens), -1, np.int64)
    nearest[tx[chosen]] = bd[chosen]
    return nearest


def _numbered(local: np.ndarray, graph: TileGraph) -> np.ndarray:
    """Boundaries of the tile as numbers on the slide."""
    if len(graph.boundaries) == 0:
        return local
    return np.where(local >= 0, graph.boundaries[local], -1)
