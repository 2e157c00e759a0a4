"""Outlines of cells, around their nucleus and their transcripts, disjoint on the whole slide."""

from __future__ import annotations

import numpy as np
import shapely

from tissuegraph.segmentation.outlines.contours import contours
from tissuegraph.segmentation.outlines.disjoint import cores, with_cores, with_lost
from tissuegraph.segmentation.outlines.members import Members, by_cell
from tissuegraph.segmentation.outlines.territories import territories


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
    members, middles = by_cell(np.asarray(positions, np.float64), cell, len(nuclei))
    order = _order(nuclei, members, middles)
    outlines = np.empty(len(nuclei), object)
    outlines[order] = _in_order(members.of(order), middles[order], nuclei[order])
    return outlines


def _in_order(members: Members, middles: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """Draw cells, the first of which prevail where all else is equal."""
    kernels = cores(nuclei, middles)
    drawn = np.flatnonzero(members.stop > members.start)
    outlines = kernels.copy()
    if len(drawn):
        outlines[drawn] = contours(*territories(members.of(drawn), kernels[drawn]), len(drawn))
    return with_lost(with_cores(outlines, kernels), kernels, middles)


def _order(nuclei: np.ndarray, members: Members, middles: np.ndarray) -> np.ndarray:
    """Cells from left to right, or what else tells them apart: not by number, which could be any."""
    counts = members.stop - members.start
    return np.lexsort((counts, shapely.area(nuclei), *middles.T, *shapely.bounds(nuclei).T))
