"""The embedding of walks against its loss, written out in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from tissuegraph.nn import skipgram
from tissuegraph.nn.skipgram import SkipGram, fit_skipgram


def plain(walks, drawn, table, how, num_walks):
    """The same in a plain loop: the gradient by autograd, the step of Adagrad by its formula."""
    table = torch.from_numpy(table.astype(np.float64))
    squares = torch.full((len(table),), skipgram.LITTLE, dtype=torch.float64)
    for number, (walk, far) in enumerate(zip(walks, drawn, strict=True)):
        walk = [int(node) for node in walk if node >= 0]
        if len(walk) < 2:
            continue
        rows = table[torch.tensor([*walk, *far])].clone().requires_grad_()
        n = len(walk)
        pairs = [
            (a, b) for a in range(n) for b in range(a + 1, n) if b - a <= how.context and walk[a] != walk[b]
        ]
        loss = -sum(logsigmoid(rows[a] @ rows[b]) for a, b in pairs)
        weight = len(pairs) / (n * len(far))
        for a in range(n):
            for b, other in enumerate(far, n):
                if walk[a] != other:
                    loss = loss - weight * logsigmoid(-rows[a] @ rows[b])
        loss.backward()
        rate = how.learning_rate * (1 - (1 - skipgram.LAST_RATE) * number / num_walks)
        for node, gradient in zip([*walk, *map(int, far)], rows.grad, strict=True):
            squares[node] += gradient.square().mean()
            table[node] -= rate * gradient / squares[node].sqrt()
    return table.numpy()


@pytest.mark.parametrize(("dimensions", "context"), [(3, 1), (32, 3), (70, 20)])
def test_steps_are_those_of_adagrad_on_the_loss(dimensions, context):
    rng = np.random.default_rng(0)
    walks = rng.integers(0, 12, (20, 6)).astype(np.int32)  # nodes meet themselves too
    walks[3, 4:] = walks[7, 1:] = -1
    how = SkipGram(dimensions, context, 3, 0.2)
    frequencies = np.ones(12)
    lottery = skipgram.Lottery(frequencies)
    drawn = lottery.draw(len(walks), 3, skipgram.OTHER_KEY + 5)
    start = fit_skipgram([], 20, frequencies, how, seed=5)
    assert 0.05 < np.abs(start).max() <= skipgram.SPREAD
    found = fit_skipgram([walks], 20, frequencies, how, seed=5)
    expected = plain(walks, drawn, start, how, 20)
    assert np.abs(expected - start).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)


def test_blocks_make_no_difference():
    walks = np.random.default_rng(1).integers(0, 9, (50, 8)).astype(np.int32)
    how = SkipGram(16, 4, 5, 0.1)
    whole = fit_skipgram([walks], 50, np.ones(9), how, seed=1)
    parts = fit_skipgram([walks[:13], walks[13:14], walks[14:]], 50, np.ones(9), how, seed=1)
    assert np.array_equal(whole, parts)
    assert whole.shape == (9, 16)
    assert not np.array_equal(whole, fit_skipgram([walks], 50, np.ones(9), how, seed=2))


def test_products_tell_how_much_oftener_nodes_meet_than_by_chance():
    """Walks of two nodes, from pairs whose chances are known; the optimum is the pointwise information."""
    rng = np.random.default_rng(2)
    chances = np.array([[0, 4, 1, 1], [4, 0, 1, 1], [1, 1, 0, 4], [1, 1, 4, 0]]) / 24
    pairs = rng.choice(16, 60_000, p=chances.ravel())
    walks = np.stack(np.divmod(pairs, 4), 1).astype(np.int32)
    how = SkipGram(8, 1, 4, 0.1)
    table = fit_skipgram([walks], len(walks), np.ones(4), how, seed=0)
    products = table @ table.T
    # a node is never pushed away from itself, so by chance it meets each of four in a quarter of the cases
    expected = np.log(chances / (1 / 16), where=chances > 0, out=np.zeros((4, 4)))
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(products[off], expected[off], atol=0.1)


def test_nodes_on_no_walk_stay_zero():
    how = SkipGram(4, 2, 2, 0.1)
    walks = np.array([[0, 1, 0], [1, 0, 1]], np.int32)
    table = fit_skipgram([walks], 2, np.array([1.0, 1.0, 0.0]), how, seed=0)
    assert (table[2] == 0).all()
    assert (table[:2] != 0).all()
    assert (fit_skipgram([np.full((3, 3), -1, np.int32)], 3, np.zeros(3), how, seed=0) == 0).all()
