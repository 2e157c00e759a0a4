"""Growth on the lattice. What has grown is one piece without holes, and never touches itself at a corner."""

from __future__ import annotations

import heapq

import numpy as np

from tissuegraph.parallel import compiled
from tissuegraph.simulate.arrays import Bools, Floats, Integers
from tissuegraph.simulate.grown.lattice import Lattice
from tissuegraph.simulate.grown.seeds import Seeds

# How far a cell may reach for its area, in its own radii.
REACH = 2.2
# Growth along the front costs this share of growth away from the seed.
ALONG_FRONT = 0.25
# Growth goes on block by block of so many pixels aside, a slice of time in each, in radii of a cell: what is
# worked on stays in the processor's cache. Between blocks, arrivals may be out of order by a slice.
BLOCK, SLICE = 192, 0.05


def grow(lattice: Lattice, seeds: Seeds, room: Integers | Bools, resistance: Floats) -> Integers:
    """Grow all cells (or nuclei) at once until each has its area, or no room is left.

    First-passage growth: a pixel is taken by the cell that arrives first. Its way costs, pixel by pixel,
    the local resistance times the gain in distance from the seed, in the cell's own bent metric.

    Parameters
    ----------
    room
        (pixels,): a cell grows only where this is what it is at its seed; other at the lattice's border.
    resistance
        (pixels,), about 1.

    Returns
    -------
    (pixels,), int32: number of the cell, -1 for none.
    """
    labels = np.full(lattice.side**2, -1, dtype=np.int32)
    quota = np.maximum(np.round(seeds.areas / lattice.pixel**2), 1).astype(np.int64)
    radii = np.sqrt(seeds.areas / np.pi) / lattice.pixel
    shape = np.stack(
        [
            np.cos(seeds.angles),
            np.sin(seeds.angles),
            1 / (radii * np.sqrt(seeds.aspects)),
            np.sqrt(seeds.aspects) / radii,
            seeds.bends,
            ALONG_FRONT / radii,
        ],
        axis=1,
    )
    _grow(labels, lattice.side, seeds.pixels, quota, shape, room.astype(np.int32), resistance)
    return labels


@compiled
def _joins(labels: Integers, pixel: int, side: int, cell: int) -> bool:
    """Tell whether a pixel can be added to a cell so that it stays one piece, without ring or corner.

    It can if, of the eight around it, those of the cell stand in one row, and one of them shares an edge.
    """
    around = (1, side + 1, side, side - 1, -1, -side - 1, -side, -side + 1)
    if cell not in (labels[pixel + 1], labels[pixel + side], labels[pixel - 1], labels[pixel - side]):
        return False
    starts = 0
    before = labels[pixel + around[7]] == cell
    for step in around:
        own = labels[pixel + step] == cell
        starts += own and not before
        before = own
    return starts == 1


@compiled
def _distance(pixel: int, seed: int, side: int, shape: Floats) -> float:
    """Return how far a pixel is from the seed, in radii of the cell."""
    x, y = float(pixel % side - seed % side), float(pixel // side - seed // side)
    cos, sin, along, across, bend, _ = shape
    far = (cos * x + sin * y) * along
    off = (cos * y - sin * x) * across - bend * far * far
    return float(np.sqrt(far * far + off * off))


@compiled
def _grow(
    labels: Integers,
    side: int,
    seeds: Integers,
    quota: Integers,
    shape: Floats,
    room: Integers,
    resistance: Floats,
) -> None:
    # who waits for a pixel since when: to come there later is not worth a place in the queue
    waiting = np.full(len(labels), -1, dtype=np.int32)
    soonest = np.empty(len(labels), dtype=np.float32)
    # a queue a block, of: time of arrival, pixel, cell, distance from the seed
    fronts = [[(0.0, 0, 0, 0.0)] for _ in range((side // BLOCK + 1) ** 2)]
    for front in fronts:
        front.clear()
    for cell in range(len(seeds)):
        heapq.heappush(fronts[_block(seeds[cell], side)], (0.0, seeds[cell], cell, 0.0))
    left, until = quota.copy(), 0.0
    while max([len(front) for front in fronts]) > 0:
        until += SLICE
        for front in fronts:
            while len(front) > 0 and front[0][0] < until:
                time, pixel, cell, distance = heapq.heappop(front)
                if labels[pixel] >= 0 or left[cell] == 0:
                    continue
                if left[cell] < quota[cell] and not _joins(labels, pixel, side, cell):
                    waiting[pixel] = -1
                    continue
                labels[pixel] = cell
                left[cell] -= 1
                for step in (1, side, -1, -side, side + 1, side - 1, -side + 1, -side - 1):
                    near = pixel + step
                    if labels[near] >= 0 or room[near] != room[seeds[cell]]:
                        continue
                    there = _distance(near, seeds[cell], side, shape[cell])
                    arrival = time + resistance[near] * max(there - distance, shape[cell, 5])
                    if there < REACH and (waiting[near] != cell or arrival < soonest[near]):
                        waiting[near], soonest[near] = cell, arrival
                        heapq.heappush(fronts[_block(near, side)], (arrival, near, cell, there))


@compiled
def _block(pixel: int, side: int) -> int:
    """Return the block of a pixel."""
    return pixel // side // BLOCK * (side // BLOCK + 1) + pixel % side // BLOCK


def spread(lattice: Lattice, labels: Integers, room: Bools, reach: Floats) -> Integers:
    """Grow what is there by `reach` um each, (n,), evenly; neighbours meet midway.

    Only in the `room` (pixels,), which ends before the border of the lattice. This is how a vendor makes
    cells from nuclei.
    """
    grown = labels.copy()
    _spread(grown, lattice.side, room, reach / lattice.pixel)
    return grown


@compiled
def _spread(labels: Integers, side: int, room: Integers, reach: Floats) -> None:
    # distance, pixel, the pixel from which it is measured
    front = [(0.0, 0, 0)]
    for source in range(side, len(labels) - side):
        if labels[source] < 0:
            continue
        for step in (1, side, -1, -side):
            if labels[source + step] < 0 and reach[labels[source]] >= 1:
                front.append((1.0, source + step, source))
    heapq.heapify(front)
    while len(front) > 0:
        _, pixel, source = heapq.heappop(front)
        cell = labels[source]
        if cell < 0 or labels[pixel] >= 0 or not room[pixel]:
            continue
        if not _joins(labels, pixel, side, cell):
            continue
        labels[pixel] = cell
        for step in (1, side, -1, -side):
            near = pixel + step
            if labels[near] >= 0:
                continue
            x, y = float(near % side - source % side), float(near // side - source // side)
            away = float(np.sqrt(x * x + y * y))
            if away <= reach[cell]:
                heapq.heappush(front, (away, near, source))
