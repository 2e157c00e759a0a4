"""Where in its cell a transcript is made: in the nucleus, or around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tissuegraph.parallel import compiled
from tissuegraph.simulate.arrays import Bools, Floats, Integers
from tissuegraph.simulate.grown.rings import Rings

# Transcripts lie this much denser at the nucleus than far from it, and that over so many um.
AROUND, DECAY = 1.0, 2.0
# Times that a place is drawn again, where the rounded outline leaves its pixel out.
REDRAWN = 6


@dataclass(frozen=True)
class Cytology:
    """The pixels of each cell, and where its nucleus is.

    Attributes
    ----------
    cells
        The true outlines.
    nucleus
        (pixels,): whether the nucleus of its cell is there.
    centres, radii
        (n, 2) and (n,), um: of the true nuclei.
    order, ends
        The pixels of cell `i` are `order[ends[i]:ends[i + 1]]`.
    """

    cells: Rings
    nucleus: Bools
    centres: Floats
    radii: Floats
    order: Integers
    ends: Integers


def make_cytology(cells: Rings, nuclei: Integers, centres: Floats, areas: Floats) -> Cytology:
    """Return where things are in each cell; `nuclei` (pixels,) has the number of the cell, -1 outside."""
    labels = cells.labels
    ends = np.zeros(len(cells) + 1, dtype=np.int64)
    ends[1:] = np.cumsum(np.bincount(labels[labels >= 0], minlength=len(cells)))
    order = np.empty(ends[-1], dtype=np.int32)
    _sort(order, ends[:-1].copy(), labels)
    return Cytology(cells, nuclei >= 0, centres, np.sqrt(areas / np.pi), order, ends)


@compiled
def _sort(order: Integers, next_place: Integers, labels: Integers) -> None:
    for pixel in range(len(labels)):
        if labels[pixel] >= 0:
            order[next_place[labels[pixel]]] = pixel
            next_place[labels[pixel]] += 1


def place(cytology: Cytology, cell: Integers, retained: Floats, rng: np.random.Generator) -> Floats:
    """Draw where each transcript was made, inside the outline of its cell, (n, 2) float32.

    In the nucleus uniformly, `retained` (n,) times denser than in the cytoplasm; there, denser around it.
    """
    used, row = np.unique(cell, return_inverse=True)
    pixels, owner = pixels_of(cytology, used)
    inside = cytology.nucleus[pixels]
    away = np.hypot(*(cytology.cells.lattice.centres_of(pixels) - cytology.centres[used[owner]]).T)
    away = np.maximum(away - cytology.radii[used[owner]], 0)
    around = np.where(inside, 0, 1 + AROUND * np.exp(-away / DECAY))
    nuclear, other = (np.bincount(owner, one, len(used))[row] for one in (inside, ~inside))
    in_nucleus = rng.random(len(cell)) * (retained * nuclear + other) < retained * nuclear
    points = np.empty((len(cell), 2), dtype=np.float32)
    for chosen, weights in ((in_nucleus, inside.astype(np.float64)), (~in_nucleus, around)):
        points[chosen] = draw_inside(cytology, pixels, owner, weights, used, row[chosen], rng)
    return points


def pixels_of(cytology: Cytology, cells: Integers) -> tuple[Integers, Integers]:
    """Return the pixels of some cells, one cell after the other, and the row in `cells` of each."""
    first = cytology.ends[cells]
    number = cytology.ends[cells + 1] - first
    owner = np.repeat(np.arange(len(cells)), number)
    index = np.arange(len(owner)) + np.repeat(first - np.cumsum(number) + number, number)
    return cytology.order[index], owner


def draw_inside(
    cytology: Cytology,
    pixels: Integers,
    owner: Integers,
    weights: Floats,
    used: Integers,
    row: Integers,
    rng: np.random.Generator,
) -> Floats:
    """Draw places inside the outlines of the cells `used[row]`, by the weight of their pixels, (n, 2)."""
    lattice = cytology.cells.lattice
    line = np.cumsum(weights, dtype=np.float64)
    ends = np.searchsorted(owner, np.arange(len(used) + 1))
    edges = np.append(0, line)[ends]
    points = np.empty((len(row), 2), dtype=np.float32)
    wrong = np.arange(len(row))
    for _ in range(REDRAWN):
        low, high = edges[row[wrong]], edges[row[wrong] + 1]
        found = np.searchsorted(line, low + rng.random(len(wrong)) * (high - low), side="right")
        chosen = pixels[np.minimum(found, ends[row[wrong] + 1] - 1)]
        within = rng.uniform(-0.5, 0.5, (len(wrong), 2))
        points[wrong] = lattice.centres_of(chosen) + lattice.pixel * within
        wrong = wrong[cytology.cells.locate(points[wrong]) != used[row[wrong]]]
        if len(wrong) == 0:
            break
    return points
