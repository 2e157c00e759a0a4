"""What annotation leaves in an AnnData."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from tissuegraph import keys
from tissuegraph.cells.annotation.model import AnnotateModel, Guess

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)


def given_name(key: str) -> str:
    """Where a column of the user's is kept that has the name of our result."""
    return f"{key}_given"


def label_column(adata: AnnData, labels: str, key: str) -> str:
    """The column that a user means by `labels`: where we have filled it before, the one that was given."""
    filled = labels == key and key in adata.uns.get(keys.UNS_RUN, {}) and given_name(key) in adata.obs
    return given_name(key) if filled else labels


def write_types(
    adata: AnnData,
    guess: Guess,
    model: AnnotateModel,
    given: npt.NDArray[np.int64] | None,
    key: str,
    *,
    unknown: bool,
) -> None:
    """Write types, probabilities and how unlike the known each cell is.

    Parameters
    ----------
    given
        [N] types of cells that were labelled, -1 for those that were not; they keep their label.
    """
    codes = guess.said.copy()
    if unknown:
        codes[guess.unlike > 1] = len(model.types)
    if given is not None:
        codes[given >= 0] = given[given >= 0]
    if key in adata.obs and key not in adata.uns.get(keys.UNS_RUN, {}):
        adata.obs[given_name(key)] = adata.obs[key].copy()
        log.info("obs['%s'] was there already; it is kept as obs['%s']", key, given_name(key))
    names = [*model.types, keys.UNKNOWN] if unknown else list(model.types)
    adata.obs[key] = pd.Categorical.from_codes(codes, pd.Index(names))
    shown = np.minimum(codes, len(model.types) - 1)
    probability = guess.probability[np.arange(len(codes)), shown]
    probability[codes == len(model.types)] = np.nan
    adata.obs[f"{key}_probability"] = probability
    adata.obs[f"{key}_unlike"] = guess.unlike
    adata.obsm[f"{key}_probabilities"] = pd.DataFrame(guess.probability, adata.obs_names, list(model.types))
    card = model.card()
    record = {
        "method": model.method,
        "graph": model.graph,
        "seed": model.seed,
        "genes": len(model.genes),
        "params": json.dumps(card["params"]),
        "versions": card["versions"],
        "scores": model.scores.copy(),
        "by_type": model.by_type.copy(),
    }
    adata.uns[keys.UNS_RUN] = {**adata.uns.get(keys.UNS_RUN, {}), key: record}
    strange = int((codes == len(model.types)).sum())
    if strange:
        share = strange / len(codes)
        log.info("%s cells (%.1f%%) are unlike any labelled cell: unknown", f"{strange:,}", 100 * share)
