"""Graphs of cells, embeddings, and one cell with its neighbours: what is drawn, and where."""

from __future__ import annotations

import random

import anndata as ad
import igraph
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layered_tissue import NAMES, layered, unlabel
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist

import tissuegraph as tg
from tissuegraph.errors import InputError
from tissuegraph.plot.canvas import PALETTE, UNLABELLED
from tissuegraph.plot.networks import KIND_COLOURS
from tissuegraph.plot.spring import part_around, spring_layout

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def edges_of(ax: Axes) -> LineCollection:
    (lines,) = [part for part in ax.collections if isinstance(part, LineCollection)]
    return lines


def dots(ax: Axes) -> list[PathCollection]:
    return [part for part in ax.collections if isinstance(part, PathCollection)]


def texts(legend) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def karate() -> ad.AnnData:
    """The karate club of Zachary (1977), that networkx and PyG ship: a graph without positions."""
    from torch_geometric.datasets import KarateClub

    club = KarateClub()[0]
    adata = ad.AnnData(np.zeros((34, 1), np.float32), obs=pd.DataFrame(index=[f"m{i}" for i in range(34)]))
    adata.obs["cell_type"] = pd.Categorical(club.y.numpy())
    ends = club.edge_index.numpy()
    adata.obsp["club"] = sparse.coo_matrix((np.ones(ends.shape[1]), ends), (34, 34)).tocsr()
    return adata


def small() -> ad.AnnData:
    r"""Five cells on a line and one alone; cell 0 hears 1 and 2, the first at twice the weight.

    a0 - a1 - b2 - b3 - (4, without a type)     b5
      \_______/
    """
    counts = np.array([[9, 0, 1], [0, 9, 1], [0, 8, 1], [9, 9, 1], [1, 1, 1], [2, 1, 3]], np.float32)
    adata = ad.AnnData(pd.DataFrame(counts, index=list("uvwxyz"), columns=list("ABC")))
    adata.obs["cell_type"] = pd.Categorical(["a", "a", "b", "b", None, "b"])
    weights = np.zeros((6, 6))
    weights[[0, 1, 2, 3], [1, 2, 3, 4]], weights[0, 2] = (2, 1, 1, 1), 1
    adata.obsp["spatial_connectivities"] = sparse.csr_matrix(weights + weights.T)
    adata.obsm["spatial"] = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [5, 5]], float)
    return adata


# ---- graph


def test_edges_are_drawn_once_and_told_apart_by_the_labels_at_their_ends():
    adata = small()
    ax = tg.plot.graph(adata, layout="spatial")
    lines = edges_of(ax)
    assert len(lines.get_segments()) == 5
    segments = [tuple(map(tuple, segment)) for segment in lines.get_segments()]
    ends = dict(zip(segments, map(to_hex, lines.get_colors()), strict=True))
    same, two, none = KIND_COLOURS
    assert ends[(0, 0), (1, 0)] == ends[(2, 0), (3, 0)] == same
    assert ends[(1, 0), (2, 0)] == ends[(0, 0), (2, 0)] == two
    assert ends[(3, 0), (4, 0)] == none
    shown = texts(ax.figure.legends[0])
    assert shown[:5] == ["a", "b", "none", "", "edges"]
    # of 15 pairs of cells 1 + 3 have one label
    assert shown[5:] == ["same label: 40.0% (chance: 26.7%)", "two labels: 40.0%", "no label: 20.0%"]
    widths = dict(zip(ends, lines.get_linewidths(), strict=True))
    assert widths[(0, 0), (1, 0)] == max(widths.values()) > widths[(2, 0), (3, 0)]
    bottom, top = ax.get_ylim()
    assert bottom > top  # as in images
    assert ax.get_title() == "spatial: 6 cells, 5 edges"


def test_cells_have_the_colours_of_their_labels():
    adata = small()
    ax = tg.plot.graph(adata, layout="spatial")
    (cells,) = dots(ax)
    drawn = {tuple(at): to_hex(c) for at, c in zip(cells.get_offsets(), cells.get_facecolors(), strict=True)}
    expected = [PALETTE[0], PALETTE[0], PALETTE[1], PALETTE[1], UNLABELLED, PALETTE[1]]
    assert drawn == {tuple(at): c.lower() for at, c in zip(adata.obsm["spatial"], expected, strict=True)}
    own = plt.subplots()[1]
    assert tg.plot.graph(adata, ax=own, layout="spatial") is own
    assert texts(own.get_legend())[:3] == ["a", "b", "none"]


