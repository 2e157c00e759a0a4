"""An order of places in which neighbours stand near each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tissuegraph.parallel import compiled

SQUARE = 2.0
"""Side of the squares that the curve joins, um."""
ORIGIN = 2**31
"""Number of the square at 0 um: some positions are negative."""


def curve(x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Where positions [N] (um) lie on a curve through squares of `SQUARE` um, [N] (Z-order, Morton 1966).

    It depends on the position alone, so that all tiles of a slide sort alike.
    """
    return _curve(np.ascontiguousarray(x, np.float64), np.ascontiguousarray(y, np.float64))


@compiled
def _curve(x, y):  # type: ignore[no-untyped-def]
    result = np.empty(len(x), np.uint64)
    for i in range(len(x)):
        column, row = np.floor(x[i] / SQUARE), np.floor(y[i] / SQUARE)
        column = min(max(column, -ORIGIN), ORIGIN - 1)
        row = min(max(row, -ORIGIN), ORIGIN - 1)
        result[i] = _spread(np.uint64(column + ORIGIN)) | (_spread(np.uint64(row + ORIGIN)) << np.uint64(1))
    return result


@compiled
def _spread(bits):  # type: ignore[no-untyped-def]
    """Put a zero between all bits of a number below 2^32."""
    bits = (bits | (bits << np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    bits = (bits | (bits << np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    bits = (bits | (bits << np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    bits = (bits | (bits << np.uint64(2))) & np.uint64(0x3333333333333333)
    return (bits | (bits << np.uint64(1))) & np.uint64(0x5555555555555555)
