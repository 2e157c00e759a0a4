"""Outlines of cells, around their nucleus and their transcripts, disjoint on the whole slide."""

from __future__ import annotations

import numpy as np
import shapely

from tissuegraph.segmentation.outlines.contours import contours
from tissuegraph.segmentation.outlines.disjoint import cores, with_cores, with_lost
from tissuegraph.segmentation.outlines.territories import cell_before, territories

KEPT_SHARE = 0.95
"""Share of a cell's transcripts, the nearest to its middle, that say where it is drawn."""
FARTHEST = 100.0
"""um from its middle beyond which a cell is not drawn around its transcripts."""


def cell_outlines(positions: np.ndarray, cell: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """Draw one smooth polygon a cell; no two overlap.

    Each cell's transcripts are smoothed, with a kernel as elongated as the cell; a pixel of 0.5 um belongs
    to the cell that is densest there, measured by the cell's own mean density, and borders between
    cells are smoothed together. A nucleus lies in its cell. What of a cell is cut off by others is lost.

    Before cells compete, each holds at least 90% of its transcripts. What it loses to its rivals where
    their transcripts interleave, or to their nuclei, it does not get back: disjoint comes first. A cell
    that would be left with nothing has what is free of nuclei in a small disc around its middle.

    Parameters
    ----------
    positions
        [N, 2], um.
    cell
        [N], number of the cell of each transcript, 0 to M - 1.
    nuclei
        [M] valid polygons, empty where a cell has none. Of two that overlap the larger is kept whole.

    Returns
    -------
    [M] valid polygons, with a hole only where another cell lies in it. A cell without transcripts has its
    nucleus. An outline depends on no cells but those within some um, and theirs, and not on any order.
    """
    if len(nuclei) == 0:
        return np.empty(0, object)
    members = _by_cell(np.asarray(positions, np.float64), cell, len(nuclei))
    middles = np.array([_middle(points) for points in members])
    order = _order(nuclei, members, middles)
    outlines = np.empty(len(nuclei), object)
    outlines[order] = _in_order([members[i] for i in order], middles[order], nuclei[order])
    return outlines


def _in_order(members: list[np.ndarray], middles: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """Draw cells, the first of which prevail where all else is equal."""
    kernels = cores(nuclei, middles)
    drawn = np.flatnonzero([len(points) > 0 for points in members])
    outlines = kernels.copy()
    if len(drawn):
        cells = [cell_before(members[i], _is_near(members[i], middles[i]), kernels[i]) for i in drawn]
        outlines[drawn] = contours(*territories(cells), len(cells))
    return with_lost(with_cores(outlines, kernels), kernels, middles)


def _by_cell(positions: np.ndarray, cell: np.ndarray, n_cells: int) -> list[np.ndarray]:
    """The positions of each cell's transcripts, sorted, so that their order does not matter."""
    order = np.lexsort((positions[:, 1], positions[:, 0], cell))
    return np.split(positions[order], np.cumsum(np.bincount(cell, minlength=n_cells))[:-1])


def _middle(points: np.ndarray) -> np.ndarray:
    """The transcript nearest to the median position, [2]; NaN without any."""
    if len(points) == 0:
        return np.full(2, np.nan)
    return points[np.argmin(np.hypot(*(points - np.median(points, 0)).T))]


def _order(nuclei: np.ndarray, members: list[np.ndarray], middles: np.ndarray) -> np.ndarray:
    """Cells from left to right, or what else tells them apart: not by number, which could be any."""
    counts = [len(points) for points in members]
    return np.lexsort((counts, shapely.area(nuclei), *middles.T, *shapely.bounds(nuclei).T))


def _is_near(points: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Whether each transcript is among the nearest 95% of its cell's, and not too far, [n]; one is.

    Near is meant in the cell's own shape, so that a long cell keeps its ends.
    """
    apart = points - middle
    squared = (apart**2).sum(1)
    near = squared <= min(_largest_kept(squared), FARTHEST**2)
    spread = apart[near].T @ apart[near] / near.sum() + np.eye(2)
    shaped = ((apart @ np.linalg.inv(spread)) * apart).sum(1)
    return (shaped <= _largest_kept(shaped)) & (squared <= FARTHEST**2)


def _largest_kept(values: np.ndarray) -> float:
    return np.sort(values)[int(np.ceil(KEPT_SHARE * len(values))) - 1]
