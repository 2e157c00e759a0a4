"""Deep Graph Infomax on AnnData."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from anndata import read_h5ad
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tissuegraph as tg
from tissuegraph.errors import InputError, MachineError, ModelError, OutputError

QUICK = tg.InfomaxParams(dimensions=8, hidden=8, n_components=10, epochs=2, accelerator="cpu")


def tissue(seed=0, cells=300, genes=60, **settings):
    adata = tg.simulate.section(cells=cells, genes=genes, domains=4, types=5, seed=seed, **settings)
    tg.spatial_neighbors(adata)
    return adata


def fitted(params=QUICK, adata=None, **options):
    adata = tissue() if adata is None else adata
    return adata, tg.infomax(adata, params, **options)


def classifier():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))


def accuracy(embedding, labels):
    """Accuracy on held-out cells, five folds."""
    return cross_val_score(classifier(), embedding, labels, cv=5).mean()


@pytest.fixture(scope="module")
def two_samples():
    """Two pieces of tissue of the same kind, one of them fitted to."""
    both = tg.simulate.section(cells=900, genes=150, samples=2, seed=3)
    tg.spatial_neighbors(both, section_key="sample")
    one, other = (both[both.obs["sample"] == f"sample {number}"].copy() for number in (1, 2))
    model = tg.infomax(one, tg.InfomaxParams(epochs=8, accelerator="cpu"), seed=1)
    tg.infomax_transform(model, other)
    return one, other, model


def test_domains_of_held_out_cells_are_told_better_than_from_the_features(two_samples):
    one, _, model = two_samples
    features = model.features.of(one)
    assert model.history["val_accuracy"] > 0.9
    assert accuracy(one.obsm["X_infomax"], one.obs["domain"]) > accuracy(features, one.obs["domain"]) + 0.2


def test_domains_of_another_sample_are_told_with_what_was_learnt_of_the_first(two_samples):
    one, other, model = two_samples
    found = classifier().fit(one.obsm["X_infomax"], one.obs["domain"])
    alone = classifier().fit(model.features.of(one), one.obs["domain"])
    right = found.score(other.obsm["X_infomax"], other.obs["domain"])
    assert right > alone.score(model.features.of(other), other.obs["domain"]) + 0.2


def test_a_graph_of_expression_is_built_once_and_keeps_types_apart():
    adata = tg.simulate.section(cells=600, genes=200, marker_fold=5, seed=2)
    tg.infomax(adata, tg.InfomaxParams(epochs=6, accelerator="cpu"), graph="expression")
    graph = adata.obsp["expression_connectivities"]
    assert (np.diff(graph.indptr) == 15).all()
    assert accuracy(adata.obsm["X_infomax"], adata.obs["cell_type"]) > 0.85
    adata.obsp["expression_connectivities"] = graph[::-1, ::-1].tocsr()
    other = adata.copy()
    tg.infomax(other, QUICK, graph="expression")
    assert (other.obsp["expression_connectivities"] != adata.obsp["expression_connectivities"]).nnz == 0


@pytest.mark.parametrize("encoder", ["gcn", "gat"])
def test_the_discriminator_learns(encoder):
    params = tg.InfomaxParams(encoder=encoder, epochs=6, n_components=20, accelerator="cpu")
    _, model = fitted(params)
    untrained = tg.InfomaxParams(encoder=encoder, epochs=1, learning_rate=1e-9, n_components=20)
    assert model.history["val_accuracy"] > 0.9 > fitted(untrained)[1].history["val_accuracy"] + 0.2


@pytest.mark.parametrize("encoder", ["gcn", "gat"])
def test_mixed_precision_learns_too(encoder):
    params = tg.InfomaxParams(encoder=encoder, epochs=6, precision="bf16-mixed", accelerator="cpu")
    adata, model = fitted(params)
    assert model.history["val_accuracy"] > 0.9
    assert adata.obsm["X_infomax"].dtype == np.float32


def test_what_is_written_and_what_is_left_alone():
    before = tissue()
    adata, model = fitted(key_added="X_mine", seed=4)
    assert (adata.X != before.X).nnz == 0
    assert set(adata.obsm) == {"spatial", "X_mine"}
    assert set(adata.obsp) == set(before.obsp)
    assert adata.obsm["X_mine"].shape == (300, 8)
    assert adata.obsm["X_mine"].dtype == np.float32
    record = adata.uns["tissuegraph"]["X_mine"]
    assert "simulated" in adata.uns["tissuegraph"]
    assert record["input"] == "10 principal components of 60 genes, z-scored"
    assert (record["seed"], record["graph"]) == (4, "spatial")
    assert json.loads(record["params"])["dimensions"] == 8
    assert model.history["epochs"] == 2
    assert model.history["stopped_because"] == "all epochs done"


@pytest.mark.parametrize("encoder", ["gcn", "gat"])
@pytest.mark.parametrize("batch_cells", ["auto", 60])
def test_one_seed_gives_the_same_bits_on_any_number_of_threads(encoder, batch_cells):
    params = tg.InfomaxParams(
        encoder=encoder, dimensions=8, hidden=8, epochs=2, batch_cells=batch_cells, accelerator="cpu"
    )
    found, before = [], torch.get_num_threads()
    for seed, threads in ((0, 1), (0, 2), (1, 1)):
        torch.set_num_threads(threads)
        state = torch.random.get_rng_state()
        found.append(fitted(params, seed=seed)[0].obsm["X_infomax"])
        assert torch.equal(state, torch.random.get_rng_state())
    torch.set_num_threads(before)
    assert np.array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])


@pytest.mark.parametrize("where", ["object", "adata", "folder", "h5ad"])
def test_a_model_embeds_its_own_section_as_when_it_was_fitted(where, tmp_path):
    adata, model = fitted(tg.InfomaxParams(encoder="gat", dimensions=8, hidden=8, epochs=1))
    source = {"object": model, "adata": adata, "folder": tmp_path / "model", "h5ad": None}[where]
    if where == "folder":
        model.save(source)
    if where == "h5ad":
        adata.write_h5ad(tmp_path / "cells.h5ad")
        source = read_h5ad(tmp_path / "cells.h5ad")
    again = tissue()
    tg.infomax_transform(source, again)
    np.testing.assert_allclose(again.obsm["X_infomax"], adata.obsm["X_infomax"], rtol=1e-4, atol=1e-4)


def test_a_model_takes_genes_by_name_and_names_those_that_are_missing():
    _, model = fitted()
    turned, straight = tissue(1)[:, ::-1].copy(), tissue(1)
    for adata in (turned, straight):
        model.embed(adata)
    np.testing.assert_allclose(turned.obsm["X_infomax"], straight.obsm["X_infomax"], rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="1 of the 60 genes of the model are missing"):
        model.embed(tissue()[:, 1:].copy())


def test_a_table_of_features_is_taken_as_it_is():
    adata = tissue()
    adata.obsm["X_known"] = np.random.default_rng(0).normal(size=(300, 7))
    model = tg.infomax(adata, QUICK, features="X_known")
    assert adata.uns["tissuegraph"]["X_infomax"]["input"] == "obsm['X_known']"
    assert model.features.of(adata).shape == (300, 7)
    assert np.square(model.features.of(adata)).mean() == pytest.approx(1, rel=1e-5)
    with pytest.raises(InputError, match=r"no embedding in obsm\['X_known'\]"):
        model.embed(tissue())
    other = tissue()
    other.obsm["X_known"] = np.ones((300, 3))
    with pytest.raises(ModelError, match=r"obsm\['X_known'\] has 3 columns, but the model takes 7"):
        model.embed(other)


def test_a_folder_is_not_replaced_unasked_and_a_broken_one_is_named(tmp_path):
    _, model = fitted()
    folder = tmp_path / "model"
    model.save(folder)
    assert tg.load_infomax(folder).params == QUICK
    with pytest.raises(OutputError, match="exists already"):
        model.save(folder)
    model.save(folder, overwrite=True)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"kind": "another"}))
    with pytest.raises(ModelError, match="it is a 'another' of format 1"):
        tg.load_infomax(folder)
    (folder / "model.json").write_text(json.dumps(card))
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ModelError, match="cannot be read"):
        tg.load_infomax(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no model \(model.safetensors is missing\)"):
        tg.load_infomax(folder)
    with pytest.raises(ModelError, match="holds no model"):
        tg.infomax_transform(tissue(), tissue())


def test_cells_without_neighbours_or_counts_are_embedded():
    adata = tissue()
    graph = adata.obsp["spatial_connectivities"].tolil()
    graph[5] = graph[:, 5] = 0
    adata.obsp["spatial_connectivities"] = graph.tocsr()
    counts = adata.X.tolil()
    counts[7] = 0
    adata.X = counts.tocsr()
    for encoder in ("gcn", "gat"):
        fitted(tg.InfomaxParams(encoder=encoder, epochs=1, batch_cells=60), adata)
        assert np.isfinite(adata.obsm["X_infomax"]).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"encoder": "mlp"}, "encoder is 'mlp'; choose one of gcn, gat"),
        ({"dimensions": 0}, "dimensions is 0; give a number from 1"),
        ({"layers": 1.5}, "layers is 1.5; give a whole number"),
        ({"encoder": "gat", "dimensions": 30}, "30 dimensions cannot be shared by 4 heads"),
        ({"batch_cells": 0}, "batch_cells is 0"),
        ({"learning_rate": 0}, "learning_rate is 0"),
    ],
)
def test_parameters_that_make_no_network(wrong, said):
    with pytest.raises(InputError, match=said):
        tg.InfomaxParams(**wrong)


def test_bad_input_is_one_sentence():
    adata = tissue()
    with pytest.raises(InputError, match=r"no graph in obsp\['knn_connectivities'\]"):
        tg.infomax(adata, QUICK, graph="knn")
    with pytest.raises(InputError, match=r"no embedding in obsm\['X_no'\]"):
        tg.infomax(adata, QUICK, features="X_no")
    with pytest.raises(InputError, match="no layer 'raw'"):
        tg.infomax(adata, QUICK, layer="raw")
    with pytest.raises(MachineError, match="unknown accelerator 'abacus'"):
        tg.infomax(adata, tg.InfomaxParams(accelerator="abacus"))
    empty = tissue()
    empty.obsm["X_zero"] = np.zeros((300, 2))
    with pytest.raises(InputError, match="all features are zero"):
        tg.infomax(empty, QUICK, features="X_zero")
