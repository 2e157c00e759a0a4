"""Polygons, hulls and connected parts on a raster of pixels."""

from __future__ import annotations

import numpy as np

from tissuegraph.graph.sides import AX, AY, BX, BY, INVERSE, SLOPE, signed_to
from tissuegraph.parallel import compiled
from tissuegraph.segmentation.outlines.density import PIXEL, pixel_of

AROUND = 1.1
"""um that a hull is grown by, so that its corners are well inside."""


@compiled
def within(sides, start, stop, on_surface, first, inside):  # type: ignore[no-untyped-def]
    """Write whether each pixel's centre lies in a polygon, [w, h]; of one with sides at least one does.

    sides [6, S], start, stop: those of the polygon in a table, um; on_surface [2]: a point in it.
    """
    inside[:] = False
    if start == stop:
        return
    room = np.empty(stop - start)
    i_from, i_to, j_from, j_to = _box(sides, start, stop, first, 0.0, inside.shape)
    found = False
    for i in range(i_from, i_to):
        for j in range(j_from, j_to):
            x, y = (first[0] + i + 0.5) * PIXEL, (first[1] + j + 0.5) * PIXEL
            inside[i, j] = signed_to(x, y, sides, start, stop, room) < 0
            found |= inside[i, j]
    if not found:
        i, j = pixel_of(on_surface[0], on_surface[1], first)
        inside[i, j] = True


@compiled
def _box(sides, start, stop, first, around, shape):  # type: ignore[no-untyped-def]
    """Pixels that can lie within `around` um of sides: i and j, from and to."""
    x, y = sides[AX, start:stop], sides[AY, start:stop]
    low, high = (
        pixel_of(x.min() - around, y.min() - around, first),
        pixel_of(x.max() + around, y.max() + around, first),
    )
    return max(low[0], 0), min(high[0] + 1, shape[0]), max(low[1], 0), min(high[1] + 1, shape[1])


@compiled
def within_hull(points, kept, sides, start, stop, first, inside):  # type: ignore[no-untyped-def]
    """Whether each pixel lies in the hull of the nucleus and the kept transcripts, or near it, [w, h].

    points [n, 2], um, sorted by x, then y; sides, start, stop as in `within`.
    """
    hull = _hull(_sorted_corners(points, kept, sides, start, stop))
    size = hull.shape[1]
    room = np.empty(size)
    inside[:] = False
    i_from, i_to, j_from, j_to = _box(hull, 0, size, first, AROUND, inside.shape)
    for i in range(i_from, i_to):
        for j in range(j_from, j_to):
            x, y = (first[0] + i + 0.5) * PIXEL, (first[1] + j + 0.5) * PIXEL
            inside[i, j] = signed_to(x, y, hull, 0, size, room) <= AROUND


@compiled
def _sorted_corners(points, kept, sides, start, stop):  # type: ignore[no-untyped-def]
    """Kept points, which are sorted, and the corners of the nucleus, by x, then y, [K, 2]."""
    corners = np.empty((len(points) + stop - start, 2))
    n = 0
    for i in range(len(points)):
        if kept[i]:
            corners[n] = points[i]
            n += 1
    for s in range(start, stop):
        x, y, place = sides[AX, s], sides[AY, s], n
        while place > 0 and (
            corners[place - 1, 0] > x or (corners[place - 1, 0] == x and corners[place - 1, 1] > y)
        ):
            corners[place] = corners[place - 1]
            place -= 1
        corners[place, 0], corners[place, 1] = x, y
        n += 1
    return corners[:n]


@compiled
def _hull(corners):  # type: ignore[no-untyped-def]
    """Table [6, S] of the sides of the convex hull of sorted corners [K, 2] (Andrew's monotone chain)."""
    n = len(corners)
    chain = np.empty(2 * n + 1, np.int64)
    size = 0
    for turn in range(2):
        least = size + 2 if turn == 0 else size + 1
        for step in range(turn, n):  # back from the last corner, which stands already
            i = step if turn == 0 else n - 1 - step
            while size >= least and _bends_right(corners, chain[size - 2], chain[size - 1], i):
                size -= 1
            chain[size] = i
            size += 1
    sides = np.zeros((6, max(size - 1, 1)))
    for s in range(sides.shape[1]):
        a, b = corners[chain[s]], corners[chain[min(s + 1, size - 1)]]
        dx, dy = b[0] - a[0], b[1] - a[1]
        sides[AX, s], sides[AY, s], sides[BX, s], sides[BY, s] = a[0], a[1], b[0], b[1]
        length = dx * dx + dy * dy
        sides[INVERSE, s] = 1 / length if length > 0 else 0.0
        sides[SLOPE, s] = dx / dy if dy != 0 else 0.0
    return sides


@compiled
def _bends_right(corners, a, b, c):  # type: ignore[no-untyped-def]
    dx, dy = corners[b, 0] - corners[a, 0], corners[b, 1] - corners[a, 1]
    return dx * (corners[c, 1] - corners[a, 1]) - dy * (corners[c, 0] - corners[a, 0]) <= 0


@compiled
def connected(ground, parts):  # type: ignore[no-untyped-def]
    """Number the parts of `ground` whose pixels are connected by their sides, from 1, 0 elsewhere, [w, h].

    As `scipy.ndimage.label`, which takes longer to start than these few pixels take. Returns how many.
    """
    parts[:] = 0
    waiting = np.empty((ground.size, 2), np.int64)
    n_parts = 0
    for i in range(ground.shape[0]):
        for j in range(ground.shape[1]):
            if not ground[i, j] or parts[i, j]:
                continue
            n_parts += 1
            parts[i, j] = n_parts
            waiting[0, 0], waiting[0, 1], n = i, j, 1
            while n > 0:
                n -= 1
                x, y = waiting[n, 0], waiting[n, 1]
                for u, v in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)):
                    held = 0 <= u < ground.shape[0] and 0 <= v < ground.shape[1]
                    if held and ground[u, v] and not parts[u, v]:
                        parts[u, v] = n_parts
                        waiting[n, 0], waiting[n, 1] = u, v
                        n += 1
    return n_parts
