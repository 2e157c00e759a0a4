"""Measure segmentations of one slide, all in the same way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph.evaluation.figures import EVERY_KIND, FIELD_OF_KIND, Figures
from tissuegraph.metrics import segmentation as metrics
from tissuegraph.metrics.segmentation import Codes, Encoded, Markers, Reliability

CURVE_SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the transcripts at which a method that knows how sure it is shows its purity."""

Floats = npt.NDArray[np.float64]


class _Promises(NamedTuple):
    """Probabilities, and whether they came true."""

    probability: Floats
    right: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Method:
    """A segmentation, in numbers.

    Attributes
    ----------
    cell
        (N,): the cell of each judged transcript, -1 = none; a number below B is the cell of that nucleus.
    confidence
        (N,), NaN where not known; None if the method does not say.
    is_probability
        Whether `confidence` is the probability of being right.
    outlines
        (C,) polygons by cell, None where there is none; None if the method draws no polygons.
    """

    cell: Codes
    confidence: Floats | None = None
    is_probability: bool = False
    outlines: npt.NDArray[np.object_] | None = None


@dataclass(frozen=True)
class Ground:
    """What every method of a slide is measured against.

    Attributes
    ----------
    gene, positions, inside
        (N,), [N, 2], (N,): of the judged transcripts; `inside` is the nucleus that holds it, -1 = none.
    n_genes, n_cells
        G, and how many cells the methods of the slide have together (C).
    centres
        [C, 2], um: of the nuclei; NaN for cells without.
    markers, cell_type
        The markers, and the type of each cell's nucleus, (C,), -1 = unknown; None where there are none.
    true_cell, is_seen
        (N,) and (C,): the true cells, and which of them had a nucleus that was seen; None without a truth.
    vendor
        (N,): the vendor's cells, None where there are none.
    true_outlines
        (C,) polygons by cell, None where there is none; None where they are not known.
    """

    gene: Codes
    positions: npt.NDArray[np.floating]
    inside: Codes
    n_genes: int
    n_cells: int
    centres: Floats
    markers: Markers | None
    cell_type: Codes | None
    true_cell: Codes | None
    is_seen: npt.NDArray[np.bool_] | None
    vendor: Codes | None
    true_outlines: npt.NDArray[np.object_] | None = None

    @cached_property
    def nuclear(self) -> sparse.csr_matrix:
        """Counts of what lies in the cells' nuclei, [C, G]."""
        return self.count(self.inside)

    def count(self, cell: Codes) -> sparse.csr_matrix:
        """Count transcripts, [C, G]."""
        return metrics.count_matrix(cell, self.gene, self.n_cells, self.n_genes)


@dataclass(frozen=True)
class Curve:
    """Purity of a method that gives up its least sure transcripts first; None where not measured."""

    share: list[float]
    mecr: list[float | None]
    contamination: list[float | None]
    precision: list[float | None]


def measure(method: Method, ground: Ground, equal_share: float) -> Figures:
    """Measure one method; `equal_share` is the share of transcripts at which methods are compared."""
    counts = ground.count(method.cell)
    share = float((method.cell >= 0).mean())
    kept = equal_share / share if share else np.inf
    figures = Figures(share_assigned=share, n_transcripts=len(method.cell))
    figures = replace(figures, **_sizes(counts), **_shapes(method, ground))
    figures = replace(figures, **_purity(method, ground, counts, kept))
    if ground.vendor is not None:
        figures = replace(figures, vendor_agreement=metrics.adjusted_rand(method.cell, ground.vendor))
    return replace(figures, **_against_truth(method, ground))


def reliability(method: Method, ground: Ground) -> Reliability | None:
    """Compare the method's probabilities with the truth; None without a truth, or with too few of them."""
    promises = _promises(method, ground).get(EVERY_KIND)
    return None if promises is None else metrics.reliability(*promises)


def reliability_by_kind(method: Method, ground: Ground) -> dict[str, Reliability]:
    """Do the same for each kind of transcripts (`metrics.KINDS`) of which there are enough."""
    promises = _promises(method, ground)
    return {kind: metrics.reliability(*promises[kind]) for kind in metrics.KINDS if kind in promises}


def curve(method: Method, ground: Ground) -> Curve | None:
    """Measure purity at smaller and smaller shares assigned; None if the method has no confidence."""
    if method.confidence is None:
        return None
    assigned = np.flatnonzero(method.cell >= 0)
    surest = assigned[np.argsort(-np.nan_to_num(method.confidence[assigned], nan=-np.inf), kind="stable")]
    n = len(method.cell)
    shares = [share for share in CURVE_SHARES if share * n < len(surest)] + [len(surest) / n]
    points = [_point(surest[: round(share * n)], method, ground) for share in shares]
    return Curve(shares, *(list(column) for column in zip(*points, strict=True)))


