"""tissue(): write a simulated slide as a Xenium bundle, with its truth."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from numbers import Integral
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.output import whole_folder, write_json
from tissuegraph.simulate import writing
from tissuegraph.simulate.arrays import Bools, Floats, Integers
from tissuegraph.simulate.expression import CONTROL_NAMES, gene_names
from tissuegraph.simulate.grown.params import GrownTissueParams
from tissuegraph.simulate.molecules import MIN_QV, Molecules
from tissuegraph.simulate.params import TissueParams, with_settings
from tissuegraph.simulate.slide import draw_slide

FIRST_TRANSCRIPT_ID = 281_474_976_710_656
UNASSIGNED = "UNASSIGNED"
TRANSCRIPT_SCHEMA = pa.schema(
    [
        ("transcript_id", pa.uint64()),
        ("cell_id", pa.string()),
        ("overlaps_nucleus", pa.uint8()),
        ("feature_name", pa.string()),
        ("x_location", pa.float32()),
        ("y_location", pa.float32()),
        ("z_location", pa.float32()),
        ("qv", pa.float32()),
    ]
)
TRUTH_SCHEMA = pa.schema([(keys.TRANSCRIPT_ID, pa.uint64()), (keys.TRUE_CELL_ID, pa.string())])

AnyParams = TypeVar("AnyParams", TissueParams, GrownTissueParams)


class Vendor(Protocol):
    """What a vendor drew without knowing the truth, of the cells whose nucleus was seen."""

    @property
    def nuclei(self) -> writing.Outlines:
        """Return the outlines of the nuclei."""

    @property
    def cells(self) -> writing.Outlines:
        """Return the outlines of the cells."""

    def assign(self, points: Floats) -> tuple[Integers, Bools]:
        """Return the vendor's cell of each point (-1 for none), and whether it lies in its nucleus."""


class Slide(Protocol):
    """A simulated slide, whichever simulator drew it."""

    @property
    def params(self) -> TissueParams | GrownTissueParams:
        """Return its parameters."""

    @property
    def title(self) -> str:
        """Return what the run is called."""

    @property
    def names(self) -> list[str]:
        """Return the names of the true cells."""

    @property
    def seen(self) -> Bools:
        """Tell which true cells the vendor knows; its own are in the same order."""

    @property
    def seen_names(self) -> list[str]:
        """Return the names of the vendor's cells."""

    @property
    def outlines(self) -> writing.Outlines:
        """Return the true outlines."""

    @property
    def types(self) -> Integers:
        """Return the number of each cell's type."""

    @property
    def domains(self) -> Integers:
        """Return the number of each cell's domain."""

    @property
    def vendor(self) -> Vendor:
        """Return what the vendor drew."""

    @property
    def parts(self) -> int:
        """Return how many times transcripts are drawn and written."""

    def draw_parts(self, seed: int) -> Iterator[Molecules]:
        """Draw the transcripts, a bounded number at a time, in an order that does not tell the truth."""

    def draw_quality(self, features: Integers, rng: np.random.Generator) -> Floats:
        """Draw the qv of transcripts, float32."""


def tissue(
    out: str | Path,
    params: TissueParams | None = None,
    *,
    seed: int = 0,
    overwrite: bool = False,
    **settings: object,
) -> Path:
    """Simulate tissue with known truth and write it to the folder `out` as a Xenium-like bundle.

    Beside the bundle's files (`transcripts.parquet`, `nucleus_boundaries.parquet`,
    `cell_boundaries.parquet`, `cells.parquet`, `experiment.xenium`) stands the truth: `truth.parquet`
    (`transcript_id`, `true_cell_id`, null = background) and `truth_cells.parquet` (GeoParquet: `cell_id`,
    `geometry`, `cell_type`, `domain`, `has_nucleus`). The same seed and parameters give the same bytes.

    Parameters
    ----------
    out
        The folder to write; it appears whole or not at all.
    params
        What the tissue looks like; the defaults of `TissueParams` where None.
    seed
        Every random choice comes from it.
    overwrite
        Replace a simulated slide that is there already.
    **settings
        Fields of `TissueParams` to change, such as `cells=500`.

    Returns
    -------
    The folder.

    Raises
    ------
    InputError
        A setting is unknown or makes no tissue.
    OutputError
        `out` exists or cannot be written.
    """
    chosen = with_settings(params or TissueParams(), settings)
    return write_bundle(out, draw_slide, chosen, seed=seed, overwrite=overwrite)


