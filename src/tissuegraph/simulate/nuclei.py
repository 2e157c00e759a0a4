"""The nuclei of simulated cells, and the cells that a vendor draws around them."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from tissuegraph.simulate.arrays import Bools, Floats, Integers
from tissuegraph.simulate.cells import Ellipses, chunks, quadratic
from tissuegraph.simulate.params import TissueParams
from tissuegraph.simulate.stars import Stars, directions

NUCLEUS_RAYS = 24
VENDOR_RAYS = 24
VENDOR_GROWTH = 5.0
# Neighbours whose nuclei may stop a growing one.
COMPETITORS = 12
HALVINGS = 9


def place_nuclei(cells: Ellipses, outlines: Stars, params: TissueParams, rng: np.random.Generator) -> Stars:
    """Return one nucleus a cell: a mild ellipse, off-centre, cut where it would leave its cell."""
    number = len(outlines)
    radius = np.sqrt(outlines.areas() / np.pi)
    # nuclei differ less in size than cells do
    size = params.nucleus_size * np.sqrt(radius * radius.mean()) * rng.lognormal(0, 0.1, number)
    turn = rng.integers(0, outlines.radii.shape[1], number)
    way = np.maximum(outlines.radii[np.arange(number), turn] - 0.9 * size, 0)
    way *= np.minimum(params.nucleus_offset * rng.gamma(4, 0.25, number), 1)
    centres = outlines.centres + way[:, None] * directions(outlines.radii.shape[1])[turn]
    # a nucleus follows the shape of its cell a little
    aspect = cells.aspects**0.4 * rng.lognormal(0, 0.1, number)
    forms = Ellipses(centres, size, cells.angles, aspect).forms()
    wanted = 1 / np.sqrt(quadratic(forms[:, None], directions(NUCLEUS_RAYS)))
    parts = [within(outlines, centres, wanted, part) for part in chunks(number)]
    return Stars(centres, np.concatenate(parts).astype(np.float32))


def within(outlines: Stars, centres: Floats, radii: Floats, part: slice) -> Floats:
    """Shorten the rays of a part of the nuclei so that they end inside their cells, (n, rays)."""
    own, origin, high = outlines.take(part), centres[part, None], radii[part]
    which = np.broadcast_to(np.arange(len(own))[:, None], high.shape)
    unit = directions(high.shape[1])
    low = np.where(own.contains(which, origin + high[..., None] * unit), high, 0)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        inside = own.contains(which, origin + middle[..., None] * unit)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return low


def grow_nuclei(nuclei: Stars, growth: float = VENDOR_GROWTH) -> Stars:
    """Return nuclei grown by `growth` um, cut at the middle line between those that compete.

    This is what a vendor draws without knowing the cells. A ray from a nucleus goes on for as long as
    the nearest outline is its own and no further away than `growth`.
    """
    near = nearest_centres(nuclei, COMPETITORS)
    radii = np.empty((len(nuclei), VENDOR_RAYS), dtype=np.float32)
    unit = directions(VENDOR_RAYS)
    for part in chunks(len(nuclei)):
        rows = np.arange(len(nuclei))[part, None]
        rivals = np.unique(np.append(rows, near[part]))
        tree = cKDTree(nuclei.take(rivals).vertices().reshape(-1, 2))
        low = nuclei.radius_towards(rows, unit[None])
        high = low + 1.5 * growth
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            distance, vertex = tree.query(nuclei.centres[part, None] + middle[..., None] * unit)
            own = rivals[np.asarray(vertex) // nuclei.radii.shape[1]] == rows
            free = own & (np.asarray(distance) <= growth)
            low, high = np.where(free, middle, low), np.where(free, high, middle)
        radii[part] = low
    return Stars(nuclei.centres, radii)


def nearest_centres(stars: Stars, number: int) -> Integers:
    """Return the `number` nearest other centres of each outline, (n, k)."""
    count = min(number, len(stars) - 1)
    if count <= 0:
        return np.empty((len(stars), 0), dtype=np.int64)
    return np.asarray(cKDTree(stars.centres).query(stars.centres, k=count + 1)[1])[:, 1:]


def seen_nuclei(params: TissueParams, rng: np.random.Generator) -> Bools:
    """Draw the cells whose nucleus is seen; short of `missing_nuclei=1` there is at least one."""
    hidden = int(params.missing_nuclei * params.cells + 1e-9)
    seen = np.ones(params.cells, dtype=bool)
    seen[rng.permutation(params.cells)[:hidden]] = False
    return seen
