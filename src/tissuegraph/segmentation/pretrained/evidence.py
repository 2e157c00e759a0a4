"""What speaks for each candidate pair, in terms that know no gene: geometry, and likelihood ratios.

A column says the same on every slide and panel: um, um relative to the nucleus, or the log of how much more
likely a gene is in a candidate's profile than on the slide.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

from tissuegraph.graph.candidates import signed_distance
from tissuegraph.parallel import compiled, over_chunks
from tissuegraph.segmentation.axes import stretching
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles
from tissuegraph.segmentation.pretrained.ground import Ground
from tissuegraph.segmentation.pretrained.territories import TERRITORY, Territories, territory
from tissuegraph.segmentation.pretrained.tile_pairs import Floats, TilePairs

STRETCH_POWERS = (4.5, 9.0)
"""How much longer than wide cells are taken to be, `ratio ** power` of the tissue's axis: two guesses."""
MOST_STRETCH = 4.0
FARTHEST = 20.0
"""um: what a lead counts for at most, and where there is no rival."""
STRONGEST = 6.0
"""Log likelihood ratio likewise."""
NEAR, MIDDLE = 6, 15
"""Neighbours whose evidence is averaged, beside that of all."""
IN_NUCLEUS = 12
"""Neighbours of which the share in the candidate's nucleus is taken."""
SIDE = 0.4
"""Cosine from which on a neighbour lies on the side of the candidate."""
SIDE_PRIOR = 3.0
"""Neighbours without evidence that are added to either side."""
OF_TYPES = 25
"""Neighbours that the types are compared on."""

GEOMETRY = (
    "distance", "stretched distance", "distance stretched more",
    "lead", "stretched lead", "lead stretched more",
    "distance from the centre in radii", "log nucleus area", "log spacing of nuclei",
    "log ratio of the axis", "candidates",
)  # fmt: skip
EXPRESSION = (
    "own gene", "6 neighbours", "15 neighbours", "all neighbours", "towards the centre", "away from it",
    "neighbours in the nucleus", "lead of own gene", "lead of 15 neighbours", "lead of all neighbours",
    "best type over the candidate's", "best type over all neighbours", "log counts of the cell",
)  # fmt: skip
GROUND = ("log reach", "log typical counts", "log typical spacing", "log typical reach")
FIRST_ROUND = (*GEOMETRY, *EXPRESSION, *GROUND)
"""Names of the features, in order."""
FRAGMENT = ("is a fragment", "unexplained in the core", "unexplained on the slide")
SECOND_ROUND = (*GEOMETRY, *EXPRESSION, *GROUND, *TERRITORY, *FRAGMENT)
"""Names of those of the second round; its profiles are those after the first."""


def first_evidence(pairs: TilePairs, ground: Ground, profiles: CellProfiles) -> npt.NDArray[np.float32]:
    """Features of the first round, [P, len(FIRST_ROUND)]."""
    parts = (geometry(pairs, ground), expression(pairs, ground, profiles), around(pairs, ground, profiles))
    return np.concatenate(parts, 1, dtype=np.float32)


def second_evidence(
    pairs: TilePairs,
    ground: Ground,
    profiles: CellProfiles,
    territories: Territories,
    owner: npt.NDArray[np.int64],
    unexplained: Floats,
    unexplained_on_slide: float,
) -> npt.NDArray[np.float32]:
    """Features of the second round, [P, len(SECOND_ROUND)]; `unexplained` [M] is 0 for nuclei."""
    parts = (
        geometry(pairs, ground),
        expression(pairs, ground, profiles, owner),
        around(pairs, ground, profiles),
        territory(pairs, ground, territories),
        (unexplained > 0)[pairs.cell][:, None],
        unexplained[pairs.cell][:, None],
        np.full((len(pairs.tx), 1), np.log(unexplained_on_slide + 0.01)),
    )
    return np.concatenate(parts, 1, dtype=np.float32)


def around(pairs: TilePairs, ground: Ground, profiles: CellProfiles) -> Floats:
    """How dense transcripts are here and on the slide, [P, 4]."""
    typical = np.log1p(profiles.typical_depth)
    spacing = np.log(ground.typical_spacing / 10)
    slide = np.array([typical, spacing, np.log(ground.typical_reach + 0.3)])
    reach = np.log(pairs.reach + 0.3)[pairs.tx]
    return np.column_stack([reach, np.broadcast_to(slide, (len(pairs.tx), 3))])


def geometry(pairs: TilePairs, ground: Ground) -> Floats:
    """Distances from the outline, as they are and after stretching space along the tissue's axis, [P, 11]."""
    chosen = pairs.cells[pairs.cell]
    distances = [pairs.distance, *(stretched(pairs, ground, power) for power in STRETCH_POWERS)]
    leads = [np.clip(pairs.ahead(-distance), -FARTHEST, FARTHEST) for distance in distances]
    offset = np.hypot(*(pairs.positions[pairs.tx] - ground.centres[chosen]).T)
    return np.column_stack(
        [
            *distances,
            *leads,
            offset / np.sqrt(ground.areas / np.pi)[chosen],
            np.log(ground.areas / 40)[chosen],
            np.log(ground.spacing / 10)[chosen],
            np.log(ground.axes.ratio)[chosen],
            np.diff(pairs.first)[pairs.tx] / 8,
        ]
    )


