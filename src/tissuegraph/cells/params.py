"""The hyper-parameters of embeddings of cells, without anything heavy to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tissuegraph.errors import InputError
from tissuegraph.training.params import check_ranges

MANY = 10**6
LEAST_EPOCHS, MOST_EPOCHS, FULL_CELLS = 5, 20, 100_000
"""Automatic epochs of node2vec, and the cells up to which there are most of them."""


def check_whole(owner: object, *names: str) -> None:
    """Refuse values that are no whole numbers."""
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{name} is {value!r}; give a whole number")


@dataclass(frozen=True)
class Node2VecParams:
    """Walks over a graph, and the embedding that is learnt from them."""

    dimensions: int = 64
    """Numbers a cell."""
    walk_length: int = 20
    """Cells of a walk, the first among them."""
    context: int = 10
    """Steps along a walk within which two cells are a pair."""
    walks_per_node: int = 10
    """Walks that start at each cell, in every epoch."""
    p: float = 1.0
    """A step back weighs `1 / p`."""
    q: float = 1.0
    """A step to a cell that is no neighbour of the last one weighs `1 / q`: below 1 walks wander off, above 1
    they stay near."""
    directed: bool = False
    """Walk from a cell only to those in its row of the graph; otherwise every edge is open both ways."""
    negatives: int = 10
    """Cells drawn for each walk that its cells are pushed away from; together they weigh as much as the pairs
    of the walk, so more of them make a steadier gradient and no other aim."""
    epochs: int | Literal["auto"] = "auto"
    """How often all the walks are made, anew each time. "auto": 20 up to 100,000 cells, beyond that fewer, in
    proportion, but at least 5."""
    learning_rate: float = 0.1
    """Of Adagrad; it falls to nothing by the last walk."""

    def __post_init__(self) -> None:
        """Refuse what makes no walks."""
        check_whole(self, "dimensions", "walk_length", "context", "walks_per_node", "negatives")
        if self.epochs != "auto":
            check_whole(self, "epochs")
            check_ranges(self, epochs=(1, MANY))
        check_ranges(
            self,
            dimensions=(1, 4096),
            walk_length=(2, 1000),
            context=(1, 1000),
            walks_per_node=(1, MANY),
            p=(1e-6, MANY),
            q=(1e-6, MANY),
            negatives=(1, 1000),
            learning_rate=(1e-9, 100),
        )

    def rounds(self, num_cells: int) -> int:
        """How often the walks are made for so many cells."""
        if self.epochs != "auto":
            return self.epochs
        return max(LEAST_EPOCHS, min(MOST_EPOCHS, MOST_EPOCHS * FULL_CELLS // max(num_cells, 1)))
