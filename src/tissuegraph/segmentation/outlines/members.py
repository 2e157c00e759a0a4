"""The transcripts of each cell: where its middle is, and which of them say where it is drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tissuegraph.parallel import compiled

KEPT_SHARE = 0.95
"""Share of a cell's transcripts, the nearest to its middle, that say where it is drawn."""
FARTHEST = 100.0
"""um from its middle beyond which a cell is not drawn around its transcripts."""


class Members(NamedTuple):
    """Transcripts by cell: those of cell m are `points[start[m]:stop[m]]`, sorted by x, then y.

    points [N, 2], um; kept [N], all but strays; start, stop [M].
    """

    points: npt.NDArray[np.float64]
    kept: npt.NDArray[np.bool_]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]

    def of(self, cells: npt.NDArray[np.int64]) -> Members:
        """Those of some cells, in their order."""
        return Members(self.points, self.kept, self.start[cells], self.stop[cells])


def by_cell(positions: np.ndarray, cell: np.ndarray, n_cells: int) -> tuple[Members, npt.NDArray[np.float64]]:
    """Sort transcripts [N, 2] by their cells [N], so that their own order does not matter.

    Returns them and the middle of each cell [M, 2]: the transcript nearest to the median position; NaN
    without any. Kept are the nearest 95% of a cell's, nearness being meant in the cell's own shape, so that
    a long cell keeps its ends.
    """
    points = np.ascontiguousarray(positions[np.lexsort((positions[:, 1], positions[:, 0], cell))])
    stop = np.cumsum(np.bincount(cell, minlength=n_cells))
    start = np.concatenate([[0], stop[:-1]])
    middles, kept = np.full((n_cells, 2), np.nan), np.zeros(len(points), np.bool_)
    _look(points, start, stop, middles, kept)
    return Members(points, kept, start, stop), middles


@compiled
def _look(points, start, stop, middles, kept):  # type: ignore[no-untyped-def]
    for c in range(len(start)):
        if stop[c] > start[c]:
            own = points[start[c] : stop[c]]
            middles[c] = _middle(own)
            _keep(own, middles[c], kept[start[c] : stop[c]])


@compiled
def _middle(points):  # type: ignore[no-untyped-def]
    x, y = np.median(points[:, 0]), np.median(points[:, 1])
    return points[np.argmin(np.hypot(points[:, 0] - x, points[:, 1] - y))]


@compiled
def _keep(points, middle, kept):  # type: ignore[no-untyped-def]
    x, y = points[:, 0] - middle[0], points[:, 1] - middle[1]
    squared = x * x + y * y
    most = min(_largest_kept(squared), FARTHEST * FARTHEST)
    xx, xy, yy, n = 0.0, 0.0, 0.0, 0
    for i in range(len(points)):
        if squared[i] <= most:
            xx, xy, yy, n = xx + x[i] * x[i], xy + x[i] * y[i], yy + y[i] * y[i], n + 1
    xx, xy, yy = xx / n + 1, xy / n, yy / n + 1
    shaped = (yy * x * x - 2 * xy * x * y + xx * y * y) / (xx * yy - xy * xy)
    most = _largest_kept(shaped)
    for i in range(len(points)):
        kept[i] = shaped[i] <= most and squared[i] <= FARTHEST * FARTHEST


@compiled
def _largest_kept(values):  # type: ignore[no-untyped-def]
    return np.sort(values)[int(np.ceil(KEPT_SHARE * len(values))) - 1]
