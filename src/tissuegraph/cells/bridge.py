"""to_pyg(): cells and their graphs for PyTorch Geometric; `bridge_back` is the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch_geometric.data import Data, HeteroData

from tissuegraph.cells.neighbours import EXPRESSION, expression_graph
from tissuegraph.errors import InputError
from tissuegraph.features.embeddings import embedding
from tissuegraph.graph import stored

if TYPE_CHECKING:
    from anndata import AnnData

CELL, SAME_CELL = "cell", "same_cell"


def to_pyg(
    adata: AnnData | Mapping[str, AnnData],
    graph: str | Sequence[str] = "spatial",
    features: str = "X",
    labels: str | None = None,
) -> Data | HeteroData:
    """Turn cells and their graph into what networks of PyTorch Geometric take.

    Parameters
    ----------
    adata
        Cells; or several omics of the same cells by name, `{"rna": ..., "protein": ...}`, whose cells may
        stand in any order.
    graph
        `obsp["<graph>_connectivities"]`, or a key of `obsp`. "expression" is built where it is missing, as
        `tg.expression_neighbors` does by default, and not written.
    features
        "X", or a key of `obsm`.
    labels
        Column of `obs`.

    Returns
    -------
    For one graph, Data with `x` [N, D] f32, `edge_index` [2, E] (neighbour, cell), `edge_weight` [E] f32,
    `pos` f32 where there is `obsm["spatial"]`, `y` [N] int64 (-1: no label) with `label_names`, `obs_names`
    and `cell` [N], their numbers (of a part of the graph, the names are `obs_names[cell]`), and `source` and
    `obsp`, which `from_pyg` reads. For a sequence of graphs, HeteroData with the nodes "cell" and
    edges `("cell", graph, "cell")`. For several omics, HeteroData with the nodes of each by its name,
    in the order of the first, edges `(omics, graph, omics)`, and `(omics, "same_cell", other)` both ways
    between each two. `x` is dense: a million cells with 500 genes take 2 GB.

    Raises
    ------
    InputError
        If a graph, the features or the labels are missing or not finite, or omics are not of the same cells.
    """
    graphs = [graph] if isinstance(graph, str) else list(graph)
    if not graphs:
        raise InputError("no graph is named; give one, such as 'spatial', or several")
    if isinstance(adata, Mapping):
        return _omics(_aligned(adata), graphs, features, labels)
    if isinstance(graph, str):
        return Data(**_nodes(adata, features, labels), **_edges(adata, graph))
    data = HeteroData()
    _put(data, CELL, adata, graphs, features, labels)
    return data


def _omics(adatas: dict[str, AnnData], graphs: list[str], features: str, labels: str | None) -> HeteroData:
    labelled = [name for name, adata in adatas.items() if labels in adata.obs] or list(adatas)[:1]
    label_names: list[Any] = []
    if labels is not None:  # one coding for all omics
        columns = [_column(adatas[name], labels).categories for name in labelled]
        label_names = list(dict.fromkeys(name for column in columns for name in column))
    data = HeteroData()
    for name, adata in adatas.items():
        _put(data, name, adata, graphs, features, labels if name in labelled else None, label_names)
    cells = torch.arange(next(iter(adatas.values())).n_obs)
    for one, other in permutations(adatas, 2):
        data[one, SAME_CELL, other].edge_index = torch.stack([cells, cells])
    return data


def _put(
    data: HeteroData,
    name: str,
    adata: AnnData,
    graphs: list[str],
    features: str,
    labels: str | None,
    label_names: list[Any] | None = None,
) -> None:
    """Add the nodes and the graphs of some cells."""
    for key, value in _nodes(adata, features, labels, label_names).items():
        data[name][key] = value
    for graph in graphs:
        for key, value in _edges(adata, graph).items():
            data[name, graph, name][key] = value


def _aligned(adatas: Mapping[str, AnnData]) -> dict[str, AnnData]:
    """The omics, with their cells in the order of the first."""
    if not adatas:
        raise InputError("there is no omics in the mapping; give one AnnData or more by name")
    first, names = next(iter(adatas)), next(iter(adatas.values())).obs_names
    result = {}
    for name, adata in adatas.items():
        twice = adata.obs_names[adata.obs_names.duplicated()]
        if len(twice):
            raise InputError(
                f"{len(twice):,} names of cells of '{name}' stand twice, such as {twice[0]}; "
                "call adata.obs_names_make_unique()"
            )
        odd = names.symmetric_difference(adata.obs_names)
        if len(odd):
            raise InputError(
                f"{len(odd):,} cells are not in both '{first}' and '{name}', such as {odd[0]}; give the same "
                "cells, by one name, in all omics"
            )
        result[name] = adata if adata.obs_names.equals(names) else adata[names]
    return result


def _nodes(
    adata: AnnData, features: str, labels: str | None, label_names: list[Any] | None = None
) -> dict[str, Any]:
    """What is known of each cell."""
    made: dict[str, Any] = {"x": torch.from_numpy(_features(adata, features))}
    # loaders and subgraphs of PyG fail on lists or on arrays of names: they cut the numbers instead
    made |= {"cell": torch.arange(adata.n_obs), "obs_names": adata.obs_names.astype(str)}
    made["source"] = {"features": features, "labels": labels}
    if features == "X":
        made["source"] |= {"var_names": list(adata.var_names), "sparse": not isinstance(adata.X, np.ndarray)}
    positions = stored.positions(adata)
    if positions is not None:
        made["pos"] = torch.from_numpy(positions.astype(np.float32))
    if labels is not None:
        column = _column(adata, labels, label_names)
        made["y"] = torch.from_numpy(column.codes.astype(np.int64))
        made["label_names"] = [str(name) for name in column.categories]
    return made


def _features(adata: AnnData, name: str) -> npt.NDArray[np.float32]:
    if name != "X":
        return np.ascontiguousarray(embedding(adata, name), np.float32)
    matrix: Any = adata.X
    if matrix is None:
        raise InputError("X is empty; name features in obsm, or give cells with expression")
    table = np.array(matrix if isinstance(matrix, np.ndarray) else matrix.toarray(), np.float32, order="C")
    bad = int((~np.isfinite(table)).any(1).sum())
    if bad:
        raise InputError(f"X is NaN or infinite in {bad:,} cells; drop or fill them")
    return table


def _column(adata: AnnData, name: str, categories: list[Any] | None = None) -> pd.Categorical:
    """Labels, numbered in the order of the categories; by default those that the column has."""
    if name not in adata.obs:
        found = ", ".join(map(str, adata.obs.columns)) or "none"
        raise InputError(f"no labels in obs['{name}']; columns that are there: {found}")
    return pd.Categorical(adata.obs[name], categories=categories)


def _edges(adata: AnnData, name: str) -> dict[str, Any]:
    """A graph; its source is the key of `obsp`."""
    key = name if name in adata.obsp else f"{name}_connectivities"
    if name == EXPRESSION and key not in adata.obsp:
        graph = expression_graph(adata)
    else:
        graph = stored.adjacency(adata, name)
    cell = np.repeat(np.arange(adata.n_obs), np.diff(graph.indptr))
    pairs = np.stack([graph.indices.astype(np.int64), cell])
    return {
        "edge_index": torch.from_numpy(pairs),
        "edge_weight": torch.from_numpy(np.array(graph.data, np.float32)),
        "obsp": key,
    }
