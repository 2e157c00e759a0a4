"""The nuclei of grown cells, what a microscope sees of them, and the cells that a vendor draws."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from tissuegraph.simulate.arrays import Bools, Floats, Integers
from tissuegraph.simulate.grown.growth import grow, spread
from tissuegraph.simulate.grown.lattice import Lattice
from tissuegraph.simulate.grown.params import GrownTissueParams
from tissuegraph.simulate.grown.rings import Rings, trace
from tissuegraph.simulate.grown.seeds import Seeds

VENDOR_GROWTH = 5.0
# A nucleus fills at most this share of its cell.
FULLEST = 0.7
# Nuclei whose borders are at most this far apart, um, may be drawn as one, over a bridge this wide.
MERGE_GAP, BRIDGE = 1.5, 1.5


@dataclass(frozen=True)
class GrownVendor:
    """What the vendor drew, of the cells whose nucleus was seen."""

    nuclei: Rings
    cells: Rings

    def assign(self, points: Floats) -> tuple[Integers, Bools]:
        """Return the vendor's cell of each point (-1 for none), and whether it lies in its nucleus."""
        nucleus = self.nuclei.locate(points)
        # corners are rounded, so a nucleus may end a hair outside its cell
        return np.where(nucleus >= 0, nucleus, self.cells.locate(points)), nucleus >= 0


def seed_nuclei(cells: Rings, seeds: Seeds, params: GrownTissueParams, rng: np.random.Generator) -> Seeds:
    """Draw the size of each nucleus, and a place off-centre in its cell."""
    number, lattice = len(cells), cells.lattice
    areas = cells.areas()
    wanted = (
        params.nucleus_size**2 * np.sqrt(areas * areas.mean()) * np.exp(0.2 * rng.standard_normal(number))
    )
    wanted = np.minimum(wanted, FULLEST * areas)
    middle = cells.centroids()
    outside = cells.labels[lattice.pixels_at(middle)] != np.arange(number)
    middle[outside] = lattice.centres_of(seeds.pixels[outside])
    turn = rng.uniform(0, 2 * np.pi, number)
    unit = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    way = np.maximum(free_way(cells, middle, unit) - np.sqrt(wanted / np.pi), 0)
    way *= np.minimum(params.nucleus_offset * rng.gamma(4, 0.25, number), 1)
    way = np.floor(way / lattice.pixel) * lattice.pixel  # where `free_way` found the cell
    return Seeds(
        pixels=lattice.pixels_at(middle + way[:, None] * unit),
        areas=wanted,
        angles=seeds.angles,
        aspects=seeds.aspects**0.4 * np.exp(0.15 * rng.standard_normal(number)),
        bends=rng.normal(0, 0.3, number),
    )


def free_way(cells: Rings, start: Floats, unit: Floats) -> Floats:
    """Return how far each cell goes on from a place in it in a direction, (n,), um."""
    way, going = np.zeros(len(cells)), np.ones(len(cells), dtype=bool)
    rows = np.arange(len(cells))
    while going.any():
        ahead = cells.lattice.pixels_at(start + (way + cells.lattice.pixel)[:, None] * unit)
        going &= cells.labels[ahead] == rows
        way += going * cells.lattice.pixel
    return way


def grow_nuclei(cells: Rings, nuclei: Seeds, resistance: Floats) -> Integers:
    """Return the number of the cell whose nucleus is there, (pixels,), -1 for none."""
    # nuclei are smoother than cells
    return grow(cells.lattice, nuclei, cells.labels, np.sqrt(resistance))


def see_nuclei(
    cells: Rings,
    nuclei: Seeds,
    resistance: Floats,
    room: Bools,
    params: GrownTissueParams,
    rng: np.random.Generator,
) -> tuple[Bools, GrownVendor]:
    """Return which cells the vendor knows, and what it drew: nuclei seen with errors, and grown by 5 um.

    A nucleus is missed, ends too early or too late, or is drawn as one with that of a neighbour, which
    then counts as unseen. Short of `missing_nuclei=1` at least one is seen.
    """
    hidden = int(params.missing_nuclei * params.cells + 1e-9)
    seen = np.ones(params.cells, dtype=bool)
    seen[rng.permutation(params.cells)[:hidden]] = False
    error = params.nucleus_error * rng.standard_normal(params.cells)
    radii = np.sqrt(nuclei.areas / np.pi)
    smaller = np.maximum(radii + np.minimum(error, 0), 0.3 * radii)
    shrunk = grow_nuclei(cells, replace(nuclei, areas=np.pi * smaller**2), resistance)
    shrunk[~seen[shrunk]] = -1
    late = np.maximum(error + cells.lattice.pixel * rng.uniform(-0.5, 0.5, params.cells), 0)
    labels = spread(cells.lattice, shrunk, room, late)
    seen, owner = merge(cells.lattice, labels, nuclei, seen, params, rng)
    # grown once more, so that each is one piece without holes; numbered as the vendor numbers its cells
    whole = nuclei.take(seen).without_limit()
    drawn = grow(cells.lattice, whole, owner, np.ones_like(resistance))
    number = len(whole.pixels)
    grown = spread(cells.lattice, drawn, cells.lattice.inner(), np.full(number, VENDOR_GROWTH))
    return seen, GrownVendor(trace(cells.lattice, drawn, number), trace(cells.lattice, grown, number))


def merge(
    lattice: Lattice,
    labels: Integers,
    nuclei: Seeds,
    seen: Bools,
    params: GrownTissueParams,
    rng: np.random.Generator,
) -> tuple[Bools, Integers]:
    """Draw some pairs of near nuclei as one, which keeps the name of the larger."""
    centres, radii = lattice.centres_of(nuclei.pixels), np.sqrt(nuclei.areas / np.pi)
    pairs = near_pairs(centres, radii, np.flatnonzero(seen))
    into = np.append(np.arange(len(seen)), -1)
    free, left, owner = seen.copy(), seen.copy(), labels.copy()
    wanted = round(params.merged_nuclei * params.cells)
    for pair in pairs[rng.permutation(len(pairs))]:
        if wanted == 0:
            break
        if not free[pair].all():
            continue
        free[pair] = False
        kept, lost = pair[np.argsort(-radii[pair], kind="stable")]
        bridge = lattice.pixels_at(line(centres[kept], centres[lost], lattice.pixel))
        owner[bridge[owner[bridge] < 0]] = kept
        into[lost], left[lost], wanted = kept, False, wanted - 1
    return left, into[owner]


def near_pairs(centres: Floats, radii: Floats, rows: Integers) -> Integers:
    """Return the pairs among `rows` whose nuclei are near enough to be drawn as one, (m, 2)."""
    near = min(6, len(rows))
    if near < 2:
        return np.empty((0, 2), dtype=np.int64)
    distance, other = cKDTree(centres[rows]).query(centres[rows], k=near)
    one, two = np.repeat(rows, near), rows[np.asarray(other).ravel()]
    gap = np.asarray(distance).ravel() - radii[one] - radii[two]
    return np.stack([one, two], axis=1)[(one < two) & (gap <= MERGE_GAP)]


def line(start: Floats, end: Floats, pixel: float) -> Floats:
    """Return points that cover a line of the width of a bridge, (n, 2)."""
    way = end - start
    length = float(np.hypot(*way))
    along = np.linspace(0, 1, 2 + int(2 * length / pixel))
    across = np.linspace(-0.5, 0.5, 2 + int(2 * BRIDGE / pixel)) * BRIDGE
    side = np.array([-way[1], way[0]]) / length
    return (start + along[:, None, None] * way + across[:, None] * side).reshape(-1, 2)
