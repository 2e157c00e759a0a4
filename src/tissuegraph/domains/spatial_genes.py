"""Genes whose expression follows place, in the whole tissue or within each domain."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.stats import false_discovery_control

from tissuegraph import keys
from tissuegraph.domains.labels import domain_labels, note
from tissuegraph.domains.moran import FEWEST_CELLS, Graph, as_graph, moran_moments
from tissuegraph.errors import InputError
from tissuegraph.features.expression import Matrix, log_expression
from tissuegraph.graph.sections import SectionKey, section_codes, section_columns
from tissuegraph.graph.stored import adjacency

if TYPE_CHECKING:
    from anndata import AnnData

Codes = npt.NDArray[np.int64]

BLOCK = 2_000_000
"""Values of expression that are dense at a time."""
SMALLEST_VARIANCE = 1e-12
"""Of Moran's I; where all cells are neighbours of all, it is the same for all permutations."""

log = logging.getLogger(__name__)


def spatially_variable_genes(
    adata: AnnData,
    domain_key: str | None = keys.DOMAIN,
    *,
    layer: str | None = None,
    min_cells: int = 10,
    section_key: SectionKey = "auto",
    key_added: str | None = None,
) -> pd.DataFrame:
    """Rank genes by Moran's I on the spatial graph, within each domain or, with None, in the whole tissue.

    Parameters
    ----------
    domain_key
        Column of `obs`: of each domain only its own cells and the edges between them are used. Cells without
        a label are left out.
    layer
        Expression other than `X`. Raw counts are normalised to 10,000 a cell and log-transformed on a copy.
    min_cells
        Genes that fewer cells of a domain express are not tested there.
    section_key
        Column(s) of `obs` that tell sections. Each is centred by itself, and cells are thought to be
        exchangeable only within it, so that batches are no pattern.
    key_added
        The table is written to `uns["tissuegraph"][key_added]`, by default "<domain_key>_spatial_genes", or
        "spatial_genes" for the whole tissue.

    Returns
    -------
    A row for each domain and tested gene, the highest score first: `domain` (not for the whole tissue),
    `gene`, `moran_i`, `score` (standard deviations above what permuted cells give), `p_value` (of so much or
    more), `p_adjusted` (Benjamini and Hochberg 1995, within the domain), `share_expressed`.

    Raises
    ------
    InputError
        Where column or graph are missing, expression is not usable, or no domain is large enough.

    Notes
    -----
    `I = (N / sum w_ij) (sum w_ij z_i z_j) / (sum z_i^2)` with the weights of
    `obsp["spatial_connectivities"]` as they are; of several sections, numerators and denominators add up. P
    values are those of a gamma distribution with the exact mean, variance and skewness over permutations, as
    the normal one is far too small for genes that few cells express.
    """
    domains = {None: np.arange(adata.n_obs)} if domain_key is None else _members(adata, domain_key)
    sections = section_codes(adata, section_columns(adata, section_key))
    edges = adjacency(adata)
    matrix: Any = log_expression(adata, layer)
    if not isinstance(matrix, np.ndarray):
        matrix = sparse.csc_matrix(matrix)
    tables, small = [], []
    for name, cells in domains.items():
        parts = list(_parts(edges, cells, sections))
        if not parts:
            small.append(str(name))
            continue
        table = _test(matrix, adata.var_names, parts, min_cells)
        tables.append(table if name is None else table.assign(domain=name))
    if small and domain_key is not None:
        log.warning("too small, or without an edge inside: %s", ", ".join(small))
    if not tables:
        raise InputError(f"no domain has an edge and {FEWEST_CELLS} cells of one section; give larger ones")
    table = pd.concat(tables, ignore_index=True)
    if domain_key is not None:
        table["domain"] = pd.Categorical(table["domain"], list(map(str, domains)))
        table = table[["domain", *table.columns.drop("domain")]]
    note(adata, key_added or ("" if domain_key is None else f"{domain_key}_") + "spatial_genes", table)
    return table


def _members(adata: AnnData, key: str) -> dict[str | None, Codes]:
    labels = domain_labels(adata, key)
    members = {name: np.flatnonzero(labels == name) for name in labels.categories}
    return {name: cells for name, cells in members.items() if len(cells)}


def _parts(edges: sparse.csr_matrix, cells: Codes, sections: Codes) -> Iterator[tuple[Codes, Graph]]:
    """The cells of each section with the graph inside, where there is enough to permute."""
    for section in np.unique(sections[cells]):
        here = cells[sections[cells] == section]
        graph = as_graph(edges[here][:, here])
        if len(here) >= FEWEST_CELLS and graph.total > 0:
            yield here, graph


def _test(matrix: Any, genes: pd.Index, parts: list[tuple[Codes, Graph]], min_cells: int) -> pd.DataFrame:
    cells = np.concatenate([here for here, _ in parts])
    width = max(1, BLOCK // len(cells))
    blocks = [
        _test_block(matrix[:, start : start + width], genes[start : start + width], parts, min_cells)
        for start in range(0, len(genes), width)
    ]
    table = pd.concat(blocks, ignore_index=True)
    table["p_adjusted"] = false_discovery_control(table["p_value"]) if len(table) else 1.0
    table["share_expressed"] = table.pop("cells") / len(cells)
    return table.sort_values(["score", "gene"], ascending=[False, True], ignore_index=True)


def _test_block(
    matrix: Matrix, genes: pd.Index, parts: list[tuple[Codes, Graph]], min_cells: int
) -> pd.DataFrame:
    """Test those of a few genes that enough cells express, and that vary."""
    expressed, varies = np.zeros(len(genes), np.int64), np.zeros(len(genes), bool)
    moments = []
    for cells, graph in parts:
        some: Any = matrix[cells]
        values = np.asarray(some if isinstance(some, np.ndarray) else some.toarray(), np.float64)
        expressed += np.count_nonzero(values, axis=0)
        varies |= np.ptp(values, axis=0) > 0
        moments.append(moran_moments(values, graph))
    total = reduce(add, moments)
    with np.errstate(invalid="ignore", divide="ignore"):
        tested = (expressed >= min_cells) & varies & (total.variance / total.scale**2 > SMALLEST_VARIANCE)
        columns = {"moran_i": total.index(), "score": total.score(), "p_value": total.p_values()}
    table = pd.DataFrame({"gene": genes, **columns, "cells": expressed})
    return table[tested]
