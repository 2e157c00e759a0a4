"""Clusters of cells whose types are known, of real cells, and of cells without any types."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_samples

import tissuegraph as tg
from tissuegraph.errors import InputError

METHODS = ("leiden", "louvain", "gmm", "kmeans")


def types(n: int = 400, **settings) -> ad.AnnData:
    """Six types in pairs, which hardly overlap."""
    return tg.simulate.omics(n, 100, **{"separation": 5.0, **settings})


def blob(n: int = 300) -> ad.AnnData:
    """Cells without types, whose expression varies more along some directions than along others."""
    spread = 3 / np.arange(1, 61) ** 0.7
    cells = np.random.default_rng(0).normal(size=(n, 60)) * spread
    return ad.AnnData(cells.astype(np.float32), obs=pd.DataFrame(index=[f"c{i}" for i in range(n)]))


def score(adata: ad.AnnData, key: str = "cluster", truth: str = "cell_type") -> float:
    return adjusted_rand_score(adata.obs[truth], adata.obs[key])


def record(adata: ad.AnnData, key: str = "cluster") -> dict:
    return adata.uns["tissuegraph"][key]


# ---- known types


@pytest.mark.parametrize("method", METHODS)
def test_the_types_are_found(method):
    adata = types()
    tg.cluster_cells(adata, 6, method)
    assert score(adata) > 0.9
    assert record(adata)["stable"]
    assert list(adata.obs["cluster"].cat.categories) == list("123456")
    assert (np.diff(adata.obs["cluster"].value_counts()[list("123456")]) <= 0).all()


@pytest.mark.parametrize("method", ["leiden", "kmeans"])
def test_their_number_is_found_and_the_curve_is_kept(method, tmp_path):
    adata = types()
    tg.cluster_cells(adata, method=method, most=9)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    adata = ad.read_h5ad(tmp_path / "cells.h5ad")
    found = record(adata)
    assert (found["n_clusters"], bool(found["n_clusters_given"]), bool(found["stable"])) == (6, False, True)
    assert list(found["stability"]["n_clusters"]) == list(range(2, 10))
    assert score(adata) > 0.9
    axes = tg.plot.stability(adata, key="cluster")
    assert axes.get_title(loc="left") == "6 clusters are found most reliably"
    assert axes.get_legend().get_texts()[0].get_text() == "no clusters"


def test_raw_counts_are_normalised_on_a_copy():
    adata = types(counts=3000.0)
    before = adata.X.copy()
    tg.cluster_cells(adata, 6)
    assert (before != adata.X).nnz == 0
    assert score(adata) > 0.85
    assert set(adata.obs) == {"cell_type", "cluster", "cluster_silhouette"}
    assert not adata.obsm.keys() - {"latent", "posterior"}


def test_a_resolution_instead_of_a_number():
    adata = types()
    for resolution in (0.2, 5.0):
        tg.cluster_cells(adata, resolution=resolution, key_added=f"at{resolution}")
    assert adata.obs["at0.2"].nunique() < adata.obs["at5.0"].nunique()
    assert record(adata, "at5.0")["resolution"] == 5.0
    assert np.isfinite(record(adata, "at5.0")["agreement"])


def test_real_cells():
    """Ten labels of blood cells, some of which only antibodies tell apart."""
    scanpy = pytest.importorskip("scanpy")
    adata = scanpy.datasets.pbmc68k_reduced()
    tg.cluster_cells(adata, 10)
    assert score(adata, truth="bulk_labels") > 0.4
    assert record(adata)["stable"]
    tg.cluster_cells(adata, 8, "kmeans", use_rep="X_pca", key_added="means")
    assert score(adata, "means", "bulk_labels") > 0.4
    assert record(adata, "means")["use_rep"] == "X_pca"


def test_silhouettes_are_those_of_what_was_clustered():
    adata = types()
    tg.cluster_cells(adata, 5, "kmeans", use_rep="latent")
    expected = silhouette_samples(adata.obsm["latent"], adata.obs["cluster"])
    np.testing.assert_allclose(adata.obs["cluster_silhouette"], expected, atol=1e-9)
    assert record(adata)["silhouette"] == pytest.approx(expected.mean())
    assert record(adata)["silhouette_cells"] == adata.n_obs


# ---- whether to believe it


@pytest.mark.parametrize("method", ["leiden", "kmeans"])
def test_cells_without_types_are_one_cluster(method, caplog):
    adata = blob()
    tg.cluster_cells(adata, method=method, most=8)
    assert (adata.obs["cluster"] == "1").all()
    assert np.isnan(adata.obs["cluster_silhouette"]).all()
    assert (record(adata)["n_clusters"], record(adata)["stable"]) == (1, False)
    assert "no number of clusters from 2 to 8 is found more reliably" in caplog.text
    assert tg.plot.stability(adata, key="cluster").get_title(loc="left") == "no number is found reliably"


def test_clusters_that_were_asked_for_of_no_types_are_called_unstable(caplog):
    adata = blob()
    tg.cluster_cells(adata, 7)
    assert adata.obs["cluster"].nunique() == 7
    assert not record(adata)["stable"]
    assert "7 clusters are not stable: halves of the cells agree by" in caplog.text


def test_of_few_cells_it_is_said_that_nothing_is_known(caplog):
    caplog.set_level(logging.INFO, "tissuegraph")
    adata = types(20)
    tg.cluster_cells(adata, 6, "kmeans")
    assert np.isnan(record(adata)["agreement"])
    assert "too few cells to tell how stable" in caplog.text


# ---- order, seeds, neighbours


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("counts", [None, 500.0])
def test_the_same_cells_in_another_order_get_the_same_clusters(method, counts):
    first = types(300, counts=counts, separation=2.0, spatial="tissue")
    tg.spatial_neighbors(first)
    order = np.random.default_rng(1).permutation(first.n_obs)
    other = first[order].copy()
    for adata in (first, other):
        tg.cluster_cells(adata, 7, method, smooth=1, n_seeds=2)
    for key in ("cluster", "cluster_silhouette"):
        assert (other.obs[key].to_numpy() == first.obs[key].to_numpy()[order]).all()


def types_that_overlap(seed: int) -> pd.Series:
    adata = types(300, separation=1.5)
    tg.cluster_cells(adata, 9, seed=seed)
    return adata.obs["cluster"]


def test_seeds():
    first, again, other = (types_that_overlap(seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_an_average_over_neighbours_helps_where_they_share_types():
    adata = tg.simulate.omics(600, 100, separation=1.5, noise=2.0, spatial="tissue", same_neighbors=0.8)
    tg.spatial_neighbors(adata)
    for smooth in (0, 1):
        tg.cluster_cells(adata, 6, "kmeans", smooth=smooth, key_added=f"smooth{smooth}")
    assert score(adata, "smooth1") > score(adata, "smooth0") + 0.1


def test_many_cells_are_clustered_through_a_sample(monkeypatch):
    monkeypatch.setattr("tissuegraph.clustering.partition.SAMPLE", 300)
    monkeypatch.setattr("tissuegraph.clustering.silhouette.MOST_CELLS", 300)
    adata = types(1200)
    tg.cluster_cells(adata, 6)
    assert score(adata) > 0.85
    assert record(adata)["silhouette_cells"] <= 300
    assert adata.obs["cluster_silhouette"].notna().all()


def test_marked_genes_are_the_only_ones():
    adata = types()
    noise = ad.AnnData(np.random.default_rng(0).normal(0, 5, (adata.n_obs, 60)).astype(np.float32))
    noise.obs_names, noise.var_names = adata.obs_names, [f"noise{i}" for i in range(60)]
    both = ad.concat([adata, noise], axis=1, merge="first")
    both.var["highly_variable"] = ~both.var_names.str.startswith("noise")
    tg.cluster_cells(both, 6)
    tg.cluster_cells(adata, 6)
    assert (both.obs["cluster"] == adata.obs["cluster"]).all()


def test_few_genes_are_taken_as_they_are():
    adata = types()
    few = ad.AnnData(adata.obsm["latent"].astype(np.float32), obs=adata.obs[["cell_type"]])
    tg.cluster_cells(few, 6, "kmeans")
    tg.cluster_cells(adata, 6, "kmeans", use_rep="latent")
    assert adjusted_rand_score(few.obs["cluster"], adata.obs["cluster"]) > 0.99


# ---- what is asked wrongly


def put_nan(adata: ad.AnnData) -> None:
    adata.X[3, 4] = np.nan


def name_twice(adata: ad.AnnData) -> None:
    adata.var_names = ["a", "a", *adata.var_names[2:]]


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (None, {"method": "dbscan"}, r"method is 'dbscan'; expected one of: leiden, louvain, gmm, kmeans"),
        (None, {"n_clusters": 0}, r"n_clusters is 0; give a number from 1"),
        (None, {"n_clusters": 51}, r"51 clusters are wanted of 50 cells"),
        (None, {"n_clusters": 3, "resolution": 1.0}, r"both n_clusters and resolution are given"),
        (None, {"method": "gmm", "resolution": 1.0}, r"resolution is given, which 'gmm' does not have"),
        (None, {"fewest": 9, "most": 4}, r"most is 4; give a number from 9"),
        (None, {"fewest": 15}, r"50 cells are too few to find a number of clusters of 15 or more"),
        (None, {"seed": -1}, r"seed is -1"),
        (None, {"use_rep": "X_stagate"}, r"no embedding in obsm\['X_stagate'\]; found: latent, posterior"),
        (None, {"layer": "raw"}, r"no layer 'raw'; found: none"),
        (None, {"smooth": 1}, r"no graph in obsp\['spatial_connectivities'\]; build it first"),
        (put_nan, {}, r"X has 1 values that are NaN or infinite"),
        (name_twice, {}, r"1 names of genes stand twice"),
    ],
)
def test_what_is_asked_wrongly_is_said(spoil, options, message):
    adata = types(50)
    if spoil:
        spoil(adata)
    with pytest.raises(InputError, match=message):
        tg.cluster_cells(adata, **options)
    assert "cluster" not in adata.obs


def test_cells_that_are_all_alike_are_one_cluster():
    adata = types(60)
    adata.X[:] = 0.5
    tg.cluster_cells(adata, method="kmeans")
    assert (adata.obs["cluster"] == "1").all()
