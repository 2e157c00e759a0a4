"""How densely a cell's transcripts lie, on a raster of pixels that is the same for the whole slide."""

from __future__ import annotations

import numpy as np

from tissuegraph.parallel import compiled

PIXEL = 0.5
"""um: pixel (i, j) is the square from (i, j) * PIXEL, wherever the raster is cut."""
SMOOTHING = 0.75
"""Of Silverman's rule, for densities; less than 1, as an edge is to be found, and not a bump."""
LEAST_WIDTH = 0.3
"""um: standard deviation that a kernel has at least, in every direction."""
REACH = 3.0
"""Standard deviations beyond which a kernel is 0."""


def pixels(positions: np.ndarray) -> np.ndarray:
    """Number of the pixel of each position, [N, 2]."""
    return np.floor(positions / PIXEL).astype(np.int64)


@compiled
def pixel_of(x, y, first):  # type: ignore[no-untyped-def]
    """Place of a position in a raster that starts with pixel `first`."""
    return int(np.floor(x / PIXEL)) - first[0], int(np.floor(y / PIXEL)) - first[1]


@compiled
def density(points, kept, first, field):  # type: ignore[no-untyped-def]
    """Smooth a cell's transcripts, with a kernel as elongated as the cell.

    A sum of Gaussians whose covariance is that of the transcripts times `SMOOTHING`^2 n^(-1/3)
    (Silverman 1986, Density Estimation, 4.3.2, in two dimensions), so that a thin cell stays thin.

    Parameters
    ----------
    points
        [n, 2], um, n > 0.
    kept
        [n], the points whose spread counts: not the strays; at least one.
    first
        [2], the first pixel of the crop.
    field
        [w, h], written: the density at the pixels' centres, without a unit.
    """
    xx, xy, yy, n = _covariance(points, kept)
    share = SMOOTHING**2 * n ** (-1 / 3)
    xx, xy, yy = share * xx + LEAST_WIDTH**2, share * xy, share * yy + LEAST_WIDTH**2
    determinant = xx * yy - xy * xy
    field[:] = 0.0
    _add_kernels(field, points, first, yy / determinant, -xy / determinant, xx / determinant)


@compiled
def _covariance(points, kept):  # type: ignore[no-untyped-def]
    x, y, n = 0.0, 0.0, 0
    for i in range(len(points)):
        if kept[i]:
            x, y, n = x + points[i, 0], y + points[i, 1], n + 1
    x, y, xx, xy, yy = x / n, y / n, 0.0, 0.0, 0.0
    for i in range(len(points)):
        if kept[i]:
            dx, dy = points[i, 0] - x, points[i, 1] - y
            xx, xy, yy = xx + dx * dx, xy + dx * dy, yy + dy * dy
    return xx / n, xy / n, yy / n, n


@compiled
def _add_kernels(field, points, first, a, b, c):  # type: ignore[no-untyped-def]
    """Add to `field` a Gaussian around each point, of precision [[a, b], [b, c]], cut off at `REACH`.

    From one pixel of a row to the next the Gaussian changes by a factor, which changes by a constant one.
    """
    reach_x = REACH * np.sqrt(c / (a * c - b * b))
    reach_y = REACH * np.sqrt(a / (a * c - b * b))
    least = np.exp(-0.5 * REACH * REACH)
    bend = np.exp(-c * PIXEL * PIXEL)
    for k in range(len(points)):
        x, y = points[k, 0] - first[0] * PIXEL, points[k, 1] - first[1] * PIXEL
        i_from, i_to = int((x - reach_x) / PIXEL), int((x + reach_x) / PIXEL) + 2
        j_from, j_to = int((y - reach_y) / PIXEL), int((y + reach_y) / PIXEL) + 2
        for i in range(max(0, i_from), min(field.shape[0], i_to)):
            dx = (i + 0.5) * PIXEL - x
            value, step = 0.0, 0.0
            for j in range(max(0, j_from), min(field.shape[1], j_to)):
                dy = (j + 0.5) * PIXEL - y
                squared = a * dx * dx + 2 * b * dx * dy + c * dy * dy
                if squared < REACH * REACH:
                    if value == 0.0:
                        value = np.exp(-0.5 * squared)
                        step = np.exp(-PIXEL * (b * dx + c * (dy + 0.5 * PIXEL)))
                    field[i, j] += max(value - least, 0.0)
                    value *= step
                    step *= bend
