"""How frequent each type is among other cells than those it was learnt from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ROUNDS = 500
STILL = 1e-6

Floats = npt.NDArray[np.float64]


def adapted(probability: Floats, learnt: Floats) -> Floats:
    """Probabilities [N, T] for cells among which types are as frequent as they themselves tell.

    `q_ik ~ p_ik s_k / r_k`, with `s_k` the mean of `q_ik` over the cells, found in rounds (Saerens et al.
    2002): a type that no cell is sure of fades away.

    Parameters
    ----------
    probability
        [N, T], where types are as frequent as they were learnt.
    learnt
        [T] shares of the types where they were learnt.
    """
    ratio = probability / np.maximum(learnt, 1e-12)
    shares, found = learnt, probability
    for _ in range(ROUNDS):
        found = ratio * shares
        found /= np.maximum(found.sum(1, keepdims=True), 1e-300)
        now = found.mean(0)
        if np.abs(now - shares).max() < STILL:
            break
        shares = now
    return found
