"""Which cell each pixel belongs to: cells compete by how dense they are there."""

from __future__ import annotations

import numpy as np
import shapely

from tissuegraph.graph.candidates import flatten
from tissuegraph.parallel import compiled
from tissuegraph.segmentation.outlines.density import PIXEL, density, pixel_of, pixels
from tissuegraph.segmentation.outlines.members import Members
from tissuegraph.segmentation.outlines.rasters import connected, within, within_hull

PAD = 4.0
"""um that an outline can reach beyond the box of its nucleus and its transcripts, strays left out."""
LEVEL = 0.4
"""Share of a cell's mean density at which it ends; an edge of a uniform cell, smoothed, is at a half."""
HELD_SHARE = 0.9
"""Share of its transcripts that a cell holds, well inside, before it competes."""
HULL, NUCLEUS = 1e-6, 1e6
"""Strength in the hull, which any density beats, and in the nucleus, which beats any density."""


def territories(members: Members, nuclei: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give each pixel to the cell that is strongest there, and each cell one connected territory.

    Where two are exactly as strong, the first of the cells has the pixel.

    Parameters
    ----------
    members
        The transcripts of the cells; each has one at least.
    nuclei
        [M] polygons, or empty.

    Returns
    -------
    labels [w, h], number of the cell, -1 = none, with a rim of -1, two pixels wide where x and y end; and the
    number of their first pixel on the slide [2].
    """
    flat = flatten(nuclei)
    first, shape = _crops(members, flat.boxes)
    corner = first.min(0) - 1
    last = (first + shape).max(0)
    labels = np.full(last - corner + 2, -1, np.int32)
    on_surface = np.full((len(nuclei), 2), np.nan)
    has_nucleus = ~shapely.is_empty(nuclei)
    on_surface[has_nucleus] = shapely.get_coordinates(shapely.point_on_surface(nuclei[has_nucleus]))
    nuclear, crops = (flat.sides, flat.first, on_surface), (first, shape, corner)
    _compete(*members, *nuclear, *crops, np.zeros(labels.shape, np.float32), labels)
    _in_one_piece(members.points, members.start, members.stop, *nuclear, *crops, labels)
    return labels, corner


def _crops(members: Members, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixels among which each cell is drawn: the first of them and how many, both [M, 2]."""
    low, high = boxes[:, :2].copy(), boxes[:, 2:].copy()
    _widen(*members, low, high)
    first, last = pixels(low - PAD), pixels(high + PAD)
    return first, last - first + 1


@compiled
def _widen(points, kept, start, stop, low, high):  # type: ignore[no-untyped-def]
    """Widen boxes [M, 2] of nuclei, NaN without one, to the kept transcripts."""
    for c in range(len(start)):
        for i in range(start[c], stop[c]):
            if kept[i]:
                for axis in range(2):
                    low[c, axis] = np.fmin(low[c, axis], points[i, axis])
                    high[c, axis] = np.fmax(high[c, axis], points[i, axis])


@compiled
def _compete(  # type: ignore[no-untyped-def]
    points, kept, start, stop, sides, first_side, on_surface, first, shape, corner, best, labels
):
    """Write to `labels` [w, h] who is strongest, and how strong to `best` [w, h]."""
    for c in range(len(start)):
        own, good = points[start[c] : stop[c]], kept[start[c] : stop[c]]
        nucleus = (sides, first_side[c], first_side[c + 1])
        power = strength(own, good, nucleus, on_surface[c], first[c], shape[c])
        x, y = first[c, 0] - corner[0], first[c, 1] - corner[1]
        for i in range(shape[c, 0]):
            for j in range(shape[c, 1]):
                if np.float32(power[i, j]) > best[x + i, y + j]:
                    best[x + i, y + j] = power[i, j]
                    labels[x + i, y + j] = c


@compiled
def _in_one_piece(  # type: ignore[no-untyped-def]
    points, start, stop, sides, first_side, on_surface, first, shape, corner, labels
):
    """Take from each cell what is not connected with its main part."""
    for c in range(len(start)):
        x, y = first[c, 0] - corner[0], first[c, 1] - corner[1]
        place = labels[x : x + shape[c, 0], y : y + shape[c, 1]]
        mine, core = place == c, np.empty(place.shape, np.bool_)
        if connected(mine, np.empty(place.shape, np.int32)) < 2:
            continue
        within(sides, first_side[c], first_side[c + 1], on_surface[c], first[c], core)
        main = main_part(mine, core, points[start[c] : stop[c]], first[c])
        for i in range(shape[c, 0]):
            for j in range(shape[c, 1]):
                if mine[i, j] and not main[i, j]:
                    place[i, j] = -1


@compiled
def strength(points, kept, nucleus, on_surface, first, shape):  # type: ignore[no-untyped-def]
    """How strong a cell is at its pixels, 0 outside its largest possible territory, [w, h].

    The density over the mean density at its transcripts, so that a cell of few transcripts holds its
    ground against one of many. The territory ends at `LEVEL`, or lower, where `HELD_SHARE` of the
    transcripts ask for it, and is in one piece: if need be, by the hull of nearly all transcripts.

    points [n, 2] um, sorted; kept [n], all but strays; nucleus: a table of sides, and which are its own, if
    it has one; on_surface [2], a point in it; first [2] and shape [2]: the pixels among which it is drawn.
    """
    size = (shape[0], shape[1])
    field, core, ground = np.empty(size), np.empty(size, np.bool_), np.empty(size, np.bool_)
    density(points, kept, first, field)
    within(*nucleus, on_surface, first, core)
    field /= _mean_at(field, points, kept, first)
    held = np.sort(_least_around(field, points, first))
    asked = held[len(held) - int(np.ceil(HELD_SHARE * len(held)))]
    level = min(max(asked, HULL), LEVEL)
    for i in range(size[0]):
        for j in range(size[1]):
            ground[i, j] = field[i, j] >= level or core[i, j]
    part = main_part(ground, core, points, first)
    parted = False
    for i in range(size[0]):
        for j in range(size[1]):
            field[i, j] = field[i, j] * LEVEL / level if part[i, j] else 0.0
            parted |= core[i, j] and not part[i, j]
    if parted or _least_around(part, points, first).mean() < HELD_SHARE:
        within_hull(points, kept, *nucleus, first, ground)
        for i in range(size[0]):
            for j in range(size[1]):
                field[i, j] = max(field[i, j], HULL * ground[i, j])
    for i in range(size[0]):
        for j in range(size[1]):
            field[i, j] += NUCLEUS * core[i, j]
    return field


@compiled
def _mean_at(field, points, kept, first):  # type: ignore[no-untyped-def]
    """Mean of a raster at the kept transcripts."""
    total, n = 0.0, 0
    for k in range(len(points)):
        if kept[k]:
            i, j = pixel_of(points[k, 0], points[k, 1], first)
            total, n = total + field[i, j], n + 1
    return total / n


@compiled
def _least_around(raster, points, first):  # type: ignore[no-untyped-def]
    """The least value in the four pixels nearest to each transcript, 0 outside, [n].

    What lies between four pixels of a cell is half a pixel from all others: it stays inside when borders
    are smoothed.
    """
    least = np.zeros(len(points))
    for k in range(len(points)):
        i, j = pixel_of(points[k, 0] - PIXEL / 2, points[k, 1] - PIXEL / 2, first)
        if 0 <= i < raster.shape[0] - 1 and 0 <= j < raster.shape[1] - 1:
            low, high = min(raster[i, j], raster[i, j + 1]), min(raster[i + 1, j], raster[i + 1, j + 1])
            least[k] = min(low, high)
    return least


@compiled
def main_part(ground, core, points, first):  # type: ignore[no-untyped-def]
    """The connected part of `ground` with the nucleus, or else with most transcripts, [w, h]."""
    parts = np.empty(ground.shape, np.int32)
    n_parts = connected(ground, parts)
    if n_parts < 2:
        return ground
    weight = np.zeros(n_parts + 1)
    for i in range(parts.shape[0]):
        for j in range(parts.shape[1]):
            weight[parts[i, j]] += 1 / parts.size + len(points) * core[i, j]
    for k in range(len(points)):
        i, j = pixel_of(points[k, 0], points[k, 1], first)
        if 0 <= i < parts.shape[0] and 0 <= j < parts.shape[1]:
            weight[parts[i, j]] += 1
    weight[0] = -1.0
    return parts == np.argmax(weight)
