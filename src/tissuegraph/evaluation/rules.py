"""Simple rules that any segmentation has to beat, on the same transcripts and nuclei."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from tissuegraph.evaluation.slide import Slide, centres
from tissuegraph.metrics.segmentation import Codes, Encoded, score_codes

DISTANCES = (1.0, 2.0, 3.0, 5.0, 8.0)
"""um from the outline of the nearest nucleus."""
ORACLE_DISTANCES = np.arange(0, 20.5, 0.5)
"""um: what the oracle tries."""
NUCLEI_ONLY = "nuclei only"
VORONOI = "Voronoi"
BEST_DISTANCE = "nearest nucleus, best distance"


def nearest_name(distance: float) -> str:
    """Return what the rule is called in tables."""
    return f"nearest nucleus, {distance:g} um"


RULES = (NUCLEI_ONLY, *map(nearest_name, DISTANCES), VORONOI)
"""Their names, in the order of tables."""


def simple_rules(slide: Slide) -> dict[str, Codes]:
    """Assign by rules alone: number of the nucleus of each judged transcript, -1 = none, by name of the rule.

    Nuclei only: what lies inside. Nearest nucleus: within 1, 2, 3, 5 and 8 um of the nearest outline.
    Voronoi: the nucleus with the nearest centroid, however far.
    """
    rules: dict[str, Codes] = {NUCLEI_ONLY: slide.inside}
    for distance in DISTANCES:
        rules[nearest_name(distance)] = np.where(slide.distance <= distance, slide.nearest, -1)
    rules[VORONOI] = np.asarray(cKDTree(centres(slide)).query(slide.positions)[1], np.int64)
    return rules


def best_distance(slide: Slide, true_cell: Codes, is_seen: npt.NDArray[np.bool_]) -> tuple[str, Codes]:
    """Return the nearest-nucleus rule with the highest F1, of equal ones the shortest.

    An oracle: the truth itself chooses the distance, so it is the strongest form of the rule.
    """
    tried = [np.where(slide.distance <= distance, slide.nearest, -1) for distance in ORACLE_DISTANCES]
    scores = [score_codes(Encoded(true_cell, cell, is_seen)).f1 for cell in tried]
    best = int(np.argmax(scores))
    return f"{BEST_DISTANCE} (oracle: {ORACLE_DISTANCES[best]:g} um)", tried[best]
