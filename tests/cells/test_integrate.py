"""One embedding of two omics."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

import tissuegraph as tg
from tissuegraph.errors import InputError

QUICK = tg.IntegrateParams(dimensions=4, n_components=6, epochs=1, accelerator="cpu")
ROWS = ["rna", "other", "concatenated", "integrated"]


def omics(cells=200, seed=0, **settings):
    return tg.simulate.omics(cells, 40, second_features=30, seed=seed, **settings)


@pytest.mark.parametrize("graph", ["joint", "own"])
def test_omics_that_see_different_factors_are_better_together(graph):
    rna, other = tg.simulate.omics(700, 150, second_features=80, seed=1)
    params = tg.IntegrateParams(accelerator="cpu")
    table = tg.integrate(rna, other, labels="cell_type", graph=graph, params=params)
    accuracy = table["accuracy"]
    assert list(table.index) == ROWS
    assert accuracy["integrated"] >= accuracy[["rna", "other"]].max() + 0.15
    assert accuracy["integrated"] >= accuracy["concatenated"] - 0.02
    assert table["ari"]["integrated"] >= table["ari"][["rna", "other"]].max() + 0.1
    assert accuracy["integrated"] <= rna.uns["tissuegraph"]["simulated"]["bayes_accuracy"] + 0.03


def test_what_is_written_to_both_whatever_the_order_of_cells():
    rna, other = omics()
    before = rna.X.copy()
    table = tg.integrate(rna, other, labels="cell_type", params=QUICK, seed=2)
    assert np.array_equal(rna.X, before)
    assert rna.obsm["X_integrated"].shape == (200, 8)
    assert np.array_equal(rna.obsm["X_integrated"], other.obsm["X_integrated"])
    assert rna.obs["integrated_cluster"].nunique() == 6
    sizes = rna.obs["integrated_cluster"].value_counts()[list("123456")]
    assert (sizes.diff().dropna() <= 0).all()
    record = other.uns["tissuegraph"]["X_integrated"]
    pd.testing.assert_frame_equal(record["scores"], table)
    assert (record["seed"], json.loads(record["params"])["dimensions"]) == (2, 4)
    fresh, second = omics()
    turn = np.random.default_rng(0).permutation(200)
    turned = second[turn].copy()
    del turned.obs["cell_type"]
    again = tg.integrate(fresh, turned, labels="cell_type", params=QUICK, seed=2)
    pd.testing.assert_frame_equal(again, table, atol=0.02, rtol=0.1)
    np.testing.assert_array_equal(fresh.obsm["X_integrated"][turn], turned.obsm["X_integrated"])
    assert (fresh.obs["integrated_cluster"].iloc[turn] == turned.obs["integrated_cluster"]).all()


def test_the_record_can_be_written(tmp_path):
    rna, other = omics()
    tg.integrate(rna, other, params=QUICK, names=("rna", "protein"))
    rna.write_h5ad(tmp_path / "rna.h5ad")
    record = ad.read_h5ad(tmp_path / "rna.h5ad").uns["tissuegraph"]["X_integrated"]
    assert list(record["scores"].index) == ["rna", "protein", "concatenated", "integrated"]


def test_without_labels_clusters_are_those_that_leiden_finds():
    rna, other = omics(300)
    table = tg.integrate(rna, other, params=QUICK)
    assert list(table.columns) == ["dimensions", "clusters", "agreement"]
    assert table["dimensions"].tolist() == [6, 6, 12, 8]
    assert table["agreement"]["integrated"] == 1
    assert table["clusters"]["integrated"] == rna.obs["integrated_cluster"].nunique() > 1
    four = tg.IntegrateParams(dimensions=4, n_components=6, epochs=1, n_clusters=4)
    assert set(tg.integrate(rna, other, params=four)["clusters"]) == {4}


def test_cells_without_a_label_are_not_judged():
    rna, other = omics()
    known = tg.integrate(rna, other, labels="cell_type", params=QUICK)
    mixed = rna.obs["cell_type"].astype(object)
    mixed[::3] = np.nan
    rna.obs["some"] = mixed
    part = tg.integrate(rna, other, labels="some", params=QUICK)
    assert part["accuracy"].notna().all()
    assert not np.allclose(part["accuracy"], known["accuracy"])


@pytest.mark.parametrize("batch_cells", ["auto", 50])
def test_one_seed_gives_the_same_bits_on_any_number_of_threads(batch_cells):
    params = tg.IntegrateParams(dimensions=4, n_components=6, epochs=2, batch_cells=batch_cells)
    found, before = [], torch.get_num_threads()
    for seed, threads in ((0, 1), (0, 2), (1, 1)):
        torch.set_num_threads(threads)
        rna, other = omics()
        tg.integrate(rna, other, params=params, seed=seed)
        found.append(rna)
    torch.set_num_threads(before)
    assert np.array_equal(found[0].obsm["X_integrated"], found[1].obsm["X_integrated"])
    assert (found[0].obs["integrated_cluster"] == found[1].obs["integrated_cluster"]).all()
    assert not np.allclose(found[0].obsm["X_integrated"], found[2].obsm["X_integrated"])


def test_mixed_precision_gives_single_precision():
    rna, other = omics()
    params = tg.IntegrateParams(dimensions=4, n_components=6, epochs=1, precision="bf16-mixed")
    tg.integrate(rna, other, params=params)
    assert rna.obsm["X_integrated"].dtype == np.float32
    assert np.isfinite(rna.obsm["X_integrated"]).all()


def test_a_graph_that_is_there_serves_both():
    rna, other = omics(spatial="tissue")
    with pytest.raises(InputError, match=r"no graph in obsp\['spatial_connectivities'\]"):
        tg.integrate(rna, other, graph="spatial", params=QUICK)
    tg.spatial_neighbors(rna)
    tg.integrate(rna, other, graph="spatial", params=QUICK)
    assert np.isfinite(other.obsm["X_integrated"]).all()


def test_cells_that_differ_are_refused():
    rna, other = omics()
    with pytest.raises(InputError, match=r"10 of the 200 cells of rna are not in adt, which has 0 others"):
        tg.integrate(rna, other[:190].copy(), names=("rna", "adt"), params=QUICK)
    renamed = other.copy()
    renamed.obs_names = ["other" + name for name in other.obs_names]
    with pytest.raises(InputError, match=r"200 of the 200 cells of rna are not in other, which has 200"):
        tg.integrate(rna, renamed, params=QUICK)
    twice = other.copy()
    twice.obs_names = [other.obs_names[0], *other.obs_names[:-1]]
    with pytest.raises(InputError, match="1 names of cells stand twice in other"):
        tg.integrate(rna, twice, params=QUICK)


def test_other_bad_input_is_one_sentence():
    rna, other = omics()
    with pytest.raises(InputError, match=r"no column 'type' in obs of either omics; found: cell_type"):
        tg.integrate(rna, other, labels="type", params=QUICK)
    rna.obs["few"] = ["a"] * 199 + ["b"]
    with pytest.raises(InputError, match=r"obs\['few'\] has 2 labels, the rarest of 1 cells"):
        tg.integrate(rna, other, labels="few", params=QUICK)
    with pytest.raises(InputError, match="names are"):
        tg.integrate(rna, other, names=("a", "a"), params=QUICK)
    for wrong, said in (({"dimensions": 0}, "dimensions is 0"), ({"n_clusters": 2.5}, "n_clusters is 2.5")):
        with pytest.raises(InputError, match=said):
            tg.IntegrateParams(**wrong)
    with pytest.raises(InputError, match="batch_cells is 'some'"):
        tg.IntegrateParams(batch_cells="some")
