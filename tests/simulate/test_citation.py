"""Citation graphs whose labels nothing gives away: whoever is right more often than by chance has cheated."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import LogisticRegression

import tissuegraph as tg
from tissuegraph.errors import InputError


def graph_of(adata: ad.AnnData) -> sparse.csr_matrix:
    return adata.obsp["citation_connectivities"]


def right(features, labels) -> tuple[float, float]:
    """On the documents it was trained on, and on the others."""
    half = len(labels) // 2
    model = LogisticRegression(max_iter=300, C=10).fit(features[:half], labels[:half])
    return model.score(features[:half], labels[:half]), model.score(features[half:], labels[half:])


def told_by_neighbours(adata: ad.AnnData) -> np.ndarray:
    """Words of a document, the words around it, and the labels around it as far as they are known."""
    graph, codes = graph_of(adata), adata.obs["label"].cat.codes.to_numpy()
    known = np.eye(codes.max() + 1)[codes]
    known[len(codes) // 2 :] = 0
    return np.hstack([adata.X.toarray(), graph @ adata.X.toarray(), graph @ known])


def test_no_classifier_beats_chance_on_documents_that_it_has_not_seen():
    adata = tg.simulate.citation_graph(2000, 300, 5, mean_degree=5)
    trained, held_out = right(told_by_neighbours(adata), adata.obs["label"].cat.codes.to_numpy())
    assert trained > 0.6  # a score on training data proves nothing
    assert held_out == pytest.approx(1 / 5, abs=0.04)


def test_with_homophily_the_graph_tells_and_words_do_not():
    adata = tg.simulate.citation_graph(2000, 100, 4, mean_degree=6, homophily=0.8)
    codes, edges = adata.obs["label"].cat.codes.to_numpy(), graph_of(adata).tocoo()
    assert (codes[edges.row] == codes[edges.col]).mean() == pytest.approx(0.8 + 0.2 / 4, abs=0.02)
    assert right(told_by_neighbours(adata), codes)[1] > 0.6
    assert right(adata.X, codes)[1] == pytest.approx(1 / 4, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(
    n_nodes=st.integers(1, 60),
    n_features=st.integers(1, 30),
    n_classes=st.integers(1, 6),
    degree=st.floats(0, 1),
    homophily=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 99),
)
def test_the_graph_is_what_was_asked_for(n_nodes, n_features, n_classes, degree, homophily, seed):
    mean_degree = degree * (n_nodes - 1) / 2
    asked = (n_nodes, n_features, n_classes, mean_degree, homophily)
    adata = tg.simulate.citation_graph(*asked, seed=seed)
    graph = graph_of(adata)
    assert adata.shape == (n_nodes, n_features)
    assert (graph != graph.T).nnz == 0
    assert graph.diagonal().sum() == 0
    assert graph.nnz == 2 * round(n_nodes * mean_degree / 2)
    assert set(graph.data) <= {1.0}
    assert set(adata.X.data) == {1.0}
    assert (np.diff(adata.X.indptr) > 0).all()
    again = tg.simulate.citation_graph(*asked, seed=seed)
    assert (again.X != adata.X).nnz == (graph_of(again) != graph).nnz == 0
    assert again.obs.equals(adata.obs)


def test_documents_have_as_many_words_as_those_of_cora_and_some_are_popular():
    adata = tg.simulate.citation_graph(3000, 1000)
    assert adata.X.sum(1).mean() == pytest.approx(18, abs=1)
    degrees = np.diff(graph_of(adata).indptr)
    assert degrees.mean() == pytest.approx(4, abs=0.01)
    assert degrees.var() > 1.5 * degrees.mean()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"n_nodes": 0}, "n_nodes is 0"),
        ({"n_classes": 1.5}, "n_classes is 1.5"),
        ({"n_nodes": 5, "mean_degree": 3}, "mean_degree is 3; give a number from 0 to 2"),
        ({"homophily": 2}, "homophily is 2; give a share"),
        ({"n_nodes": 20, "n_classes": 10, "mean_degree": 9, "homophily": 1.0}, "of 90 edges were found"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_makes_no_graph(asked, said):
    with pytest.raises(InputError, match=said):
        tg.simulate.citation_graph(**asked)
