"""Principal components averaged over neighbours: an embedding of tissue without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from tissuegraph.domains.params import Z_SCORE_GENES
from tissuegraph.features.components import fit_components
from tissuegraph.features.expression import expression, modelled_genes
from tissuegraph.graph.averages import average_over_neighbours
from tissuegraph.graph.sections import SectionKey, section_codes, section_columns
from tissuegraph.graph.stored import adjacency

if TYPE_CHECKING:
    from anndata import AnnData

SMOOTHED = "X_smoothed"
SMOOTHED_COMPONENTS = 50


def smoothed_components(
    adata: AnnData,
    n_components: int = SMOOTHED_COMPONENTS,
    *,
    layer: str | None = None,
    normalize: bool = False,
    section_key: SectionKey = "auto",
    z_score: bool | Literal["auto"] = "auto",
    times: int = 1,
    key_added: str = SMOOTHED,
) -> None:
    """Average the leading principal components over spatial neighbours.

    The baseline of every network, and one of the views that `tg.find_domains` joins.

    Parameters
    ----------
    n_components
        How many; of the same genes, centred and scaled in the same way, as those that `tg.stagate` is given.
    layer, normalize
        Where the expression stands and whether it is raw counts, as in `tg.stagate`.
    section_key, z_score
        As in `tg.StagateParams`.
    times
        How often each cell is averaged with its neighbours in `obsp["spatial_connectivities"]`.
    key_added
        Written is `obsm[key_added]`, f32 [N, n_components].

    Raises
    ------
    InputError
        As `tg.stagate`.
    """
    genes = modelled_genes(adata)
    matrix = expression(adata, genes, layer, normalize=normalize)
    sections = section_codes(adata, section_columns(adata, section_key))
    scaled = len(genes) <= Z_SCORE_GENES if z_score == "auto" else z_score
    scores = fit_components(matrix, n_components, sections, z_score=scaled)[1]
    averaged = average_over_neighbours(scores.astype(np.float64), adjacency(adata), times)
    adata.obsm[key_added] = averaged.astype(np.float32)
