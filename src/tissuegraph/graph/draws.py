"""Random numbers inside compiled loops, counted instead of remembered.

What is drawn for an item depends on a key and on the item's number only, so any thread may draw it, in any
order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tissuegraph.parallel import compiled, over_chunks

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""What a state is moved on by before each number is drawn from it."""
FIRST_FACTOR, SECOND_FACTOR = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S30, S27, S31, S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
TO_UNIT = 2.0**-53


@compiled
def mixed(state):  # type: ignore[no-untyped-def]
    """64 well mixed bits of a state: splitmix64 (Steele et al. 2014)."""
    z = (state ^ (state >> S30)) * FIRST_FACTOR
    z = (z ^ (z >> S27)) * SECOND_FACTOR
    return z ^ (z >> S31)


@compiled
def begun(key, number):  # type: ignore[no-untyped-def]
    """State from which the numbers of an item are drawn."""
    return mixed(mixed(key + GOLDEN) ^ np.uint64(number))


@compiled
def unit(state):  # type: ignore[no-untyped-def]
    """A number from 0 to 1, without 1."""
    return np.float64(mixed(state) >> S11) * TO_UNIT


class Lottery:
    """Items drawn by their weights, each in the same time: Walker's alias method, by Vose (1991).

    Parameters
    ----------
    weights
        [N], 0 or more; what weighs nothing is never drawn.
    """

    def __init__(self, weights: npt.NDArray[np.float64]) -> None:
        self.shares = weights * (len(weights) / weights.sum())
        self.others = np.arange(len(weights), dtype=np.int32)
        _pair_up(self.shares, self.others)

    def draw(self, number: int, each: int, key: int, first: int = 0) -> npt.NDArray[np.int32]:
        """Draw [number, each] items; row i depends on the key and on `first + i` only."""
        drawn = np.empty((number, each), np.int32)
        tables = (self.shares, self.others, np.uint64(key), first, drawn)
        over_chunks(lambda i, j: _draw(i, j, *tables), number)
        return drawn


@compiled
def _pair_up(shares, others):  # type: ignore[no-untyped-def]
    """Fill each place to 1 with an item that has more than that."""
    n = len(shares)
    waiting, rich, poor = np.empty(n, np.int64), n, 0
    for i in range(n):
        if shares[i] < 1:
            waiting[poor] = i
            poor += 1
        else:
            rich -= 1
            waiting[rich] = i
    while poor > 0 and rich < n:
        poor -= 1
        here, giver = waiting[poor], waiting[rich]
        others[here] = giver
        shares[giver] -= 1 - shares[here]
        if shares[giver] < 1:
            rich += 1
            waiting[poor] = giver
            poor += 1
    for place in range(poor):  # short of 1 by rounding only
        shares[waiting[place]] = 1


@compiled
def _draw(first, last, shares, others, key, offset, drawn):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        state = begun(key, offset + i)
        for j in range(drawn.shape[1]):
            state += GOLDEN
            chance = unit(state) * len(shares)
            place = np.int64(chance)
            drawn[i, j] = place if chance - place < shares[place] else others[place]
