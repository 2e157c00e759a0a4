from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy import sparse

from tissuegraph.domains.params import PRESETS, StagateParams, stagate_params
from tissuegraph.domains.stagate import stagate, stagate_transform
from tissuegraph.domains.stagate_model import load_stagate
from tissuegraph.errors import InputError, MachineError, ModelError, OutputError
from tissuegraph.features.components import fit_components

SIDE = 14
SMALL = StagateParams(hidden_dims=(16, 6), epochs=6, n_components=12)
GENES = StagateParams(hidden_dims=(16, 6), epochs=6, n_components=None)


def tissue(seed=0, genes=25, scale=1.0):
    """Cells on a square lattice, of three layers; raw counts in X."""
    random = np.random.default_rng(seed)
    positions = np.stack(np.meshgrid(range(SIDE), range(SIDE)), -1).reshape(-1, 2).astype(float)
    layer = (positions[:, 1] * 3 // SIDE).astype(int)
    rates = np.random.default_rng(99).gamma(1.0, 1.0, (3, genes)) * scale
    adata = AnnData(
        sparse.csr_matrix(random.poisson(rates[layer]).astype(np.float32)),
        obs=pd.DataFrame({"layer": layer.astype(str)}, index=[f"cell{i}" for i in range(len(layer))]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(genes)]),
        obsm={"spatial": positions},
    )
    apart = np.abs(positions[:, None] - positions[None]).sum(2)
    adata.obsp["spatial_connectivities"] = sparse.csr_matrix((apart == 1).astype(float))
    return adata


def fitted(params=SMALL, adata=None, **options):
    adata = tissue() if adata is None else adata
    return adata, stagate(adata, params, normalize=True, device="cpu", **options)


def test_what_is_written_and_what_is_left_alone():
    before = tissue()
    adata, model = fitted(save_attention=True, save_denoised=True)
    assert (adata.X != before.X).nnz == 0
    assert list(adata.obs) == list(before.obs)
    assert adata.obsm["X_stagate"].shape == (SIDE**2, 6)
    assert adata.obsm["X_stagate"].dtype == np.float32
    attention = adata.obsp["stagate_attention"]
    np.testing.assert_allclose(attention.sum(1), 1, rtol=1e-5)
    assert attention.nnz == adata.obsp["spatial_connectivities"].nnz + adata.n_obs
    assert adata.layers["stagate_denoised"].min() >= 0
    record = adata.uns["tissuegraph"]["X_stagate"]
    assert record["input"] == "12 principal components of 25 genes, z-scored"
    assert len(record["loss"]) == 6
    assert json.loads(record["params"])["hidden_dims"] == [16, 6]
    assert model.seed == record["seed"] == 0


@pytest.mark.parametrize("params", [SMALL, GENES])
def test_one_seed_gives_the_same_bits_and_another_another_embedding(params):
    one, again, other = (fitted(params, seed=seed)[0].obsm["X_stagate"] for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)


def test_raw_counts_are_refused_unless_they_are_to_be_normalised():
    with pytest.raises(InputError, match=r"raw counts.*normalize=True"):
        stagate(tissue(), SMALL)
    adata = tissue()
    adata.X = adata.X.log1p()
    stagate(adata, SMALL)
    with pytest.raises(InputError, match="no raw counts"):
        stagate(adata, SMALL, normalize=True)


def test_a_layer_is_taken_instead_of_x():
    adata, other = tissue(), tissue()
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X * 0.1
    stagate(adata, SMALL, layer="counts", normalize=True)
    assert np.array_equal(adata.obsm["X_stagate"], fitted(adata=other)[0].obsm["X_stagate"])
    with pytest.raises(InputError, match=r"no layer 'raw'; found: counts"):
        stagate(adata, SMALL, layer="raw")


def test_dense_and_sparse_expression_agree():
    adata = tissue()
    adata.X = adata.X.toarray()
    for params in (SMALL, GENES):
        dense, thin = fitted(params, adata)[0].obsm["X_stagate"], fitted(params)[0].obsm["X_stagate"]
        np.testing.assert_allclose(dense, thin, rtol=1e-3, atol=1e-4)


def test_without_a_graph_the_next_step_is_named():
    adata = tissue()
    del adata.obsp["spatial_connectivities"]
    with pytest.raises(InputError, match=r"build it first with tg\.spatial_neighbors"):
        stagate(adata, SMALL, normalize=True)


def test_numbers_that_are_none_are_refused():
    adata = tissue()
    adata.X.data[3] = np.nan
    with pytest.raises(InputError, match="1 values that are NaN"):
        stagate(adata, SMALL)


