"""The karate club is the one that PyTorch Geometric and networkx ship."""

from __future__ import annotations

import networkx
import numpy as np
from torch_geometric.datasets import KarateClub

import tissuegraph as tg
from tissuegraph.graph.stored import adjacency


def test_it_is_the_graph_that_pyg_ships():
    adata, known = tg.datasets.karate_club(), KarateClub()[0]
    graph = adjacency(adata, "karate")
    assert (graph != graph.T).nnz == 0
    pairs = sorted(map(tuple, np.stack(graph.nonzero()).T.tolist()))
    assert pairs == sorted(map(tuple, known.edge_index.T.tolist()))
    assert adata.obs["community"].cat.codes.tolist() == known.y.tolist()
    assert np.array_equal(adata.X, known.x)
    assert adata.uns["karate_neighbors"]["connectivities_key"] in adata.obsp


def test_clubs_are_those_of_networkx():
    known = networkx.karate_club_graph()
    assert tg.datasets.karate_club().obs["club"].tolist() == [known.nodes[i]["club"] for i in range(34)]


def test_it_comes_back_from_pyg():
    data = tg.to_pyg(tg.datasets.karate_club(), "karate", labels="community")
    data.validate()
    assert data.y.tolist() == KarateClub()[0].y.tolist()
