from __future__ import annotations

import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse
from sklearn.linear_model import LogisticRegression

import tissuegraph as tg
from tissuegraph.errors import InputError, ModelError

FAST = tg.AnnotateParams(folds=2, epochs=40, patience=8)


def cells(n: int = 400, seed: int = 0, **settings) -> AnnData:
    return tg.simulate.omics(n, 60, seed=seed, **settings)


def hide(adata: AnnData, share: float, seed: int = 0) -> tuple[AnnData, np.ndarray]:
    """A copy with labels on a share of the cells, and which cells have none."""
    copy = adata.copy()
    others = np.random.default_rng(seed).random(adata.n_obs) >= share
    types = copy.obs["cell_type"].astype(object).to_numpy()
    types[others] = np.nan
    copy.obs["given"] = types
    return copy, others


@pytest.fixture(scope="module")
def tissue() -> AnnData:
    adata = tg.simulate.omics(1500, 100, spatial="tissue", counts=60, seed=1)
    tg.spatial_neighbors(adata)
    return adata


@pytest.fixture(scope="module")
def annotated(tissue):
    adata, others = hide(tissue, 0.15)
    return adata, others, tg.annotate(adata, labels="given", params=FAST)


def accuracy(adata: AnnData, rows: np.ndarray, key: str = "cell_type", truth: str = "truth") -> float:
    return float((adata.obs[key].astype(str) == adata.obs[truth].astype(str)).to_numpy()[rows].mean())


def test_neighbours_of_the_same_type_help_and_those_of_any_type_do_not(tissue):
    truth = tissue.obs["cell_type"].astype(str).to_numpy()
    found = {}
    for name in ("tissue", "permuted"):
        adata, others = hide(tissue, 0.1)
        if name == "permuted":
            order = np.random.default_rng(0).permutation(adata.n_obs)
            graph = adata.obsp["spatial_connectivities"]
            adata.obsp["spatial_connectivities"] = graph[order][:, order]
        model = tg.annotate(adata, labels="given", key_added="said", unknown=False, params=FAST)
        found[name] = (adata.obs["said"].astype(str).to_numpy() == truth)[others].mean()
    plain = adata.copy()
    tg.annotate(plain, labels="given", method="logistic", key_added="said", unknown=False, params=FAST)
    alone = (plain.obs["said"].astype(str).to_numpy() == truth)[others].mean()
    assert found["tissue"] > alone + 0.05
    assert abs(found["permuted"] - alone) < 0.03
    assert set(model.scores.index) == {"gat", "logistic regression", "most frequent type"}


def test_held_out_scores_are_those_of_cells_that_were_not_seen(annotated, tissue):
    adata, others, model = annotated
    truth = tissue.obs["cell_type"].astype(str).to_numpy()
    right = (adata.obs["cell_type"].astype(str).to_numpy() == truth)[others]
    assert model.scores.loc["gat", "accuracy"] == pytest.approx(right.mean(), abs=0.08)
    assert model.scores.loc["gat", "cells"] == (~others).sum() == len(model.held_out)
    assert model.by_type["cells"].sum() == (~others).sum()


def test_what_is_written(annotated):
    adata, others, model = annotated
    assert list(adata.obs["cell_type"].cat.categories) == [*model.types, "unknown"]
    table = adata.obsm["cell_type_probabilities"]
    assert list(table.columns) == list(model.types)
    np.testing.assert_allclose(table.sum(1), 1)
    # a labelled cell keeps its label, and the column that is there is kept under another name
    labelled = adata.obs["given"][~others].astype(str)
    assert (adata.obs["cell_type"][~others].astype(str) == labelled).all()
    known = adata.obs["cell_type"] != "unknown"
    top = table.to_numpy()[np.arange(adata.n_obs), np.minimum(adata.obs["cell_type"].cat.codes, 5)]
    np.testing.assert_allclose(adata.obs["cell_type_probability"][known], top[known])
    record = adata.uns["tissuegraph"]["cell_type"]
    assert json.loads(record["params"])["folds"] == 2
    assert record["graph"] == "spatial"
    assert record["scores"].equals(model.scores)


def test_the_given_column_is_filled_and_kept(tissue):
    adata, _ = hide(tissue[:300], 0.5)
    adata.obs["cell_type"] = adata.obs.pop("given")
    tg.annotate(adata, method="logistic", params=FAST)
    assert adata.obs["cell_type"].notna().all()
    assert adata.obs["cell_type_given"].isna().sum() > 100


def test_the_same_seed_gives_the_same_bits_and_another_others():
    adata, _ = hide(cells(), 0.5)
    first, second = adata.copy(), adata.copy()
    for one in (first, second):
        tg.annotate(one, labels="given", params=FAST, seed=3)
    assert first.obs.equals(second.obs)
    other = adata.copy()
    tg.annotate(other, labels="given", params=FAST, seed=4)
    assert not other.obs["cell_type_probability"].equals(first.obs["cell_type_probability"])


