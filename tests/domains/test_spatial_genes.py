from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from layered_tissue import NAMES, layered, unlabel
from scipy.stats import false_discovery_control

import tissuegraph as tg
from tissuegraph.domains import spatial_genes
from tissuegraph.errors import InputError


def found_in(table: pd.DataFrame, domain: str | None = None) -> set[str]:
    part = table if domain is None else table[table["domain"] == domain]
    # as counts are scaled to one total, what fills the cells falls where others rise
    return set(part["gene"][part["p_adjusted"] < 0.01]) - {"house"}


def test_a_gradient_is_found_within_every_domain_and_a_shuffled_gene_is_not():
    adata = layered()
    before = adata.X.copy()
    table = tg.spatially_variable_genes(adata)
    assert list(table["domain"].cat.categories) == NAMES
    for domain in NAMES:
        assert found_in(table, domain) == {"gradient"}
    assert "rare" not in set(table["gene"])
    assert (before != adata.X).nnz == 0
    assert adata.uns["tissuegraph"]["domain_spatial_genes"] is table


def test_in_the_whole_tissue_the_markers_of_layers_are_found_too(tmp_path):
    adata = layered()
    table = tg.spatially_variable_genes(adata, None)
    assert found_in(table) == {"gradient", *(f"marker_{name}" for name in NAMES)}
    assert "domain" not in table
    assert (table["score"].diff().dropna() <= 0).all()
    assert table["p_adjusted"].to_numpy() == pytest.approx(false_discovery_control(table["p_value"]))
    shares = dict(zip(table["gene"], table["share_expressed"], strict=True))
    assert shares["noise_0"] == pytest.approx((adata[:, "noise_0"].X.toarray() > 0).mean())
    adata.write_h5ad(tmp_path / "a.h5ad")
    kept = ad.read_h5ad(tmp_path / "a.h5ad").uns["tissuegraph"]["spatial_genes"]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), table)


def test_a_domain_gives_what_its_cells_alone_would_give():
    adata = layered()
    known = unlabel(adata)
    table = tg.spatially_variable_genes(adata)
    part = adata[known & (adata.obs["domain"] == "L3").to_numpy()].copy()
    alone = tg.spatially_variable_genes(part, None)
    there = table[table["domain"] == "L3"].drop(columns="domain").reset_index(drop=True)
    pd.testing.assert_frame_equal(there, alone)


def test_blocks_dense_expression_and_another_order_of_cells_give_the_same(monkeypatch):
    adata = layered()
    plain = tg.spatially_variable_genes(adata, None)
    order = np.random.default_rng(0).permutation(adata.n_obs)
    other = adata[order].copy()
    other.X = other.X.toarray()
    monkeypatch.setattr(spatial_genes, "BLOCK", 3 * adata.n_obs)
    pd.testing.assert_frame_equal(tg.spatially_variable_genes(other, None), plain, rtol=1e-8)


def test_a_batch_is_no_pattern():
    """Gene noise_0 is there in one section only: a difference of sections, not of places."""
    first, second = layered(0), layered(1)
    second = second[:, second.var_names != "house"].copy()
    first = first[:, second.var_names].copy()
    first.X = first.X.toarray()
    first.X[:, list(first.var_names).index("noise_0")] += 4
    second.X = second.X.toarray()
    for part in (first, second):
        part.X = np.log1p(part.X)
    both = ad.concat({"a": first, "b": second}, label="section", index_unique="-")
    tg.spatial_neighbors(both)
    markers = {"gradient", *(f"marker_{name}" for name in NAMES)}
    assert found_in(tg.spatially_variable_genes(both, None)) == markers
    assert "noise_0" in found_in(tg.spatially_variable_genes(both, None, section_key=None))


def test_a_tiny_domain_is_left_out_and_said(caplog):
    adata = layered()
    adata.obs["domain"] = adata.obs["domain"].cat.add_categories(["tiny", "empty"])
    adata.obs.iloc[:3, adata.obs.columns.get_loc("domain")] = "tiny"
    with caplog.at_level(logging.WARNING):
        table = tg.spatially_variable_genes(adata)
    assert "too small, or without an edge inside: tiny" in caplog.text
    assert set(table["domain"]) == set(NAMES)


def test_a_constant_gene_is_not_tested():
    adata = layered()
    adata.X = np.log1p(adata.X.toarray())
    adata.X[:, 0] = 0.1
    assert adata.var_names[0] not in set(tg.spatially_variable_genes(adata, None)["gene"])


def no_graph(adata: ad.AnnData) -> None:
    del adata.obsp["spatial_connectivities"]


def no_edges(adata: ad.AnnData) -> None:
    adata.obs["domain"] = list(map(str, range(adata.n_obs)))


def not_finite(adata: ad.AnnData) -> None:
    adata.X = np.log1p(adata.X.toarray())
    adata.X[0, 0] = np.nan


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (None, {"domain_key": "layer"}, r"no column 'layer' in obs"),
        (no_graph, {}, r"no graph in obsp\['spatial_connectivities'\]; build it first with tg.spatial"),
        (no_edges, {}, r"no domain has an edge and 6 cells of one section"),
        (not_finite, {}, r"X has 1 values that are NaN or infinite"),
        (None, {"section_key": "slide"}, r"no column 'slide' in obs"),
    ],
)
def test_what_is_asked_wrongly_is_said(spoil, options, message):
    adata = layered()
    if spoil:
        spoil(adata)
    with pytest.raises(InputError, match=message):
        tg.spatially_variable_genes(adata, **options)
