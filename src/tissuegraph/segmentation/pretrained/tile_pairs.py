"""Transcripts of a tile, the nuclei that each may belong to, and the transcripts that it listens to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tissuegraph import keys
from tissuegraph.graph.candidates import candidate_pairs
from tissuegraph.graph.neighbours import nearest_neighbours
from tissuegraph.nn.neighbour_lists import NeighbourLists
from tissuegraph.parallel import compiled, over_chunks
from tissuegraph.segmentation.pretrained.params import (
    CANDIDATES,
    MAX_DISTANCE,
    NEIGHBOUR_DISTANCE,
    NEIGHBOURS,
    NUCLEAR_DISTANCE,
)
from tissuegraph.segmentation.tile_graphs import gene_tokens
from tissuegraph.tiles.plan import Bounds, grown
from tissuegraph.tiles.store import TileStore
from tissuegraph.tiles.survey import Survey

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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
    """

    rows: npt.NDArray[np.uint64]
    tokens: Indices
    positions: Floats
    cells: Indices
    first: Indices
    tx: Indices
    cell: Indices
    distance: Floats
    neighbours: Indices
    first_neighbour: Indices
    reach: Floats

    @property
    def nuclear(self) -> Indices:
        """The nucleus in or near which each transcript lies, -1 = none, [N]."""
        return self.nearest(NUCLEAR_DISTANCE)

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

    def ahead(self, values: Floats) -> Floats:
        """How far each pair's value is above that of the best other candidate, [P]; infinite without one."""
        result = np.empty(len(values))
        over_chunks(lambda i, j: _ahead(i, j, self.first, values, result), len(self.tokens))
        return result


def read_pairs(store: TileStore, survey: Survey, bounds: Bounds) -> TilePairs:
    """Read the transcripts within `bounds`, and find their pairs and neighbours.

    The pairs are whole; the neighbours are those of transcripts `NEIGHBOUR_DISTANCE` inside the bounds.
    """
    table = store.read(bounds)
    numbers = survey.outlines_in(grown(bounds, MAX_DISTANCE))
    tokens = gene_tokens(table[keys.GENE], survey.genes)
    rows, positions = table[keys.ROW].to_numpy(), table.select(keys.X, keys.Y).to_numpy().astype(np.float64)
    return tile_pairs(rows, tokens, positions, numbers.astype(np.int64), survey.outlines[numbers])


def tile_pairs(
    rows: npt.NDArray[np.uint64],
    tokens: Indices,
    positions: Floats,
    cells: Indices,
    outlines: npt.NDArray[np.object_],
) -> TilePairs:
    """Find the candidate pairs and the neighbours of transcripts; see `TilePairs`."""
    x, y = positions.T
    tx, cell, distance = candidate_pairs(x, y, outlines, k=CANDIDATES, max_distance=MAX_DISTANCE)
    edges = nearest_neighbours(positions, NEIGHBOURS, NEIGHBOUR_DISTANCE)
    every = np.arange(len(tokens) + 1)
    first_neighbour = np.searchsorted(edges[1], every)
    return TilePairs(
        rows=rows,
        tokens=tokens,
        positions=positions,
        cells=cells,
        first=np.searchsorted(tx, every),
        tx=tx,
        cell=cell,
        distance=distance.astype(np.float64),
        neighbours=edges[0],
        first_neighbour=first_neighbour,
        reach=_distance_to_tenth(positions, edges[0], first_neighbour),
    )


def _distance_to_tenth(positions: Floats, neighbours: Indices, first: Indices) -> Floats:
    reach = np.full(len(positions), NEIGHBOUR_DISTANCE)
    tenth = first[:-1] + 9
    has = tenth < first[1:]
    reach[has] = np.hypot(*(positions[neighbours[tenth[has]]] - positions[has]).T)
    return reach


@compiled
def _ahead(begin, end, first, values, result):  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        for p in range(first[i], first[i + 1]):
            best = -np.inf
            for q in range(first[i], first[i + 1]):
                if q != p and values[q] > best:
                    best = values[q]
            result[p] = values[p] - best


def pairs_heard(pairs: TilePairs, k: int) -> NeighbourLists:
    """For each pair, those of the transcript's `k` nearest neighbours with the same cell."""
    lists = (pairs.first, pairs.cell, pairs.neighbours, pairs.first_neighbour)
    counts = np.zeros(len(pairs.tx) + 1, np.int64)
    over_chunks(lambda i, j: _count_heard(i, j, *lists, k, counts), len(pairs.tokens))
    pointer = np.cumsum(counts)
    heard = np.empty(pointer[-1], np.int32)
    over_chunks(lambda i, j: _list_heard(i, j, *lists, k, pointer, heard), len(pairs.tokens))
    return NeighbourLists(pointer, heard, len(pairs.tx))


@compiled
def _count_heard(begin, end, first, cell, neighbours, first_neighbour, k, counts):  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        last = min(first_neighbour[i] + k, first_neighbour[i + 1])
        for p in range(first[i], first[i + 1]):
            for e in range(first_neighbour[i], last):
                j = neighbours[e]
                for q in range(first[j], first[j + 1]):
                    if cell[q] == cell[p]:
                        counts[p + 1] += 1
                        break


@compiled
def _list_heard(begin, end, first, cell, neighbours, first_neighbour, k, pointer, heard):  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        last = min(first_neighbour[i] + k, first_neighbour[i + 1])
        for p in range(first[i], first[i + 1]):
            place = pointer[p]
            for e in range(first_neighbour[i], last):
                j = neighbours[e]
                for q in range(first[j], first[j + 1]):
                    if cell[q] == cell[p]:
                        heard[place] = q
                        place += 1
                        break
