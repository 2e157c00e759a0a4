"""From AnnData to PyTorch Geometric and back: nothing is lost, and cells may stand in any order."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch_geometric.data import Data
from torch_geometric.datasets import KarateClub
from torch_geometric.loader.utils import filter_data
from torch_geometric.nn import GCNConv, HeteroConv, SAGEConv

import tissuegraph as tg
from tissuegraph.errors import InputError


@st.composite
def tissues(draw) -> ad.AnnData:
    """A few cells with a random weighted, directed graph, isolated cells and cells without a label."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, genes = draw(st.integers(1, 25)), draw(st.integers(1, 6))
    table = rng.poisson(1.0, (n, genes)).astype(np.float32)
    adata = ad.AnnData(
        sparse.csr_matrix(table) if draw(st.booleans()) else table,
        obs=pd.DataFrame(index=[f"c{i}" for i in rng.permutation(n)]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(genes)]),
    )
    codes = rng.integers(-1, 3, n)
    adata.obs["kind"] = pd.Categorical.from_codes(codes, pd.Index(["b", "a", "unused", "c"], dtype=object))
    adata.obsm["spatial"] = rng.integers(0, 100, (n, draw(st.sampled_from([2, 3])))).astype(np.float32)
    adata.obsm["X_other"] = rng.normal(size=(n, 3)).astype(np.float32)
    for key in ("spatial_connectivities", "mine"):
        weights = rng.random((n, n)).astype(np.float32) * (rng.random((n, n)) < 0.3)
        adata.obsp[key] = sparse.csr_matrix(weights)
    return adata


def dense(matrix) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def equal(one: ad.AnnData, other: ad.AnnData, graphs) -> None:
    assert type(one.X) is type(other.X)
    np.testing.assert_array_equal(dense(one.X), dense(other.X))
    assert one.obs_names.equals(other.obs_names)
    assert one.var_names.equals(other.var_names)
    pd.testing.assert_series_equal(one.obs["kind"], other.obs["kind"])
    np.testing.assert_array_equal(one.obsm["spatial"], other.obsm["spatial"])
    assert set(other.obsp) == set(graphs)
    for key in graphs:
        assert (one.obsp[key] != other.obsp[key]).nnz == 0


@settings(max_examples=40, deadline=None)
@given(tissues())
def test_there_and_back_is_the_same(adata):
    data = tg.to_pyg(adata, labels="kind")
    data.validate()
    equal(adata, tg.from_pyg(data), ["spatial_connectivities"])
    both = tg.to_pyg(adata, ["spatial", "mine"], labels="kind")
    both.validate()
    assert set(both.edge_types) == {("cell", "spatial", "cell"), ("cell", "mine", "cell")}
    equal(adata, tg.from_pyg(both), ["spatial_connectivities", "mine"])
    embedded = tg.from_pyg(tg.to_pyg(adata, "mine", features="X_other"))
    np.testing.assert_array_equal(embedded.obsm["X_other"], adata.obsm["X_other"])
    assert embedded.n_vars == 0


def weights(data: Data, order: np.ndarray) -> dict[tuple[int, int], float]:
    pairs = map(tuple, order[data.edge_index.numpy()].T.tolist())
    return dict(zip(pairs, data.edge_weight.tolist(), strict=True))


@settings(max_examples=40, deadline=None)
@given(tissues(), st.randoms(use_true_random=False))
def test_permuted_cells_give_a_permuted_graph(adata, random):
    order = np.array(random.sample(range(adata.n_obs), adata.n_obs))
    adata = adata[:, :].copy()  # which drops the category that no cell has, as the permuted one does
    one, other = tg.to_pyg(adata, labels="kind"), tg.to_pyg(adata[order].copy(), labels="kind")
    for key in ("x", "y", "pos", "obs_names"):
        assert np.array_equal(np.asarray(one[key])[order], np.asarray(other[key]))
    assert weights(one, np.arange(adata.n_obs)) == weights(other, order)


def test_an_edge_leads_from_the_neighbour_to_the_cell():
    adata = ad.AnnData(np.eye(3, dtype=np.float32))
    adata.obsp["mine"] = sparse.csr_matrix(([2.0], ([0], [1])), (3, 3))  # cell 0 listens to cell 1
    data = tg.to_pyg(adata, "mine")
    assert data.edge_index.tolist() == [[1], [0]]
    heard = GCNConv(3, 3, normalize=False, bias=False)
    torch.nn.init.eye_(heard.lin.weight)
    assert heard(data.x, data.edge_index, data.edge_weight).tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 0]]
    assert data.x.dtype == data.edge_weight.dtype == torch.float32
    assert "pos" not in data
    assert "y" not in data


