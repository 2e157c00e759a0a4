"""node2vec on AnnData."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score

import tissuegraph as tg
from tissuegraph.cells import node2vec as module
from tissuegraph.cells.embed_params import Node2VecParams
from tissuegraph.errors import InputError, MachineError

QUICK = Node2VecParams(dimensions=8, walk_length=6, context=3, walks_per_node=2, epochs=2)


def on_graph(graph):
    n = graph.shape[0]
    return AnnData(np.zeros((n, 1), np.float32), obsp={"spatial_connectivities": sparse.csr_matrix(graph)})


def blocks(n, number, inside, across, seed):
    """A stochastic block model with so many edges a node within its block, and to the others."""
    rng = np.random.default_rng(seed)
    block = np.arange(n) % number
    same = block[:, None] == block
    chance = np.where(same, inside, across / (number - 1)) * number / n
    upper = np.triu(rng.random((n, n)) < chance, 1)
    return on_graph((upper | upper.T).astype(float)), block


def accuracy(embedding, labels, seed):
    """Accuracy on held-out cells, five folds."""
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one community of the club has four members
        return cross_val_score(LogisticRegression(max_iter=1000), embedding, labels, cv=folds).mean()


def test_communities_of_the_karate_club():
    adata = tg.datasets.karate_club()
    found = []
    for seed in range(10):
        tg.node2vec(adata, graph="karate", seed=seed)
        found.append(accuracy(adata.obsm["X_node2vec"], adata.obs["community"], seed))
    assert np.mean(found) >= 0.9


def test_blocks_of_a_graph_are_told_apart():
    adata, block = blocks(400, 4, 7, 3, seed=0)
    tg.node2vec(adata, Node2VecParams(epochs=5), seed=1)
    assert accuracy(adata.obsm["X_node2vec"], block, 0) > 0.93


def test_cells_near_each_other_in_tissue_are_near_in_the_embedding():
    adata = tg.simulate.section(cells=900, genes=5, seed=0)
    tg.spatial_neighbors(adata)
    before = adata.copy()
    tg.node2vec(adata, Node2VecParams(epochs=5))
    points, places = adata.obsm["X_node2vec"], adata.obsm["spatial"]
    apart = ((points[:, None] - points[None]) ** 2).sum(2) + np.diag(np.full(900, np.inf))
    nearest = apart.argsort(1)[:, :5]
    distance = np.linalg.norm(places[nearest] - places[:, None], axis=2)
    spacing = np.median(adata.obsp["spatial_distances"].data)
    assert np.median(distance) < 2.5 * spacing
    assert (adata.X != before.X).nnz == 0
    assert set(adata.obsm) == {"spatial", "X_node2vec"}


def test_what_is_written():
    adata, _ = blocks(60, 2, 5, 1, seed=1)
    adata.obsp["other"] = adata.obsp["spatial_connectivities"].copy()
    adata.uns["tissuegraph"] = {"kept": 1}
    tg.node2vec(adata, QUICK, graph="other", key_added="X_walked", device="cpu", seed=7)
    assert adata.obsm["X_walked"].shape == (60, 8)
    assert adata.obsm["X_walked"].dtype == np.float32
    record = adata.uns["tissuegraph"]["X_walked"]
    assert (record["seed"], record["graph"], adata.uns["tissuegraph"]["kept"]) == (7, "other", 1)
    assert json.loads(record["params"])["walk_length"] == 6


def test_one_seed_gives_the_same_bits_whatever_the_blocks_of_walks(monkeypatch):
    adata, _ = blocks(60, 2, 5, 1, seed=1)
    found = []
    for seed, held in ((3, 50_000), (3, 17), (4, 50_000)):
        monkeypatch.setattr(module, "WALKS_AT_A_TIME", held)
        tg.node2vec(adata, QUICK, seed=seed)
        found.append(adata.obsm["X_node2vec"])
    assert np.array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])


def test_isolated_cells_are_zero_and_counted(caplog):
    graph = np.zeros((5, 5))
    graph[0, 1] = graph[1, 2] = graph[3, 3] = 1
    adata = on_graph(graph)
    with caplog.at_level("WARNING"):
        tg.node2vec(adata, QUICK)
    assert "2 cells are on no edge; their embedding is zero" in caplog.text
    assert (np.abs(adata.obsm["X_node2vec"]).sum(1) > 0).tolist() == [True, True, True, False, False]
    tg.node2vec(on_graph(np.zeros((3, 3))), QUICK)


def test_fewer_rounds_for_many_cells():
    assert [Node2VecParams().rounds(n) for n in (34, 100_000, 200_000, 10**6)] == [20, 20, 10, 5]
    assert Node2VecParams(epochs=3).rounds(34) == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dimensions": 0}, "dimensions is 0; give a number from 1 to 4096"),
        ({"walk_length": 1}, "walk_length is 1; give a number from 2"),
        ({"context": 2.5}, "context is 2.5; give a whole number"),
        ({"p": 0}, "p is 0; give a number"),
        ({"q": -1}, "q is -1; give a number"),
        ({"epochs": 0}, "epochs is 0; give a number from 1"),
        ({"epochs": "many"}, "epochs is 'many'; give a whole number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
    ],
)
def test_parameters_that_make_no_walks(wrong, said):
    with pytest.raises(InputError, match=said):
        Node2VecParams(**wrong)


def test_bad_input_is_one_sentence():
    adata, _ = blocks(20, 2, 5, 1, seed=1)
    with pytest.raises(InputError, match=r"no graph in obsp\['knn_connectivities'\]"):
        tg.node2vec(adata, QUICK, graph="knn")
    with pytest.raises(MachineError, match="device is 'cuda'"):
        tg.node2vec(adata, QUICK, device="cuda")
    with pytest.raises(InputError, match="seed is -1"):
        tg.node2vec(adata, QUICK, seed=-1)