def test_only_positions_in_the_tissue_count_from_the_top():
    adata = small()
    adata.obsm["X_umap"] = adata.obsm["spatial"]
    bottom, top = tg.plot.graph(adata, layout="X_umap").get_ylim()
    assert bottom < top
    adata.uns["tissuegraph"] = {"section": {"unit": "um"}}
    assert [text.get_text() for text in tg.plot.graph(adata, layout="spatial").texts] == ["1 um"]


def test_the_shares_are_those_of_a_plain_loop():
    adata = karate()
    graph, labels = adata.obsp["club"].tocoo(), adata.obs["cell_type"].to_numpy()
    same = np.mean([labels[i] == labels[j] for i, j in zip(graph.row, graph.col, strict=True)])
    ax = tg.plot.graph(adata, "club")
    shuffled = [np.random.default_rng(seed).permutation(labels) for seed in range(300)]
    chance = np.mean([named[graph.row] == named[graph.col] for named in shuffled])
    first, second = texts(ax.figure.legends[0])[-2:]
    assert first.startswith(f"same label: {same:.1%} (chance: ")
    assert second == f"two labels: {1 - same:.1%}"
    assert float(first.split()[-1].strip("%)")) == pytest.approx(100 * chance, abs=1.5)


def test_what_is_left_out_is_said_and_does_not_change_the_shares():
    adata = layered()
    whole, part = (tg.plot.graph(adata, key="domain", layout="spatial", max_edges=n) for n in (10**6, 100))
    number = len(edges_of(whole).get_segments())
    one_way = adata.obsp["spatial_connectivities"]
    assert number == (one_way + one_way.T).nnz / 2
    assert len(edges_of(part).get_segments()) == 100
    assert part.get_title() == f"spatial: 660 cells, 100 of {number:,} edges"
    assert texts(whole.figure.legends[0]) == texts(part.figure.legends[0])
    ball = tg.plot.graph(adata, key="domain", max_nodes=50)
    assert ball.get_title().startswith("spatial: 50 of 660 cells, ")
    assert len(dots(ball)[0].get_offsets()) == 50
    assert texts(ball.figure.legends[0]) == texts(whole.figure.legends[0])


def test_the_layout_of_a_seed_is_the_same_and_nothing_else_moves():
    adata = karate()
    before = adata.obsp["club"].copy()
    random.seed(3)
    expected = igraph.Graph.Erdos_Renyi(20, m=30).get_edgelist()
    random.seed(3)
    places = [dots(tg.plot.graph(adata, "club", seed=seed))[0].get_offsets() for seed in (0, 0, 1)]
    # the layout drew from a generator of its own, and gave igraph back the one of Python
    assert igraph.Graph.Erdos_Renyi(20, m=30).get_edgelist() == expected
    assert np.array_equal(places[0], places[1])
    assert not np.allclose(places[0], places[2])
    assert (adata.obsp["club"] != before).nnz == 0


def test_weights_of_zero_are_no_edges_and_stay_in_the_graph():
    adata = small()
    graph = adata.obsp["spatial_connectivities"]
    graph.data[:2] = 0, 1  # cell 0 to cell 1; the other direction is there
    graph[1, 0] = 0
    stored = graph.nnz
    assert len(edges_of(tg.plot.graph(adata, layout="spatial")).get_segments()) == 4
    assert graph.nnz == adata.obsp["spatial_connectivities"].nnz == stored


def two_rings(first: int, second: int, alone: int) -> sparse.csr_matrix:
    rings = [sparse.csr_matrix(np.roll(np.eye(n), 1, axis=1)) for n in (first, second)]
    both = sparse.block_diag([*rings, sparse.csr_matrix((alone, alone))])
    return sparse.triu(both + both.T, 1, "csr")


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 40), st.integers(3, 140), st.integers(0, 5), st.integers(0, 3))
def test_components_stand_beside_each_other(first, second, alone, seed):
    edges = two_rings(first, second, alone)
    at = spring_layout(edges, seed)
    assert np.isfinite(at).all()
    assert np.array_equal(at, spring_layout(edges, seed))
    component = connected_components(edges, directed=False)[1]
    boxes = [(at[component == c].min(0), at[component == c].max(0)) for c in np.unique(component)]
    for i, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:i]:
            assert (low > other_high).any() or (high < other_low).any()


@pytest.mark.parametrize("seed", range(3))
def test_a_lattice_is_laid_out_without_folds(seed):
    adata = layered()
    graph = adata.obsp["spatial_connectivities"]
    at = spring_layout(sparse.csr_matrix(sparse.triu(graph + graph.T, 1)), seed)
    apart, true = pdist(at), pdist(adata.obsm["spatial"])
    assert np.corrcoef(apart, true)[0, 1] > 0.97


