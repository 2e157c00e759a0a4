"""Embeddings in an AnnData, read by everything that comes after a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData


def embedding(adata: AnnData, name: str) -> npt.NDArray[np.float64]:
    """Read `obsm[name]`, [N, d].

    Raises
    ------
    InputError
        Where it is missing or not finite.
    """
    if name not in adata.obsm:
        found = ", ".join(adata.obsm.keys()) or "nothing"
        raise InputError(
            f"no embedding in obsm['{name}']; found: {found}; run tg.stagate or name one of those"
        )
    points = np.asarray(adata.obsm[name], np.float64)
    bad = int((~np.isfinite(points)).any(1).sum())
    if bad:
        raise InputError(f"obsm['{name}'] is NaN or infinite in {bad:,} cells; drop them or make it again")
    return points
