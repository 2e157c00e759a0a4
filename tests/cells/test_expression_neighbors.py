"""tg.expression_neighbors: what it writes, from which features, and that scanpy reads it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

import tissuegraph as tg
from tissuegraph.cells.neighbours import representation
from tissuegraph.errors import InputError
from tissuegraph.graph.expression import nearest_in_features
from tissuegraph.graph.stored import adjacency


def spots(**asked) -> ad.AnnData:
    return tg.simulate.omics(**({"n_samples": 200, "n_features": 80, "seed": 1} | asked))


def test_it_writes_the_graph_under_the_names_of_scanpy_and_touches_nothing_else():
    adata = spots(counts=300.0)
    before = adata.copy()
    tg.expression_neighbors(adata, n_neighbors=7)
    assert set(adata.obsp) == {"expression_connectivities", "expression_distances"}
    assert (adata.X != before.X).nnz == 0
    assert adata.obsm.keys() == before.obsm.keys()
    record = adata.uns["expression_neighbors"]
    assert record["connectivities_key"] == "expression_connectivities"
    assert record["params"]["method"] == "knn"
    assert record["params"]["n_neighbors"] == 7
    graph = adjacency(adata, "expression")
    assert (np.diff(graph.indptr) == 7).all()
    assert graph.diagonal().sum() == 0
    points, edges = representation(adata), graph.tocoo()
    distances = adata.obsp["expression_distances"].toarray()
    np.testing.assert_allclose(distances[edges.row, edges.col], cdist(points, points)[edges.row, edges.col])
    scanpy.tl.leiden(
        adata, neighbors_key="expression_neighbors", flavor="igraph", n_iterations=2, directed=False
    )
    assert adata.obs["leiden"].nunique() > 1


def test_raw_counts_are_normalised_and_seen_through_fifty_components():
    adata = spots(counts=300.0)
    table = adata.X.toarray()
    logged = np.log1p(table / table.sum(1, keepdims=True) * 1e4)
    seen = PCA(50, svd_solver="full").fit_transform(logged)
    np.testing.assert_allclose(cdist(*[representation(adata)] * 2), cdist(seen, seen), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("counts", [None, 300.0])
def test_few_genes_are_taken_as_they_are(counts):
    adata = spots(n_features=50, counts=counts)
    seen = representation(adata)
    assert seen.shape == (200, 50)
    expected = adata.X
    if counts:
        expected = np.log1p(adata.X.toarray() / adata.X.sum(1).reshape(-1, 1) * 1e4)
    np.testing.assert_allclose(seen, np.asarray(expected), rtol=1e-5)


def test_an_embedding_or_x_itself_can_be_named():
    adata = spots()
    tg.expression_neighbors(adata, n_neighbors=4, use_rep="latent", key_added="latent")
    found = nearest_in_features(adata.obsm["latent"], 4)
    expected = sparse.csr_matrix((np.ones(800), (found[1], found[0])), (200, 200))
    assert (adata.obsp["latent_connectivities"] != expected).nnz == 0
    assert adata.uns["latent_neighbors"]["params"]["use_rep"] == "latent"
    assert np.array_equal(representation(adata, "X"), adata.X)


@pytest.mark.parametrize("method", ["knn", "cosine", "gaussian", "shared"])
def test_every_method_joins_cells_of_one_type_more_often_than_chance(method):
    adata = spots()
    tg.expression_neighbors(adata, method)
    graph = adjacency(adata, "expression").tocoo()
    kind = adata.obs["cell_type"].cat.codes.to_numpy()
    alike = np.average(kind[graph.row] == kind[graph.col], weights=graph.data)
    assert alike > 1.5 / 6
    assert adata.uns["expression_neighbors"]["params"]["method"] == method
    assert adata.obsp["expression_distances"].nnz == graph.nnz


def test_cosine_distances_are_one_minus_the_cosine():
    adata = spots()
    tg.expression_neighbors(adata, "cosine", threshold=0.9)
    graph = adata.obsp["expression_connectivities"].tocoo()
    distance = adata.obsp["expression_distances"].toarray()
    points = representation(adata)
    np.testing.assert_allclose(
        distance[graph.row, graph.col], cdist(points, points, "cosine")[graph.row, graph.col], atol=1e-9
    )
    assert set(graph.row) == set(range(200))


def test_the_default_width_is_half_the_median_distance_of_the_last_neighbour():
    adata = spots()
    tg.expression_neighbors(adata, "gaussian", 5)
    points = representation(adata)
    expected = np.median(np.sort(cdist(points, points), axis=1)[:, 5]) / 2
    assert adata.uns["expression_neighbors"]["params"]["width"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"method": "umap"}, "method is 'umap'; choose one of knn, cosine, gaussian, shared"),
        ({"threshold": 0.5}, "method 'knn' reads no threshold"),
        ({"width": 1.0, "method": "cosine"}, "method 'cosine' reads no width"),
        ({"use_rep": "X_pca"}, r"no embedding in obsm\['X_pca'\]; found: latent"),
        ({"n_neighbors": 0}, "n_neighbors is 0"),
        ({"n_neighbors": 0, "method": "gaussian"}, "n_neighbors is 0"),
    ],
)
def test_what_makes_no_graph(asked, said):
    with pytest.raises(InputError, match=said):
        tg.expression_neighbors(spots(), **asked)
