"""The distance of a point to a polygon, whose sides are looked at several at a time."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import numpy.typing as npt

from tissuegraph import parallel

compiled = partial(parallel.compiled, fastmath={"nsz", "contract", "reassoc"})

AX, AY, BX, BY, INVERSE, SLOPE = range(6)
"""Rows of a table of sides from a to b: their ends, 1 / length^2, and (bx - ax) / (by - ay)."""


def side_table(ends: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Put sides [..., S, 4], as ax, ay, bx, by, into a table [..., 6, S].

    Of a side without length, or that lies level, the inverse or the slope is 0.
    """
    ax, ay, bx, by = np.moveaxis(np.asarray(ends, np.float64), -1, 0)
    dx, dy = bx - ax, by - ay
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse, slope = 1 / (dx * dx + dy * dy), dx / dy
    rows = (ax, ay, bx, by, *(np.where(np.isfinite(row), row, 0.0) for row in (inverse, slope)))
    return np.stack(rows, -2)


@compiled
def signed_to(px, py, sides, start, stop, room):  # type: ignore[no-untyped-def]
    """Return the distance of a point to the nearest of some sides, negative inside (even-odd rule).

    sides [6, S]: a `side_table`, of which `start` to `stop` count; room: as many numbers as these, which are
    written over.
    """
    if start == stop:
        return np.inf
    ax, ay, bx, by = (
        sides[AX, start:stop],
        sides[AY, start:stop],
        sides[BX, start:stop],
        sides[BY, start:stop],
    )
    inverse, slope = sides[INVERSE, start:stop], sides[SLOPE, start:stop]
    crossings = 0
    for s in range(len(ax)):
        qx, qy, rx, ry = px - ax[s], py - ay[s], px - bx[s], py - by[s]
        dx, dy = bx[s] - ax[s], by[s] - ay[s]
        share = (qx * dx + qy * dy) * inverse[s]
        share = share if share > 0.0 else 0.0
        # from the end itself, so that a corner is equally far from both of its sides
        ux = qx - share * dx if share < 1.0 else rx
        uy = qy - share * dy if share < 1.0 else ry
        room[s] = ux * ux + uy * uy
    for s in range(len(ax)):
        beside = px < slope[s] * (py - ay[s]) + ax[s]
        crossings += 1 if (ay[s] > py) != (by[s] > py) and beside else 0
    distance = math.sqrt(_least(room[: len(ax)].view(np.int64)))
    return -distance if crossings & 1 and distance > 0.0 else distance


@compiled
def _least(bits):  # type: ignore[no-untyped-def]
    """Smallest of some numbers, none of which is negative, so that their bits stand in the same order."""
    least = bits[0]
    for s in range(len(bits)):
        least = bits[s] if bits[s] < least else least
    bits[0] = least
    return bits[:1].view(np.float64)[0]
