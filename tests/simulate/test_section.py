"""Simulated sections: what is asked for is what comes out, and the same seed gives the same bits."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tissuegraph as tg
from tissuegraph.cli import main
from tissuegraph.errors import InputError, OutputError
from tissuegraph.simulate.sections import counts

FEW = {"cells": 400, "genes": 60}


def same(one: ad.AnnData, other: ad.AnnData) -> bool:
    return (
        (one.X != other.X).nnz == 0
        and np.array_equal(one.obsm["spatial"], other.obsm["spatial"])
        and np.array_equal(one.layers["expected"], other.layers["expected"])
        and one.obs.equals(other.obs)
    )


def test_one_seed_gives_the_same_bits_and_another_another_tissue():
    one, again, other = (tg.simulate.section(seed=seed, **FEW) for seed in (3, 3, 4))
    assert same(one, again)
    assert not same(one, other)


@settings(max_examples=15, deadline=None)
@given(
    cells=st.integers(1, 80),
    domains=st.integers(1, 7),
    types=st.integers(1, 5),
    samples=st.integers(1, 3),
    sections=st.integers(1, 3),
    thin=st.sampled_from([0.0, 2.0]),
    rare=st.sampled_from([0.0, 0.1]),
    lattice=st.sampled_from(["irregular", "hexagonal"]),
)
def test_whatever_is_asked_for_makes_whole_sections(
    cells, domains, types, samples, sections, thin, rare, lattice
):
    adata = tg.simulate.section(
        cells=cells,
        genes=8,
        domains=domains,
        types=types,
        samples=samples,
        sections=sections,
        thin_width=thin,
        rare_share=rare,
        lattice=lattice,
    )
    assert adata.n_obs == cells * samples * sections
    assert (adata.obs["section"].value_counts() == cells).all()
    assert adata.obs["sample"].nunique() == samples
    assert len(adata.obs["domain"].cat.categories) == domains + bool(thin) + bool(rare)
    assert adata.obsm["spatial"].shape[1] == (3 if sections > 1 else 2)
    assert np.isfinite(adata.obsm["spatial"]).all()
    assert (adata.X.data >= 1).all()
    assert (adata.X.data == np.rint(adata.X.data)).all()
    np.testing.assert_allclose(adata.layers["expected"].sum(1), 10_000, rtol=1e-4)


def test_counts_are_drawn_around_what_is_expected():
    adata = tg.simulate.section(cells=4000, genes=40, counts_per_cell=200, depth_variation=0.2)
    assert adata.X.sum(1).mean() == pytest.approx(200, rel=0.03)
    ratio = np.asarray(adata.X.mean(0)).ravel() / (adata.layers["expected"].mean(0) / 50)
    abundant = adata.layers["expected"].mean(0) > 50
    np.testing.assert_allclose(ratio[abundant], 1, atol=0.15)


def test_counts_vary_as_a_negative_binomial_does():
    flat = {"domains": 1, "types": 1, "domain_fold": 1, "marker_fold": 1, "gradient": 0, "depth_variation": 0}
    adata = tg.simulate.section(cells=20_000, genes=20, counts_per_cell=200, gene_dispersion=0.5, **flat)
    table = adata.X.toarray()
    mean, variance = table.mean(0), table.var(0)
    np.testing.assert_allclose(variance, mean + 0.5 * mean**2, rtol=0.1)


def test_layers_follow_each_other_and_neighbours_mix():
    adata = tg.simulate.section(seed=1, cells=2000, genes=10, domains=5)
    order = list(adata.uns["tissuegraph"]["simulated"]["layer_order"])
    assert order == list(adata.obs["domain"].cat.categories)
    number = adata.obs["domain"].cat.codes
    assert np.array_equal(adata.obs["depth"].groupby(number).min().sort_values().index, range(5))
    assert (adata.obs.groupby("domain", observed=True)["depth"].max().to_numpy()[:-1] < 0.99).all()
    # who lies next to each other is of the same layer or of the next
    near = cKDTree(adata.obsm["spatial"]).query(adata.obsm["spatial"], 2)[1][:, 1]
    assert (abs(number.to_numpy() - number.to_numpy()[near]) <= 1).mean() > 0.99
    types = adata.obs.groupby("domain", observed=True)["cell_type"].nunique()
    assert (types > 4).all()


def test_thin_and_rare_have_their_size():
    adata = tg.simulate.section(seed=2, cells=3000, genes=10, thin_width=3, rare_share=0.02, samples=2)
    share = adata.obs.groupby("sample", observed=True)["domain"].value_counts().unstack()
    assert (share["rare"] == 60).all()
    thin = adata.obsm["spatial"][(adata.obs["domain"] == "thin") & (adata.obs["sample"] == "sample 1")]
    length = np.linalg.norm(np.ptp(thin, axis=0))
    area = len(thin) * 15**2 * np.sqrt(0.75)
    assert area / length == pytest.approx(3 * 15, rel=0.35)


def test_spots_lie_on_a_lattice_that_the_graph_knows():
    adata = tg.simulate.section(lattice="hexagonal", spacing=100, cells_per_spot=6, **FEW)
    tg.spatial_neighbors(adata)
    degrees = np.diff(adata.obsp["spatial_connectivities"].indptr)
    assert (degrees == 6).all()
    distance = cKDTree(adata.obsm["spatial"]).query(adata.obsm["spatial"], 2)[0][:, 1]
    np.testing.assert_allclose(distance, 100)


def test_sections_of_a_sample_are_shifted_but_continue_each_other():
    still, moved = (tg.simulate.section(seed=5, sections=4, shift=shift, **FEW) for shift in (0, 30))
    z = still.obsm["spatial"][:, 2]
    assert sorted(set(z)) == [0, 20, 40, 60]
    apart = (moved.obsm["spatial"] - still.obsm["spatial"])[::400]
    assert (np.abs(apart[:, :2]) > 1).any(1).all()
    first, second = (still[still.obs["section"] == f"sample 1, section {i}"] for i in (1, 2))
    near = cKDTree(first.obsm["spatial"][:, :2]).query(second.obsm["spatial"][:, :2])[1]
    same_domain = first.obs["domain"].to_numpy()[near] == second.obs["domain"].to_numpy()
    assert same_domain.mean() > 0.85


def test_batch_effects_are_in_the_counts_and_not_in_what_is_expected():
    adata = tg.simulate.section(
        seed=1, samples=2, cells=3000, genes=30, batch_effect=1.0, counts_per_cell=500
    )
    one, other = (adata[adata.obs["sample"] == name] for name in adata.obs["sample"].cat.categories)
    seen = np.log(np.asarray(one.X.mean(0)) / np.asarray(other.X.mean(0))).ravel()
    true = np.log(one.layers["expected"].mean(0) / other.layers["expected"].mean(0))
    assert true.std() < 0.4
    assert (seen - true).std() > 0.8


def test_one_cell_does_not_give_its_domain_away():
    """The sections are no easy ones: counts and type of a cell say something of its domain, but little."""
    adata = tg.simulate.section(cells=2000, genes=300)
    domain = adata.obs["domain"].astype(str)
    table = np.log1p(np.asarray(adata.X.toarray() / adata.X.sum(1)) * 1e4)
    guessed = cross_val_predict(
        make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()), table, domain, cv=3
    )
    assert 0.05 < adjusted_rand_score(domain, guessed) < 0.5
    assert 0.05 < adjusted_rand_score(domain, adata.obs["cell_type"]) < 0.35


def test_blocks_leave_no_seam(monkeypatch):
    monkeypatch.setattr(counts, "ENTRIES_AT_A_TIME", 600)
    adata = tg.simulate.section(**FEW)
    assert adata.n_obs == 400
    np.testing.assert_allclose(adata.layers["expected"].sum(1), 10_000, rtol=1e-4)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"cells": 0}, "cells is 0; give a number from 1"),
        ({"cells": 2.5}, "cells is 2.5; give a whole number"),
        ({"rare_share": 0.9}, "rare_share is 0.9"),
        ({"lattice": "square"}, "lattice is 'square'; choose one of irregular, hexagonal"),
        ({"batch_effect": float("nan")}, "batch_effect is nan"),
        ({"colour": 1}, "no setting 'colour'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_that_make_no_section(setting, said):
    with pytest.raises(InputError, match=said):
        tg.simulate.section(**setting)


def test_the_command_writes_what_the_function_makes(tmp_path, capsys):
    out = tmp_path / "deep" / "section.h5ad"
    line = ["simulate", "section", str(out), "--cells", "300", "--genes", "20", "--rare-share", "0.05"]
    assert main([*line, "--seed", "7"]) == 0
    written = ad.read_h5ad(out)
    made = tg.simulate.section(cells=300, genes=20, rare_share=0.05, seed=7)
    assert same(written, made)
    assert json.loads(written.uns["tissuegraph"]["simulated"]["params"])["rare_share"] == 0.05
    assert main(line) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*line, "--overwrite", "--skip-expected"]) == 0
    assert "expected" not in ad.read_h5ad(out).layers


def test_a_name_that_is_no_h5ad_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"ends with \.h5ad"):
        tg.simulate.write_section(tmp_path / "section.csv")
    (tmp_path / "a.h5ad").mkdir()
    with pytest.raises(OutputError):
        tg.simulate.write_section(tmp_path / "a.h5ad", overwrite=True, **FEW)