def stretched(pairs: TilePairs, ground: Ground, power: float) -> Floats:
    """Distance [P] after shrinking space along the axis at each nucleus and stretching it across."""
    outlines, centre = ground.outlines[pairs.cells], ground.centres[pairs.cells]
    stretch = np.clip(ground.axes.ratio[pairs.cells] ** power, 1.0, MOST_STRETCH)
    maps = stretching(ground.axes.angle[pairs.cells], stretch)
    corners, owner = shapely.get_coordinates(outlines, return_index=True)
    moved = np.einsum("nij,nj->ni", maps[owner], corners - centre[owner])
    warped = shapely.set_coordinates(outlines.copy(), moved)
    points = np.einsum("nij,nj->ni", maps[pairs.cell], pairs.positions[pairs.tx] - centre[pairs.cell])
    every = np.arange(len(pairs.tx))
    return signed_distance(points[:, 0], points[:, 1], warped, every, pairs.cell).astype(np.float64)


def expression(
    pairs: TilePairs,
    ground: Ground,
    profiles: CellProfiles,
    owner: npt.NDArray[np.int64] | None = None,
) -> Floats:
    """Log likelihood ratios of the own gene and of the neighbours' genes, [P, 13].

    `owner` [N] is the cell, as its number in the tile, among whose counts each transcript stands; a
    transcript is never evidence for its own cell by having been counted. By default that is the nucleus.
    """
    owner = pairs.nuclear if owner is None else owner
    ratios, ratios_without = profiles.log_ratios(pairs.cells)
    evidence = np.zeros((len(pairs.tx), 7))
    centre = ground.centres[pairs.cells]
    lists = (pairs.first, pairs.cell, pairs.neighbours, pairs.first_neighbour)
    arguments = (*lists, pairs.tokens, owner, ratios, ratios_without, pairs.positions, centre, evidence)
    over_chunks(lambda i, j: _evidence(i, j, *arguments), len(pairs.tokens))
    by_type = np.zeros((len(pairs.tokens), len(profiles.types)))
    others = (pairs.neighbours, pairs.first_neighbour, pairs.tokens, profiles.type_ratios, by_type)
    over_chunks(lambda i, j: _by_type(i, j, *others), len(pairs.tokens))
    best = by_type.max(1)[pairs.tx]
    membership = profiles.membership[pairs.cells[pairs.cell]]
    of_own_type = np.einsum("pk,pk->p", by_type[pairs.tx], membership)
    leads = [np.clip(pairs.ahead(evidence[:, column]), -STRONGEST, STRONGEST) for column in (0, 2, 3)]
    depth = profiles.depth[pairs.cells[pairs.cell]]
    return np.column_stack([evidence, *leads, best - of_own_type, best - evidence[:, 3], np.log1p(depth)])


@compiled
def _evidence(  # type: ignore[no-untyped-def]
    begin,
    end,
    first,
    cell,
    neighbours,
    first_neighbour,
    token,
    owner,
    ratios,
    without,
    place,
    centre,
    out,
):
    for i in range(begin, end):
        for p in range(first[i], first[i + 1]):
            c = cell[p]
            toward_x, toward_y = centre[c, 0] - place[i, 0], centre[c, 1] - place[i, 1]
            length = np.sqrt(toward_x**2 + toward_y**2) + 1e-6
            total, inside, toward, n_toward, away, n_away, n = 0.0, 0, 0.0, SIDE_PRIOR, 0.0, SIDE_PRIOR, 0
            for e in range(first_neighbour[i], first_neighbour[i + 1]):
                j = neighbours[e]
                value = without[c, token[j]] if owner[j] == c else ratios[c, token[j]]
                n += 1
                total += value
                if owner[j] == c and n <= IN_NUCLEUS:
                    inside += 1
                if n <= NEAR:
                    out[p, 1] = total / n
                if n <= MIDDLE:
                    out[p, 2] = total / n
                dx, dy = place[j, 0] - place[i, 0], place[j, 1] - place[i, 1]
                cosine = (dx * toward_x + dy * toward_y) / ((np.sqrt(dx**2 + dy**2) + 1e-6) * length)
                if cosine > SIDE:
                    toward += value
                    n_toward += 1
                elif cosine < -SIDE:
                    away += value
                    n_away += 1
            out[p, 0] = without[c, token[i]] if owner[i] == c else ratios[c, token[i]]
            out[p, 3] = total / max(n, 1)
            out[p, 4] = toward / n_toward
            out[p, 5] = away / n_away
            out[p, 6] = inside / IN_NUCLEUS


@compiled
def _by_type(begin, end, neighbours, first_neighbour, token, type_ratios, out):  # type: ignore[no-untyped-def]
    """Mean log likelihood ratio of the nearest neighbours' genes under each type."""
    for i in range(begin, end):
        last = min(first_neighbour[i] + OF_TYPES, first_neighbour[i + 1])
        n = max(last - first_neighbour[i], 1)
        for t in range(type_ratios.shape[0]):
            for e in range(first_neighbour[i], last):
                out[i, t] += type_ratios[t, token[neighbours[e]]] / n
