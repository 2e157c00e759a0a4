"""The hyper-parameters of embeddings of cells, without anything heavy to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tissuegraph.errors import InputError
from tissuegraph.training.params import check_ranges

MANY = 10**6
LEAST_EPOCHS, MOST_EPOCHS, FULL_CELLS = 5, 20, 100_000
"""Automatic epochs of node2vec, and the cells up to which there are most of them."""
ENCODERS = ("gcn", "gat")
WHOLE_CELLS, BATCH_CELLS = 20_000, 10_000
"""Cells up to which automatic batches are the whole, and cells of a batch beyond that."""


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


@dataclass(frozen=True)
class InfomaxParams:
    """The encoder of Deep Graph Infomax, what it is given, and its training."""

    encoder: str = "gcn"
    """"gcn" averages over neighbours by the weights of the graph, "gat" by attention that is learnt."""
    dimensions: int = 64
    """Numbers a cell."""
    hidden: int = 64
    """Dimensions of the layers before the last."""
    layers: int = 2
    """How far a cell hears, in steps on the graph."""
    heads: int = 4
    """Heads of attention ("gat"); they share the dimensions."""
    n_components: int = 50
    """Principal components of the expression that are the features."""
    section_key: str | Sequence[str] | None = "auto"
    """Column(s) of `obs` whose sections are centred each by itself; as in `tg.StagateParams`."""
    n_neighbors: int = 15
    """Neighbours of a cell where the graph of expression is built."""
    batch_cells: int | Literal["auto"] | None = "auto"
    """Cells a step: None for all; "auto" for all up to 20,000, and beyond that 10,000 in eight patches."""
    epochs: int = 30
    """At most; each has as many steps as there are batches, but at least 10."""
    patience: int = 5
    """Epochs without a better validation loss before training stops."""
    learning_rate: float = 2e-3
    """Of Adam."""
    accelerator: str = "auto"
    """auto, cpu, gpu, cuda or mps."""
    strategy: str = "auto"
    """auto or ddp_spawn: how several devices share the work."""
    devices: str = "auto"
    """How many devices, or auto."""
    precision: str = "auto"
    """32-true, 16-mixed, bf16-mixed or auto (mixed on a GPU)."""

    def __post_init__(self) -> None:
        """Refuse what makes no network."""
        if self.encoder not in ENCODERS:
            raise InputError(f"encoder is {self.encoder!r}; choose one of {', '.join(ENCODERS)}")
        ranges = {"dimensions": 4096, "hidden": 4096, "layers": 10, "heads": 64, "n_components": MANY}
        ranges |= {"n_neighbors": 1000, "epochs": MANY, "patience": MANY}
        check_whole(self, *ranges)
        check_ranges(self, learning_rate=(1e-9, 100), **{name: (1, most) for name, most in ranges.items()})
        check_batch_cells(self.batch_cells)
        wrong = [size for size in (self.hidden, self.dimensions) if size % self.heads]
        if self.encoder == "gat" and wrong:
            raise InputError(
                f"{wrong[0]} dimensions cannot be shared by {self.heads} heads; give a multiple of heads"
            )


@dataclass(frozen=True)
class IntegrateParams:
    """The encoders of two omics, what they are given, and their training."""

    dimensions: int = 32
    """Numbers a cell in each omics; the joint embedding has twice as many."""
    n_components: int = 50
    """Principal components of each omics that are its features."""
    section_key: str | Sequence[str] | None = "auto"
    """Column(s) of `obs` whose sections are centred each by itself; as in `tg.StagateParams`."""
    n_neighbors: int = 15
    """Neighbours of a cell in graphs that are built."""
    n_clusters: int | None = None
    """Clusters that are looked for; by default as many as there are labels, and without labels what Leiden
    finds."""
    batch_cells: int | Literal["auto"] | None = "auto"
    """Cells a step, as in `tg.InfomaxParams`."""
    epochs: int = 20
    """At most; each has as many steps as there are batches, but at least 10."""
    patience: int = 5
    """Epochs without a better validation loss before training stops."""
    learning_rate: float = 2e-3
    """Of Adam."""
    accelerator: str = "auto"
    """auto, cpu, gpu, cuda or mps."""
    strategy: str = "auto"
    """auto or ddp_spawn: how several devices share the work."""
    devices: str = "auto"
    """How many devices, or auto."""
    precision: str = "auto"
    """32-true, 16-mixed, bf16-mixed or auto (mixed on a GPU)."""

    def __post_init__(self) -> None:
        """Refuse what makes no network."""
        ranges = {"dimensions": 4096, "n_components": MANY, "n_neighbors": 1000, "epochs": MANY}
        ranges |= {"patience": MANY} | ({} if self.n_clusters is None else {"n_clusters": MANY})
        check_whole(self, *ranges)
        check_ranges(self, learning_rate=(1e-9, 100), **{name: (1, most) for name, most in ranges.items()})
        check_batch_cells(self.batch_cells)


def check_batch_cells(batch_cells: int | str | None) -> None:
    """Refuse what is no number of cells, "auto" or None."""
    if batch_cells not in ("auto", None) and not (isinstance(batch_cells, int) and 1 <= batch_cells <= MANY):
        raise InputError(f"batch_cells is {batch_cells!r}; give a number of cells, 'auto', or None for all")


def cells_a_step(batch_cells: int | Literal["auto"] | None, num_cells: int) -> int | None:
    """Cells of a batch, None for all."""
    if batch_cells == "auto":
        return None if num_cells <= WHOLE_CELLS else BATCH_CELLS
    return batch_cells