def _point(kept: Codes, method: Method, ground: Ground) -> tuple[float | None, float | None, float | None]:
    cell = np.full(len(method.cell), -1)
    cell[kept] = method.cell[kept]
    mecr = contaminated = precision = None
    if ground.markers is not None and ground.cell_type is not None:
        counts = ground.count(cell)
        mecr = metrics.mutually_exclusive_coexpression(counts, ground.markers)
        contaminated = metrics.contamination(
            counts, ground.nuclear, ground.cell_type, ground.centres, ground.markers
        )
    if ground.true_cell is not None and ground.is_seen is not None:
        precision = metrics.score_codes(Encoded(ground.true_cell, cell, ground.is_seen)).precision
    return mecr, contaminated, precision


def _sizes(counts: sparse.csr_matrix) -> dict[str, Any]:
    transcripts = np.asarray(counts.sum(1)).ravel()
    genes = np.diff(counts.indptr)
    used = transcripts > 0
    if not used.any():
        return {"n_cells": 0}
    return {
        "n_cells": int(used.sum()),
        "transcripts_per_cell": float(np.median(transcripts[used])),
        "genes_per_cell": float(np.median(genes[used])),
    }


def _purity(method: Method, ground: Ground, counts: sparse.csr_matrix, kept: float) -> dict[str, Any]:
    own = (method.cell == ground.inside) & (ground.inside >= 0)
    inside, outside = (ground.count(np.where(part, method.cell, -1)) for part in (own, ~own))
    found: dict[str, Any] = {"nucleus_correlation": metrics.nucleus_correlation(inside, outside)}
    if ground.markers is None or ground.cell_type is None:
        return found
    markers, types = ground.markers, ground.cell_type
    coexpression = metrics.mutually_exclusive_coexpression
    return found | {
        "mecr": coexpression(counts, markers),
        "mecr_equal_share": None if kept > 1 else coexpression(counts, markers, kept=kept),
        "relative_coexpression": None
        if kept > 1
        else metrics.relative_coexpression(counts, markers, kept=kept),
        "contamination": metrics.contamination(counts, ground.nuclear, types, ground.centres, markers),
        "spurious_coexpression": metrics.spurious_coexpression(counts, ground.nuclear, markers),
        "marker_purity": metrics.marker_purity(counts, types, markers),
        "sensitivity": metrics.sensitivity(counts, types, markers),
    }


def _shapes(method: Method, ground: Ground) -> dict[str, Any]:
    form = metrics.morphology(method.cell, ground.positions, method.outlines)
    return {
        "area": form.area,
        "elongation": form.elongation,
        "solidity": form.solidity,
        "outside": form.outside,
    }


def _against_truth(method: Method, ground: Ground) -> dict[str, Any]:
    if ground.true_cell is None or ground.is_seen is None:
        return {}
    scores = metrics.score_codes(Encoded(ground.true_cell, method.cell, ground.is_seen))
    cells = metrics.score_cells(ground.true_cell, method.cell)
    return {
        "f1": scores.f1,
        "precision": scores.precision,
        "recall": scores.recall,
        "unseen": scores.unseen,
        "adjusted_rand": metrics.adjusted_rand(ground.true_cell, method.cell),
        "cell_iou": cells.iou,
        "cell_f1": cells.cell_f1,
        "outline_iou": _outline_iou(method, ground),
        **_calibration(method, ground),
    }


def _outline_iou(method: Method, ground: Ground) -> float | None:
    """Return the median over the cells that have a polygon here and in the truth; None without any."""
    if method.outlines is None or ground.true_outlines is None:
        return None
    found = metrics.outline_iou(method.outlines, ground.true_outlines)
    known = found[np.isfinite(found)]
    return float(np.median(known)) if len(known) else None


def _calibration(method: Method, ground: Ground) -> dict[str, float]:
    """Expected calibration errors, by the names of their fields in `Figures`."""
    least = metrics.CALIBRATION_ITEMS
    return {
        FIELD_OF_KIND[kind]: metrics.expected_calibration_error(*promises, min_items=least)
        for kind, promises in _promises(method, ground).items()
    }


def _promises(method: Method, ground: Ground) -> dict[str, _Promises]:
    """Return the probabilities of the assigned transcripts, of all and by kind, where they are enough."""
    if ground.true_cell is None or ground.is_seen is None or not method.is_probability:
        return {}
    confidence = np.asarray(method.confidence, np.float64)
    said = (method.cell >= 0) & np.isfinite(confidence)
    right = metrics.right_codes(Encoded(ground.true_cell, method.cell, ground.is_seen))
    kinds = metrics.kinds_of_transcripts(method.cell, ground.inside, ground.gene, ground.is_seen)
    members = {EVERY_KIND: said, **{kind: said & member for kind, member in kinds.items()}}
    return {
        kind: _Promises(confidence[member], right[member])
        for kind, member in members.items()
        if member.sum() >= metrics.CALIBRATION_ITEMS
    }