def test_labels_have_their_names_and_cells_without_one_have_minus_one():
    adata = ad.AnnData(np.zeros((4, 1), np.float32), obs={"kind": ["b", None, "a", "b"]})
    adata.obsp["mine"] = sparse.csr_matrix((4, 4))
    data = tg.to_pyg(adata, "mine", labels="kind")
    assert data.y.tolist() == [1, -1, 0, 1]
    assert data.label_names == ["a", "b"]
    back = tg.from_pyg(data).obs["kind"]
    assert back.isna().tolist() == [False, True, False, False]


def test_a_graph_of_expression_is_built_where_there_is_none_and_not_written():
    adata = tg.simulate.omics(120, 20, spatial="random")
    tg.spatial_neighbors(adata)
    data = tg.to_pyg(adata, ["spatial", "expression"], labels="cell_type")
    assert "expression_connectivities" not in adata.obsp
    assert "expression_neighbors" not in adata.uns
    tg.expression_neighbors(adata)
    again = tg.to_pyg(adata, ["spatial", "expression"], labels="cell_type")
    edges = [graph["cell", "expression", "cell"].edge_index.T.tolist() for graph in (data, again)]
    assert sorted(edges[0]) == sorted(edges[1])
    convolution = HeteroConv({edge: SAGEConv(20, 5) for edge in data.edge_types})
    assert convolution(data.x_dict, data.edge_index_dict)["cell"].shape == (120, 5)


def test_a_network_of_pyg_learns_from_it_and_parts_of_it_come_back():
    adata = tg.simulate.omics(300, 30, spatial="tissue", same_neighbors=0.8, shares=[1, 1], n_types=2)
    tg.spatial_neighbors(adata)
    data = tg.to_pyg(adata, labels="cell_type")
    torch.manual_seed(0)
    network = GCNConv(30, 2)
    steps = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(
            network(data.x, data.edge_index, data.edge_weight)[:150], data.y[:150]
        )
        steps.zero_grad()
        loss.backward()
        steps.step()
    right = (network(data.x, data.edge_index, data.edge_weight).argmax(1) == data.y)[150:].float().mean()
    assert right > 0.8
    part = tg.from_pyg(data.subgraph(torch.arange(10, 30)))
    assert part.obs_names.tolist() == adata.obs_names[10:30].tolist()
    expected = adata.obsp["spatial_connectivities"][10:30][:, 10:30]
    assert (part.obsp["spatial_connectivities"] != expected).nnz == 0
    # as PyG's loaders cut a batch
    nodes, edges = torch.arange(250, 90, -2), torch.arange(0)
    batch = filter_data(data, nodes, edges, edges, edges)
    batch.edge_index = data.subgraph(nodes).edge_index
    batch.edge_weight = torch.ones(batch.edge_index.shape[1])
    whole = tg.from_pyg(batch, adata)
    expected = adata[whole.obs_names]
    assert whole.n_obs == batch.num_nodes == 80
    np.testing.assert_array_equal(whole.X, expected.X)
    np.testing.assert_array_equal(whole.obsm["spatial"], expected.obsm["spatial"])
    assert whole.obs["cell_type"].tolist() == expected.obs["cell_type"].tolist()
    graph, listened = whole.obsp["spatial_connectivities"], expected.obsp["spatial_connectivities"]
    assert graph.nnz > 0
    assert (graph != listened).nnz == 0


def test_with_the_cells_it_was_made_from_everything_else_comes_along():
    adata = tg.simulate.omics(40, 6, spatial="random", counts=40.0)
    tg.spatial_neighbors(adata)
    data = tg.to_pyg(adata)
    data.x = data.x + 1
    made = tg.from_pyg(data, adata)
    np.testing.assert_array_equal(dense(made.X), adata.X.toarray() + 1)
    assert sparse.issparse(made.X)
    assert made.obsm.keys() == adata.obsm.keys()
    np.testing.assert_array_equal(made.obsm["spatial"], adata.obsm["spatial"])
    assert made.uns.keys() == adata.uns.keys()
    with pytest.raises(InputError, match="40 of 40 cells of data are not in adata"):
        tg.from_pyg(data, ad.AnnData(np.zeros((3, 6))))
    with pytest.raises(InputError, match="data has 6 features and adata 3 genes"):
        tg.from_pyg(data, adata[:, :3])


