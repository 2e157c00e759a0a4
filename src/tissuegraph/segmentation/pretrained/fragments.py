"""Cells whose nucleus was not seen: where transcripts that no nucleus explains are densest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import shapely
from scipy.spatial import cKDTree

from tissuegraph.segmentation.pretrained.tile_pairs import Floats, Indices
from tissuegraph.tiles.survey import Survey

UNEXPLAINED = 0.5
"""Probability of belonging to none from which on a transcript is unexplained."""
CORE = 1.5
"""Radius of a fragment's core, in radii of the slide's typical nucleus."""
APART = 2.2
"""Least distance between the transcripts that two fragments start from, likewise."""
FEWEST = 5
"""Unexplained transcripts that a core needs."""
LEAST_DEPTH = 0.2
"""And relative to those in the typical nucleus."""
LEAST_SHARE = 0.65
"""Mean probability of belonging to none that the transcripts in the core must have."""
NAME = "fragment-"


@dataclass(frozen=True)
class Sizes:
    """What a fragment is measured by: the slide's typical nucleus, um, and its transcripts."""

    radius: float
    depth: float

    @property
    def core(self) -> float:
        """Radius of a core, um."""
        return CORE * self.radius

    @property
    def reach(self) -> float:
        """How far around a place transcripts decide whether it is a fragment's middle, um."""
        return (APART + CORE) * self.radius


@dataclass(frozen=True)
class Fragments:
    """Places where a cell without a nucleus may lie.

    Attributes
    ----------
    middles
        [F, 2], um.
    unexplained
        [F]: mean probability of belonging to none of the transcripts in the core.
    """

    middles: Floats
    unexplained: Floats

    @classmethod
    def none(cls) -> Fragments:
        """No fragments."""
        return cls(np.empty((0, 2)), np.empty(0))

    @classmethod
    def joined(cls, parts: list[Fragments]) -> Fragments:
        """Those of several tiles."""
        parts = [cls.none(), *parts]
        middles = np.concatenate([part.middles for part in parts])
        order = np.lexsort(middles.T)  # not that of the tiles, on which no answer may depend
        return cls(middles[order], np.concatenate([part.unexplained for part in parts])[order])


def sizes_of(areas: Floats, nuclear_depth: Floats) -> Sizes:
    """Typical radius [um] and transcripts of nuclei, given their areas [M] and counts [M]."""
    return Sizes(float(np.sqrt(np.median(areas) / np.pi)), float(np.median(nuclear_depth)))


def find_fragments(positions: Floats, q_none: Floats, mine: npt.NDArray[np.bool_], sizes: Sizes) -> Fragments:
    """Find where unexplained transcripts are densest.

    A fragment starts from an unexplained transcript with more unexplained ones around it, within a core, than
    any other one within `APART` has; of equal ones the first. Its middle is the mean of that core.

    Parameters
    ----------
    positions, q_none
        [N, 2] um, and [N] the probability of belonging to none, of all transcripts there, in the order of the
        source.
    mine
        [N], those that a fragment may start from; all others within `sizes.reach` of them must be there, too.
    """
    chosen = np.flatnonzero(q_none > UNEXPLAINED)
    if len(chosen) < FEWEST:
        return Fragments.none()
    tree = cKDTree(positions[chosen])
    count = np.asarray(tree.query_ball_point(tree.data, sizes.core, return_length=True))
    dense = np.flatnonzero(mine[chosen] & (count >= max(FEWEST, LEAST_DEPTH * sizes.depth)))
    around = _within(tree, tree.data[dense], APART * sizes.radius)
    # argmax gives the first of equal ones
    peaks = [i for i, near in zip(dense, around, strict=True) if near[np.argmax(count[near])] == i]
    middles = np.array([tree.data[core].mean(0) for core in _within(tree, tree.data[peaks], sizes.core)])
    middles = middles.reshape(-1, 2)
    cores = _within(cKDTree(positions), middles, sizes.core)
    unexplained = np.array([q_none[core].mean() for core in cores])
    sure = unexplained >= LEAST_SHARE
    return Fragments(middles[sure], unexplained[sure])


def _within(tree: cKDTree, places: Floats, distance: float) -> list[list[int]]:
    """The points within a distance of each place, in their order."""
    if len(places) == 0:
        return []
    return list(np.asarray(tree.query_ball_point(places, distance, return_sorted=True), object))


def in_cores(positions: Floats, middles: Floats, sizes: Sizes) -> Indices:
    """The fragment in whose core each transcript lies, the nearest one, -1 = none, [N]."""
    if len(middles) == 0:
        return np.full(len(positions), -1, np.int64)
    distance, nearest = cKDTree(middles).query(positions)
    return np.where(np.asarray(distance) <= sizes.core, nearest, -1).astype(np.int64)


def with_fragments(survey: Survey, middles: Floats, sizes: Sizes) -> Survey:
    """The survey with a disc as large as the typical nucleus for every fragment, after the nuclei."""
    discs = shapely.buffer(shapely.points(middles), sizes.radius, quad_segs=4)
    name = NAME
    while any(str(nucleus).startswith(name) for nucleus in survey.boundary_ids):
        name = f"other-{name}"  # as in the cells of an earlier run, given as nuclei
    names = np.array([f"{name}{number}" for number in range(1, len(middles) + 1)], object)
    return replace(
        survey,
        outlines=survey.outlines.beside(discs),
        boundary_ids=np.concatenate([survey.boundary_ids, names]),
    )
