"""How good a segmentation is: arrays in, numbers out."""

from tissuegraph.metrics.segmentation.calibration import (
    CALIBRATION_BINS,
    CALIBRATION_ITEMS,
    KINDS,
    Reliability,
    expected_calibration_error,
    kinds_of_transcripts,
    reliability,
)
from tissuegraph.metrics.segmentation.codes import Codes, Encoded, encode, match_one_to_one, overlaps
from tissuegraph.metrics.segmentation.counts import count_matrix, nucleus_correlation, share_assigned_by_gene
from tissuegraph.metrics.segmentation.markers import (
    Markers,
    markers_of_nuclei,
    markers_of_profiles,
    types_by_profiles,
)
from tissuegraph.metrics.segmentation.morphology import Morphology, morphology, outline_iou
from tissuegraph.metrics.segmentation.purity import (
    contamination,
    marker_purity,
    mutually_exclusive_coexpression,
    relative_coexpression,
    sensitivity,
    spurious_coexpression,
)
from tissuegraph.metrics.segmentation.truth import (
    CellScores,
    Scores,
    adjusted_rand,
    is_right,
    right_codes,
    score_assignment,
    score_cells,
    score_codes,
)

__all__ = [
    "CALIBRATION_BINS",
    "CALIBRATION_ITEMS",
    "KINDS",
    "CellScores",
    "Codes",
    "Encoded",
    "Markers",
    "Morphology",
    "Reliability",
    "Scores",
    "adjusted_rand",
    "contamination",
    "count_matrix",
    "encode",
    "expected_calibration_error",
    "is_right",
    "kinds_of_transcripts",
    "marker_purity",
    "markers_of_nuclei",
    "markers_of_profiles",
    "match_one_to_one",
    "morphology",
    "mutually_exclusive_coexpression",
    "nucleus_correlation",
    "outline_iou",
    "overlaps",
    "relative_coexpression",
    "reliability",
    "right_codes",
    "score_assignment",
    "score_cells",
    "score_codes",
    "sensitivity",
    "share_assigned_by_gene",
    "spurious_coexpression",
    "types_by_profiles",
]
