"""The lattice on which tissue grows: its pixels, where nothing can grow, what resists growth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from tissuegraph.simulate.arrays import Bools, Floats, Integers
from tissuegraph.simulate.fields import Field, random_field
from tissuegraph.simulate.grown.params import GrownTissueParams

# Side of a pixel over the side of a square of a cell's mean area: 0.5 um in cells of 100 um2.
PIXEL = 0.05
# Area of the slide, without its empty places, over the area of all cells.
ROOM = 1.02
# Distance over which empty places come and go, in radii of a cell.
EMPTY_SCALE = 4.5
# Width in pixels of the lobes and bays of an outline.
LOBE = 2.2


@dataclass(frozen=True)
class Lattice:
    """Square pixels from (0, 0) on; a pixel's number is `row * side + column`.

    Attributes
    ----------
    pixel
        Side of a pixel, um.
    side
        Number of pixels along either axis.
    extent
        Where the square that holds the cells begins and ends on either axis, um.
    """

    pixel: float
    side: int
    extent: tuple[float, float]

    def inner(self) -> Bools:
        """Tell which pixels are not at the border, (side * side,): growth looks at the eight around."""
        inner = np.zeros((self.side, self.side), dtype=bool)
        inner[1:-1, 1:-1] = True
        return inner.ravel()

    def pixels_at(self, points: Floats) -> Integers:
        """Return the number of the pixel at each point; points outside are moved to the border."""
        column, row = np.clip(np.floor(points / self.pixel).astype(np.int64), 0, self.side - 1).T
        return row * self.side + column

    def centres_of(self, pixels: Integers) -> Floats:
        """Return the centres of pixels, (n, 2), um."""
        return (np.stack([pixels % self.side, pixels // self.side], axis=1) + 0.5) * self.pixel

    def values_of(self, field: Field) -> Floats:
        """Return a field at the centre of every pixel, (side, side), float32."""
        place = (np.arange(self.side) + 0.5) * self.pixel
        along = np.outer(place, field.waves[:, 0])
        across = np.outer(place, field.waves[:, 1]) + field.phases
        rows = np.concatenate([np.cos(across), -np.sin(across)], axis=1).astype(np.float32)
        columns = np.concatenate([np.cos(along), np.sin(along)], axis=1).astype(np.float32)
        return rows @ columns.T * np.float32(np.sqrt(2 / len(field.waves)))


def make_lattice(params: GrownTissueParams) -> Lattice:
    """Return a lattice that has room for the cells, and a margin for those that grow out of it."""
    pixel = PIXEL * float(np.sqrt(params.cell_area))
    margin = 3 * float(np.sqrt(params.cell_area / np.pi * params.elongation))
    inner = float(np.sqrt(params.cells * params.cell_area * ROOM / (1 - params.empty)))
    return Lattice(pixel, int(np.ceil((2 * margin + inner) / pixel)), (margin, margin + inner))


def growing_room(lattice: Lattice, params: GrownTissueParams, rng: np.random.Generator) -> Bools:
    """Tell where cells can grow, (side * side,): not in empty places, nor at the border of the lattice."""
    room = lattice.inner()
    if params.empty > 0:
        radius = float(np.sqrt(params.cell_area / np.pi))
        values = lattice.values_of(random_field(EMPTY_SCALE * radius, rng))
        low, high = (int(edge / lattice.pixel) for edge in lattice.extent)
        limit = np.quantile(values[low : high + 1, low : high + 1], 1 - params.empty)
        room &= values.ravel() <= limit
    return room


def growth_resistance(lattice: Lattice, params: GrownTissueParams, rng: np.random.Generator) -> Floats:
    """Draw what resists growth in each pixel, (side * side,), float32, about 1: in lobes and at random."""
    shape = (lattice.side, lattice.side)
    lobes = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), LOBE, mode="wrap")
    lobes *= params.roughness * 2 * LOBE * np.sqrt(np.pi)  # back to variance 1
    lobes += 0.5 * params.roughness * rng.standard_normal(shape, dtype=np.float32)
    return np.exp(lobes).ravel()