def test_a_part_is_reached_in_the_fewest_steps():
    edges = two_rings(50, 10, 2)
    for seed in range(5):
        part = part_around(edges, 11, seed)
        assert len(set(part)) == 11 == len(part)
    assert part_around(edges, 62, 0).tolist() == list(range(62))
    part = part_around(edges, 11, 0)
    assert part.max() < 50  # all in the largest component
    assert len(np.flatnonzero(np.diff(part) > 1)) <= 1  # an arc, that may pass the end of the ring


# ---- embedding


@pytest.mark.parametrize(("method", "name"), [("pca", "PC 1"), ("tsne", "t-SNE 1"), ("umap", "UMAP 1")])
def test_an_embedding_is_flattened_and_nothing_is_written(method, name):
    adata = layered()[::4].copy()
    unlabel(adata)
    before = list(adata.obsm)
    ax, again = (tg.plot.embedding(adata, "X_stagate", "domain", method=method) for _ in range(2))
    assert ax.get_xlabel().startswith(name)
    at = dots(ax)[0].get_offsets()
    assert at.shape == (adata.n_obs, 2)
    assert np.array_equal(at, dots(again)[0].get_offsets())
    assert texts(ax.get_legend()) == [*NAMES, "none"]
    assert list(adata.obsm) == before
    assert not adata.obsp.keys() - {"spatial_connectivities", "spatial_distances"}


def test_pca_shows_the_directions_of_most_variance():
    adata = layered()
    generator = np.random.default_rng(0)
    adata.obsm["X_infomax"] = generator.normal(size=(660, 4)) * (1, 10, 2, 5)
    adata.obs["cell_type"] = adata.obs["domain"]
    adata.obs["x"] = adata.obsm["X_infomax"][:, 1]
    own = plt.subplots()[1]
    assert tg.plot.embedding(adata, key="x", ax=own) is own
    shown = dots(own)[1]
    assert abs(np.corrcoef(shown.get_array(), shown.get_offsets()[:, 0])[0, 1]) > 0.99
    shares = np.sort(np.linalg.eigvalsh(np.cov(adata.obsm["X_infomax"].T)))[::-1]
    assert own.get_xlabel() == f"PC 1 ({shares[0] / shares.sum():.0%} of the variance)"


def test_many_whole_numbers_are_measurements_and_few_are_labels():
    adata = layered()
    adata.obsm["X_umap"] = np.random.default_rng(0).normal(size=(660, 2))
    adata.obs["n_counts"], adata.obs["cluster"] = np.arange(660), np.arange(660) % 5
    assert tg.plot.umap(adata, "n_counts").get_legend() is None
    assert texts(tg.plot.umap(adata, "cluster").get_legend()) == list("01234")


# ---- neighbours


def test_a_cell_stands_among_its_neighbours_the_strongest_first():
    star, heat = tg.plot.neighbours(small(), "u", n_genes=2)
    assert [to_hex(dot.get_facecolor()[0]).upper() for dot in star.collections] == [
        PALETTE[0], PALETTE[0], PALETTE[1],
    ]  # fmt: skip
    assert [text.get_text() for text in star.texts] == ["2", "1", "0", "1", "2"]  # two weights, three cells
    assert star.lines[0].get_linewidth() > star.lines[1].get_linewidth()
    assert star.get_title() == "u: 2 neighbours"
    assert texts(star.get_legend()) == ["a", "b"]
    values = heat.images[0].get_array()
    counts = small().X[:3]
    logged = np.log1p(1e4 * counts / counts.sum(1, keepdims=True)).T
    assert [label.get_text() for label in heat.get_yticklabels()] == ["A", "B"]  # of the cell, of the others
    assert np.allclose(values, logged[:2], atol=1e-4)
    given = plt.subplots(1, 2)[1]
    assert tg.plot.neighbours(small(), 0, axes=given, genes=["C", "A"]) == list(given)
    assert [label.get_text() for label in given[1].get_yticklabels()] == ["C", "A"]


def test_the_genes_that_vary_most_are_shown():
    adata = layered()
    cell = 6 * 22 + 5  # beside the border of two layers
    heat = tg.plot.neighbours(adata, cell, key="domain", n_genes=5)[1]
    cells = [cell, *adata.obsp["spatial_connectivities"][cell].indices]
    counts = adata.X.toarray()[cells]
    logged = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    expected = adata.var_names[np.argsort(-logged.var(0))[:5]]
    assert {label.get_text() for label in heat.get_yticklabels()} == set(expected)


