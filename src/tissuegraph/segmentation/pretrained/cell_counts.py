"""Counts of genes in cells, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph.parallel import compiled


@dataclass(frozen=True)
class CellCounts:
    """Entries of a matrix of cells by genes: `number` [E] of gene `gene` [E] in cell `cell` [E]."""

    cell: npt.NDArray[np.int32]
    gene: npt.NDArray[np.int32]
    number: npt.NDArray[np.float32]

    @classmethod
    def of(cls, cell: npt.ArrayLike, gene: npt.ArrayLike) -> CellCounts:
        """Count transcripts by their cell [N] and their gene [N]."""
        both = (np.asarray(cell, np.int64) << 32) | np.asarray(gene, np.int64)
        both, number = np.unique(both, return_counts=True)
        return cls(
            (both >> 32).astype(np.int32), (both & 0xFFFFFFFF).astype(np.int32), number.astype(np.float32)
        )

    def only(self, chosen: npt.NDArray[np.bool_], names: npt.ArrayLike) -> CellCounts:
        """Entries of the chosen cells [M], each under another number, `names` [M]."""
        held = chosen[self.cell]
        names = np.asarray(names, np.int32)
        return CellCounts(names[self.cell[held]], self.gene[held], self.number[held])


def total(parts: Sequence[CellCounts], shape: tuple[int, int]) -> sparse.csr_matrix:
    """Sum of some tiles' counts, of float32.

    Entries are put where they belong one part after the other, as the parts of a large slide take much
    memory.
    """
    pointer = np.zeros(shape[0] + 1, np.int64)
    for part in parts:
        np.add.at(pointer, part.cell.astype(np.int64) + 1, 1)
    np.cumsum(pointer, out=pointer)
    gene, number = np.empty(pointer[-1], np.int32), np.empty(pointer[-1], np.float32)
    place = pointer[:-1].copy()
    for part in parts:
        _put(part.cell, part.gene, part.number, place, gene, number)
    matrix = sparse.csr_matrix((number, gene, pointer), shape=shape)
    matrix.sum_duplicates()  # of cells that lie in several tiles
    return matrix


@compiled
def _put(cell, gene, number, place, genes, numbers):  # type: ignore[no-untyped-def]
    """Append entries to the rows of their cells, which end at `place` [M]."""
    for e in range(len(cell)):
        at = place[cell[e]]
        genes[at], numbers[at] = gene[e], number[e]
        place[cell[e]] += 1
