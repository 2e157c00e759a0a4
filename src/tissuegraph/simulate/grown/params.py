"""The parameters of grown tissue, and the only place of their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from tissuegraph.simulate.params import SHARE, Range, refuse_outside


@dataclass(frozen=True)
class GrownTissueParams:
    """What grown tissue looks like.

    Fields that mean the same as in `TissueParams` have the same name. The defaults make tissue about as
    hard as those of `TissueParams` do: the nearest nucleus, at its best distance, scores F1 0.83 at
    `elongation=1` and 0.75 at `elongation=3`, the true outlines 0.95 at both.
    """

    cells: int = 2000
    """Number of cells, exactly."""
    genes: int = 300
    """Number of genes in the panel."""
    types: int = 9
    """Number of gene programmes; the type of a cell is the one that dominates in it."""
    domains: int = 4
    """Number of tissue domains, each made of islands with a mixture of programmes of their own."""
    counts_per_cell: float = 180.0
    """Mean number of transcripts that a cell makes."""
    depth_variation: float = 0.35
    """Standard deviation of the logarithm of a cell's total, beyond what its area explains."""
    gene_variation: float = 0.5
    """Standard deviation of the logarithm of a gene's rate within a cell, beyond its programmes."""
    abundance_spread: float = 1.3
    """Standard deviation of the logarithm of the genes' abundances; its upper tail is heavier still."""
    mixing: float = 0.3
    """Mean share of a cell's expression that is not of its dominant programme."""
    zonation: float = 0.35
    """Standard deviation over genes of the logarithmic change along one unit of the tissue's gradient."""
    elongation: float = 2.0
    """Typical long over short axis of the larger cells, which varies over the slide; 1 is round."""
    direction_scale: float = 150.0
    """Distance in um over which the long axis turns by about one radian."""
    cell_area: float = 100.0
    """Mean area of a cell in um2."""
    size_variation: float = 0.35
    """Standard deviation of the logarithm of the larger cells' areas."""
    small_cells: float = 0.2
    """Share of small, round cells, which settle between the larger ones."""
    roughness: float = 0.6
    """Standard deviation of the logarithm of what resists growth: how ragged outlines are."""
    empty: float = 0.1
    """Share of the slide where nothing grows: lumina and holes."""
    density_variation: float = 0.3
    """Standard deviation of the logarithm of how densely cells are seeded, over the slide."""
    nucleus_size: float = 0.55
    """Radius of the nucleus relative to the radius of its cell, in a cell of mean area."""
    nucleus_offset: float = 0.65
    """Mean distance of the nucleus from the middle of its cell, relative to the way it has."""
    missing_nuclei: float = 0.08
    """Share of cells whose nucleus is not seen."""
    merged_nuclei: float = 0.02
    """Share of cells whose nucleus is drawn as one with a neighbour's; one of the two counts as unseen."""
    nucleus_error: float = 0.3
    """Standard deviation in um of where a nucleus is seen to end, against where it ends."""
    nuclear_genes: float = 0.1
    """Share of genes whose transcripts stay in the nucleus."""
    spill: float = 0.04
    """Share of transcripts that diffuse out of their cell."""
    background: float = 0.02
    """Share of transcripts that no cell made: ambient RNA in patches, and false positives of some genes."""
    controls: float = 0.005
    """Share of rows that are control probes and codewords, anywhere on the slide."""
    low_quality: float = 0.1
    """Share of rows with qv below 20; more of them in some genes than in others."""
    thickness: float = 8.0
    """Thickness of the section in um."""

    def __post_init__(self) -> None:
        """Refuse what makes no tissue."""
        refuse_outside(self, _RANGES)


_RANGES: dict[str, Range] = {
    "cells": (1, 10_000_000),
    "genes": (1, 1_000_000),
    "types": (1, 1000),
    "domains": (1, 1000),
    "counts_per_cell": (0.01, 1_000_000),
    "depth_variation": (0, 3),
    "gene_variation": (0, 3),
    "abundance_spread": (0, 4),
    "mixing": (0, 1),
    "zonation": (0, 3),
    "elongation": (1, 10),
    "direction_scale": (10, 1_000_000),
    "cell_area": (1, 100_000),
    "size_variation": (0, 1),
    "small_cells": SHARE,
    "roughness": (0, 1),
    "empty": (0, 0.8),
    "density_variation": (0, 1),
    "nucleus_size": (0.05, 0.95),
    "nucleus_offset": (0, 0.8),
    "missing_nuclei": SHARE,
    "merged_nuclei": (0, 0.5),
    "nucleus_error": (0, 5),
    "nuclear_genes": SHARE,
    "spill": SHARE,
    "background": SHARE,
    "controls": SHARE,
    "low_quality": SHARE,
    "thickness": (0, 1000),
}