def test_an_unknown_device_is_an_error():
    with pytest.raises(MachineError, match="device 'abacus'"):
        stagate(tissue(), SMALL, normalize=True, device="abacus")


def test_isolated_cells_and_cells_without_counts_are_embedded():
    adata = tissue()
    graph = adata.obsp["spatial_connectivities"].tolil()
    graph[5] = graph[:, 5] = 0
    adata.obsp["spatial_connectivities"] = graph.tocsr()
    counts = adata.X.tolil()
    counts[7] = 0
    adata.X = counts.tocsr()
    fitted(adata=adata, save_attention=True)
    assert np.isfinite(adata.obsm["X_stagate"]).all()
    assert adata.obsp["stagate_attention"][5].nnz == 1


@pytest.mark.parametrize("params", [SMALL, GENES])
def test_denoised_expression_stands_where_genes_were_modelled(params):
    adata = tissue()
    adata.var["highly_variable"] = np.arange(25) % 2 == 0
    adata, model = fitted(params, adata, save_denoised=True)
    assert model.genes == tuple(adata.var_names[::2])
    denoised = adata.layers["stagate_denoised"]
    assert np.isfinite(denoised[:, ::2]).all()
    assert np.isnan(denoised[:, 1::2]).all()


def test_denoising_comes_closer_to_the_truth():
    params = StagateParams(hidden_dims=(32, 8), epochs=150, n_components=10, learning_rate=5e-3)
    adata, _ = fitted(params, tissue(genes=60), save_denoised=True)
    counts = adata.X.toarray()
    raw = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    truth = pd.DataFrame(raw).groupby(adata.obs["layer"].to_numpy()).transform("mean").to_numpy()
    denoised = adata.layers["stagate_denoised"]
    assert np.square(denoised - truth).mean() < 0.5 * np.square(raw - truth).mean()


@pytest.mark.parametrize("params", [SMALL, GENES])
@pytest.mark.parametrize("where", ["object", "adata", "folder", "h5ad"])
def test_a_model_embeds_its_own_section_as_when_it_was_fitted(params, where, tmp_path):
    adata, model = fitted(params)
    source = {"object": model, "adata": adata, "folder": tmp_path / "model", "h5ad": None}[where]
    if where == "folder":
        model.save(source)
    if where == "h5ad":
        adata.write_h5ad(tmp_path / "cells.h5ad")
        source = read_h5ad(tmp_path / "cells.h5ad")
    again = tissue()
    stagate_transform(source, again, normalize=True, device="cpu")
    np.testing.assert_allclose(again.obsm["X_stagate"], adata.obsm["X_stagate"], rtol=1e-4, atol=1e-4)


def test_a_model_takes_genes_by_name_and_names_those_that_are_missing():
    _, model = fitted()
    turned = tissue(1)[:, ::-1].copy()
    straight = tissue(1)
    for adata in (turned, straight):
        stagate_transform(model, adata, normalize=True)
    np.testing.assert_allclose(turned.obsm["X_stagate"], straight.obsm["X_stagate"], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="1 of the 25 genes of the model are missing, such as gene0"):
        stagate_transform(model, tissue()[:, 1:].copy(), normalize=True)


def test_a_folder_is_not_replaced_unasked_and_a_broken_one_is_named(tmp_path):
    _, model = fitted()
    model.save(tmp_path / "model")
    with pytest.raises(OutputError, match="exists already"):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model", overwrite=True)
    assert load_stagate(tmp_path / "model").params == SMALL
    (tmp_path / "model" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ModelError, match="cannot be read"):
        load_stagate(tmp_path / "model")
    with pytest.raises(ModelError, match="holds no model"):
        load_stagate(tmp_path / "nothing")
    with pytest.raises(ModelError, match="holds no model"):
        stagate_transform(tissue(), tissue(), normalize=True)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_blocks_give_what_the_whole_gives(alpha):
    params = StagateParams(
        hidden_dims=(16, 6), epochs=3, n_components=12, alpha=alpha, pre_labels="layer" if alpha else None
    )
    adata, model = fitted(params, save_attention=True, save_denoised=True)
    blocks = tissue()
    model = type(model)(**{**vars(model), "params": StagateParams(**{**vars(params), "batch_cells": 40})})
    stagate_transform(model, blocks, normalize=True, save_attention=True, save_denoised=True)
    for kind in ("stagate_attention", "stagate_attention_pruned")[: 1 + bool(alpha)]:
        assert abs(adata.obsp[kind] - blocks.obsp[kind]).max() < 1e-5
    np.testing.assert_allclose(blocks.obsm["X_stagate"], adata.obsm["X_stagate"], rtol=1e-4, atol=1e-4)
    one, other = (found.layers["stagate_denoised"] for found in (blocks, adata))
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_training_in_batches_is_reproducible_and_learns():
    params = StagateParams(hidden_dims=(16, 6), epochs=20, n_components=12, batch_cells=60)
    (adata, model), (again, _) = fitted(params), fitted(params)
    assert np.array_equal(adata.obsm["X_stagate"], again.obsm["X_stagate"])
    assert model.loss[-1] < model.loss[0]


