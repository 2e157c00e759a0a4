"""Labels of cells, as what comes after the domains reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from tissuegraph import keys
from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData


def domain_labels(adata: AnnData, key: str, fewest: int = 1) -> pd.Categorical:
    """Return the domain of each cell, [N], in text; NaN where a cell has none.

    Raises
    ------
    InputError
        Where there is no such column, or fewer domains in it than `fewest`.
    """
    if key not in adata.obs:
        found = ", ".join(map(str, adata.obs.columns)) or "none"
        raise InputError(f"no column '{key}' in obs; found: {found}; tg.cluster_domains writes 'domain'")
    given = adata.obs[key].astype("category").array
    labels = given.rename_categories(list(map(str, given.categories)))
    number = labels.remove_unused_categories().categories.size
    if number < fewest:
        raise InputError(f"obs['{key}'] names {number} domains; at least {fewest} are needed here")
    return labels


def note(adata: AnnData, key: str, found: Any) -> None:
    """Keep what was found in `uns["tissuegraph"][key]`, beside what stands there."""
    adata.uns[keys.UNS_RUN] = {**adata.uns.get(keys.UNS_RUN, {}), key: found}
