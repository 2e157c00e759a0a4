"""What an outline looks like: functions of arrays of polygons, the same for a nucleus and for a cell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

TINY = 1e-3
"""um, um2: what a side or an area counts as at least."""

Floats = npt.NDArray[np.float64]


def aspect_ratio(outlines: npt.NDArray[np.object_]) -> Floats:
    """Long over short side of each outline's smallest rectangle, (M,)."""
    rectangles = shapely.minimum_rotated_rectangle(outlines)
    corners, index = shapely.get_coordinates(rectangles, return_index=True)
    first = np.searchsorted(index, np.arange(len(outlines)))
    sides = [np.linalg.norm(corners[first + i + 1] - corners[first + i], axis=1) for i in (0, 1)]
    return np.maximum(*sides) / np.maximum(np.minimum(*sides), TINY)


def solidity(outlines: npt.NDArray[np.object_]) -> Floats:
    """Area over the area of the convex hull, (M,); 1 is convex."""
    area, hull = shapely.area(outlines), shapely.area(shapely.convex_hull(outlines))
    return np.maximum(area, TINY) / np.maximum(hull, TINY)
