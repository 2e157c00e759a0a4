"""Smooth borders between territories, shared by the cells on both sides.

Constrained elastic surface nets (Gibson 1998, MICCAI) in two dimensions: each corner of pixels at which
territories meet moves towards the mean of its neighbours on the border, but stays in a square of its own
around where it was. Neighbours share the corners of their border, and segments between the squares of
adjacent corners cannot cross, so the smooth outlines are as disjoint as the pixels were.
"""

from __future__ import annotations

import numpy as np
import shapely

from tissuegraph.parallel import compiled
from tissuegraph.segmentation.outlines.density import PIXEL

ROUNDS = 16
"""Times that corners move: also how many pixels away along a border something can still matter."""
FREEDOM = 0.4
"""Pixels that a corner can move along x and along y; below a half, or borders could touch."""
FLAT = 0.05
"""um: a corner that is no farther from the line between its neighbours is left out."""


def contours(labels: np.ndarray, first: np.ndarray, n_cells: int) -> np.ndarray:
    """Draw territories as polygons.

    Parameters
    ----------
    labels
        [w, h], number of the cell of each pixel, -1 = none and along the rim; the pixels of a cell
        are connected by their sides.
    first
        [2], number of the first pixel on the slide.

    Returns
    -------
    [n_cells] valid polygons without holes, um, empty for a cell without pixels. Their interiors are
    disjoint, but for a cell that lies in a hole of another.
    """
    borders = _borders(labels)
    corners = np.argwhere(borders.any(0))
    number = np.full(labels.shape, -1, np.int32)
    number[tuple(corners.T)] = np.arange(len(corners))
    beside = _neighbours(borders, corners, number)
    where = (corners + first).astype(np.float64)
    _relax(where, beside.T.copy())
    needed = ~(_is_flat(where, beside) & ((corners + first).sum(1) % 2 == 0))
    pixel = np.flatnonzero(labels.ravel() >= 0)[::-1]
    start = np.full(n_cells, -1)
    start[labels.ravel()[pixel]] = pixel  # of several, the last is kept: a cell's first pixel
    found = np.flatnonzero(start >= 0)
    ring, ends = _rings(labels, start[found], number, needed)
    drawn = np.full(n_cells, shapely.Polygon(), object)
    owner = np.repeat(np.arange(len(found)), np.diff(ends, prepend=0))
    drawn[found] = shapely.polygons(shapely.linearrings(where[ring] * PIXEL, indices=owner))
    return _without_pinches(drawn)


def _borders(labels: np.ndarray) -> np.ndarray:
    """Whether a border leaves each pixel's lower corner towards +x, +y, -x, -y, [4, w, h]."""
    borders = np.zeros((4, *labels.shape), bool)
    along_x = labels[:, 1:] != labels[:, :-1]
    along_y = labels[1:] != labels[:-1]
    borders[0, :, 1:], borders[1, 1:] = along_x, along_y
    borders[2, 1:, 1:], borders[3, 1:, 1:] = along_x[:-1], along_y[:, :-1]
    return borders


def _neighbours(borders: np.ndarray, corners: np.ndarray, number: np.ndarray) -> np.ndarray:
    """The corners that each corner is joined with, as `_borders` orders them, -1 = none, [4, K]."""
    i, j = corners.T
    ahead = np.stack([number[i + 1, j], number[i, j + 1], number[i - 1, j], number[i, j - 1]])
    return np.where(borders[:, i, j], ahead, -1)


@compiled
def _relax(where, beside):  # type: ignore[no-untyped-def]
    """Move corners [K, 2] towards the mean of their neighbours, each within its own square.

    Half the way each time: a staircase that moved all the way would become its own mirror image.
    """
    origin, before = where.copy(), where.copy()
    for _ in range(ROUNDS):
        for k in range(len(where)):
            x, y, degree = 0.0, 0.0, 0
            for other in beside[k]:
                if other >= 0:
                    x, y, degree = x + before[other, 0], y + before[other, 1], degree + 1
            x, y = (before[k, 0] + x / degree) / 2, (before[k, 1] + y / degree) / 2
            where[k, 0] = min(max(x, origin[k, 0] - FREEDOM), origin[k, 0] + FREEDOM)
            where[k, 1] = min(max(y, origin[k, 1] - FREEDOM), origin[k, 1] + FREEDOM)
        before[:] = where


def _is_flat(where: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """Whether a corner with two neighbours is nearly on the line between them, [K].

    Every second corner may be left out for it, so that whoever shares the border leaves out the same.
    The line stays within the squares of the three corners, as `FLAT` is less than the room between a
    corner and the corner of its square, and so does not touch another border.
    """
    ranked = np.sort(beside, 0)
    before, after = where[ranked[-2]], where[ranked[-1]]
    (dx, dy), (ex, ey) = (after - before).T, (where - before).T
    apart = np.abs(dx * ey - dy * ex) / np.maximum(np.hypot(dx, dy), 1e-9)
    return ((beside >= 0).sum(0) == 2) & (apart * PIXEL < FLAT)


@compiled
def _rings(labels, start, number, needed):  # type: ignore[no-untyped-def]
    """Walk around cells from the first pixel of each: needed corners of all rings, and where rings end."""
    corners, ends = np.empty(1024, np.int64), np.empty(len(start), np.int64)
    n, height = 0, labels.shape[1]
    for c in range(len(start)):
        i, j = start[c] // height, start[c] % height
        x, y, heading = i, j, 0
        while True:
            if needed[number[x, y]]:
                if n == len(corners):
                    longer = np.empty(2 * n, np.int64)
                    longer[:n] = corners
                    corners = longer
                corners[n] = number[x, y]
                n += 1
            x, y, heading = _step(labels, labels[i, j], x, y, heading)
            if x == i and y == j and heading == 0:
                break
        ends[c] = n
    return corners[:n], ends


@compiled
def _step(labels, cell, x, y, heading):  # type: ignore[no-untyped-def]
    """Go on to the next corner, with the cell on the left; where to, and whither from there."""
    x += (heading == 0) - (heading == 2)
    y += (heading == 1) - (heading == 3)
    # The pixels ahead, to the left and to the right of the way.
    left = labels[x - (heading == 1 or heading == 2), y - (heading >= 2)] == cell
    right = labels[x - (heading >= 2), y - (heading == 0 or heading == 3)] == cell
    if not left:
        heading = (heading + 1) % 4
    elif right:
        heading = (heading + 3) % 4
    return x, y, heading


def _without_pinches(outlines: np.ndarray) -> np.ndarray:
    """Mend outlines that touch themselves in a corner: what they close around is theirs."""
    broken = np.flatnonzero(~shapely.is_valid(outlines))
    for number in broken:
        parts = shapely.get_parts(shapely.make_valid(outlines[number]))
        largest = max(parts, key=lambda part: (part.area, part.bounds))
        outlines[number] = shapely.Polygon(shapely.get_exterior_ring(largest))
    return outlines