def write_bundle(
    out: str | Path,
    draw: Callable[[AnyParams, int], Slide],
    params: AnyParams,
    *,
    seed: int,
    overwrite: bool,
) -> Path:
    """Write the slide that `draw(params, seed)` returns to the folder `out`, with its truth."""
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed is {seed!r}; give a whole number of 0 or more.")
    target = Path(out).absolute()
    with whole_folder(target, overwrite=overwrite, marker=keys.TRUTH_FILE, kind="simulated slide") as folder:
        slide = draw(params, seed)
        write_outlines(folder, slide)
        counts, transcripts = write_transcripts(folder, slide, seed)
        write_tables(folder, slide, counts, transcripts, seed)
    return Path(out)


def write_transcripts(folder: Path, slide: Slide, seed: int) -> tuple[Integers, int]:
    """Write `transcripts.parquet` and the truth, part by part; return counts a vendor's cell and in all."""
    features = [*gene_names(slide.params.genes), *CONTROL_NAMES]
    owners = slide.seen_names
    counts = np.zeros(len(owners), dtype=np.int64)
    first = FIRST_TRANSCRIPT_ID
    rng = np.random.default_rng([seed, 2])
    with (
        pq.ParquetWriter(folder / "transcripts.parquet", TRANSCRIPT_SCHEMA, compression="zstd") as bundle,
        pq.ParquetWriter(folder / keys.TRUTH_FILE, TRUTH_SCHEMA, compression="zstd") as truth,
    ):
        for part in with_progress(slide, seed):
            number = len(part.cell)
            ids = pa.array(np.arange(first, first + number, dtype=np.uint64))
            first += number
            cell, inside = slide.vendor.assign(part.points)
            quality = slide.draw_quality(part.feature, rng)
            depth = rng.uniform(0, slide.params.thickness, number).astype(np.float32)
            counted = (cell >= 0) & (quality >= MIN_QV) & (part.feature < slide.params.genes)
            counts += np.bincount(cell[counted], minlength=len(owners))
            columns = [
                ids,
                writing.names_of(cell, owners).fill_null(UNASSIGNED),
                inside.astype(np.uint8),
                writing.names_of(part.feature, features),
                part.points[:, 0],
                part.points[:, 1],
                depth,
                quality,
            ]
            bundle.write_table(pa.table(columns, schema=TRANSCRIPT_SCHEMA))
            truth.write_table(pa.table([ids, writing.names_of(part.cell, slide.names)], schema=TRUTH_SCHEMA))
    return counts, first - FIRST_TRANSCRIPT_ID


def with_progress(slide: Slide, seed: int) -> Iterator[Molecules]:
    """Draw the parts with a progress bar, where there is a terminal to show it."""
    yield from track(
        slide.draw_parts(seed),
        total=slide.parts,
        description="simulating transcripts",
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def write_outlines(folder: Path, slide: Slide) -> None:
    """Write the vendor's outlines and the true ones."""
    owners = slide.seen_names
    writing.write_rings(folder / "nucleus_boundaries.parquet", slide.vendor.nuclei, owners)
    writing.write_rings(folder / "cell_boundaries.parquet", slide.vendor.cells, owners)
    types = [f"type_{number}" for number in range(slide.params.types)]
    domains = [f"domain_{number}" for number in range(slide.params.domains)]
    columns = {
        keys.CELL_ID: pa.array(slide.names, pa.string()),
        keys.CELL_TYPE: writing.names_of(slide.types, types),
        keys.DOMAIN: writing.names_of(slide.domains, domains),
        keys.HAS_NUCLEUS: pa.array(slide.seen),
    }
    writing.write_truth_cells(folder / keys.TRUTH_CELLS_FILE, slide.outlines, columns)


def write_tables(folder: Path, slide: Slide, counts: Integers, transcripts: int, seed: int) -> None:
    """Write `cells.parquet`, the vendor's table of its cells, and `experiment.xenium`."""
    owners = slide.seen_names
    table = pa.table(
        {
            "cell_id": pa.array(owners, pa.string()),
            "x_centroid": slide.vendor.cells.centroids()[:, 0],
            "y_centroid": slide.vendor.cells.centroids()[:, 1],
            "transcript_counts": counts,
            "cell_area": slide.vendor.cells.areas().astype(np.float64),
            "nucleus_area": slide.vendor.nuclei.areas().astype(np.float64),
        }
    )
    pq.write_table(table, folder / "cells.parquet", compression="zstd")
    facts = {
        "major_version": 4,
        "minor_version": 0,
        "run_name": slide.title,
        "pixel_size": 0.2125,
        "num_cells": len(owners),
        "num_transcripts": transcripts,
        "simulation": {"seed": seed, **dataclasses.asdict(slide.params)},
    }
    write_json(folder / writing.EXPERIMENT_FILE, facts)
