"""What speaks for each candidate pair, in terms that know no gene: geometry, and likelihood ratios.

A column says the same on every slide and panel: um, um relative to the nucleus, or the log of how much more
likely a gene is in a candidate's profile than on the slide.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from tissuegraph.graph.candidates import flatten
from tissuegraph.graph.sides import AX, BY, side_table, signed_to
from tissuegraph.parallel import compiled, over_chunks
from tissuegraph.segmentation.axes import stretching
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles
from tissuegraph.segmentation.pretrained.ground import Ground
from tissuegraph.segmentation.pretrained.params import NEIGHBOURS
from tissuegraph.segmentation.pretrained.territories import TERRITORY, Territories, territory
from tissuegraph.segmentation.pretrained.tile_pairs import Floats, Floats32, TilePairs, ahead

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
LED = (0, 2, 3)
"""Columns of `EXPRESSION` of which the lead over the other candidates is taken."""

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


def first_evidence(pairs: TilePairs, ground: Ground, profiles: CellProfiles) -> Floats32:
    """Features of the first round, [P, len(FIRST_ROUND)]."""
    out = np.empty((len(pairs.tx), len(FIRST_ROUND)), np.float32)
    _write_common(pairs, ground, profiles, None, out)
    return out


def second_evidence(
    pairs: TilePairs,
    ground: Ground,
    profiles: CellProfiles,
    territories: Territories,
    owner: npt.NDArray[np.int64],
    unexplained: Floats,
    unexplained_on_slide: float,
) -> Floats32:
    """Features of the second round, [P, len(SECOND_ROUND)]; `unexplained` [M] is 0 for nuclei."""
    out = np.empty((len(pairs.tx), len(SECOND_ROUND)), np.float32)
    _write_common(pairs, ground, profiles, owner, out)
    begin = len(FIRST_ROUND)
    end = begin + len(TERRITORY)
    out[:, begin:end] = territory(pairs, ground, territories)
    out[:, end] = (unexplained > 0)[pairs.cell]
    out[:, end + 1] = unexplained[pairs.cell]
    out[:, end + 2] = np.log(unexplained_on_slide + 0.01)
    return out


def _write_common(
    pairs: TilePairs,
    ground: Ground,
    profiles: CellProfiles,
    owner: npt.NDArray[np.int64] | None,
    out: Floats32,
) -> None:
    """Write what both rounds look at into the first columns of `out`."""
    begin = len(GEOMETRY)
    end = begin + len(EXPRESSION)
    geometry(pairs, ground, out[:, :begin])
    expression(pairs, ground, profiles, owner, out[:, begin:end])
    out[:, end : len(FIRST_ROUND)] = around(pairs, ground, profiles)


def around(pairs: TilePairs, ground: Ground, profiles: CellProfiles) -> Floats:
    """How dense transcripts are here and on the slide, [P, 4]."""
    typical = np.log1p(profiles.typical_depth)
    spacing = np.log(ground.typical_spacing / 10)
    slide = np.array([typical, spacing, np.log(ground.typical_reach + 0.3)])
    reach = np.log(pairs.reach + 0.3)[pairs.tx]
    return np.column_stack([reach, np.broadcast_to(slide, (len(pairs.tx), 3))])


def geometry(pairs: TilePairs, ground: Ground, out: Floats32 | None = None) -> Floats32:
    """Distances from the outline, as they are and after stretching space along the tissue's axis, [P, 11].

    They are written to `out`, if that is given.
    """
    out = np.empty((len(pairs.tx), len(GEOMETRY)), np.float32) if out is None else out
    cells = pairs.cells
    outlines = flatten(ground.outlines[cells])
    owner = np.repeat(np.arange(len(cells)), np.diff(outlines.first))
    maps = np.stack([_stretching(ground, cells, power) for power in STRETCH_POWERS])
    ends = outlines.sides[AX : BY + 1].T.reshape(-1, 2, 2) - ground.centres[cells][owner][:, None]
    sides = side_table(np.einsum("knij,nej->knei", maps[:, owner], ends).reshape(len(maps), -1, 4))
    of_cell = np.column_stack(
        [np.log(ground.areas / 40), np.log(ground.spacing / 10), np.log(ground.axes.ratio)]
    )[cells].astype(np.float32)
    radius = np.sqrt(ground.areas / np.pi)[cells]
    where = (pairs.positions, pairs.first, pairs.cell, pairs.distance, ground.centres[cells], radius)
    warped = (maps, sides, outlines.first)
    over_chunks(lambda i, j: _geometry(i, j, *where, *warped, of_cell, out), len(pairs.tokens))
    return out


def _stretching(ground: Ground, cells: npt.NDArray[np.int64], power: float) -> Floats:
    """Maps [M, 2, 2] that shrink space along the axis at each nucleus and stretch it across."""
    stretch = np.clip(ground.axes.ratio[cells] ** power, 1.0, MOST_STRETCH)
    return stretching(ground.axes.angle[cells], stretch)


@compiled
def _geometry(  # type: ignore[no-untyped-def]
    begin, end, place, first, cell, distance, centre, radius, maps, sides, first_side, of_cell, out
):
    """Columns of `GEOMETRY`; sides [stretches, 6, S] are those around each cell's centre."""
    n_distances = 1 + len(maps)
    room = np.empty(max(sides.shape[2], 1))
    for i in range(begin, end):
        for p in range(first[i], first[i + 1]):
            c = cell[p]
            x, y = place[i, 0] - centre[c, 0], place[i, 1] - centre[c, 1]
            out[p, 0] = distance[p]
            for k in range(len(maps)):
                at_x = maps[k, c, 0, 0] * x + maps[k, c, 0, 1] * y
                at_y = maps[k, c, 1, 0] * x + maps[k, c, 1, 1] * y
                out[p, 1 + k] = signed_to(at_x, at_y, sides[k], first_side[c], first_side[c + 1], room)
            out[p, 2 * n_distances] = np.sqrt(x * x + y * y) / radius[c]
            for column in range(3):
                out[p, 2 * n_distances + 1 + column] = of_cell[c, column]
            out[p, 2 * n_distances + 4] = (first[i + 1] - first[i]) / 8
        for column in range(n_distances):
            ahead(out, first[i], first[i + 1], column, -1.0, FARTHEST, out, n_distances + column)


