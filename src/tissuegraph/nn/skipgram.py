"""Skip-gram with negative sampling on walks over a graph: an embedding of its nodes.

A compiled loop on one thread: a step of a walk reads a few dozen rows of one table and changes them, which
takes less than handing them over to torch would.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tissuegraph import parallel
from tissuegraph.graph.draws import Lottery
from tissuegraph.nn.row_vectors import exp, load, store, total, zeros

WIDTHS = (16, 32, 64)
"""Numbers in a vector; rows of another length are filled up with zeros."""
SMOOTHING = 0.75
"""Power of their frequency by which nodes are drawn to be pushed away (Mikolov et al. 2013)."""
SPREAD = 0.1
"""Embeddings begin uniformly between -0.1 and 0.1."""
LAST_RATE = 1e-4
"""Share of the learning rate that is left at the end."""
LITTLE = 1e-6
"""Squared gradient that Adagrad begins from."""
OTHER_KEY = 2**40
"""Added to the seed for negatives: they must not repeat the random numbers of the walks."""
ONE = np.float32(1)

# sums keep their order, so that the last bits do not depend on where arrays lie (see `sparse_kernels`)
compiled = partial(parallel.compiled, fastmath={"contract"})


@dataclass(frozen=True)
class SkipGram:
    """How an embedding is learnt from walks."""

    dimensions: int
    """Numbers a node."""
    context: int
    """Steps along a walk within which two nodes are a pair."""
    negatives: int
    """Nodes a walk that its nodes are pushed away from."""
    learning_rate: float
    """Of Adagrad, at first; it falls to nothing by the last walk."""


def fit_skipgram(
    blocks: Iterable[NDArray[np.int32]],
    num_walks: int,
    frequencies: NDArray[np.float64],
    how: SkipGram,
    seed: int,
) -> NDArray[np.float32]:
    """Embed nodes such that those that meet on walks have a large product.

    Walk by walk, with z the embedding of a node, P the pairs of different nodes within `context` steps, and
    the negatives n drawn by frequency to the power of 0.75, the loss is

    `- sum_(a, b) in P log s(z_a . z_b) - w sum_a sum_n log s(-z_a . z_n)`, `w = |P| / (nodes * negatives)`,

    where s is the logistic function. So the negatives of a walk together weigh as much as its pairs, however
    many there are, and the best product of two nodes is the logarithm of how much oftener they meet than by
    chance. There is one table, as in the formula of node2vec: two nodes pull each other alike. Steps are
    Adagrad's, with one scale for each node.

    Parameters
    ----------
    blocks
        Walks [n, length], all of one length, -1 after their end.
    num_walks
        How many there are in all blocks.
    frequencies
        [N] how often each node is met, up to a factor; 0 for nodes that are on no walk.
    how, seed
        Equal ones give equal bits, whatever the blocks.

    Returns
    -------
    [N, dimensions]; zeros for nodes whose frequency is 0.

    References
    ----------
    Mikolov et al. 2013; Grover and Leskovec 2016; Duchi et al. 2011.
    """
    lanes = (0,) * next((width for width in WIDTHS if how.dimensions <= width), WIDTHS[-1])
    table = _begun(frequencies, how.dimensions, len(lanes), seed)
    squares = np.full(len(table), LITTLE * how.dimensions, np.float32)
    # Adagrad's scale is the root of the mean square over dimensions; `squares` has the sum
    rate = how.learning_rate * math.sqrt(how.dimensions)
    slope = (LAST_RATE - 1) * rate / num_walks
    lottery = Lottery(frequencies**SMOOTHING) if frequencies.any() else None
    done = 0
    for walks in blocks:
        if lottery is None:
            continue
        drawn = lottery.draw(len(walks), how.negatives, seed + OTHER_KEY, done)
        nodes = walks.shape[1] + how.negatives
        rows = np.empty((nodes + 1, *table.shape[1:]), np.float32)
        pull = np.zeros((nodes, nodes), np.float32)
        _learn(lanes, walks, drawn, how.context, rate, slope, done, table, squares, rows, pull)
        done += len(walks)
    return np.ascontiguousarray(table.reshape(len(table), -1)[:, : how.dimensions])


def _begun(frequencies: NDArray[np.float64], dimensions: int, lanes: int, seed: int) -> NDArray[np.float32]:
    """Small random embeddings, cut into vectors: [N, panels, lanes]."""
    start = np.random.default_rng(seed).random((len(frequencies), dimensions), np.float32)
    table = np.zeros((len(frequencies), -(-dimensions // lanes) * lanes), np.float32)
    table[:, :dimensions] = SPREAD * (2 * start - 1)
    table[frequencies == 0] = 0
    return table.reshape(len(table), -1, lanes)


@compiled
def _learn(lanes, walks, drawn, context, rate, slope, done, table, squares, rows, pull):  # type: ignore[no-untyped-def]
    """Learn from walks, one after another. Scratch: `rows` of a walk's nodes, `pull` between them."""
    length, negatives = walks.shape[1], drawn.shape[1]
    nodes = np.empty(length + negatives, np.int64)
    for w in range(len(walks)):
        size = 0
        while size < length and walks[w, size] >= 0:
            nodes[size] = walks[w, size]
            size += 1
        if size < 2:
            continue
        for j in range(negatives):
            nodes[size + j] = drawn[w, j]
        whole = size + negatives
        for a in range(whole):
            for k in range(table.shape[1]):
                store(lanes, rows, a, k, load(lanes, table, nodes[a], k))
        _weigh(lanes, nodes, size, whole, context, rows, pull)
        now = np.float32(rate + slope * (done + w))
        for a in range(whole):
            _move(lanes, nodes[a], a, size, whole, context, now, table, squares, rows, pull)


