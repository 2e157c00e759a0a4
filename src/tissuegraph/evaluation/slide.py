"""The slide that segmentations are judged on: its transcripts, its nuclei, and names for cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import shapely

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.graph.candidates import candidate_pairs
from tissuegraph.metrics.segmentation import Codes
from tissuegraph.sample import Sample

MIN_QV = 20
"""Transcripts of at least this quality are judged, whatever a method itself kept."""
FARTHEST = 20.0
"""um: beyond it, the nearest nucleus is not looked for."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Slide:
    """What is judged: transcripts of quality 20 or more that are no controls.

    Attributes
    ----------
    everything
        All transcripts in canonical columns, by row: what a method's table is joined to.
    judged
        (N,): rows of `everything` that are judged.
    genes
        (G,), sorted.
    gene
        (N,): number of the gene.
    positions
        [N, 2], um.
    nucleus_ids
        (B,).
    nuclei
        (B,) polygons.
    nearest, distance
        (N,): the nearest nucleus, -1 where none is within `FARTHEST`, and the distance to its outline in
        um, negative inside, infinite where there is none.
    """

    everything: pl.DataFrame
    judged: Codes
    genes: list[str]
    gene: Codes
    positions: npt.NDArray[np.float32]
    nucleus_ids: pl.Series
    nuclei: npt.NDArray[np.object_]
    nearest: Codes
    distance: Floats

    @property
    def inside(self) -> Codes:
        """The nucleus that holds each transcript, -1 = none, (N,)."""
        return np.where(self.distance <= 0, self.nearest, -1)


def read_slide(sample: Sample) -> Slide:
    """Load what is judged of a sample.

    Raises
    ------
    InputError
        If the sample has no nuclei, or none of its transcripts counts.
    """
    if sample.nuclei is None or len(sample.nuclei) == 0:
        raise InputError(
            f"{sample.source} has no nuclei, so there is no simple rule to compare with; "
            "give a bundle with nucleus_boundaries.parquet."
        )
    names = [keys.ROW, keys.TRANSCRIPT_ID, keys.GENE, keys.X, keys.Y, keys.QV, keys.CELL_ID, keys.IS_CONTROL]
    everything = sample.scan().select(names).collect()
    good = (pl.col(keys.QV).fill_null(MIN_QV) >= MIN_QV) & ~pl.col(keys.IS_CONTROL)
    placed = pl.col(keys.X).is_finite() & pl.col(keys.Y).is_finite() & pl.col(keys.GENE).is_not_null()
    judged = everything.select((good & placed).fill_null(False).arg_true()).to_series().to_numpy()
    if len(judged) == 0:
        raise InputError(
            f"none of the {len(everything):,} transcripts of {sample.source} has a quality of {MIN_QV} or "
            "more and is no control; check its columns qv and feature_name."
        )
    table = everything[judged]
    genes = table[keys.GENE].unique().sort()
    gene = genes.search_sorted(table[keys.GENE]).to_numpy().astype(np.int64)
    positions = table.select(keys.X, keys.Y).to_numpy()
    outlines = sample.nuclei.geometry.to_numpy()
    nearest, distance = nearest_nuclei(positions, outlines)
    ids = pl.Series(sample.nuclei.index.to_numpy(dtype=object).tolist(), dtype=pl.String)
    return Slide(
        everything,
        judged.astype(np.int64),
        genes.to_list(),
        gene,
        positions,
        ids,
        outlines,
        nearest,
        distance,
    )


def nearest_nuclei(
    positions: npt.NDArray[np.float32], outlines: npt.NDArray[np.object_], farthest: float = FARTHEST
) -> tuple[Codes, Floats]:
    """Return the outline nearest to each position and the signed distance to it, as in `Slide`."""
    x, y = positions.T
    tx, boundary, apart = candidate_pairs(x, y, outlines, k=1, max_distance=farthest)
    nearest, distance = np.full(len(positions), -1, np.int64), np.full(len(positions), np.inf)
    nearest[tx], distance[tx] = boundary, apart
    return nearest, distance


def centres(slide: Slide) -> Floats:
    """Return the centroids of the nuclei, [B, 2], um."""
    return shapely.get_coordinates(shapely.centroid(slide.nuclei))
