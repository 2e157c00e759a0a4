"""A simulated slide in memory: its cells, and its transcripts part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from tissuegraph.simulate.arrays import Bools, Floats, Integers
from tissuegraph.simulate.cells import chunks, place_cells, slide_extent
from tissuegraph.simulate.expression import CONTROL_NAMES, Kinds, draw_counts, draw_kinds
from tissuegraph.simulate.molecules import (
    Molecules,
    Vendor,
    draw_quality,
    join,
    place_transcripts,
    scatter,
)
from tissuegraph.simulate.nuclei import grow_nuclei, place_nuclei, seen_nuclei
from tissuegraph.simulate.outlines import draw_outlines
from tissuegraph.simulate.params import TissueParams
from tissuegraph.simulate.stars import Stars
from tissuegraph.simulate.writing import cell_names

# Expected number of transcripts, and of entries of the matrix cells x genes, held at a time.
TRANSCRIPTS_AT_A_TIME = 200_000
RATES_AT_A_TIME = 2_000_000


@dataclass(frozen=True)
class Slide:
    """Everything about a slide but its transcripts: about half a kilobyte a cell."""

    params: TissueParams
    extent: tuple[float, float]
    outlines: Stars
    kinds: Kinds
    seen: Bools
    names: list[str]
    vendor: Vendor
    """Of the cells in `numpy.flatnonzero(seen)`, in this order."""

    @property
    def seen_names(self) -> list[str]:
        """Return the names of the vendor's cells."""
        return [self.names[number] for number in np.flatnonzero(self.seen)]

    @property
    def part_size(self) -> int:
        """Return the number of cells whose transcripts are held at a time."""
        few = min(TRANSCRIPTS_AT_A_TIME / self.params.counts_per_cell, RATES_AT_A_TIME / self.params.genes)
        return int(max(1, few))

    @property
    def parts(self) -> int:
        """Return how many times transcripts are drawn and written."""
        return -(-self.params.cells // self.part_size)

    @property
    def title(self) -> str:
        """Return what the run is called."""
        return "simulated tissue"

    @property
    def types(self) -> Integers:
        """Return the number of each cell's type."""
        return self.kinds.types

    @property
    def domains(self) -> Integers:
        """Return the number of each cell's domain."""
        return self.kinds.domains

    def draw_parts(self, seed: int) -> Iterator[Molecules]:
        """Draw the transcripts, a bounded number at a time, in an order that does not tell the truth."""
        return draw_molecules(self, seed)

    def draw_quality(self, features: Integers, rng: np.random.Generator) -> Floats:
        """Draw the qv of transcripts, which does not depend on the gene, float32."""
        return draw_quality(len(features), self.params, rng)


def draw_slide(params: TissueParams, seed: int) -> Slide:
    """Draw the cells of a slide."""
    rng = np.random.default_rng([seed, 0])
    cells = place_cells(params, rng)
    outlines = draw_outlines(cells, params, rng)
    nuclei = place_nuclei(cells, outlines, params, rng)
    seen = seen_nuclei(params, rng)
    found = nuclei.take(seen)
    return Slide(
        params=params,
        extent=slide_extent(params),
        outlines=outlines,
        kinds=draw_kinds(cells.centres, params, rng),
        seen=seen,
        names=cell_names(np.arange(params.cells)),
        vendor=Vendor(found, grow_nuclei(found), cKDTree(found.centres)),
    )


def draw_molecules(slide: Slide, seed: int) -> Iterator[Molecules]:
    """Draw the transcripts, a bounded number at a time, in an order that does not tell the truth."""
    params, kinds = slide.params, slide.kinds
    area = slide.outlines.areas()
    means = params.counts_per_cell * area / area.mean()
    mixture = np.bincount(kinds.types, minlength=params.types) @ kinds.profiles / params.cells
    for number, part in enumerate(chunks(params.cells, slide.part_size)):
        rng = np.random.default_rng([seed, 1, number])
        profiles = kinds.profiles[kinds.types[part]]
        which, gene = draw_counts(profiles, means[part], params, rng)
        points = place_transcripts(slide.outlines.take(part), which, params, rng)
        made = Molecules(part.start + which, gene, points)
        rows = params.counts_per_cell * len(profiles) / (1 - params.background - params.controls)
        stray = rng.choice(params.genes, rng.poisson(rows * params.background), p=mixture)
        controls = rng.integers(0, len(CONTROL_NAMES), rng.poisson(rows * params.controls)) + params.genes
        scattered = scatter(np.concatenate([stray, controls]), slide.extent, rng)
        yield join([made, scattered], rng)