@compiled
def _weigh(lanes, nodes, size, whole, context, rows, pull):  # type: ignore[no-untyped-def]
    """Fill `pull[a, b]`: how much the embedding of b adds to that of a, and the other way round."""
    pairs = 0
    for a in range(size):
        for b in range(a + 1, min(size, a + context + 1)):
            strength = np.float32(0)
            if nodes[a] != nodes[b]:
                pairs += 1
                strength = ONE - _logistic(_dot(lanes, rows, a, b))
            pull[a, b] = strength
            pull[b, a] = strength
    weight = np.float32(pairs / (size * (whole - size)))
    for a in range(size):
        for b in range(size, whole):
            strength = np.float32(0)
            if nodes[a] != nodes[b]:
                strength = -weight * _logistic(_dot(lanes, rows, a, b))
            pull[a, b] = strength
            pull[b, a] = strength


@compiled
def _dot(lanes, rows, a, b):  # type: ignore[no-untyped-def]
    product = np.float32(0)
    for k in range(rows.shape[1]):
        product += total(load(lanes, rows, a, k) * load(lanes, rows, b, k))
    return product


@compiled
def _logistic(x):  # type: ignore[no-untyped-def]
    small = exp(-abs(x))
    return (small if x < 0 else ONE) / (ONE + small)


@compiled
def _move(lanes, node, a, size, whole, context, rate, table, squares, rows, pull):  # type: ignore[no-untyped-def]
    """Change one node of a walk by what the others pull: a step of Adagrad along the gradient."""
    panels = table.shape[1]
    first, last = (max(0, a - context), min(size, a + context + 1)) if a < size else (0, size)
    beyond = whole if a < size else size
    square = np.float32(0)
    for k in range(panels):
        step = zeros(lanes, table)
        for b in range(first, last):
            if b != a:
                step = step + load(lanes, rows, b, k) * pull[a, b]
        for b in range(size, beyond):
            step = step + load(lanes, rows, b, k) * pull[a, b]
        square += total(step * step)
        store(lanes, rows, len(rows) - 1, k, step)
    squares[node] += square
    scale = rate / np.float32(math.sqrt(squares[node]))
    for k in range(panels):
        step = load(lanes, rows, len(rows) - 1, k)
        store(lanes, table, node, k, load(lanes, table, node, k) + step * scale)