def test_unlike_cells_are_unknown_and_alike_ones_are_not():
    distances = pd.DataFrame(np.full((4, 4), 8.0) - 8 * np.eye(4), list("abcd"), list("abcd"))
    adata = tg.simulate.omics(800, 60, distances=distances, seed=0)
    strange = (adata.obs["cell_type"] == "d").to_numpy()
    reference = adata[:400][~strange[:400]].copy()
    query = adata[400:].copy()
    del query.obs["cell_type"]
    tg.annotate(query, reference, params=FAST)
    called = (query.obs["cell_type"] == "unknown").to_numpy()
    assert called[strange[400:]].mean() > 0.95
    assert called[~strange[400:]].mean() < 0.05
    assert query.obs["cell_type_probability"].isna().equals(query.obs["cell_type"] == "unknown")
    tg.annotate(query, reference, params=FAST, unknown=False)
    assert "unknown" not in set(query.obs["cell_type"])


def test_a_saved_model_says_the_same_and_names_single_cells(annotated, tissue, tmp_path):
    adata, others, model = annotated
    model.save(tmp_path / "model")
    loaded = tg.load_annotator(tmp_path / "model")
    for key, value in model.tensors().items():
        assert torch.equal(value, loaded.tensors()[key])
    again = tissue.copy()
    tg.annotate_transform(loaded, again)
    same = again.obs["cell_type"].astype(str) == adata.obs["cell_type"].astype(str)
    assert same[others].mean() > 0.99
    one = tissue[others][:1].copy()
    tg.annotate_transform(loaded, one, key_added="alone")
    assert str(one.obs["alone"].iloc[0]) in (*model.types, "unknown")


def test_along_expression_a_model_joins_new_cells_to_those_it_keeps():
    adata = cells(600, counts=200)
    reference, query = adata[:300].copy(), adata[300:].copy()
    model = tg.annotate(query, reference, params=FAST, key_added="said", unknown=False)
    new = cells(900, counts=200)[600:].copy()
    tg.annotate_transform(model, new, key_added="said", unknown=False)
    assert (new.obs["said"].astype(str) == new.obs["cell_type"].astype(str)).mean() > 0.5
    single = new[:1].copy()
    tg.annotate_transform(model, single, key_added="alone", unknown=False)
    assert single.obsm["alone_probabilities"].to_numpy().sum() == pytest.approx(1)


def test_average_profiles_are_a_reference():
    adata = cells(500, counts=300)
    shares = np.asarray(adata.X.todense())
    types = adata.obs["cell_type"].astype(str)
    profiles = pd.DataFrame(shares, columns=adata.var_names).groupby(types.to_numpy()).mean()
    query = adata.copy()
    # a platform that sees some genes worse
    dim = np.random.default_rng(0).uniform(0.2, 1, adata.n_vars)
    thinned = np.random.default_rng(1).binomial(shares.astype(int), dim)
    query.X = sparse.csr_matrix(thinned.astype(np.float32))
    tg.annotate(query, profiles, key_added="said", params=FAST, unknown=False)
    right = (query.obs["said"].astype(str) == types).mean()
    assert right > 0.6
    query.X = query.X.multiply(0.5).tocsr()
    with pytest.raises(InputError, match="average profiles need counts"):
        tg.annotate(query, profiles, key_added="said")


def test_genes_are_matched_by_ids_and_wrong_species_is_named(caplog):
    adata = cells(200, counts=100)
    reference, query = adata[:100].copy(), adata[100:].copy()
    ids = [f"ENSG{i:011d}" for i in range(adata.n_vars)]
    symbols = [f"ABC{i}" for i in range(adata.n_vars)]
    reference.var_names, query.var_names = pd.Index([f"{name}.3" for name in ids]), pd.Index(symbols)
    with pytest.raises(InputError, match=r"symbols in upper case .* Ensembl ids .* put the other's kind"):
        tg.annotate(query, reference)
    query.var["gene_ids"] = ids
    model = tg.annotate(query, reference, method="logistic", params=FAST)
    assert len(model.genes) == adata.n_vars
    assert model.genes[0] == "ABC0"
    mouse = query.copy()
    del mouse.var["gene_ids"]
    mouse.var_names = pd.Index([f"Abc{'abcdefghij'[i % 10]}{i}" for i in range(adata.n_vars)])
    human = reference.copy()
    human.var_names = mouse.var_names.str.upper()
    with pytest.raises(InputError, match="mouse and human"):
        tg.annotate(mouse, human)
    reference.var_names = pd.Index([*symbols[:20], *(f"other{i}" for i in range(adata.n_vars - 20))])
    del query.var["gene_ids"]
    with caplog.at_level(logging.WARNING):
        tg.annotate(query, reference, method="logistic", params=FAST)
    assert "only 20 of 60 genes are shared" in caplog.text


