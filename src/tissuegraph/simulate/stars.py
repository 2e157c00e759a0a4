"""Star-shaped outlines: a centre and the radius in equally spaced directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tissuegraph.simulate.arrays import Bools, Floats, Integers


def directions(rays: int) -> Floats:
    """Return the unit vectors of `rays` equally spaced directions, (rays, 2)."""
    angle = 2 * np.pi * np.arange(rays) / rays
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@dataclass(frozen=True)
class Stars:
    """Polygons that can be seen whole from a point inside them.

    Attributes
    ----------
    centres
        (n, 2), um.
    radii
        (n, rays), um: distance from the centre to the vertex in each of `directions(rays)`.
    """

    centres: Floats
    radii: Floats

    def __len__(self) -> int:
        """Return the number of outlines."""
        return len(self.centres)

    def take(self, index: Integers | Bools | slice) -> Stars:
        """Return some of the outlines."""
        return Stars(self.centres[index], self.radii[index])

    def vertices(self) -> Floats:
        """Return the vertices, counter-clockwise, (n, rays, 2)."""
        return self.centres[:, None, :] + self.radii[:, :, None] * directions(self.radii.shape[1])

    def rings(self) -> Floats:
        """Return the closed rings, (n, rays + 1, 2)."""
        vertices = self.vertices()
        return np.concatenate([vertices, vertices[:, :1]], axis=1)

    def closed_rings(self, part: slice) -> tuple[Floats, Integers]:
        """Return the vertices of the closed rings of a part, (m, 2), and the row in it of each, (m,)."""
        rings = self.take(part).rings()
        return rings.reshape(-1, 2), np.repeat(np.arange(len(rings)), rings.shape[1])

    def triangles(self) -> Floats:
        """Return the area of each triangle between the centre and an edge, (n, rays)."""
        turn = np.sin(2 * np.pi / self.radii.shape[1])
        return 0.5 * turn * self.radii * np.roll(self.radii, -1, axis=1)

    def areas(self) -> Floats:
        """Return the areas, (n,), um2."""
        return self.triangles().sum(axis=1)

    def centroids(self) -> Floats:
        """Return the centres of mass, (n, 2), um."""
        spokes = self.vertices() - self.centres[:, None]
        middle = (spokes + np.roll(spokes, -1, axis=1)) / 3
        weight = self.triangles() / self.areas()[:, None]
        return self.centres + (weight[..., None] * middle).sum(axis=1)

    def contains(self, which: Integers, points: Floats) -> Bools:
        """Tell whether outline `which[i]` contains `points[i]`; both of one shape, points (..., 2)."""
        rays = self.radii.shape[1]
        offset = points - self.centres[which]
        turn = np.arctan2(offset[..., 1], offset[..., 0]) * (rays / (2 * np.pi))
        first = np.floor(turn).astype(np.int64) % rays
        second = (first + 1) % rays
        unit = directions(rays)
        start = self.radii[which, first][..., None] * unit[first]
        edge = self.radii[which, second][..., None] * unit[second] - start
        inward = offset - start
        return edge[..., 0] * inward[..., 1] - edge[..., 1] * inward[..., 0] >= 0

    def radius_towards(self, which: Integers, offset: Floats) -> Floats:
        """Return the radius of outline `which[i]` towards `offset[i]`, between its two nearest rays."""
        rays = self.radii.shape[1]
        turn = np.arctan2(offset[..., 1], offset[..., 0]) * (rays / (2 * np.pi))
        first = np.floor(turn).astype(np.int64)
        part = turn - first
        return (1 - part) * self.radii[which, first % rays] + part * self.radii[which, (first + 1) % rays]

    def sample(self, which: Integers, rng: np.random.Generator) -> Floats:
        """Draw one point inside each outline `which[i]`, uniformly, (len(which), 2)."""
        rays = self.radii.shape[1]
        used, row = np.unique(which, return_inverse=True)
        cumulative = np.cumsum(self.take(used).triangles(), axis=1)
        cumulative /= cumulative[:, -1:]
        # one sorted line of all outlines: row r covers the numbers from r to r + 1
        line = (cumulative + np.arange(len(used))[:, None]).ravel()
        place = np.searchsorted(line, row + rng.random(len(which)), side="right")
        first = np.minimum(place - row * rays, rays - 1)
        second = (first + 1) % rays
        unit = directions(rays)
        out, along = np.sqrt(rng.random(len(which))), rng.random(len(which))
        start = (out * (1 - along) * self.radii[which, first])[:, None] * unit[first]
        end = (out * along * self.radii[which, second])[:, None] * unit[second]
        return self.centres[which] + start + end