def expression(
    pairs: TilePairs,
    ground: Ground,
    profiles: CellProfiles,
    owner: npt.NDArray[np.int64] | None = None,
    out: Floats32 | None = None,
) -> Floats32:
    """Log likelihood ratios of the own gene and of the neighbours' genes, [P, 13].

    `owner` [N] is the cell, as its number in the tile, among whose counts each transcript stands; a
    transcript is never evidence for its own cell by having been counted. By default that is the nucleus.
    They are written to `out`, if that is given.
    """
    out = np.empty((len(pairs.tx), len(EXPRESSION)), np.float32) if out is None else out
    owner = pairs.nuclear if owner is None else owner
    ratios = profiles.log_ratios(pairs.cells)
    membership = profiles.membership[pairs.cells].astype(np.float32)
    depth = np.log1p(profiles.depth[pairs.cells]).astype(np.float32)
    lists = (pairs.first, pairs.cell, pairs.neighbours, pairs.first_neighbour)
    where = (pairs.tokens, owner, pairs.positions, ground.centres[pairs.cells])
    of_types = (np.ascontiguousarray(profiles.type_ratios.T), membership)
    arguments = (*lists, *where, *ratios, *of_types, depth, out)
    over_chunks(lambda i, j: _expression(i, j, *arguments), len(pairs.tokens))
    return out


REORDERED = ("nsz", "contract", "reassoc")
"""Sums over neighbours may be reordered, which lets them use vector registers."""


