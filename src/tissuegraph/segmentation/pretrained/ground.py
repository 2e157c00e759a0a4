"""What is known of a slide's nuclei beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tissuegraph.segmentation.axes import LocalAxes
from tissuegraph.segmentation.pretrained.tile_pairs import Floats


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

    outlines: npt.NDArray[np.object_]
    centres: Floats
    areas: Floats
    spacing: Floats
    axes: LocalAxes
    typical_reach: float
