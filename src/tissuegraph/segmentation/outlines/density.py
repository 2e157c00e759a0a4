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


def density(points: np.ndarray, kept: np.ndarray, first: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Smooth a cell's transcripts, with a kernel as elongated as the cell.

    A sum of Gaussians whose covariance is that of the transcripts times `SMOOTHING`^2 n^(-1/3)
    (Silverman 1986, Density Estimation, 4.3.2, in two dimensions), so that a thin cell stays thin.

    Parameters
    ----------
    points
        [n, 2], um, n > 0.
    kept
        [n], the points whose spread counts: not the strays; at least one.
    first, shape
        The first pixel of the crop and how many it has along x and y.

    Returns
    -------
    [w, h], at the pixels' centres, without a unit.
    """
    apart = points[kept] - points[kept].mean(0)
    spread = apart.T @ apart / len(apart)
    covariance = SMOOTHING**2 * len(apart) ** (-1 / 3) * spread + LEAST_WIDTH**2 * np.eye(2)
    field = np.zeros(shape)
    _add_kernels(field, points - first * PIXEL, np.linalg.inv(covariance))
    return field


@compiled
def _add_kernels(field: np.ndarray, points: np.ndarray, precision: np.ndarray) -> None:
    """Add to `field` a Gaussian around each point, cut off smoothly at `REACH`.

    From one pixel of a row to the next the Gaussian changes by a factor, which changes by a constant one.
    """
    a, b, c = precision[0, 0], precision[0, 1], precision[1, 1]
    reach_x = REACH * np.sqrt(c / (a * c - b * b))
    reach_y = REACH * np.sqrt(a / (a * c - b * b))
    least = np.exp(-0.5 * REACH * REACH)
    bend = np.exp(-c * PIXEL * PIXEL)
    for x, y in points:
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
