"""Batches that are left in an embedding of several sections, taken out by Harmony."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tissuegraph.errors import InputError, MachineError
from tissuegraph.features.embeddings import embedding
from tissuegraph.graph.sections import SectionKey, section_codes, section_columns

if TYPE_CHECKING:
    from anndata import AnnData


def harmonize(
    adata: AnnData,
    section_key: SectionKey = "auto",
    use_rep: str = "X_stagate",
    key_added: str | None = None,
    *,
    seed: int = 0,
) -> None:
    """Align the sections of an embedding with Harmony (Korsunsky et al. 2019).

    Parameters
    ----------
    section_key
        Column(s) of `obs` that tell sections.
    use_rep
        Embedding in `obsm`, [N, d].
    key_added
        Where the aligned one is written, [N, d] f32; by default `use_rep` with "_harmony".

    Raises
    ------
    InputError
        Where the embedding is missing or not finite, or there is only one section.
    MachineError
        Where harmonypy is missing.
    """
    points = embedding(adata, use_rep)
    columns = section_columns(adata, section_key)
    codes = section_codes(adata, columns)
    if not codes.any():
        named = f"obs[{columns}] names one" if columns else "obs tells none apart"
        raise InputError(f"harmony aligns several sections, but {named}; name their column as section_key")
    try:
        import harmonypy
    except ImportError as error:
        raise MachineError("harmony needs another package; run 'pip install harmonypy'") from error
    sections = pd.DataFrame({"section": codes.astype(str)})
    done = harmonypy.run_harmony(points, sections, ["section"], random_state=seed, verbose=False, ncores=1)
    aligned = np.asarray(done.Z_corr, np.float32)
    adata.obsm[key_added or f"{use_rep}_harmony"] = (
        aligned if aligned.shape == points.shape else np.ascontiguousarray(aligned.T)
    )
