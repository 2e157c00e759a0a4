"""Transcripts of a tile, the nuclei that each may belong to, and the transcripts that it listens to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tissuegraph import keys
from tissuegraph.graph.candidates import candidate_pairs
from tissuegraph.graph.neighbours import nearest_lists
from tissuegraph.nn.neighbour_lists import NeighbourLists
from tissuegraph.parallel import compiled, over_chunks
from tissuegraph.segmentation.pretrained.params import (
    CANDIDATES,
    MAX_DISTANCE,
    NEIGHBOUR_DISTANCE,
    NEIGHBOURS,
    NUCLEAR_DISTANCE,
)
from tissuegraph.segmentation.tile_graphs import gene_tokens, inside
from tissuegraph.tiles.plan import Bounds, grown
from tissuegraph.tiles.store import TileStore
from tissuegraph.tiles.survey import Survey

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TilePairs:
    """Candidate pairs of a tile, sorted by transcript, nearest nucleus first.

    Attributes
    ----------
    rows, tokens, positions
        [N], [N], [N, 2]: the transcripts' rows, genes as numbers, and places in um.
    cells
        [M]: numbers on the slide of the tile's nuclei.
    first
        [N + 1]: where the pairs of each transcript start.
    tx, cell
        [P]: the transcript and the candidate (its number in `cells`) of each pair.
    distance
        [P]: um from the outline, negative inside.
    neighbours, first_neighbour
        [E], [N + 1]: the transcripts that each listens to, nearest first.
    reach
        [N]: um to the tenth of them, or the farthest that is looked for.
    nuclear
        [N]: the nucleus in or near which each transcript lies (its number in `cells`), -1 = none.
    """

    rows: npt.NDArray[np.uint64]
    tokens: Indices
    positions: Floats
    cells: Indices
    first: Indices
    tx: Indices
    cell: Indices
    distance: Floats32
    neighbours: npt.NDArray[np.int32]
    first_neighbour: Indices
    reach: Floats
    nuclear: Indices

    def nearest(self, distance: float, is_nucleus: npt.NDArray[np.bool_] | None = None) -> Indices:
        """The nearest candidate of each transcript if near enough, else -1, as its number in the tile, [N].

        With `is_nucleus` [M] only among those.
        """
        near = self.distance <= distance
        if is_nucleus is not None:
            near &= is_nucleus[self.cell]
        chosen = np.flatnonzero(near)[::-1]
        nearest = np.full(len(self.tokens), -1, np.int64)
        nearest[self.tx[chosen]] = self.cell[chosen]
        return nearest


def read_pairs(store: TileStore, survey: Survey, bounds: Bounds) -> TilePairs:
    """Read the transcripts within `bounds`, and find their pairs and neighbours.

    Those that only these listen to, up to `NEIGHBOUR_DISTANCE` around, are there without pairs.
    """
    table = store.read(grown(bounds, NEIGHBOUR_DISTANCE))
    numbers = survey.outlines_in(grown(bounds, MAX_DISTANCE))
    tokens = gene_tokens(table[keys.GENE], survey.genes)
    rows, positions = table[keys.ROW].to_numpy(), table.select(keys.X, keys.Y).to_numpy().astype(np.float64)
    outlines = survey.outlines[numbers]
    return tile_pairs(rows, tokens, positions, numbers.astype(np.int64), outlines, inside(positions, bounds))


def tile_pairs(
    rows: npt.NDArray[np.uint64],
    tokens: Indices,
    positions: Floats,
    cells: Indices,
    outlines: npt.NDArray[np.object_],
    asked: npt.NDArray[np.bool_] | None = None,
) -> TilePairs:
    """Find candidate pairs and neighbours of the transcripts that are `asked` [N]; see `TilePairs`."""
    asked = np.ones(len(tokens), np.bool_) if asked is None else asked
    number = np.flatnonzero(asked)
    x, y = positions[number].T
    tx, cell, distance = candidate_pairs(x, y, outlines, k=CANDIDATES, max_distance=MAX_DISTANCE)
    first_neighbour, neighbours = nearest_lists(positions, NEIGHBOURS, NEIGHBOUR_DISTANCE, asked)
    pairs = TilePairs(
        rows=rows,
        tokens=tokens,
        positions=positions,
        cells=cells,
        first=np.searchsorted(number[tx], np.arange(len(tokens) + 1)),
        tx=number[tx],
        cell=cell,
        distance=distance,
        neighbours=neighbours,
        first_neighbour=first_neighbour,
        reach=_distance_to_tenth(positions, neighbours, first_neighbour),
        nuclear=np.full(len(tokens), -1),
    )
    pairs.nuclear[:] = pairs.nearest(NUCLEAR_DISTANCE)
    rim = np.flatnonzero(~asked)
    x, y = positions[rim].T
    near, nucleus, _ = candidate_pairs(x, y, outlines, k=1, max_distance=NUCLEAR_DISTANCE)
    pairs.nuclear[rim[near]] = nucleus
    return pairs


def _distance_to_tenth(positions: Floats, neighbours: npt.NDArray[np.int32], first: Indices) -> Floats:
    reach = np.full(len(positions), NEIGHBOUR_DISTANCE)
    tenth = first[:-1] + 9
    has = tenth < first[1:]
    reach[has] = np.hypot(*(positions[neighbours[tenth[has]]] - positions[has]).T)
    return reach


@compiled
def ahead(values, begin, end, column, sign, most, out, to):  # type: ignore[no-untyped-def]
    """How far each pair's value is above that of the best other candidate of its transcript, at most `most`.

    values [P, columns], of which `sign * values[begin:end, column]` is looked at; out [P, columns].
    """
    first, second, at = -np.inf, -np.inf, begin
    for p in range(begin, end):
        value = sign * values[p, column]
        if value > first:
            first, second, at = value, first, p
        elif value > second:
            second = value
    for p in range(begin, end):
        rival = second if p == at else first
        out[p, to] = min(max(sign * values[p, column] - rival, -most), most)


def pairs_heard(pairs: TilePairs, k: int) -> NeighbourLists:
    """For each pair, those of the transcript's `k` nearest neighbours with the same cell."""
    lists = (pairs.first, pairs.cell, pairs.neighbours, pairs.first_neighbour)
    counts = np.zeros(len(pairs.tx) + 1, np.int64)
    heard = np.empty((len(pairs.tx), k), np.int32)
    over_chunks(lambda i, j: _list_heard(i, j, *lists, heard, counts), len(pairs.tokens))
    return NeighbourLists(np.cumsum(counts), heard[np.arange(k) < counts[1:, None]], len(pairs.tx))


@compiled
def _list_heard(begin, end, first, cell, neighbours, first_neighbour, heard, counts):  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        own = first[i + 1] - first[i]
        last = min(first_neighbour[i] + heard.shape[1], first_neighbour[i + 1])
        for e in range(first_neighbour[i], last):
            j = neighbours[e]
            for rank in range(own):
                p = first[i] + rank
                # neighbours mostly have the same candidates in the same order
                q = first[j] + rank
                if q >= first[j + 1] or cell[q] != cell[p]:
                    q = first[j]
                    while q < first[j + 1] and cell[q] != cell[p]:
                        q += 1
                if q < first[j + 1]:
                    heard[p, counts[p + 1]] = q
                    counts[p + 1] += 1
