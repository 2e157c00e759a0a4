"""Shares of types among other cells than those they were learnt from."""

from __future__ import annotations

import numpy as np
import pytest

from tissuegraph.cells.annotation.shares import adapted


def drawn(shares: list[float], n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Types of cells, and their exact probabilities where all types are equally frequent."""
    rng = np.random.default_rng(seed)
    y = rng.choice(len(shares), n, p=shares)
    x = 2.0 * y + rng.normal(size=n)
    density = np.exp(-0.5 * (x[:, None] - 2.0 * np.arange(len(shares))) ** 2)
    return y, density / density.sum(1, keepdims=True)


@pytest.mark.parametrize("shares", [[0.6, 0.3, 0.1], [0.5, 0.0, 0.5], [1 / 3, 1 / 3, 1 / 3]])
def test_shares_are_found_and_a_type_that_is_not_there_fades(shares):
    y, probability = drawn(shares)
    found = adapted(probability, np.full(3, 1 / 3))
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(found.mean(0), shares, atol=0.03)
    right = [(table.argmax(1) == y).mean() for table in (found, probability)]
    assert right[0] > right[1] - 0.005
