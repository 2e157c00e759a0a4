"""The files of an evaluation: figures as JSON, and one picture."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from tissuegraph.evaluation.picture import draw_evaluation
from tissuegraph.evaluation.result import Evaluation
from tissuegraph.metrics.segmentation import Markers
from tissuegraph.output import whole_folder, write_json

EVALUATION_FILE = "evaluation.json"
PICTURE_FILE = "evaluation.png"


def write_evaluation(evaluation: Evaluation, out: Path, *, overwrite: bool) -> None:
    """Write `evaluation.json` and `evaluation.png` to the folder `out`, which appears whole or not at all."""
    with whole_folder(out, overwrite=overwrite, marker=EVALUATION_FILE, kind="evaluation") as folder:
        write_json(folder / EVALUATION_FILE, as_json(evaluation))
        draw_evaluation(evaluation).savefig(folder / PICTURE_FILE, dpi=150)


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return everything that was found, in lists and dictionaries; what was not measured is null."""
    return {
        "made_by": "tissuegraph evaluate",
        **evaluation.provenance,
        "equal_share": evaluation.equal_share,
        "marker_source": evaluation.marker_source,
        "markers": _marker_names(evaluation.markers, evaluation.genes),
        "segmentations": {
            name: {
                **dataclasses.asdict(figures),
                "share_by_gene": {
                    gene: _number(share) for gene, share in evaluation.share_by_gene[name].items()
                },
                "curve": _plain(evaluation.curves.get(name)),
                "reliability": _plain(evaluation.reliability.get(name)),
                "reliability_by_kind": {
                    kind: _plain(one) for kind, one in evaluation.reliability_by_kind.get(name, {}).items()
                },
            }
            for name, figures in evaluation.items()
        },
    }


def _marker_names(markers: Markers | None, genes: list[str]) -> dict[str, list[str]]:
    """Return the marker genes of each type."""
    if markers is None:
        return {}
    return {
        name: [genes[gene] for gene in markers.genes if markers.type_of_gene[gene] == number]
        for number, name in enumerate(markers.types)
    }


def _plain(record: Any) -> dict[str, list[float | None]] | None:
    """Return a dataclass or named tuple of arrays as lists."""
    if record is None:
        return None
    fields = record._asdict() if hasattr(record, "_asdict") else dataclasses.asdict(record)
    return {name: [_number(value) for value in values] for name, values in fields.items()}


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