def test_attention_takes_the_place_of_the_weights():
    adata = small()
    adata.obsp["heard"] = sparse.csr_matrix(np.eye(6) * 0.3 + np.eye(6, k=2) * 0.6 + np.eye(6, k=1) * 0.1)
    star = tg.plot.neighbours(adata, "u", attention_key="heard")[0]
    assert [text.get_text() for text in star.texts[:2]] == ["0.6", "0.1"]
    assert star.get_title() == "u: 2 neighbours, keeps 0.3 of itself"
    assert to_hex(star.collections[1].get_facecolor()[0]).upper() == PALETTE[1]  # w, of type b, comes first


def test_of_many_neighbours_the_strongest_are_drawn():
    adata = ad.AnnData(np.eye(40, dtype=np.float32) + 1, obs=pd.DataFrame(index=[f"c{i}" for i in range(40)]))
    adata.obs["cell_type"] = "a"
    adata.obsp["hub"] = sparse.csr_matrix((np.arange(1, 40), (np.zeros(39, int), np.arange(1, 40))), (40, 40))
    star, heat = tg.plot.neighbours(adata, 0, "hub", genes=["0"])
    assert star.get_title() == "c0: 20 strongest of 39 neighbours"
    assert len(star.collections) == len(heat.get_xticklabels()) == 21
    assert [text.get_text() for text in star.texts] == list(map(str, range(21)))  # no numbers at the edges


# ---- what is asked wrongly


def spoilt(**changes) -> ad.AnnData:
    adata = small()
    for name, value in changes.items():
        adata.obsm[name] = value
    return adata


@pytest.mark.parametrize(
    ("picture", "adata", "arguments", "message"),
    [
        ("graph", small(), {"graph": "knn"}, r"no graph in obsp\['knn_connectivities'\]; build it first"),
        ("graph", small(), {"max_nodes": 1}, r"max_nodes is 1 and max_edges 50000; give 2 or more"),
        ("graph", small(), {"key": "layer"}, r"no column 'layer' in obs; found: cell_type"),
        ("graph", small(), {"layout": "X_umap"}, r"expected 'spring' or a key of obsm, which has: spatial"),
        ("graph", spoilt(flat=np.ones((6, 1))), {"layout": "flat"}, r"obsm\['flat'\] has one column"),
        ("graph", spoilt(bad=np.full((6, 2), np.nan)), {"layout": "bad"}, r"places that are NaN or infinite"),
        ("embedding", small(), {}, r"no embedding in obsm\['X_infomax'\]; found: spatial"),
        ("embedding", small(), {"use_rep": "spatial", "method": "ica"}, r"expected one of pca, tsne, umap"),
        ("embedding", small(), {"use_rep": "spatial", "key": "x"}, r"no column 'x' in obs"),
        ("embedding", spoilt(X_infomax=np.ones((6, 1))), {}, r"has 6 cells in 1 dimensions; give 4"),
        ("embedding", spoilt(X_infomax=np.ones((6, 3))), {}, r"is the same in all cells; make it again"),
        ("neighbours", small(), {"cell": "q"}, r"no cell 'q' among the 6 of obs_names"),
        ("neighbours", small(), {"cell": 6}, r"cell is 6; give a number from 0 to 5, or a name"),
        ("neighbours", small(), {"cell": "z"}, r"cell z has no neighbour in the graph 'spatial'"),
        ("neighbours", small(), {"cell": 0, "genes": "D"}, r"no gene 'D' among the 3 of var_names"),
        ("neighbours", small(), {"cell": 0, "n_genes": 0}, r"n_genes is 0; give 1 or more"),
        ("neighbours", small(), {"cell": 0, "attention_key": "x"}, r"no obsp\['x'\]; found: spatial_con"),
        ("neighbours", small(), {"cell": 0, "layer": "x"}, r"no layer 'x'; found: none"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(picture, adata, arguments, message):
    with pytest.raises(InputError, match=message):
        getattr(tg.plot, picture)(adata, **arguments)


def test_a_graph_without_edges_and_a_wrong_number_of_axes_are_said():
    adata = small()
    with pytest.raises(InputError, match=r"3 axes are given; give two"):
        tg.plot.neighbours(adata, 0, axes=plt.subplots(1, 3)[1])
    adata.obsp["spatial_connectivities"] = sparse.csr_matrix((6, 6))
    with pytest.raises(InputError, match=r"the graph 'spatial' joins no two cells; build one"):
        tg.plot.graph(adata)
