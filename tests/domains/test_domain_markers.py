from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from layered_tissue import NAMES, layered, unlabel
from scipy.stats import false_discovery_control, mannwhitneyu

import tissuegraph as tg
from tissuegraph.errors import InputError


def normalised(adata: ad.AnnData) -> np.ndarray:
    counts = adata.X.toarray().astype(np.float64)
    return np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)


def test_the_planted_markers_come_first_and_the_table_is_kept(tmp_path):
    adata = layered()
    before = adata.X.copy()
    table = tg.domain_markers(adata)
    first = table.groupby("domain", observed=True).first()
    assert list(first.index) == NAMES
    assert list(first["gene"]) == [f"marker_{name}" for name in NAMES]
    assert (first["p_adjusted"] < 1e-10).all()
    assert (first["log2_fold_change"] > 1.5).all()
    assert len(table) == 4 * adata.n_vars
    assert (before != adata.X).nnz == 0
    adata.write_h5ad(tmp_path / "a.h5ad")
    kept = ad.read_h5ad(tmp_path / "a.h5ad").uns["tissuegraph"]["domain_markers"]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), table, check_categorical=False)


@pytest.mark.parametrize("reference", ["rest", "L4"])
def test_scores_are_those_of_the_rank_sum_test(reference):
    adata = layered()
    table = tg.domain_markers(adata, reference=reference)
    assert ("L4" in set(table["domain"])) == (reference == "rest")
    expression, layer = normalised(adata), adata.obs["domain"].to_numpy()
    for domain, part in table.groupby("domain", observed=True):
        inside, outside = layer == domain, layer != domain
        outside = outside if reference == "rest" else layer == reference
        part = part.set_index("gene").loc[adata.var_names]
        for gene in ("marker_L1", "marker_L3", "noise_3", "rare"):
            values = expression[:, adata.var_names.get_loc(gene)]
            plain = mannwhitneyu(values[inside], values[outside], method="asymptotic", use_continuity=False)
            row = part.loc[gene]
            assert row["p_value"] == pytest.approx(plain.pvalue, rel=1e-3, abs=1e-12)
            means = [np.expm1(values[cells].mean()) + 1e-9 for cells in (inside, outside)]
            assert row["log2_fold_change"] == pytest.approx(np.log2(means[0] / means[1]), rel=1e-2, abs=1e-2)
            shares = [(values[cells] > 0).mean() for cells in (inside, outside)]
            assert [row["share_inside"], row["share_outside"]] == pytest.approx(shares)
        assert part["p_adjusted"].to_numpy() == pytest.approx(false_discovery_control(part["p_value"]))


def test_cells_without_a_label_might_as_well_not_be_there():
    adata, other = layered(), layered()
    known = unlabel(adata)
    pd.testing.assert_frame_equal(tg.domain_markers(adata), tg.domain_markers(other[known].copy()))


def test_the_order_of_the_cells_does_not_matter():
    adata = layered()
    order = np.random.default_rng(0).permutation(adata.n_obs)
    there = tg.domain_markers(adata).sort_values(["domain", "gene"], ignore_index=True)
    again = tg.domain_markers(adata[order].copy()).sort_values(["domain", "gene"], ignore_index=True)
    pd.testing.assert_frame_equal(there, again, rtol=1e-4)


def test_counts_in_a_layer_and_normalised_expression_give_the_same():
    adata, other = layered(), layered()
    other.layers["raw"] = other.X
    other.X = normalised(other).astype(np.float32)
    pd.testing.assert_frame_equal(tg.domain_markers(adata), tg.domain_markers(other), rtol=1e-3, atol=1e-6)
    pd.testing.assert_frame_equal(tg.domain_markers(adata), tg.domain_markers(other, layer="raw"))


def test_a_domain_of_one_cell_has_no_markers_and_is_said(caplog):
    adata = layered()
    adata.obs["domain"] = adata.obs["domain"].astype(str)
    adata.obs.iloc[0, adata.obs.columns.get_loc("domain")] = "lonely"
    with caplog.at_level(logging.WARNING):
        table = tg.domain_markers(adata)
    assert "domains of one cell have no markers: lonely" in caplog.text
    assert set(table["domain"]) == set(NAMES)


def test_two_domains_of_which_one_is_a_cell_leave_one_to_rank():
    adata = layered()[:100].copy()
    adata.obs["domain"] = ["lonely"] + ["other"] * 99
    assert set(tg.domain_markers(adata)["domain"]) == {"other"}


def rename_a_gene(adata: ad.AnnData) -> None:
    adata.var_names = ["house", *adata.var_names[1:]]


def one_domain(adata: ad.AnnData) -> None:
    adata.obs["domain"] = "all"


def one_cell_each(adata: ad.AnnData) -> None:
    adata.obs["domain"] = list(map(str, range(adata.n_obs)))


def no_label(adata: ad.AnnData) -> None:
    adata.obs["domain"] = pd.Categorical([None] * adata.n_obs)


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (
            None,
            {"domain_key": "layer"},
            r"no column 'layer' in obs; found: domain; tg.cluster_domains writes",
        ),
        (one_domain, {}, r"obs\['domain'\] names 1 domains; at least 2 are needed"),
        (no_label, {}, r"obs\['domain'\] names 0 domains"),
        (one_cell_each, {}, r"no domain has two cells or more"),
        (
            None,
            {"reference": "L9"},
            r"reference 'L9' is no domain of two cells or more; found: L1, L2, L3, L4",
        ),
        (None, {"layer": "raw"}, r"no layer 'raw'; found: none"),
        (rename_a_gene, {}, r"1 names of genes stand twice, such as house; call adata.var_names_make_unique"),
    ],
)
def test_what_is_asked_wrongly_is_said(spoil, options, message):
    adata = layered()
    if spoil:
        spoil(adata)
    with pytest.raises(InputError, match=message):
        tg.domain_markers(adata, **options)
