"""The slide, some cells at a time: those of a window, with all that can matter to their outlines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely

from tissuegraph.segmentation.outlines.contours import ROUNDS
from tissuegraph.segmentation.outlines.density import PIXEL
from tissuegraph.segmentation.outlines.territories import PAD

WINDOW = 800.0
"""um: side of a window, which bounds the memory; the outlines do not depend on it."""


def windows(boxes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give each cell to the window of a fixed grid that the middle of its box lies in.

    Two cells can meet if their boxes, grown by what an outline can reach beyond them and by what the
    smoothing of a border listens to, do. A cell's outline depends on the cells that it can meet, as far as
    these keep their ground from those that they can meet.

    Parameters
    ----------
    boxes
        [M, 4], um: x and y from, x and y to, of a cell's nucleus and all its transcripts.

    Yields
    ------
    Numbers of the window's own cells, ascending, and of all that must be drawn with them, ascending.
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    window = np.floor(middle / WINDOW)
    order = np.lexsort(window.T)
    starts = np.flatnonzero((np.diff(window[order], axis=0) != 0).any(1)) + 1
    reach = PAD + ROUNDS * PIXEL / 2
    grown = shapely.box(*(boxes[:, :2] - reach).T, *(boxes[:, 2:] + reach).T)
    tree = shapely.STRtree(grown)
    for own in np.split(order, starts) if len(order) else []:
        near = own
        for _ in range(2):
            near = np.union1d(near, tree.query(grown[near])[1])
        yield own, near
