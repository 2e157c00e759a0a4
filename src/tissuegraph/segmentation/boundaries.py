"""Outlines of cells, around their nucleus and their transcripts."""

from __future__ import annotations

import numpy as np
import shapely

KEPT_SHARE = 0.95
"""Share of a cell's transcripts, the nearest to its middle, that its outline is drawn around."""
HULL_RATIO = 0.5
"""Of the concave hull: 1 is convex, smaller follows the points more closely."""
ROOM = 0.05
"""um by which an outline is grown, so that the transcripts on its corners lie inside."""


def cell_outlines(positions: np.ndarray, cell: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """Draw one valid polygon a cell: the concave hull of its nucleus and nearly all its transcripts.

    The farthest 5% of the transcripts, by their distance from the median position, are left out, so
    that a single stray one does not draw a spike.

    Parameters
    ----------
    positions
        [N, 2], um.
    cell
        [N], number of the cell of each transcript, 0 to M - 1.
    nuclei
        [M] polygons.

    Returns
    -------
    [M] polygons that hold at least 90% of their cells' transcripts.
    """
    near = _nearest_share(positions, cell, len(nuclei))
    corners, owner = shapely.get_coordinates(nuclei, return_index=True)
    points = np.concatenate([positions[near], corners])
    cells = np.concatenate([cell[near], owner])
    order = np.argsort(cells, kind="stable")
    clouds = shapely.multipoints(points[order], indices=cells[order])
    outlines = shapely.buffer(shapely.concave_hull(clouds, ratio=HULL_RATIO), ROOM, quad_segs=2)
    outlines = np.where(shapely.is_valid(outlines), outlines, shapely.convex_hull(clouds))
    single = shapely.get_type_id(outlines) == shapely.GeometryType.POLYGON
    holds = _share_inside(outlines, positions, cell) >= 0.9
    return np.where(single & holds, outlines, shapely.buffer(shapely.convex_hull(clouds), ROOM))


def _nearest_share(positions: np.ndarray, cell: np.ndarray, n_cells: int) -> np.ndarray:
    """Whether each transcript is among the nearest 95% of its cell's, [N]."""
    order = np.argsort(cell, kind="stable")
    counts = np.bincount(cell, minlength=n_cells)
    first = np.concatenate([[0], np.cumsum(counts)])[:-1]
    middle = np.zeros((n_cells, 2))
    for axis in (0, 1):
        ranked = order[np.lexsort((positions[order, axis], cell[order]))]
        has = counts > 0
        middle[has, axis] = positions[ranked[first[has] + counts[has] // 2], axis]
    distance = np.hypot(*(positions - middle[cell]).T)
    ranked = np.lexsort((distance, cell))
    rank = np.empty(len(cell), np.int64)
    rank[ranked] = np.arange(len(cell)) - first[cell[ranked]]
    return rank < np.ceil(KEPT_SHARE * counts[cell])


def _share_inside(outlines: np.ndarray, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Share of each cell's transcripts inside its outline, [M]; 1 for a cell without any."""
    inside = shapely.intersects_xy(outlines[cell], positions[:, 0], positions[:, 1])
    counts = np.bincount(cell, minlength=len(outlines))
    held = np.bincount(cell, inside, len(outlines))
    return np.where(counts > 0, held / np.maximum(counts, 1), 1.0)
