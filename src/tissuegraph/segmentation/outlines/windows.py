"""The slide, some cells at a time: those of a window, with all that can matter to their outlines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely

from tissuegraph.segmentation.outlines.contours import ROUNDS
from tissuegraph.segmentation.outlines.density import PIXEL
from tissuegraph.segmentation.outlines.territories import PAD

WINDOW = 800.0
"""um: side of a window, at most."""
TRANSCRIPTS = 300_000
"""In the own cells of a window, at most: both bound the memory; the outlines do not depend on them."""


def windows(boxes: np.ndarray, transcripts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give each cell to the window of a fixed grid that the middle of its box lies in, or to a part of it.

    Two cells can meet if their boxes, grown by what an outline can reach beyond them and by what the
    smoothing of a border listens to, do. A cell's outline depends on the cells that it can meet, as far as
    these keep their ground from those that they can meet.

    Parameters
    ----------
    boxes
        [M, 4], um: x and y from, x and y to, of a cell's nucleus and all its transcripts.
    transcripts
        [M], how many each holds.

    Yields
    ------
    Numbers of the window's own cells, ascending, and of all that must be drawn with them, ascending.
    """
    reach = PAD + ROUNDS * PIXEL / 2
    grown = shapely.box(*(boxes[:, :2] - reach).T, *(boxes[:, 2:] + reach).T)
    tree = shapely.STRtree(grown)
    for own in _parts((boxes[:, :2] + boxes[:, 2:]) / 2, transcripts):
        near = own
        for _ in range(2):
            near = np.union1d(near, tree.query(grown[near])[1])
        yield own, near


def _parts(middle: np.ndarray, transcripts: np.ndarray) -> Iterator[np.ndarray]:
    """Squares of the grid, halved along their longer side while they hold too much; numbers, ascending."""
    square = np.floor(middle / WINDOW)
    order = np.lexsort(square.T)
    starts = np.flatnonzero((np.diff(square[order], axis=0) != 0).any(1)) + 1
    waiting = np.split(order, starts)[::-1] if len(order) else []
    while waiting:
        cells = waiting.pop()
        if len(cells) == 1 or transcripts[cells].sum() <= TRANSCRIPTS:
            yield np.sort(cells)
            continue
        longer = np.ptp(middle[cells], 0).argmax()
        cells = cells[np.argsort(middle[cells, longer], kind="stable")]
        waiting += [cells[len(cells) // 2 :], cells[: len(cells) // 2]]
