"""Which cells lie on one piece of tissue: edges never join two pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from tissuegraph import keys
from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

SectionKey = str | Sequence[str] | None
Codes = npt.NDArray[np.int64]


def section_columns(adata: AnnData, section_key: SectionKey = "auto") -> list[str]:
    """Return the columns of `obs` that keep sections apart; of "auto", the known ones that are there."""
    if section_key is None:
        return []
    if section_key != "auto":
        return [section_key] if isinstance(section_key, str) else list(section_key)
    known = [name for name in adata.obs.columns if str(name).lower() in keys.SECTION_COLUMNS]
    # a name of its own for every cell tells no sections
    return [name for name in known if 1 < adata.obs[name].nunique() <= max(1, adata.n_obs // 3)]


def section_codes(adata: AnnData, columns: Sequence[str]) -> Codes:
    """Return a number for each cell, [N], equal for cells that agree in all of the columns.

    Raises
    ------
    InputError
        Where a column is missing, or a cell has no value in it.
    """
    codes = np.zeros(adata.n_obs, np.int64)
    for name in columns:
        if name not in adata.obs:
            found = ", ".join(map(str, adata.obs.columns)) or "none"
            raise InputError(
                f"no column '{name}' in obs; found: {found}; give one of them as the section key"
            )
        missing = int(adata.obs[name].isna().sum())
        if missing:
            raise InputError(
                f"obs['{name}'] is missing for {missing:,} cells; name their section or drop them"
            )
        part = pd.factorize(adata.obs[name])[0]
        codes = pd.factorize(codes * (int(part.max(initial=0)) + 1) + part)[0].astype(np.int64)
    return codes


def section_members(codes: Codes) -> list[Codes]:
    """Return the cells of each section, in order."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(codes))[:-1]) if len(codes) else []
