"""What an evaluation finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tissuegraph.evaluation.figures import Figures
from tissuegraph.evaluation.measure import Curve
from tissuegraph.metrics.segmentation import Markers, Reliability

VENDOR = "vendor"
TRUE_OUTLINES = "true outlines (upper bound)"


@dataclass(frozen=True, eq=False)  # equal figures are equal evaluations, as for any mapping
class Evaluation(Mapping[str, Figures]):
    """What was measured, by segmentation: `evaluation["tissuegraph"].mecr`.

    Attributes
    ----------
    figures
        By name, in the order of the table: what was given, the vendor, the simple rules, the true outlines.
    equal_share
        The share of transcripts at which `mecr_equal_share` compares.
    markers
        The marker genes; None where none were found.
    marker_source
        Where they come from: a reference, or the slide's own nuclei.
    share_by_gene
        By name, the share assigned of each gene.
    curves
        By name, for methods that say how sure they are: purity at smaller and smaller shares assigned.
    reliability
        By name, for methods that give probabilities, if there is a truth.
    reliability_by_kind
        By name, the same for each kind of transcripts (nuclear, cytoplasmic, of rare genes, in cells without
        a nucleus) of which there are enough.
    genes
        The slide's genes, in the order of the arrays.
    provenance
        What was judged against what: the slide, the truth, the reference, the files by name, the seed and the
        version.
    """

    figures: dict[str, Figures]
    equal_share: float
    markers: Markers | None
    marker_source: str
    share_by_gene: dict[str, dict[str, float]]
    curves: dict[str, Curve]
    reliability: dict[str, Reliability]
    reliability_by_kind: dict[str, dict[str, Reliability]]
    genes: list[str]
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        """Name the segmentations; their figures are what the mapping is for."""
        return f"Evaluation of {', '.join(self.figures)}"

    def __getitem__(self, name: str) -> Figures:
        """Return the figures of one segmentation."""
        return self.figures[name]

    def __iter__(self) -> Iterator[str]:
        """Go over the names, in the order of the table."""
        return iter(self.figures)

    def __len__(self) -> int:
        """Return how many segmentations were judged."""
        return len(self.figures)
