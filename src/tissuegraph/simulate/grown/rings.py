"""Outlines traced around what has grown: ragged rings, smooth at the scale of a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tissuegraph.parallel import compiled
from tissuegraph.simulate.arrays import Floats, Integers
from tissuegraph.simulate.grown.lattice import Lattice

# No corner moves further than this share of a pixel along either axis: so no two edges can cross.
MOST = 0.49


@dataclass(frozen=True)
class Rings:
    """Outlines of any shape, each a ring counter-clockwise, and where they lie on the lattice.

    Attributes
    ----------
    vertices
        (m, 2), float32, um: one ring after the other, not closed.
    ends
        (n + 1,): outline `i` has the vertices from `ends[i]` to `ends[i + 1]`.
    labels
        (pixels,): number of the outline around each pixel, -1 for none.
    lattice
        Of the labels.
    """

    vertices: Floats
    ends: Integers
    labels: Integers
    lattice: Lattice

    def __len__(self) -> int:
        """Return the number of outlines."""
        return len(self.ends) - 1

    def closed_rings(self, part: slice) -> tuple[Floats, Integers]:
        """Return the vertices of the closed rings of a part, (m, 2), and the row in it of each, (m,)."""
        first, end, _ = part.indices(len(self))
        ends = self.ends[first : end + 1]
        rows = np.repeat(np.arange(end - first), np.diff(ends) + 1)
        # each ring takes one row more than it has vertices; the last is its first again
        index = np.arange(ends[0], ends[-1] + end - first) - rows
        last = ends[1:] - ends[0] + np.arange(end - first)
        index[last] = ends[:-1]
        return self.vertices[index], rows

    def crosses(self) -> tuple[Floats, Floats]:
        """Return vertices from the first of their ring (m, 2), and twice the area of each edge's triangle."""
        lengths = np.diff(self.ends)
        local = self.vertices.astype(np.float64) - np.repeat(self.vertices[self.ends[:-1]], lengths, axis=0)
        following = np.arange(1, len(local) + 1)
        following[self.ends[1:] - 1] = self.ends[:-1]
        after = local[following]
        return local + after, local[:, 0] * after[:, 1] - local[:, 1] * after[:, 0]

    def areas(self) -> Floats:
        """Return the areas, (n,), um2."""
        return 0.5 * self._sums(self.crosses()[1])

    def centroids(self) -> Floats:
        """Return the centres of mass, (n, 2), um."""
        ends, cross = self.crosses()
        moments = np.stack([self._sums(ends[:, axis] * cross) for axis in (0, 1)], axis=1)
        return self.vertices[self.ends[:-1]] + moments / (6 * self.areas()[:, None])

    def _sums(self, values: Floats) -> Floats:
        return np.add.reduceat(values, self.ends[:-1]) if len(self) else np.empty(0)

    def locate(self, points: Floats) -> Integers:
        """Return the outline that holds each point (n, 2), -1 for none."""
        found = np.full(len(points), -1, dtype=np.int64)
        places = points.astype(np.float64)
        _locate(found, places, self.lattice.pixel, self.lattice.side, self.labels, self.vertices, self.ends)
        return found


def trace(lattice: Lattice, labels: Integers, number: int) -> Rings:
    """Return the outlines of what has grown; each of the `number` labels has a pixel.

    The corners along borders move towards the middle of the next ones. Whoever shares a corner sees it
    at the same place, so outlines meet without gap or overlap.
    """
    starts = np.zeros(number, dtype=np.int64)
    _first_pixels(starts, labels)
    lengths = np.zeros(number, dtype=np.int64)
    nothing = np.empty((0, 2), dtype=np.float32)
    _walk(nothing, lengths, labels, starts, lattice.side, lattice.pixel)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    vertices = np.empty((ends[-1], 2), dtype=np.float32)
    _walk(vertices, lengths, labels, starts, lattice.side, lattice.pixel)
    return Rings(vertices, ends, labels, lattice)


@compiled
def _first_pixels(starts: Integers, labels: Integers) -> None:
    for pixel in range(len(labels) - 1, -1, -1):
        if labels[pixel] >= 0:
            starts[labels[pixel]] = pixel