def test_any_graph_of_pyg_becomes_an_anndata():
    data = KarateClub()[0]
    adata = tg.from_pyg(data)
    assert adata.obsp["connectivities"].nnz == 156
    assert adata.obs["label"].astype(int).tolist() == data.y.tolist()
    assert np.array_equal(adata.X, np.eye(34))
    bare = tg.from_pyg(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=3))
    assert bare.shape == (3, 0)
    with pytest.raises(InputError, match=r"y is float32 of shape \(3, 1\), no labels"):
        tg.from_pyg(Data(y=torch.zeros(3, 1), num_nodes=3))


def test_several_omics_of_the_same_cells_in_any_order():
    rna, protein = tg.simulate.omics(60, 20, second_features=8, spatial="random", seed=2)
    shuffled = protein[np.random.default_rng(0).permutation(60)].copy()
    data = tg.to_pyg({"rna": rna, "protein": shuffled}, "expression", labels="cell_type")
    data.validate()
    assert data["rna"].x.shape == (60, 20)
    np.testing.assert_array_equal(data["protein"].x, protein.X)
    assert torch.equal(data["rna"].y, data["protein"].y)
    assert set(data.edge_types) == {
        ("rna", "expression", "rna"),
        ("protein", "expression", "protein"),
        ("rna", "same_cell", "protein"),
        ("protein", "same_cell", "rna"),
    }
    for edge in (("rna", "same_cell", "protein"), ("protein", "same_cell", "rna")):
        assert data[edge].edge_index.tolist() == [list(range(60))] * 2
    straight = tg.to_pyg({"rna": rna, "protein": protein}, "expression")
    assert sorted(straight["protein", "protein"].edge_index.T.tolist()) == sorted(
        data["protein", "protein"].edge_index.T.tolist()
    )
    back = tg.from_pyg(data)
    np.testing.assert_array_equal(back["rna"].X, rna.X)
    np.testing.assert_array_equal(back["protein"].X, protein.X)
    whole = tg.from_pyg(data, {"rna": rna, "protein": shuffled})
    np.testing.assert_array_equal(whole["protein"].obsm["latent"], rna.obsm["latent"])


def test_the_labels_of_all_omics_are_numbered_alike():
    rna, protein = tg.simulate.omics(12, 4, second_features=4)
    rna.obs["kind"] = pd.Categorical(["b"] * 11 + [None], categories=["unused", "b"])
    protein.obs["kind"] = pd.Categorical(["c"] + ["b"] * 11, categories=["c", "b"])
    data = tg.to_pyg({"rna": rna, "protein": protein[::-1]}, "expression", labels="kind")
    assert data["rna"].label_names == data["protein"].label_names == ["unused", "b", "c"]
    assert data["rna"].y.tolist() == [1] * 11 + [-1]
    assert data["protein"].y.tolist() == [2] + [1] * 11
    del protein.obs["kind"]
    assert "y" not in tg.to_pyg({"rna": rna, "protein": protein}, "expression", labels="kind")["protein"]


def test_omics_of_other_cells_are_refused():
    rna, protein = tg.simulate.omics(9, 4, second_features=4)
    with pytest.raises(InputError, match=r"2 cells are not in both 'rna' and 'protein', such as cell8"):
        tg.to_pyg({"rna": rna, "protein": protein[:7]}, "expression")
    protein.obs_names = ["twin"] * 9
    with pytest.raises(InputError, match="names of cells of 'protein' stand twice"):
        tg.to_pyg({"rna": rna, "protein": protein}, "expression")
    with pytest.raises(InputError, match="no omics in the mapping"):
        tg.to_pyg({})
    with pytest.raises(InputError, match="no labels in obs"):
        tg.to_pyg({"rna": rna}, "expression", labels="colour")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, r"no graph in obsp\['spatial_connectivities'\]; build it first with tg.spatial_neighbors"),
        ({"graph": "expression", "labels": "colour"}, r"no labels in obs\['colour'\].*: cell_type"),
        ({"graph": "expression", "features": "X_pca"}, r"no embedding in obsm\['X_pca'\]"),
        ({"graph": []}, "no graph is named"),
    ],
)
def test_what_is_missing_is_named(asked, said):
    with pytest.raises(InputError, match=said):
        tg.to_pyg(tg.simulate.omics(9, 4), **asked)


def test_features_that_are_no_numbers_are_refused():
    adata = ad.AnnData(np.array([[np.nan], [1.0]]))
    adata.obsp["mine"] = sparse.csr_matrix((2, 2))
    with pytest.raises(InputError, match="X is NaN or infinite in 1 cells"):
        tg.to_pyg(adata, "mine")
