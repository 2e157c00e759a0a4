"""What shape cells have, and whether their polygons hold their transcripts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from tissuegraph.metrics.segmentation.codes import Codes
from tissuegraph.shapes import aspect_ratio, solidity

MIN_TRANSCRIPTS = 3
"""A cell of fewer transcripts has no hull with an area."""


@dataclass(frozen=True)
class Morphology:
    """Shapes of cells: medians over cells.

    Attributes
    ----------
    area
        um2.
    elongation
        Long over short side of the smallest rectangle.
    solidity
        Area over that of the convex hull; None where the cells have no polygons of their own.
    outside
        Share of the assigned transcripts that lie outside their cell's polygon; None as above.
    """

    area: float | None
    elongation: float | None
    solidity: float | None
    outside: float | None


def morphology(
    cell: Codes, positions: npt.NDArray[np.floating], outlines: npt.NDArray[np.object_] | None = None
) -> Morphology:
    """Measure cells by their polygons, or, without any, by the convex hulls of their transcripts.

    Parameters
    ----------
    cell
        (N,), none = -1.
    positions
        [N, 2], um.
    outlines
        (cells,) polygons by the cell's code, None for a cell without one.
    """
    assigned = np.flatnonzero(cell >= 0)
    if outlines is None:
        return _of_polygons(_hulls(cell[assigned], positions[assigned]), None, None)
    has_outline = ~shapely.is_missing(outlines)
    held = assigned[has_outline[cell[assigned]]]
    x, y = positions[held].T
    inside = shapely.intersects_xy(outlines[cell[held]], x, y)
    used = np.flatnonzero(has_outline & (np.bincount(cell[assigned], minlength=len(outlines)) > 0))
    polygons = outlines[used]
    outside = float(1 - inside.mean()) if len(held) else None
    return _of_polygons(polygons, solidity(polygons), outside)


def outline_iou(
    outlines: npt.NDArray[np.object_], true_outlines: npt.NDArray[np.object_]
) -> npt.NDArray[np.float64]:
    """Measure how far outlines cover the true ones: area of the intersection over that of the union, (N,).

    Parameters
    ----------
    outlines, true_outlines
        (N,) polygons of the same cells, None where there is none.

    Returns
    -------
    1 is perfect; NaN where either has no polygon, or neither has an area.
    """
    shared = shapely.area(shapely.intersection(outlines, true_outlines))
    together = shapely.area(outlines) + shapely.area(true_outlines) - shared
    return np.divide(shared, together, out=np.full(len(shared), np.nan), where=together > 0)


def _of_polygons(
    polygons: npt.NDArray[np.object_], solid: npt.NDArray[np.float64] | None, outside: float | None
) -> Morphology:
    if len(polygons) == 0:
        return Morphology(None, None, None, outside)
    return Morphology(
        area=float(np.median(shapely.area(polygons))),
        elongation=float(np.median(aspect_ratio(polygons))),
        solidity=None if solid is None else float(np.median(solid)),
        outside=outside,
    )


def _hulls(cell: Codes, positions: npt.NDArray[np.floating]) -> npt.NDArray[np.object_]:
    """Return the convex hulls of the cells whose transcripts span an area."""
    order = np.argsort(cell, kind="stable")
    count = np.unique(cell, return_counts=True)[1]
    large = count >= MIN_TRANSCRIPTS
    kept = np.repeat(large, count)
    owner = np.repeat(np.arange(int(large.sum())), count[large])
    if len(owner) == 0:
        return np.zeros(0, object)
    clouds = shapely.multipoints(positions[order][kept].astype(np.float64), indices=owner)
    hulls = shapely.convex_hull(clouds)
    return hulls[shapely.area(hulls) > 0]
