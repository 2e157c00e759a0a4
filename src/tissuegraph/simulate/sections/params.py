"""The parameters of simulated sections, and the only place of their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from tissuegraph.errors import InputError
from tissuegraph.simulate.params import SHARE, Range, refuse_numbers

LATTICES = ("irregular", "hexagonal")
WHOLE = ("cells", "genes", "domains", "types", "cells_per_spot", "rare_patches", "samples", "sections")


@dataclass(frozen=True)
class SectionParams:
    """What simulated sections look like.

    The defaults make tissue in which domains cannot be told from one cell, and not quite from its
    surroundings: smoothed principal components reach an adjusted Rand index of about 0.7.
    """

    cells: int = 3000
    """Cells (or spots) of each section, exactly."""
    genes: int = 500
    """Number of genes."""
    domains: int = 6
    """Number of layers, each a domain; the thin structure and the rare domain come on top."""
    types: int = 8
    """Number of cell types, each most frequent somewhere between the first and the last layer; thin structure
    and rare domain have one more each."""
    lattice: str = "irregular"
    """Where cells lie: "irregular", or "hexagonal" like the spots of Visium."""
    spacing: float = 15.0
    """Distance of neighbours in um."""
    cells_per_spot: int = 1
    """Cells whose expression is measured as one."""
    curvature: float = 0.4
    """How far layers bend, as a share of the section's extent."""
    type_purity: float = 0.6
    """Share of a domain's cells that are of the types of its place; the others are of any type."""
    marker_share: float = 0.06
    """Share of the genes that mark one type; a third of them marks another type too."""
    marker_fold: float = 3.0
    """How many times more of a marker its type makes than the others do, typically."""
    domain_share: float = 0.15
    """Share of the genes that depend on the layer, whatever the type, each around a place of its own."""
    domain_fold: float = 1.6
    """How many times more of such a gene is made at its place, typically (or less)."""
    gradient: float = 0.25
    """Expression that varies over the section regardless of domains: spread of its logarithm, in half of the
    genes."""
    counts_per_cell: float = 250.0
    """Mean number of counts of a cell."""
    depth_variation: float = 0.4
    """Spread of the cells' totals: standard deviation of their logarithm."""
    gene_dispersion: float = 0.4
    """Overdispersion: counts are negative binomial with this 1 / shape."""
    thin_width: float = 0.0
    """Width of a thin structure between the middle layers, in distances of neighbours; 0 for none."""
    rare_share: float = 0.0
    """Share of each section that is a rare domain; 0 for none."""
    rare_patches: int = 2
    """Round patches that it consists of."""
    samples: int = 1
    """Pieces of tissue, side by side, each bent in its own way."""
    sections: int = 1
    """Sections of each sample, one upon the other."""
    section_distance: float = 20.0
    """Distance of such sections in um."""
    shift: float = 0.0
    """How far a section is off its place: standard deviation in um along either axis."""
    batch_effect: float = 0.0
    """Effect of each section on each gene: standard deviation of the logarithm of its factor."""

    def __post_init__(self) -> None:
        """Refuse what makes no section."""
        refuse_numbers(self, _RANGES, whole=WHOLE)
        if self.lattice not in LATTICES:
            raise InputError(f"lattice is {self.lattice!r}; choose one of {', '.join(LATTICES)}")

    @property
    def total_cells(self) -> int:
        """Cells of all sections."""
        return self.cells * self.samples * self.sections


_RANGES: dict[str, Range] = {
    "cells": (1, 100_000_000),
    "genes": (1, 1_000_000),
    "domains": (1, 1000),
    "types": (1, 1000),
    "spacing": (0.01, 10_000),
    "cells_per_spot": (1, 1000),
    "curvature": (0, 2),
    "type_purity": SHARE,
    "marker_share": SHARE,
    "marker_fold": (1, 1000),
    "domain_share": SHARE,
    "domain_fold": (1, 1000),
    "gradient": (0, 5),
    "counts_per_cell": (0.01, 1_000_000),
    "depth_variation": (0, 3),
    "gene_dispersion": (0, 100),
    "thin_width": (0, 1000),
    "rare_share": (0, 0.5),
    "rare_patches": (1, 1000),
    "samples": (1, 10_000),
    "sections": (1, 10_000),
    "section_distance": (0.01, 10_000),
    "shift": (0, 100_000),
    "batch_effect": (0, 5),
}