def test_counts_and_logged_values_are_brought_to_one_scale(caplog):
    adata = cells(400, counts=200)
    reference, query = adata[:200].copy(), adata[200:].copy()
    counts = np.asarray(reference.X.todense())
    reference.X = np.log1p(counts / counts.sum(1, keepdims=True) * 3_000).astype(np.float32)
    with caplog.at_level(logging.WARNING):
        model = tg.annotate(query, reference, method="logistic", params=FAST)
    assert model.scale.total == pytest.approx(3_000, rel=1e-3)
    assert "counts are scaled to 3000" in caplog.text
    reference.X = reference.X - reference.X.mean(0)
    with pytest.raises(InputError, match="the query holds counts expression and the reference scaled"):
        tg.annotate(query, reference)


def test_a_deep_reference_is_thinned_to_the_depth_of_the_query(caplog):
    deep = cells(1500, counts=5_000)
    shallow = deep[750:].copy()
    rng = np.random.default_rng(0)
    shallow.X = sparse.csr_matrix(rng.binomial(shallow.X.toarray().astype(int), 0.01).astype(np.float32))
    with caplog.at_level(logging.INFO, "tissuegraph"):
        tg.annotate(shallow, deep[:750].copy(), method="logistic", params=FAST, key_added="said")
    assert "thinned" in caplog.text
    right = (shallow.obs["said"].astype(str) == shallow.obs["cell_type"].astype(str)).mean()
    x, y = np.log1p(deep.X[:750].toarray()), deep.obs["cell_type"][:750].astype(str)
    naive = LogisticRegression(max_iter=300).fit(x, y).predict(np.log1p(shallow.X.toarray()))
    assert right > (naive == shallow.obs["cell_type"].astype(str)).mean()


def test_explanations(annotated):
    adata, _, model = annotated
    table = tg.gene_importance(model)
    assert table.shape == (6, 100)
    np.testing.assert_allclose(table.sum(0), 0, atol=1e-5)
    tg.neighbor_importance(model, adata)
    attention = adata.obsp["cell_type_attention"]
    np.testing.assert_allclose(attention.sum(1), 1, atol=1e-5)
    graph = adata.obsp["spatial_connectivities"]
    assert attention.nnz == graph.nnz + adata.n_obs
    cell = adata.obs_names[7]
    found = tg.explain_cell(model, adata, cell)
    assert set(found.neighbors.index) == set(adata.obs_names[graph[7].indices])
    assert set(found.genes.index) == set(model.genes)
    with pytest.raises(InputError, match="no cell 'nobody'"):
        tg.explain_cell(model, adata, "nobody")


def bad_inputs():
    def one(change, message, **settings):
        return pytest.param(change, settings, message, id=message[:30])

    def nan(adata):
        adata.X = adata.X.astype(np.float32)
        adata.X[0, 0] = np.nan

    def one_type(adata):
        adata.obs["given"] = ["a"] * 10 + [np.nan] * (adata.n_obs - 10)

    def nothing(adata):
        return None

    yield one(nothing, "method is 'svm'; choose one of gat, gcn, logistic", method="svm")
    yield one(nothing, "no column 'nope' in obs", labels="nope")
    yield one(nothing, "no graph in obsp\\['spatial_connectivities'\\]", graph="spatial")
    yield one(nan, "1 values that are NaN or infinite")
    yield one(one_type, "names 1 types; two or more are needed")


@pytest.mark.parametrize(("change", "settings", "message"), bad_inputs())
def test_bad_input_is_told(change, settings, message):
    adata, _ = hide(cells(60), 0.5)
    change(adata)
    with pytest.raises(InputError, match=message):
        tg.annotate(adata, **{"labels": "given", **settings})


@pytest.mark.parametrize(
    ("name", "value"), [("hidden", 30), ("class_weights", "some"), ("folds", 1), ("dropout", 1.0)]
)
def test_parameters_that_make_no_classifier_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        tg.AnnotateParams(**{name: value})


def test_a_broken_model_is_told(annotated, tmp_path):
    model = annotated[2]
    with pytest.raises(ModelError, match=r"holds no model \(model.json is missing\)"):
        tg.load_annotator(tmp_path)
    model.save(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read"):
        tg.load_annotator(tmp_path / "model")


def test_types_of_few_cells_do_not_break_it():
    adata, _ = hide(cells(200), 0.6)
    labels = adata.obs["given"].to_numpy().copy()
    labels[0] = "a lone one"
    adata.obs["given"] = labels
    model = tg.annotate(adata, labels="given", params=FAST)
    assert "a lone one" in model.types
    assert np.isfinite(adata.obsm["cell_type_probabilities"].to_numpy()).all()
