"""Polygons of cells made disjoint, each with its nucleus."""

from __future__ import annotations

import numpy as np
import shapely

SEED_RADIUS = 0.75
"""um: of the disc that stands for the nucleus of a cell without one."""
LEAST_RADIUS, GROWTH, LEAST_AREA = 0.25, 1.25, 0.1
"""um; the growth of the disc tried for a cell to which its rivals left nothing; um2 that it must find."""


def cores(nuclei: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Make nuclei disjoint, and give a small disc to each cell without one.

    Of two nuclei that overlap, the larger keeps the ground, or, of equal ones, the first; a disc yields to
    nuclei. So a nucleus in another is gone, and cuts no hole.

    Parameters
    ----------
    nuclei
        [M] polygons, valid, or empty.
    middles
        [M, 2], um, where the disc is to be; NaN where there is to be none.

    Returns
    -------
    [M] polygons; empty where nothing is left.
    """
    missing = shapely.is_empty(nuclei) & np.isfinite(middles).all(1)
    discs = shapely.buffer(shapely.points(np.where(missing[:, None], middles, 0)), SEED_RADIUS)
    given = np.where(missing, discs, nuclei)
    order = np.lexsort((np.arange(len(given)), -shapely.area(given), missing))
    rank = np.empty(len(given), np.int64)
    rank[order] = np.arange(len(given))
    one, other = shapely.STRtree(given).query(given, predicate="intersects")
    loses = rank[one] > rank[other]
    return subtracted(given, one[loses], given[other[loses]])


def with_cores(outlines: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """Give each outline its nucleus, from the others' ground if need be, and cut nested outlines out.

    outlines [M] and nuclei [M]: polygons; the nuclei are disjoint, and so are the outlines, or nested.
    """
    inner, outer = _nested(outlines)
    outlines = subtracted(outlines, outer, outlines[inner])
    joined, out = outlines.copy(), ~shapely.covers(outlines, nuclei) & ~shapely.is_empty(nuclei)
    joined[out] = main_parts(shapely.union(outlines[out], nuclei[out]))
    one, other = shapely.STRtree(nuclei).query(joined, predicate="intersects")
    rival = one != other
    return subtracted(joined, one[rival], nuclei[other[rival]], nuclei)


def _nested(outlines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the outlines that lie in another, and of the others."""
    inner, outer = shapely.STRtree(outlines).query(outlines)
    boxes = shapely.bounds(outlines)
    low, high = boxes[inner, :2] >= boxes[outer, :2], boxes[inner, 2:] <= boxes[outer, 2:]
    chosen = (inner != outer) & low.all(1) & high.all(1)
    chosen[chosen] = shapely.within(outlines[inner[chosen]], outlines[outer[chosen]])
    return inner[chosen], outer[chosen]


def with_lost(outlines: np.ndarray, nuclei: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Give ground, cut from the others, to each cell that has a middle [M, 2], um, but no outline.

    It is what is free of nuclei [M] and of others' discs in the smallest disc around the middle where
    enough is. The first in order are served first.
    """
    lost = np.flatnonzero(shapely.is_empty(outlines) & np.isfinite(middles).all(1))
    if len(lost) == 0:
        return outlines
    tree, served = shapely.STRtree(nuclei), outlines.copy()
    for count, number in enumerate(lost):
        radius, room = LEAST_RADIUS, shapely.Polygon()
        while room.area < LEAST_AREA:
            disc = shapely.Point(middles[number]).buffer(radius)
            taken = [*nuclei[tree.query(disc, predicate="intersects")], *served[lost[:count]]]
            room = main_parts(np.array([shapely.difference(disc, shapely.union_all(taken))]))[0]
            radius *= GROWTH
        served[number] = room
    one, other = shapely.STRtree(served[lost]).query(served, predicate="intersects")
    rival = ~np.isin(one, lost)
    return subtracted(served, one[rival], served[lost][other[rival]], nuclei)


def subtracted(
    polygons: np.ndarray, owner: np.ndarray, others: np.ndarray, nuclei: np.ndarray | None = None
) -> np.ndarray:
    """Take from polygon `owner[k]` what it shares with `others[k]`, for all k; keep one part of it.

    The part is the one with its nucleus, or else the largest.
    """
    if len(owner) == 0:
        return polygons
    order = np.argsort(owner, kind="stable")
    number, first = np.unique(owner[order], return_index=True)
    rivals = np.split(others[order], first[1:])
    less = polygons.copy()
    less[number] = shapely.difference(
        polygons[number], np.array([shapely.union_all(some) for some in rivals])
    )
    less[number] = main_parts(less[number], None if nuclei is None else nuclei[number])
    return less


def main_parts(shapes: np.ndarray, nuclei: np.ndarray | None = None) -> np.ndarray:
    """One polygon of each shape: the one with its nucleus, or else the largest; empty if there is none."""
    found = shapes.copy()
    for number in np.flatnonzero(shapely.get_type_id(shapes) != shapely.GeometryType.POLYGON):
        parts = shapely.get_parts(shapes[number])
        parts = parts[(shapely.get_dimensions(parts) == 2) & ~shapely.is_empty(parts)]
        weight = shapely.area(parts)
        if nuclei is not None:
            weight = weight + 1e9 * shapely.area(shapely.intersection(parts, nuclei[number]))
        found[number] = parts[np.argmax(weight)] if len(parts) else shapely.Polygon()
    return found
