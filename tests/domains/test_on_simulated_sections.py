"""Domains and denoised expression where the truth is known."""

from __future__ import annotations

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import tissuegraph as tg

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
QUICK = tg.StagateParams(hidden_dims=(16, 5), n_components=10, epochs=4)


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import simulated_sections

        yield simulated_sections
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_denoised_expression_is_nearer_to_the_truth_and_keeps_borders(benchmark):
    adata = tg.simulate.section(seed=1, cells=1200, genes=200)
    tg.spatial_neighbors(adata)
    matrix = benchmark.expression(adata, adata.var_names, None, normalize=True)
    graph = sparse.csr_matrix(adata.obsp["spatial_connectivities"]) + sparse.identity(adata.n_obs)
    raw = matrix.toarray()
    mean = sparse.diags(1 / np.asarray(graph.sum(1)).ravel()) @ graph @ raw
    tg.stagate(adata, normalize=True, save_denoised=True)
    rows = [benchmark.judged(adata, guess) for guess in (raw, mean, adata.layers["stagate_denoised"])]
    assert rows[2]["correlation"] > 2 * max(rows[0]["correlation"], rows[1]["correlation"])
    assert rows[2]["at borders"] > 0.9 * rows[2]["correlation"]
    assert rows[2]["contrast kept"] > rows[1]["contrast kept"] + 0.05


def test_a_rare_domain_is_found(benchmark):
    for name, row in benchmark.rare(0):
        if name.endswith("rare=True"):
            assert row["recall"] >= 0.7, name
            assert row["precision"] >= 0.5, name


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_thin_structure_is_found_with_alpha(benchmark, seed):
    found = dict(benchmark.thin(seed))
    assert found["default"]["F1"] < 0.72
    assert found["alpha 0.8, averaged along attention"]["F1"] > 0.8


@pytest.mark.slow
def test_twenty_sections_with_batch_effects_and_one_that_is_assigned(benchmark):
    found = dict(benchmark.batches(0))
    assert found["default"]["ARI"] >= 0.8
    assert abs(found["default, the last assigned"]["ARI held out"] - found["default"]["ARI held out"]) <= 0.05


@pytest.mark.slow
def test_stacked_sections_are_better_with_edges_between_them(benchmark):
    found = {name: row["ARI by section"] for name, row in benchmark.stacked(0)}
    assert found["default, z-edges"] > found["default, one by one"] + 0.05
    assert found["default, z-edges"] > found["default, edges within sections"] + 0.05


# ---- sections that are odd


def run(adata: ad.AnnData, n_domains: int) -> pd.Series:
    tg.stagate(adata, QUICK, normalize=True, save_denoised=True, save_attention=True)
    assert np.isfinite(adata.obsm["X_stagate"]).all()
    tg.cluster_domains(adata, n_domains, key_added="found", n_starts=4)
    return adata.obs["found"]


def test_an_isolated_cell_listens_to_itself_and_gets_a_domain():
    adata = tg.simulate.section(cells=150, genes=20)
    adata.obsm["spatial"][7] += 1e5
    tg.spatial_neighbors_radius(adata, 30.0)
    assert run(adata, 3).notna().all()
    attention = adata.obsp["stagate_attention"]
    assert attention[7].nnz == 1
    assert attention[7, 7] == 1
    assert np.isfinite(adata.layers["stagate_denoised"]).all()


def test_cells_that_coincide_keep_each_other():
    adata = tg.simulate.section(cells=150, genes=20)
    adata.obsm["spatial"][1] = adata.obsm["spatial"][0]
    tg.spatial_neighbors(adata)
    assert adata.obsp["spatial_connectivities"][0, 1] == 1
    assert run(adata, 3).notna().all()
    adata.obsm["spatial"][:] = 3.0
    tg.spatial_neighbors_knn(adata, 4)
    assert run(adata, 3).notna().all()


def test_sections_of_one_cell():
    adata = tg.simulate.section(cells=60, genes=20)
    adata.obs["section"] = np.where(np.arange(60) < 57, "large", np.arange(60).astype(str))
    tg.spatial_neighbors(adata, section_key="section")
    assert np.diff(adata.obsp["spatial_connectivities"].indptr)[57:].tolist() == [0, 0, 0]
    assert run(adata, 3).notna().all()
    # a section of one cell is its own mean, so that is all that can be said of it
    matrix = np.log1p(adata.X.toarray() / adata.X.toarray().sum(1, keepdims=True) * 1e4)
    np.testing.assert_allclose(adata.layers["stagate_denoised"][57:], matrix[57:], rtol=1e-3, atol=1e-3)


def test_more_genes_than_are_modelled():
    adata = tg.simulate.section(cells=150, genes=30)
    adata.var["highly_variable"] = np.arange(30) % 3 == 0
    tg.spatial_neighbors(adata)
    alone = adata[:, adata.var["highly_variable"]].copy()
    run(adata, 3)
    denoised = adata.layers["stagate_denoised"]
    assert np.isnan(denoised[:, 1::3]).all()
    assert np.isfinite(denoised[:, ::3]).all()
    assert (denoised[:, ::3] >= 0).all()
    # counts of a cell are taken of all genes, so only the shape of the rest is the same
    run(alone, 3)
    assert alone.layers["stagate_denoised"].shape == (150, 10)
