"""What an encoder is given of an AnnData: features of the cells, and the graph that it listens along."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph.errors import InputError
from tissuegraph.features.components import Components, fit_components
from tissuegraph.features.embeddings import embedding
from tissuegraph.features.expression import log_expression, modelled_genes
from tissuegraph.features.genes import FEW_GENES
from tissuegraph.graph.expression import lengths, nearest_in_features
from tissuegraph.graph.sections import section_codes, section_columns
from tissuegraph.graph.stored import adjacency, store_graph

if TYPE_CHECKING:
    from anndata import AnnData

EXPRESSION = "expression"
"""The graph that is built of the features where it is not there."""

Floats = npt.NDArray[np.float32]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """How the features of any cells are found.

    Attributes
    ----------
    name
        Which table of `obsm`; None for components of the expression.
    genes, components
        Of the expression.
    section_key
        Column(s) of `obs` whose sections are centred each by itself.
    scale
        What all features are divided by: their root mean square in the cells that were fitted to.
    """

    name: str | None
    genes: tuple[str, ...]
    components: Components | None
    section_key: str | Sequence[str] | None
    scale: float

    @property
    def in_words(self) -> str:
        """What they are."""
        if self.components is None:
            return f"obsm['{self.name}']"
        scaled = ", z-scored" if self.components.z_score else ""
        number = self.components.loadings.shape[1]
        return f"{number} principal components of {len(self.genes)} genes{scaled}"

    def of(self, adata: AnnData, layer: str | None = None) -> Floats:
        """Features [N, F] of other cells.

        Raises
        ------
        InputError
            If genes or the table are missing, or the expression is not what it should be.
        """
        if self.components is None:
            return _scaled(embedding(adata, str(self.name)), self.scale)
        matrix = log_expression(adata, layer, self.genes)
        sections = section_codes(adata, section_columns(adata, self.section_key))
        by = self.components.moments_of(matrix, sections)
        return _scaled(self.components.project(matrix, sections, by), self.scale)


def fit_features(
    adata: AnnData,
    name: str | None,
    layer: str | None,
    n_components: int,
    section_key: str | Sequence[str] | None,
) -> tuple[Features, Floats]:
    """Find how features are made, and those of these cells [N, F].

    Parameters
    ----------
    name
        A table of `obsm`, taken as it is; None for the leading principal components of the log-normalised
        expression, of the highly variable genes where they are marked, z-scored up to 1,000 genes.
    layer
        Where the expression stands; None for `X`. Raw counts are normalised on a copy.
    """
    components: Components | None = None
    genes: tuple[str, ...] = ()
    table: Any
    if name is not None:
        table = embedding(adata, name)
    else:
        genes = tuple(modelled_genes(adata))
        matrix = log_expression(adata, layer, genes)
        sections = section_codes(adata, section_columns(adata, section_key))
        z_score = len(genes) <= FEW_GENES
        components, table = fit_components(matrix, n_components, sections, z_score=z_score)
    scale = float(np.sqrt(np.square(table, dtype=np.float64).mean()))
    if not scale > 0:
        raise InputError("all features are zero; give cells whose expression differs")
    return Features(name, genes, components, section_key, scale), _scaled(table, scale)


def _scaled(table: Any, scale: float) -> Floats:
    return np.ascontiguousarray(table / scale, np.float32)


def graph_of(adata: AnnData, graph: str, features: Floats, n_neighbors: int, seed: int) -> sparse.csr_matrix:
    """Neighbours of the cells [N, N]: a graph that is there, or, for "expression", one of the features.

    The graph of expression joins each cell to those with the most similar features. Where it is not there it
    is built, and written under the names of `tg.expression_neighbors`.
    """
    if graph == EXPRESSION and not {f"{EXPRESSION}_connectivities", EXPRESSION} & set(adata.obsp):
        edges = nearest_in_features(features, n_neighbors, seed=seed)
        apart = lengths(features.astype(np.float64), edges)
        how = {"method": "knn", "metric": "euclidean", "n_neighbors": n_neighbors, "random_state": seed}
        store_graph(adata, edges, np.ones(edges.shape[1], np.float32), apart, how, EXPRESSION)
    return adjacency(adata, graph)
