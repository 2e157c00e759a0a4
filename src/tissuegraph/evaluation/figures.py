"""What is measured of each segmentation, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass

from tissuegraph.metrics.segmentation import KINDS

WITH_TRUTH, CALIBRATION = "with the truth", "calibration error by kind"
COUNTS, PURITY, SHAPE = "counts", "purity, without truth", "shape"
GROUPS = (WITH_TRUTH, CALIBRATION, PURITY, COUNTS, SHAPE)
LOWER, HIGHER = "lower is better", "higher is better"


@dataclass(frozen=True)
class Figures:
    """All that was measured of one segmentation; None where it could not be, or no truth was given.

    The formula and the source of each stand in the docstrings of `tissuegraph.metrics.segmentation` and in
    docs/evaluate.md.
    """

    share_assigned: float
    """Assigned ones among all judged transcripts."""
    n_transcripts: int
    """How many transcripts were judged."""

    f1: float | None = None
    """Harmonic mean of precision and recall."""
    precision: float | None = None
    """Right ones among the assigned transcripts; assigned background is wrong."""
    recall: float | None = None
    """Right ones among the transcripts of cells whose nucleus was seen."""
    unseen: float | None = None
    """Right ones among the transcripts of cells whose nucleus was not seen."""
    adjusted_rand: float | None = None
    """Adjusted Rand index with the truth; a transcript without a cell is a cluster of its own."""
    cell_iou: float | None = None
    """Mean over true cells of the largest intersection over union with a predicted cell."""
    cell_f1: float | None = None
    """F1 of finding cells, at an intersection over union above a half."""
    outline_iou: float | None = None
    """Median intersection over union of the cells' polygons with the true outlines of the same cells."""
    calibration_error: float | None = None
    """Expected calibration error of the assignment's probability."""
    calibration_error_nuclear: float | None = None
    """The same, of transcripts in nuclei that were assigned to a cell with a seen nucleus."""
    calibration_error_cytoplasmic: float | None = None
    """The same, of transcripts in no nucleus that were assigned to a cell with a seen nucleus."""
    calibration_error_rare_genes: float | None = None
    """The same, of the rarest genes that make up a tenth of the transcripts together."""
    calibration_error_fragments: float | None = None
    """The same, of transcripts that were assigned to a cell without a seen nucleus."""

    mecr: float | None = None
    """Mutually exclusive co-expression rate."""
    mecr_equal_share: float | None = None
    """The same, expected when segmentations are thinned at random to one share assigned."""
    relative_coexpression: float | None = None
    """Co-expression over that by chance, at one share assigned: 0 is pure, 1 are random handfuls."""
    contamination: float | None = None
    """Estimated share of transcripts that come from neighbouring cells of other types."""
    spurious_coexpression: float | None = None
    """MECR at the depth of the nuclei, minus that of the nuclei."""
    marker_purity: float | None = None
    """Share of a cell's marker transcripts that mark its own type."""
    sensitivity: float | None = None
    """Share of its type's markers that a cell shows."""
    nucleus_correlation: float | None = None
    """Correlation of a cell's expression inside and outside its nucleus."""

    n_cells: int = 0
    """Cells with a transcript."""
    transcripts_per_cell: float | None = None
    """Median."""
    genes_per_cell: float | None = None
    """Median."""
    vendor_agreement: float | None = None
    """Adjusted Rand index with the vendor's cells: agreement, not accuracy."""

    area: float | None = None
    """Median area of the cells, um2."""
    elongation: float | None = None
    """Median of long over short side of the smallest rectangle."""
    solidity: float | None = None
    """Median area over that of the convex hull."""
    outside: float | None = None
    """Share of assigned transcripts outside their cell's polygon."""


EVERY_KIND = "every kind"
FIELD_OF_KIND = {EVERY_KIND: "calibration_error"} | {
    kind: f"calibration_error_{kind.replace(' ', '_')}" for kind in KINDS
}
"""Which field holds the calibration error of a kind of transcripts."""


@dataclass(frozen=True)
class Measure:
    """How a field of `Figures` is shown."""

    field: str
    title: str
    group: str
    digits: int = 3
    better: str | None = None


MEASURES = (
    Measure("f1", "F1", WITH_TRUTH, better=HIGHER),
    Measure("precision", "precision", WITH_TRUTH, better=HIGHER),
    Measure("recall", "recall", WITH_TRUTH, better=HIGHER),
    Measure("unseen", "unseen", WITH_TRUTH, better=HIGHER),
    Measure("adjusted_rand", "ARI", WITH_TRUTH, better=HIGHER),
    Measure("cell_iou", "cell IoU", WITH_TRUTH, better=HIGHER),
    Measure("cell_f1", "cell F1", WITH_TRUTH, better=HIGHER),
    Measure("outline_iou", "outline IoU", WITH_TRUTH, better=HIGHER),
    Measure("calibration_error", "ECE", WITH_TRUTH, better=LOWER),
    *(Measure(FIELD_OF_KIND[kind], kind, CALIBRATION, better=LOWER) for kind in KINDS),
    Measure("mecr", "MECR", PURITY, digits=4, better=LOWER),
    Measure("mecr_equal_share", "MECR, equal share", PURITY, digits=4, better=LOWER),
    Measure("relative_coexpression", "relative MECR, equal share", PURITY, better=LOWER),
    Measure("contamination", "contamination", PURITY, better=LOWER),
    Measure("spurious_coexpression", "spurious", PURITY, digits=4, better=LOWER),
    Measure("marker_purity", "marker purity", PURITY, better=HIGHER),
    Measure("sensitivity", "sensitivity", PURITY, better=HIGHER),
    Measure("nucleus_correlation", "nucleus r", PURITY, better=HIGHER),
    Measure("n_cells", "cells", COUNTS, digits=0),
    Measure("transcripts_per_cell", "transcripts a cell", COUNTS, digits=0),
    Measure("genes_per_cell", "genes a cell", COUNTS, digits=0),
    Measure("vendor_agreement", "agreement with vendor", COUNTS),
    Measure("area", "area, um2", SHAPE, digits=1),
    Measure("elongation", "elongation", SHAPE, digits=2),
    Measure("solidity", "solidity", SHAPE, digits=2),
    Measure("outside", "outside polygon", SHAPE),
)
