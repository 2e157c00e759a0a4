"""What is on a slide: one look at the transcripts before anything is cut."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
import shapely

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.sample import Sample
from tissuegraph.shapes import PackedOutlines, measured
from tissuegraph.tiles.plan import Bounds, Histogram, grown, transcript_histogram

MARGIN = 50.0
"""um around the nuclei that the plan of tiles resolves; what lies beyond counts at the rim."""

MIN_NEAR_SHARE = 0.02
"""Share of transcripts on the ground of the nuclei below which the slide is refused."""

MAX_LOST_SHARE = 0.01
"""Share of transcripts without a position above which the slide is refused."""


@dataclass(frozen=True)
class Survey:
    """What the steps need to know of a slide beforehand.

    genes: the panel, sorted; counts: transcripts by `dropped_because` ("kept" for those that stay);
    boundary_ids [M] and outlines [M]: the nuclei (packed); histogram: kept transcripts by position.
    """

    genes: tuple[str, ...]
    counts: dict[str, int]
    boundary_ids: np.ndarray
    outlines: PackedOutlines
    histogram: Histogram

    @cached_property
    def boxes(self) -> np.ndarray:
        """Bounds of the outlines, [M, 4]."""
        return measured(shapely.bounds, self.outlines)

    def outlines_in(self, bounds: Bounds) -> np.ndarray:
        """Numbers of the outlines whose box touches `bounds`, ascending."""
        x0, y0, x1, y1 = bounds
        box = self.boxes
        touching = (box[:, 0] <= x1) & (box[:, 2] >= x0) & (box[:, 1] <= y1) & (box[:, 3] >= y0)
        return np.flatnonzero(touching)


def drop_reason(min_qv: float) -> pl.Expr:
    """Why a canonical transcript is not segmented: null if it is, else a `keys` value."""
    position = pl.col(keys.X).is_finite() & pl.col(keys.Y).is_finite()
    return (
        pl.when(pl.col(keys.IS_CONTROL))
        .then(pl.lit(keys.CONTROL))
        .when(~position.fill_null(False))
        .then(pl.lit(keys.NO_POSITION))
        .when(pl.col(keys.QV) < min_qv)
        .then(pl.lit(keys.LOW_QUALITY))
        .otherwise(None)
    )


def kept_transcripts(sample: Sample, min_qv: float) -> pl.LazyFrame:
    """The canonical transcripts that are segmented."""
    return sample.scan().filter(drop_reason(min_qv).is_null())


def survey(sample: Sample, min_qv: float, folder: Path | None = None) -> Survey:
    """Look at a slide once: panel, counts, nuclei and where the transcripts are.

    The outlines of the nuclei are kept in `folder`, see `PackedOutlines`.

    Raises
    ------
    InputError
        If there are no nuclei, no transcript is left, too many lack a position, or transcripts and
        nuclei do not lie on the same ground.
    """
    nuclei = _nuclei(sample)
    outlines = np.asarray(nuclei.geometry.values)
    genes, counts = _genes_and_counts(sample, min_qv)
    extent = grown(tuple(shapely.total_bounds(outlines)), MARGIN)
    transcripts = kept_transcripts(sample, min_qv)
    _check_ground(sample, transcripts, extent)
    histogram = transcript_histogram(transcripts, extent)
    ids = nuclei.index.to_numpy().astype(object)
    return Survey(genes, counts, ids, PackedOutlines(outlines, folder), histogram)


def _check_ground(sample: Sample, transcripts: pl.LazyFrame, extent: Bounds) -> None:
    """Refuse a slide whose transcripts nearly all lie away from its nuclei."""
    x0, y0, x1, y1 = extent
    near = pl.col(keys.X).is_between(x0, x1) & pl.col(keys.Y).is_between(y0, y1)
    share = transcripts.select(near.mean()).collect(engine="streaming").item()
    if share < MIN_NEAR_SHARE:
        message = (
            f"only {share:.1%} of the transcripts of {sample.source} lie on the ground of its nuclei "
            f"(x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f} um); check that both are in micrometres "
            "and of the same region"
        )
        raise InputError(message)


def _nuclei(sample: Sample) -> gpd.GeoDataFrame:
    if sample.nuclei is None or len(sample.nuclei) == 0:
        message = (
            f"{sample.source} has no nucleus outlines (nucleus_boundaries.parquet is missing or empty); "
            "segmentation starts from nuclei, so add the file that the platform writes"
        )
        raise InputError(message)
    return sample.nuclei


def _genes_and_counts(sample: Sample, min_qv: float) -> tuple[tuple[str, ...], dict[str, int]]:
    reason = drop_reason(min_qv).fill_null("kept").alias(keys.DROPPED_BECAUSE)
    table = (
        sample.scan().group_by(keys.GENE, keys.IS_CONTROL, reason).agg(pl.len()).collect(engine="streaming")
    )
    genes = table.filter(~pl.col(keys.IS_CONTROL))[keys.GENE].drop_nulls().unique().sort()
    by_reason = table.group_by(keys.DROPPED_BECAUSE).agg(pl.col("len").sum()).sort(keys.DROPPED_BECAUSE)
    counts = {reason: int(n) for reason, n in by_reason.iter_rows()}
    _check_counts(sample, counts, min_qv)
    return tuple(genes.to_list()), counts


def _check_counts(sample: Sample, counts: dict[str, int], min_qv: float) -> None:
    total = sum(counts.values())
    lost = counts.get(keys.NO_POSITION, 0)
    if lost > MAX_LOST_SHARE * total:
        message = (
            f"{lost:,} of {total:,} transcripts in {sample.source} have no position (NaN or empty x, y), "
            f"more than {MAX_LOST_SHARE:.0%}; check how the file was exported"
        )
        raise InputError(message)
    if not counts.get("kept"):
        message = (
            f"no transcript of {sample.source} is left to segment "
            f"({', '.join(f'{n:,} {reason}' for reason, n in counts.items()) or 'the table is empty'}); "
            f"lower --min-qv (now {min_qv:g}) or check the file"
        )
        raise InputError(message)