def test_attention_within_types_stays_within_types():
    params = StagateParams(hidden_dims=(16, 6), epochs=3, alpha=0.5, pre_labels="layer", n_components=12)
    adata, _ = fitted(params, save_attention=True)
    rows, columns = adata.obsp["stagate_attention_pruned"].nonzero()
    layer = adata.obs["layer"].to_numpy()
    between = adata.obsp["spatial_connectivities"].nonzero()
    across = (layer[between[0]] != layer[between[1]]).sum()
    assert across > 0
    whole = adata.obsp["stagate_attention"].nnz
    assert whole == len(between[0]) + adata.n_obs
    assert adata.obsp["stagate_attention_pruned"].nnz == whole - across
    assert (layer[rows] == layer[columns]).all()
    wrong = StagateParams(alpha=0.5, pre_labels="type")
    with pytest.raises(InputError, match="no column 'type' in obs for pre_labels; found: layer"):
        fitted(wrong)


def test_types_are_clustered_where_none_are_named():
    pytest.importorskip("igraph")
    params = StagateParams(hidden_dims=(16, 6), epochs=3, alpha=0.5, n_components=None, pre_resolution=1.0)
    adata, _ = fitted(params, save_attention=True)
    assert adata.obsp["stagate_attention_pruned"].nnz < adata.obsp["stagate_attention"].nnz


def test_sections_are_centred_one_by_one():
    random = np.random.default_rng(0)
    sections = np.repeat([0, 1], 60)
    matrix = (random.normal(size=(120, 8)) + 10 * sections[:, None]).astype(np.float32)
    _, apart = fit_components(matrix, 4, sections, z_score=False)
    _, together = fit_components(matrix, 4, np.zeros(120, int), z_score=False)
    assert abs(apart[:60].mean(0) - apart[60:].mean(0)).max() < 1e-4
    assert abs(together[:60].mean(0) - together[60:].mean(0)).max() > 10


@pytest.mark.parametrize("z_score", [False, True])
def test_components_are_those_of_a_full_decomposition(z_score):
    random = np.random.default_rng(0)
    matrix = np.log1p(random.poisson(random.gamma(1, 1, (4, 40))[random.integers(0, 4, 300)]))
    centred = matrix - matrix.mean(0)
    if z_score:
        centred /= matrix.std(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    sections = np.zeros(300, int)
    found, scores = fit_components(sparse.csr_matrix(matrix, dtype=np.float32), 10, sections, z_score=z_score)
    np.testing.assert_allclose(np.linalg.norm(scores, axis=0), s[:10], rtol=1e-3)
    np.testing.assert_allclose(abs(scores[:, :3]), abs(u * s)[:, :3], atol=0.02)
    again = found.project(matrix.astype(np.float32), sections, found.moments)
    np.testing.assert_allclose(again, scores, atol=1e-3)


def test_presets_are_parameters():
    assert {name: stagate_params(name).hidden_dims for name in PRESETS} == dict.fromkeys(PRESETS, (512, 30))
    assert stagate_params("paper-pyg").two_updates
    assert stagate_params(None) == StagateParams()
    with pytest.raises(InputError, match=r"no preset 'paper'; choose one of paper-tf, paper-pyg"):
        stagate_params("paper")
    with pytest.raises(InputError, match="both params and preset"):
        stagate(tissue(), SMALL, "paper-tf")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_run(name):
    params = StagateParams(**{**PRESETS[name], "epochs": 2})
    adata, model = fitted(params)
    assert adata.obsm["X_stagate"].shape == (SIDE**2, 30)
    assert model.input == "25 genes"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hidden_dims": (512,)}, "hidden_dims"),
        ({"loss": "cosine"}, "loss is 'cosine'; choose one of mse"),
        ({"alpha": 2}, "alpha is 2"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_cells": 0}, "batch_cells is 0"),
        ({"n_components": 0}, "n_components is 0"),
        ({"weight_decay": -1}, "weight_decay"),
    ],
)
def test_parameters_that_make_no_network_are_refused(change, told):
    with pytest.raises(InputError, match=told):
        StagateParams(**change)
