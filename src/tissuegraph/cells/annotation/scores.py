"""How good a classification is, on cells that it has not seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import f1_score

from tissuegraph.metrics.segmentation.calibration import reliability

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MOST_FREQUENT = "most frequent type"


def score_table(y: Codes, guesses: dict[str, tuple[Codes, Floats]], n_types: int) -> pd.DataFrame:
    """Accuracy, macro-F1 and calibration error of each method beside the simplest guess.

    Parameters
    ----------
    y
        [N] true types.
    guesses
        By method, the types it says [N], and the probabilities of these [N].

    Returns
    -------
    A row a method, with `accuracy`, `macro_f1` (over the types that are there) and
    `expected_calibration_error` (15 equal bins; see `cells` for how many cells it rests on), `cells`.
    """
    sizes = np.bincount(y, minlength=n_types)
    top = np.full(len(y), sizes.argmax())
    rows = {name: _row(y, *guess) for name, guess in guesses.items()}
    rows[MOST_FREQUENT] = _row(y, top, np.full(len(y), sizes.max() / len(y)))
    return pd.DataFrame(rows).T.astype({"cells": int})


def _row(y: Codes, said: Codes, probability: Floats) -> dict[str, float]:
    return {
        "accuracy": float((said == y).mean()),
        "macro_f1": float(f1_score(y, said, labels=np.unique(y), average="macro", zero_division=0)),
        "expected_calibration_error": calibration_error(said == y, probability),
        "cells": len(y),
    }


def calibration_error(right: npt.NDArray[np.bool_], probability: Floats) -> float:
    """Mean distance between promised and true shares over 15 equal bins, weighted by their cells."""
    bins = reliability(np.clip(probability, 0, 1), right)
    return float(np.average(np.abs(bins.promised - bins.true), weights=bins.items))


def type_table(y: Codes, said: Codes, types: tuple[str, ...]) -> pd.DataFrame:
    """Cells, recall, precision and F1 of each type."""
    rows = []
    for kind in range(len(types)):
        hits = int(((y == kind) & (said == kind)).sum())
        own, called = int((y == kind).sum()), int((said == kind).sum())
        rows.append(
            {
                "cells": own,
                "recall": hits / own if own else np.nan,
                "precision": hits / called if called else np.nan,
                "f1": 2 * hits / (own + called) if own + called else np.nan,
            }
        )
    return pd.DataFrame(rows, index=list(types))
