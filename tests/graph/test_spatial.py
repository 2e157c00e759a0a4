"""Graphs of cells and spots: against loops over all pairs, and never across sections."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial import Delaunay

import tissuegraph as tg
from tissuegraph.errors import InputError
from tissuegraph.graph import edges


def cells(positions, **obs) -> ad.AnnData:
    n = len(positions)
    adata = ad.AnnData(sparse.csr_matrix((n, 2)), obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(n)]))
    adata.obsm["spatial"] = np.asarray(positions, float)
    return adata


def graph_of(adata: ad.AnnData) -> np.ndarray:
    return adata.obsp["spatial_connectivities"].toarray()


def hexagonal(rows: int = 12, columns: int = 12, spacing: float = 100.0) -> np.ndarray:
    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.stack([(column + 0.5 * (row % 2)) * spacing, row * spacing * np.sqrt(0.75)], 1)


def square(side: int = 12) -> np.ndarray:
    return np.stack(np.divmod(np.arange(side * side), side), 1) * 8.0


@st.composite
def tissues(draw) -> ad.AnnData:
    """Cells of up to three sections at the same places, some of them coincident."""
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.integers(1, 60))
    positions = generator.integers(0, draw(st.sampled_from([2, 8, 1000])), (n, 2))
    return cells(positions, section=generator.choice(["a", "b", "c"][: draw(st.integers(1, 3))], n))


def apart(adata: ad.AnnData) -> np.ndarray:
    positions = adata.obsm["spatial"]
    return np.sqrt(((positions[:, None] - positions[None]) ** 2).sum(2))


def same_section(adata: ad.AnnData) -> np.ndarray:
    section = adata.obs["section"].to_numpy()
    return (section[:, None] == section[None]) & ~np.eye(adata.n_obs, dtype=bool)


@settings(max_examples=60)
@given(tissues(), st.sampled_from([1.0, 2.5, 300.0]))
def test_a_radius_joins_all_pairs_of_a_section_within_it(adata, radius):
    tg.spatial_neighbors_radius(adata, radius, section_key="section")
    assert np.array_equal(graph_of(adata) > 0, (apart(adata) <= radius) & same_section(adata))


@settings(max_examples=60)
@given(tissues(), st.integers(1, 8))
def test_nearest_neighbours_are_as_near_as_those_of_a_loop(adata, n_neighbors):
    tg.spatial_neighbors_knn(adata, n_neighbors, section_key="section")
    joined, allowed = graph_of(adata) > 0, same_section(adata)
    assert not (joined & ~allowed).any()
    for i, distance in enumerate(apart(adata)):
        wanted = np.sort(distance[allowed[i]])[:n_neighbors]
        assert np.array_equal(np.sort(distance[joined[i]]), wanted)


@settings(max_examples=60)
@given(tissues())
def test_delaunay_edges_are_symmetric_and_stay_in_their_section(adata):
    tg.spatial_neighbors_delaunay(adata, section_key="section")
    joined = graph_of(adata) > 0
    assert np.array_equal(joined, joined.T)
    assert not (joined & ~same_section(adata)).any()
    # nobody is alone but who is alone in the section; coincident cells are neighbours
    assert np.array_equal(joined.any(1), same_section(adata).any(1))
    assert joined[same_section(adata) & (apart(adata) == 0)].all()


def test_delaunay_is_that_of_scipy_and_long_edges_can_be_left_out():
    positions = np.random.default_rng(0).random((200, 2))
    adata = cells(positions)
    tg.spatial_neighbors_delaunay(adata)
    expected = np.zeros((200, 200), bool)
    for corners in Delaunay(positions).simplices:
        expected[np.ix_(corners, corners)] = True
    np.fill_diagonal(expected, False)
    assert np.array_equal(graph_of(adata) > 0, expected)
    tg.spatial_neighbors_delaunay(adata, radius=0.1)
    assert np.array_equal(graph_of(adata) > 0, expected & (apart(adata) <= 0.1))


@pytest.mark.parametrize(
    "build",
    [
        lambda adata: tg.spatial_neighbors_knn(adata, 3),
        lambda adata: tg.spatial_neighbors_radius(adata, 1.5),
        tg.spatial_neighbors_delaunay,
    ],
)
def test_coincident_cells_keep_their_edge_and_its_zero_distance(build, tmp_path):
    adata = cells([*square(4) / 8, [1, 1], [1, 1]])
    build(adata)
    twins = np.flatnonzero((adata.obsm["spatial"] == 1).all(1))
    first, second = np.array([(i, j) for i in twins for j in twins if i != j]).T
    assert (graph_of(adata)[first, second] == 1).all()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    distances = ad.read_h5ad(tmp_path / "cells.h5ad").obsp["spatial_distances"]
    # a zero that is stored, not one that is left out
    assert distances.nnz == adata.obsp["spatial_connectivities"].nnz
    assert (distances.data == 0).sum() == len(first)


def test_keys_are_those_of_squidpy():
    adata = cells(hexagonal())
    tg.spatial_neighbors_radius(adata, 120)
    record = adata.uns["spatial_neighbors"]
    assert record["connectivities_key"] == "spatial_connectivities"
    assert record["distances_key"] == "spatial_distances"
    assert record["params"]["radius"] == 120
    assert adata.obsp["spatial_connectivities"].dtype == np.float32
    tg.spatial_neighbors_knn(adata, 4, key_added="mine")
    assert {"mine_connectivities", "mine_distances"} <= set(adata.obsp)
    assert adata.uns["mine_neighbors"]["params"]["n_neighbors"] == 4


def test_the_graph_is_that_of_squidpy():
    sq = pytest.importorskip("squidpy")
    positions = np.random.default_rng(1).random((150, 2)) * 100
    for build, parameters in (
        (lambda adata: tg.spatial_neighbors_knn(adata, 5), {"n_neighs": 5}),
        (lambda adata: tg.spatial_neighbors_radius(adata, 12), {"radius": 12.0}),
        (tg.spatial_neighbors_delaunay, {"delaunay": True}),
    ):
        ours, theirs = cells(positions), cells(positions)
        build(ours)
        sq.gr.spatial_neighbors(theirs, coord_type="generic", **parameters)
        for key in ("spatial_connectivities", "spatial_distances"):
            assert np.allclose(ours.obsp[key].toarray(), theirs.obsp[key].toarray(), rtol=1e-5)


def test_sections_are_kept_apart_unless_asked():
    positions = np.tile(square(4), (2, 1))
    adata = cells(positions, Sample_ID=["a"] * 16 + ["b"] * 16, core=["1"] * 8 + ["2"] * 8 + ["1"] * 16)
    tg.spatial_neighbors_radius(adata, 9)
    apart_by = (adata.obs["Sample_ID"] + adata.obs["core"]).to_numpy()
    rows, columns = np.nonzero(graph_of(adata))
    assert (apart_by[rows] == apart_by[columns]).all()
    assert list(adata.uns["spatial_neighbors"]["params"]["section_key"]) == ["Sample_ID", "core"]
    tg.spatial_neighbors_radius(adata, 9, section_key=None)
    rows, columns = np.nonzero(graph_of(adata))
    assert (apart_by[rows] != apart_by[columns]).any()


def test_the_default_suits_the_lattice():
    generator = np.random.default_rng(0)
    for positions, wanted in (
        (hexagonal() + generator.normal(0, 0.5, (144, 2)), 6),
        (hexagonal()[generator.random(144) < 0.8], 6),
        (square(), 8),
        (square()[generator.random(144) < 0.8], 8),
        (generator.random((144, 2)), 10),
    ):
        adata = cells(positions)
        tg.spatial_neighbors(adata)
        assert adata.uns["spatial_neighbors"]["params"]["n_neighbors"] == wanted
        assert (np.diff(adata.obsp["spatial_connectivities"].indptr) == wanted).all()


def stack() -> ad.AnnData:
    """Three sections of four cells on a line, the next section shifted by 0.4."""
    positions = np.concatenate([np.stack([np.arange(4) + 0.4 * z, np.zeros(4)], 1) for z in range(3)])
    return cells(positions, level=np.repeat(["top", "middle", "bottom"], 4))


def test_sections_in_3d_are_joined_to_the_next_only():
    adata = stack()
    tg.spatial_neighbors_3d(adata, "level", 1.0, 0.5, ["bottom", "middle", "top"], z_weight=0.25)
    section = adata.obs["level"].to_numpy()
    distance, graph = apart(adata), graph_of(adata)
    inside = section[:, None] == section[None]
    follow = ((section == "middle")[:, None] ^ (section == "middle")[None]) & ~inside
    neighbours = (distance <= 1) & inside & ~np.eye(12, dtype=bool)
    assert np.allclose(graph, 1.0 * neighbours + 0.25 * ((distance <= 0.5) & follow))
    assert list(adata.uns["spatial_neighbors"]["params"]["order"]) == ["bottom", "middle", "top"]


def test_the_order_of_sections_decides_which_follow_each_other():
    adata = stack()
    tg.spatial_neighbors_3d(adata, "level", 1.0, 0.9, ["top", "bottom", "middle"])
    section = adata.obs["level"].to_numpy()
    rows, columns = np.nonzero(graph_of(adata))
    pairs = set(zip(section[rows], section[columns], strict=True))
    assert ("top", "bottom") in pairs
    assert ("top", "middle") not in pairs


def test_a_section_that_is_not_in_the_order_is_joined_to_none():
    adata = stack()
    tg.spatial_neighbors_3d(adata, "level", 1.0, 0.9, ["top", "middle"])
    bottom = (adata.obs["level"] == "bottom").to_numpy()
    graph = graph_of(adata)
    assert not graph[bottom][:, ~bottom].any()
    assert graph[bottom][:, bottom].any()


def test_samples_stay_apart_in_3d():
    adata = stack()
    adata.obs["donor"] = ["a", "a", "b", "b"] * 3
    tg.spatial_neighbors_3d(adata, "level", 1.0, 0.9, sample_key="donor")
    donor = adata.obs["donor"].to_numpy()
    rows, columns = np.nonzero(graph_of(adata))
    assert len(rows)
    assert (donor[rows] == donor[columns]).all()


@pytest.mark.parametrize("mean_degree", [3, 6, 12])
def test_the_suggested_radius_gives_the_wanted_mean_degree(mean_degree):
    adata = cells(np.random.default_rng(2).random((2000, 2)), section=["a", "b"] * 1000)
    radius = tg.suggest_radius(adata, mean_degree)
    tg.spatial_neighbors_radius(adata, radius)
    assert adata.obsp["spatial_connectivities"].nnz / 2000 == pytest.approx(mean_degree, rel=0.01)


def test_the_suggested_radius_of_many_cells_is_estimated_from_some(monkeypatch):
    adata = cells(np.random.default_rng(2).random((4000, 2)), section=["a", "b"] * 2000)
    monkeypatch.setattr(edges, "MOST_PROBES", 800)
    tg.spatial_neighbors_radius(adata, tg.suggest_radius(adata, 6))
    assert adata.obsp["spatial_connectivities"].nnz / 4000 == pytest.approx(6, rel=0.05)


def test_the_suggested_radius_lies_between_rings_of_a_lattice():
    adata = cells(hexagonal(40, 40) + np.random.default_rng(0).normal(0, 0.5, (1600, 2)))
    assert 110 < tg.suggest_radius(adata, 6) < 165
    assert 180 < tg.suggest_radius(adata, 12) < 195


def test_the_suggested_radius_also_fits_uneven_tissue():
    """Half of the cells are crowded, so the nearest few dozens of a cell do not tell."""
    generator = np.random.default_rng(3)
    adata = cells(np.concatenate([generator.normal(0, 0.01, (300, 2)), generator.random((300, 2)) * 100]))
    tg.spatial_neighbors_radius(adata, tg.suggest_radius(adata, 60))
    assert adata.obsp["spatial_connectivities"].nnz / 600 == pytest.approx(60, rel=0.02)


def test_isolated_cells_are_counted_and_reported(caplog):
    adata = cells([[0, 0], [1, 0], [50, 50], [90, 90]])
    with caplog.at_level(logging.WARNING):
        tg.spatial_neighbors_radius(adata, 2)
    assert adata.uns["spatial_neighbors"]["params"]["isolated_cells"] == 2
    assert "2 of 4 cells have no neighbour" in caplog.text


@pytest.mark.parametrize(
    "build",
    [
        tg.spatial_neighbors,
        tg.spatial_neighbors_knn,
        tg.spatial_neighbors_delaunay,
        tg.suggest_radius,
        lambda adata: tg.spatial_neighbors_radius(adata, 1),
        lambda adata: tg.spatial_neighbors_3d(adata, "level", 1, 1),
    ],
)
def test_positions_that_are_no_numbers_are_counted(build):
    adata = stack()
    adata.obsm["spatial"][[2, 5], [0, 1]] = np.nan, np.inf
    with pytest.raises(InputError, match=r"2 of 12 cells have a position that is NaN or infinite"):
        build(adata)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda adata: tg.spatial_neighbors_knn(adata, 0), r"n_neighbors is 0; give a number above 0"),
        (lambda adata: tg.spatial_neighbors_radius(adata, -1), r"radius is -1"),
        (
            lambda adata: tg.spatial_neighbors_knn(adata, spatial_key="xy"),
            r"no positions in obsm\['xy'\]; found: spatial",
        ),
        (
            lambda adata: tg.spatial_neighbors_knn(adata, section_key="core"),
            r"no column 'core' in obs; found: level",
        ),
        (
            lambda adata: tg.spatial_neighbors_3d(adata, "level", 1, 1, ["top", "up"]),
            r"order names 'up', which",
        ),
        (
            lambda adata: tg.spatial_neighbors_3d(adata, "level", 1, 1, ["top", "top"]),
            r"order names a section twice",
        ),
        (lambda adata: tg.spatial_neighbors_3d(adata, "level", 1, 1, z_weight=0), r"z_weight is 0"),
        (lambda adata: tg.suggest_radius(adata, 100), r"mean_degree is 100, but a cell has at most 11"),
    ],
)
def test_what_is_asked_wrongly_is_said(build, message):
    with pytest.raises(InputError, match=message):
        build(stack())


def test_cells_without_a_section_are_counted():
    adata = stack()
    adata.obs["level"] = adata.obs["level"].where(adata.obs["level"] != "top")
    with pytest.raises(InputError, match=r"obs\['level'\] is missing for 4 cells"):
        tg.spatial_neighbors_knn(adata, section_key="level")


def test_a_radius_in_the_wrong_unit_is_an_error(monkeypatch):
    monkeypatch.setattr(edges, "MOST_EDGES", 1000)
    with pytest.raises(
        InputError, match=r"a radius of 5000 gives about 144 neighbours a cell.*suggest_radius"
    ):
        tg.spatial_neighbors_radius(cells(hexagonal()), 5000)


def test_cells_on_a_line_are_joined_to_the_next():
    adata = cells([[3, 3], [1, 1], [2, 2], [0, 0]])
    tg.spatial_neighbors_delaunay(adata)
    assert np.array_equal(np.argwhere(graph_of(adata)), [[0, 2], [1, 2], [1, 3], [2, 0], [2, 1], [3, 1]])
