"""from_pyg(): cells and their graphs from PyTorch Geometric; `bridge` is the way there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from torch_geometric.data import Data, HeteroData

from tissuegraph import keys
from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

LABEL, GRAPH = "label", "connectivities"
"""Where labels and edges go that come from elsewhere, without a name."""


def from_pyg(
    data: Data | HeteroData, adata: AnnData | Mapping[str, AnnData] | None = None
) -> AnnData | dict[str, AnnData]:
    """Turn graphs of PyTorch Geometric into AnnData: the way back of `to_pyg`.

    Parameters
    ----------
    data
        What `to_pyg` gave, or a part of it, or any other graph.
    adata
        Cells to take everything else from: their rows of that name are copied, and what `data` holds is
        written over the copy. Of several omics, by name.

    Returns
    -------
    AnnData with `x` in `X` or `obsm`, where it was before, `obsp` (row i holds the neighbours that i listens
    to), labels in `obs` (without one: NaN), `pos` in `obsm["spatial"]`, unless `adata` has it. Of any other
    graph, `X`, `obsp["connectivities"]` and `obs["label"]`. With several kinds of nodes, one AnnData a kind;
    edges between kinds are not kept.

    Raises
    ------
    InputError
        If the cells or the features are not those of `adata`.
    """
    if not isinstance(data, HeteroData):
        return _cells(data, {data.get("obsp", GRAPH): data}, _one(adata))
    graphs: dict[str, dict[str, Any]] = {kind: {} for kind in data.node_types}
    for (source, relation, target), edges in data.edge_items():
        if source == target:
            graphs[source][edges.get("obsp", f"{relation}_{GRAPH}")] = edges
    if len(graphs) == 1:
        kind = data.node_types[0]
        return _cells(data[kind], graphs[kind], _one(adata))
    others = dict(adata) if isinstance(adata, Mapping) else {}
    if adata is not None and set(others) != set(graphs):
        raise InputError(f"data holds {', '.join(graphs)}; give adata as a mapping with an AnnData for each")
    return {kind: _cells(data[kind], graphs[kind], others.get(kind)) for kind in graphs}


def _one(adata: AnnData | Mapping[str, AnnData] | None) -> AnnData | None:
    if isinstance(adata, Mapping):
        raise InputError(f"data holds one kind of cells, but adata is a mapping of {len(adata)}; give one")
    return adata


def _cells(nodes: Any, graphs: dict[str, Any], adata: AnnData | None) -> AnnData:
    """Cells with their features, labels, positions and graphs."""
    number = int(nodes.num_nodes)
    names, source, x = _names(nodes, number), nodes.get("source", {}), nodes.get("x")
    table = None if x is None else x.detach().cpu().numpy()
    key = source.get("features", "X")
    if adata is None:
        made = _new(names, table if key == "X" else None, source)
    else:
        made = _copy(adata, names, table if key == "X" else None, source)
    if table is not None and key != "X":
        made.obsm[key] = table.copy()
    if nodes.get("pos") is not None and keys.OBSM_SPATIAL not in made.obsm:
        made.obsm[keys.OBSM_SPATIAL] = nodes.pos.detach().cpu().numpy().copy()
    if nodes.get("y") is not None:
        made.obs[source.get("labels") or LABEL] = _named_labels(nodes)
    for name, edges in graphs.items():
        if edges.get("edge_index") is not None:
            made.obsp[name] = _matrix(edges, number)
    return made


def _names(nodes: Any, number: int) -> list[str]:
    names, cell = nodes.get("obs_names"), nodes.get("cell")
    if names is None:
        return [str(node) for node in range(number)]
    numbers = range(len(names)) if cell is None else cell.tolist()
    if len(numbers) != number:
        raise InputError(
            f"data has {number:,} nodes and {len(numbers):,} names; keep cell, the number of each node in "
            "obs_names, or drop obs_names"
        )
    return [str(names[place]) for place in numbers]


def _new(names: list[str], table: npt.NDArray[Any] | None, source: dict[str, Any]) -> AnnData:
    from anndata import AnnData

    obs = pd.DataFrame(index=pd.Index(names, dtype=object))
    if table is None:
        return AnnData(obs=obs)
    genes = source.get("var_names", [str(number) for number in range(table.shape[1])])
    return AnnData(_as_it_was(table, source), obs=obs, var=pd.DataFrame(index=pd.Index(genes, dtype=object)))


def _copy(
    adata: AnnData, names: list[str], table: npt.NDArray[Any] | None, source: dict[str, Any]
) -> AnnData:
    places = adata.obs_names.get_indexer(names) if adata.obs_names.is_unique else np.full(len(names), -1)
    if (places < 0).any():
        missing = int((places < 0).sum())
        raise InputError(
            f"{missing:,} of {len(names):,} cells of data are not in adata, each by a name of its own; give "
            "the adata that it was made from, or leave it out"
        )
    made = adata[places].copy()
    if table is None:
        return made
    if table.shape[1] != adata.n_vars:
        raise InputError(
            f"data has {table.shape[1]:,} features and adata {adata.n_vars:,} genes; give the adata that it "
            "was made from, or leave it out"
        )
    made.X = _as_it_was(table, source)
    return made


def _as_it_was(table: npt.NDArray[Any], source: dict[str, Any]) -> Any:
    return sparse.csr_matrix(table) if source.get("sparse") else table.copy()


def _named_labels(nodes: Any) -> pd.Categorical:
    codes = nodes.y.detach().cpu().numpy()
    if codes.ndim != 1 or not np.issubdtype(codes.dtype, np.integer):
        raise InputError(
            f"y is {codes.dtype} of shape {codes.shape}, no labels; give one whole number a cell, or drop y"
        )
    names = nodes.get("label_names")
    if names is None:
        names = [str(number) for number in range(int(codes.max(initial=-1)) + 1)]
    return pd.Categorical.from_codes(codes, pd.Index(names, dtype=object))


def _matrix(edges: Any, number: int) -> sparse.csr_matrix:
    pairs = edges.edge_index.detach().cpu().numpy()
    weights = np.ones(pairs.shape[1], np.float32)
    if edges.get("edge_weight") is not None:
        weights = edges.edge_weight.detach().cpu().numpy()
    return sparse.csr_matrix((weights, (pairs[1], pairs[0])), (number, number))