@partial(compiled, fastmath=set(REORDERED))
def _expression(  # type: ignore[no-untyped-def]
    begin,
    end,
    first,
    cell,
    neighbours,
    first_neighbour,
    token,
    owner,
    place,
    centre,
    ratios,
    without,
    type_ratios,
    membership,
    depth,
    out,
):
    """Columns of `EXPRESSION`."""
    zero, most = np.float32(0), max(NEIGHBOURS, 1)
    ways, values = np.empty((2, most), np.float32), np.empty(most, np.float32)
    gene, owners = np.empty(most, np.int64), np.empty(most, np.int64)
    by_type = np.empty(type_ratios.shape[1], np.float32)
    for i in range(begin, end):
        if first[i] == first[i + 1]:
            continue
        start, n = first_neighbour[i], first_neighbour[i + 1] - first_neighbour[i]
        for e in range(n):
            j = neighbours[start + e]
            dx, dy = place[j, 0] - place[i, 0], place[j, 1] - place[i, 1]
            length = np.sqrt(dx * dx + dy * dy) + 1e-6
            ways[0, e], ways[1, e] = dx / length, dy / length
            gene[e], owners[e] = token[j], owner[j]
        best = _by_type(gene[: min(n, OF_TYPES)], type_ratios, by_type)
        for p in range(first[i], first[i + 1]):
            c = cell[p]
            for e in range(n):
                values[e] = ratios[c, gene[e]]
            inside = 0
            for e in range(n):
                if owners[e] == c:
                    values[e] = without[c, gene[e]]
                    inside += e < IN_NUCLEUS
            dx, dy = centre[c, 0] - place[i, 0], centre[c, 1] - place[i, 1]
            length = np.sqrt(dx * dx + dy * dy) + 1e-6
            to_x, to_y = np.float32(dx / length), np.float32(dy / length)
            toward, n_toward, away, n_away = zero, 0, zero, 0
            for e in range(n):
                cosine = ways[0, e] * to_x + ways[1, e] * to_y
                toward += values[e] if cosine > SIDE else zero
                n_toward += cosine > SIDE
                away += values[e] if cosine < -SIDE else zero
                n_away += cosine < -SIDE
            near, middle, every = _sums(values, n)
            own_type = zero
            for t in range(len(by_type)):
                own_type += by_type[t] * membership[c, t]
            out[p, 0] = without[c, token[i]] if owner[i] == c else ratios[c, token[i]]
            out[p, 1] = near / max(min(n, NEAR), 1)
            out[p, 2] = middle / max(min(n, MIDDLE), 1)
            out[p, 3] = every / max(n, 1)
            out[p, 4] = toward / (n_toward + SIDE_PRIOR)
            out[p, 5] = away / (n_away + SIDE_PRIOR)
            out[p, 6] = inside / IN_NUCLEUS
            out[p, 10] = best - own_type
            out[p, 11] = best - out[p, 3]
            out[p, 12] = depth[c]
        for number in range(len(LED)):
            ahead(out, first[i], first[i + 1], LED[number], 1.0, STRONGEST, out, 7 + number)


@compiled
def _sums(values, n):  # type: ignore[no-untyped-def]
    """Of the nearest, of more and of all n values."""
    near = middle = every = np.float32(0)
    for e in range(min(n, NEAR)):
        near += values[e]
    for e in range(min(n, MIDDLE)):
        middle += values[e]
    for e in range(n):
        every += values[e]
    return near, middle, every


@compiled
def _by_type(genes, type_ratios, by_type):  # type: ignore[no-untyped-def]
    """Mean log likelihood ratio of genes under each type; returns that of the best."""
    by_type[:] = 0
    for gene in genes:
        for t in range(len(by_type)):
            by_type[t] += type_ratios[gene, t]
    for t in range(len(by_type)):
        by_type[t] /= max(len(genes), 1)
    return by_type.max()
