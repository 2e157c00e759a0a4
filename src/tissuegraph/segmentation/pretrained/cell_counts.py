"""Counts of genes in cells, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse


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


def total(parts: Sequence[CellCounts], shape: tuple[int, int]) -> sparse.csr_matrix:
    """Sum of some tiles' counts, of float32."""
    empty = CellCounts.of([], [])
    cell, gene, number = (
        np.concatenate([getattr(part, name) for part in [empty, *parts]])
        for name in ("cell", "gene", "number")
    )
    matrix = sparse.coo_matrix((number, (cell, gene)), shape=shape).tocsr()
    matrix.sort_indices()
    return matrix
