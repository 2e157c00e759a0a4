"""A grown slide in memory: its cells on their lattice, and its transcripts part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tissuegraph.simulate.arrays import Bools, Floats, Integers
from tissuegraph.simulate.cells import chunks
from tissuegraph.simulate.grown.growth import grow
from tissuegraph.simulate.grown.lattice import growing_room, growth_resistance, make_lattice
from tissuegraph.simulate.grown.molecules import Cytology, make_cytology, place
from tissuegraph.simulate.grown.noise import Noise, draw_background, draw_noise, draw_quality, moved, steps
from tissuegraph.simulate.grown.nuclei import GrownVendor, grow_nuclei, see_nuclei, seed_nuclei
from tissuegraph.simulate.grown.params import GrownTissueParams
from tissuegraph.simulate.grown.programmes import Expression, draw_counts, draw_expression
from tissuegraph.simulate.grown.rings import Rings, trace
from tissuegraph.simulate.grown.seeds import sow
from tissuegraph.simulate.molecules import Molecules, join
from tissuegraph.simulate.slide import RATES_AT_A_TIME, TRANSCRIPTS_AT_A_TIME
from tissuegraph.simulate.writing import cell_names


@dataclass(frozen=True)
class GrownSlide:
    """Everything about a slide but its transcripts: about ten kilobytes a cell, most of it the lattice."""

    params: GrownTissueParams
    cytology: Cytology
    expression: Expression
    noise: Noise
    seen: Bools
    names: list[str]
    vendor: GrownVendor
    """Of the cells in `numpy.flatnonzero(seen)`, in this order."""
    title: str = "simulated grown tissue"

    @property
    def seen_names(self) -> list[str]:
        """Return the names of the vendor's cells."""
        return [self.names[number] for number in np.flatnonzero(self.seen)]

    @property
    def outlines(self) -> Rings:
        """Return the true outlines."""
        return self.cytology.cells

    @property
    def types(self) -> Integers:
        """Return the dominant programme of each cell."""
        return self.expression.types

    @property
    def domains(self) -> Integers:
        """Return the number of each cell's domain."""
        return self.expression.domains

    @property
    def part_size(self) -> int:
        """Return the number of cells whose transcripts are held at a time."""
        few = min(TRANSCRIPTS_AT_A_TIME / self.params.counts_per_cell, RATES_AT_A_TIME / self.params.genes)
        return int(max(1, few))

    @property
    def parts(self) -> int:
        """Return how many times transcripts are drawn and written."""
        return -(-self.params.cells // self.part_size)

    def draw_parts(self, seed: int) -> Iterator[Molecules]:
        """Draw the transcripts, a bounded number at a time, in an order that does not tell the truth."""
        params, expression, extent = self.params, self.expression, self.outlines.lattice.extent
        for number, part in enumerate(chunks(params.cells, self.part_size)):
            rng = np.random.default_rng([seed, 1, number])
            row, gene = draw_counts(expression.rates(part), expression.totals[part], params, rng)
            cell = part.start + row
            made = place(self.cytology, cell, expression.retained[gene], rng)
            points = moved(made, steps(len(made), rng), self.noise.width)
            cells = len(expression.totals[part])
            rows = params.counts_per_cell * cells / (1 - params.background - params.controls)
            stray = draw_background(rows, self.noise, extent, params, rng)
            yield join([Molecules(cell, gene, points), stray], rng)

    def draw_quality(self, features: Integers, rng: np.random.Generator) -> Floats:
        """Draw the qv of transcripts, which depends on the gene, float32."""
        return draw_quality(features, self.noise, rng)


def draw_grown_slide(params: GrownTissueParams, seed: int) -> GrownSlide:
    """Grow the cells of a slide."""
    rng = np.random.default_rng([seed, 0])
    lattice = make_lattice(params)
    room = growing_room(lattice, params, rng)
    resistance = growth_resistance(lattice, params, rng)
    seeds = sow(lattice, room, params, rng)
    cells = trace(lattice, grow(lattice, seeds, room, resistance), params.cells)
    nuclei = seed_nuclei(cells, seeds, params, rng)
    labels = grow_nuclei(cells, nuclei, resistance)
    seen, vendor = see_nuclei(cells, nuclei, resistance, room, params, rng)
    outlines = trace(lattice, labels, params.cells)
    cytology = make_cytology(cells, labels, outlines.centroids(), outlines.areas())
    expression = draw_expression(cells.centroids(), cells.areas(), params, rng)
    return GrownSlide(
        params=params,
        cytology=cytology,
        expression=expression,
        noise=draw_noise(cytology, expression, params, rng),
        seen=seen,
        names=cell_names(np.arange(params.cells)),
        vendor=vendor,
    )
