"""What is known of a slide's nuclei beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from scipy.spatial import cKDTree

from tissuegraph.segmentation.axes import LocalAxes, mean_density
from tissuegraph.segmentation.pretrained.tile_pairs import Floats
from tissuegraph.shapes import Outlines, centroids, measured
from tissuegraph.tiles.survey import Survey

FOURTH = 5
"""Centres asked for to find the fourth nearest other one."""


@dataclass(frozen=True)
class Ground:
    """What is known of a slide's nuclei, by their number on the slide.

    Attributes
    ----------
    outlines, centres, areas
        [M] polygons, [M, 2] um, [M] um2.
    spacing
        [M]: um to the fourth nearest centre.
    axes
        The tissue's axis at each.
    typical_reach
        um to the tenth nearest transcript, at the slide's mean density.
    """

    outlines: Outlines
    centres: Floats
    areas: Floats
    spacing: Floats
    axes: LocalAxes
    typical_reach: float

    @cached_property
    def typical_spacing(self) -> float:
        """Median over the nuclei, um."""
        return float(np.median(self.spacing))


def ground_of(survey: Survey, axes: LocalAxes) -> Ground:
    """Look at the slide's nuclei, given the tissue's axis at each."""
    centres = measured(centroids, survey.outlines)
    asked = min(FOURTH, len(centres))
    distance = np.asarray(cKDTree(centres).query(centres, k=[asked])[0])[:, 0]
    return Ground(
        outlines=survey.outlines,
        centres=centres,
        areas=np.maximum(measured(shapely.area, survey.outlines), 1e-3),
        spacing=np.maximum(distance, 1.0),
        axes=axes,
        typical_reach=float(np.sqrt(10 / (np.pi * max(mean_density(survey), 1e-9)))),
    )
