"""Where known types come from: cells, profiles, or some of the query's own cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.io.profiles import read_profiles

if TYPE_CHECKING:
    from anndata import AnnData

FEWEST_TYPES = 2


def read_reference(
    reference: AnnData | pd.DataFrame | Path | str | None, labels: str, query: AnnData
) -> AnnData | pd.DataFrame | None:
    """Labelled cells of a reference, or profiles [profiles, genes] whose index names the type.

    Raises
    ------
    InputError
        If the file is missing or unreadable, or no cell has a type.
    """
    if reference is None:
        return None
    if isinstance(reference, str | Path):
        path = Path(reference)
        if path.suffix != ".h5ad":
            names = list(query.var_names.astype(str))
            found = read_profiles(path, names, labels)
            profiles = pd.DataFrame(found.profiles, list(found.types), names)
            return profiles.loc[:, profiles.notna().all()]
        from anndata import read_h5ad

        if not path.is_file():
            raise InputError(f"there is no {path}; give an h5ad of cells, or a table of profiles")
        reference = read_h5ad(path)
        return _labelled(reference, labels)
    if isinstance(reference, pd.DataFrame):
        table = reference.set_index(labels) if labels in reference.columns else reference
        if len(set(table.index)) < FEWEST_TYPES:
            raise InputError(
                f"the profiles name {len(set(table.index))} types; give two or more, in the index or in a "
                f"column '{labels}'"
            )
        return table
    return _labelled(reference, labels)


def _labelled(cells: AnnData, labels: str) -> AnnData:
    return cells[type_codes(cells, labels, "the reference")[0] >= 0]


def type_codes(adata: AnnData, labels: str, what: str) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Number the type of each cell, -1 where it has none, and name the types.

    Raises
    ------
    InputError
        If the column is missing or names fewer than two types.
    """
    if labels not in adata.obs:
        found = ", ".join(map(str, adata.obs.columns)) or "none"
        raise InputError(f"{what} has no column '{labels}' in obs; found: {found}; name it with labels=")
    column = adata.obs[labels]
    if column.dtype.kind == "f" and column.notna().any():
        raise InputError(f"obs['{labels}'] of {what} holds measurements; name a column with types")
    column = column.astype("category").cat.remove_unused_categories()
    nameless = [
        name for name in column.cat.categories if str(name).strip().lower() in ("", "nan", keys.UNKNOWN)
    ]
    column = column.cat.remove_categories(nameless)
    types = tuple(str(name) for name in column.cat.categories)
    if len(types) < FEWEST_TYPES:
        raise InputError(
            f"obs['{labels}'] of {what} names {len(types)} types; two or more are needed, and NaN where a "
            "cell has none"
        )
    return column.cat.codes.to_numpy().astype(np.int64), types