@compiled
def _walk(
    vertices: Floats, lengths: Integers, labels: Integers, starts: Integers, side: int, pixel: float
) -> None:
    """Walk around each label, with it on the left; count its corners, or write them where there is room."""
    # to the right, up, left, down; and the pixels before a corner, to the left and right of the way
    columns, rows = (1, 0, -1, 0), (0, 1, 0, -1)
    left = (0, -1, -1 - side, -side)
    right = (-side, 0, -1, -1 - side)
    written = 0
    for cell in range(len(starts)):
        # the first pixel has none of its own below it: its lower edge is part of the border
        column, row, way, count = starts[cell] % side, starts[cell] // side, 0, 0
        home_column, home_row = column, row
        while count == 0 or column != home_column or row != home_row:
            if len(vertices) > 0:
                x, y = _smooth(labels, column, row, side)
                vertices[written, 0], vertices[written, 1] = x * pixel, y * pixel
                written += 1
            count += 1
            column, row = column + columns[way], row + rows[way]
            corner = row * side + column
            if labels[corner + right[way]] == cell:
                way = (way + 3) % 4
            elif labels[corner + left[way]] != cell:
                way = (way + 1) % 4
        lengths[cell] = count


@compiled
def _borders(labels: Integers, corner: int, side: int) -> tuple[bool, bool, bool, bool]:
    """Tell whether a border leaves a corner to the right, up, to the left and down."""
    here, west = labels[corner], labels[corner - 1]
    south, southwest = labels[corner - side], labels[corner - side - 1]
    return here != south, here != west, west != southwest, south != southwest


@compiled
def _smooth_once(labels: Integers, column: int, row: int, side: int) -> tuple[float, float]:
    """Return a corner moved half-way to the middle of the next ones along its borders."""
    right, up, left, down = _borders(labels, row * side + column, side)
    number = int(right) + int(up) + int(left) + int(down)
    return column + 0.5 * (int(right) - int(left)) / number, row + 0.5 * (int(up) - int(down)) / number


@compiled
def _smooth(labels: Integers, column: int, row: int, side: int) -> tuple[float, float]:
    """Return a corner after two such moves, but still within its own pixel's reach."""
    columns, rows = (1, 0, -1, 0), (0, 1, 0, -1)
    meets = _borders(labels, row * side + column, side)
    x, y, number = 0.0, 0.0, 0
    for way in range(4):
        if meets[way]:
            near = _smooth_once(labels, column + columns[way], row + rows[way], side)
            x, y, number = x + near[0], y + near[1], number + 1
    own = _smooth_once(labels, column, row, side)
    x, y = 0.5 * (own[0] + x / number), 0.5 * (own[1] + y / number)
    return min(max(x, column - MOST), column + MOST), min(max(y, row - MOST), row + MOST)


@compiled
def _locate(
    found: Integers,
    points: Floats,
    pixel: float,
    side: int,
    labels: Integers,
    vertices: Floats,
    ends: Integers,
) -> None:
    for point in range(len(points)):
        x, y = points[point, 0], points[point, 1]
        column, row = int(np.floor(x / pixel)), int(np.floor(y / pixel))
        if column < 1 or row < 1 or column >= side - 1 or row >= side - 1:
            continue
        # a corner moves less than half a pixel: only outlines of the pixels around can hold the point
        last, mixed = labels[row * side + column], False
        for place in range(9):
            mixed |= labels[(row + place // 3 - 1) * side + column + place % 3 - 1] != last
        if not mixed:
            found[point] = last
            continue
        tried = -1
        for place in range(9):
            label = labels[(row + place // 3 - 1) * side + column + place % 3 - 1]
            if label >= 0 and label != tried and found[point] < 0:
                tried = label
                if _holds(vertices[ends[label] : ends[label + 1]], x, y):
                    found[point] = label


@compiled
def _holds(ring: Floats, x: float, y: float) -> bool:
    """Tell whether a ring goes around a point: an odd number of its edges lie to the right of it."""
    odd = False
    before = len(ring) - 1
    for here in range(len(ring)):
        x0, y0 = float(ring[before, 0]), float(ring[before, 1])
        x1, y1 = float(ring[here, 0]), float(ring[here, 1])
        if (y1 > y) != (y0 > y) and x < (x0 - x1) * (y - y1) / (y0 - y1) + x1:
            odd = not odd
        before = here
    return odd
