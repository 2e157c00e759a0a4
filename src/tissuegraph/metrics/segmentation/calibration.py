"""Whether a probability means what it says."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tissuegraph.errors import InputError

CALIBRATION_BINS = 15
CALIBRATION_ITEMS = 10_000
"""Fewer items than this leave too few in a bin: noise would pass for bad calibration."""
RARE_SHARE = 0.1
"""Of all transcripts, those of the rarest genes."""
NUCLEAR, CYTOPLASMIC, RARE_GENES, FRAGMENTS = KINDS = ("nuclear", "cytoplasmic", "rare genes", "fragments")
"""Kinds of transcripts that a probability may be right of on average, but of each wrong."""


class Reliability(NamedTuple):
    """What was promised and what came true, by bin of the promise; bins without items are left out.

    Attributes
    ----------
    promised, true
        (B,): mean probability and share of right ones.
    items
        (B,): how many.
    """

    promised: npt.NDArray[np.float64]
    true: npt.NDArray[np.float64]
    items: npt.NDArray[np.int64]


def reliability(
    probability: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = CALIBRATION_BINS
) -> Reliability:
    """Compare promises with what came true, over `bins` equal-width bins of the promise.

    Parameters
    ----------
    probability
        Shape (N,), between 0 and 1.
    correct
        Shape (N,), boolean.
    bins
        Number of bins.

    Raises
    ------
    InputError
        If the lengths differ or a probability is outside [0, 1].
    """
    probability, correct = _checked(probability, correct)
    bin_of_item = np.minimum((probability * bins).astype(np.int64), bins - 1)
    items = np.bincount(bin_of_item, minlength=bins)
    used = items > 0
    promised = np.bincount(bin_of_item, probability, bins)[used] / items[used]
    true = np.bincount(bin_of_item, correct, bins)[used] / items[used]
    return Reliability(promised, true, items[used])


def expected_calibration_error(
    probability: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    bins: int = CALIBRATION_BINS,
    min_items: int = CALIBRATION_ITEMS,
) -> float:
    """Mean gap between what was promised and what came true, over equal-width bins of the promise.

    `sum_b n_b / N * |mean(correct in b) - mean(probability in b)|` (Guo et al. 2017, arXiv:1706.04599).

    Parameters
    ----------
    probability
        Shape (N,), between 0 and 1.
    correct
        Shape (N,), boolean.
    bins
        Number of bins.
    min_items
        Refuse to measure on fewer.

    Raises
    ------
    InputError
        If there are fewer than `min_items`, the lengths differ or a probability is outside [0, 1].
    """
    probability, correct = _checked(probability, correct)
    if len(probability) < max(min_items, 1):
        raise InputError(
            f"a calibration error needs at least {max(min_items, 1):,} items, found {len(probability):,}; "
            "give more, or a smaller min_items if a noisy number will do."
        )
    promised, true, items = reliability(probability, correct, bins=bins)
    return float(np.abs(items * (true - promised)).sum() / len(probability))


def kinds_of_transcripts(
    cell: npt.NDArray[np.int64],
    inside: npt.NDArray[np.int64],
    gene: npt.NDArray[np.int64],
    is_seen: npt.NDArray[np.bool_],
) -> dict[str, npt.NDArray[np.bool_]]:
    """Tell which transcripts are of which kind, by `KINDS`, each (N,).

    Of a cell without a seen nucleus: fragments; of another cell, in a nucleus: nuclear, or in none:
    cytoplasmic. Rare genes are the rarest ones that make up at most a tenth of all transcripts together.

    Parameters
    ----------
    cell, inside
        (N,): the cell of each transcript, and the nucleus that holds it; -1 = none.
    gene
        (N,), numbers.
    is_seen
        (C,): which cells have a nucleus that was seen.
    """
    of_seen = np.append(is_seen, False)[cell]
    count = np.bincount(gene)
    order = np.argsort(count, kind="stable")
    rare = np.zeros(len(count), bool)
    rare[order] = count[order].cumsum() <= RARE_SHARE * len(gene)
    return {
        NUCLEAR: of_seen & (inside >= 0),
        CYTOPLASMIC: of_seen & (inside < 0),
        RARE_GENES: (cell >= 0) & rare[gene],
        FRAGMENTS: (cell >= 0) & ~of_seen,
    }


def _checked(
    probability: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    probability, correct = np.asarray(probability, np.float64), np.asarray(correct, bool)
    if probability.ndim != 1 or probability.shape != correct.shape:
        raise InputError(
            f"probability has shape {probability.shape} and correct {correct.shape}; both need (N,)."
        )
    if not ((probability >= 0) & (probability <= 1)).all():
        raise InputError(
            "a probability is missing or outside 0 to 1; give calibrated probabilities, not logits."
        )
    return probability, correct
