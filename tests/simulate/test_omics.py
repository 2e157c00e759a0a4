"""Simulated omics: types lie where they were asked to lie, and what can be told of a cell is known."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score

import tissuegraph as tg
from tissuegraph.cli import main
from tissuegraph.errors import InputError, OutputError
from tissuegraph.simulate.clusters.distances import centres_at


def record(adata: ad.AnnData) -> dict:
    return adata.uns["tissuegraph"]["simulated"]


def dense(adata: ad.AnnData) -> np.ndarray:
    return adata.X if isinstance(adata.X, np.ndarray) else adata.X.toarray()


def same(one: ad.AnnData, other: ad.AnnData) -> bool:
    return (
        np.array_equal(dense(one), dense(other))
        and one.obs.equals(other.obs)
        and one.obsm.keys() == other.obsm.keys()
        and all(np.array_equal(one.obsm[key], other.obsm[key]) for key in one.obsm)
    )


def right(adata: ad.AnnData) -> float:
    """How often a linear classifier is right on cells that it has not seen."""
    guess = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return float(cross_val_score(guess, adata.X, adata.obs["cell_type"], cv=4).mean())


@st.composite
def distances(draw) -> np.ndarray:
    """Between points in up to four dimensions, some of them at one place or on a line."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    points = rng.integers(-3, 4, (draw(st.integers(1, 9)), draw(st.integers(1, 4)))) * 1.0
    points *= draw(st.sampled_from([1e-3, 1.0, 1e4]))
    return cdist(points, points)


@settings(max_examples=60, deadline=None)
@given(distances())
def test_centres_have_the_given_distances(table):
    centres = centres_at(table)
    np.testing.assert_allclose(cdist(centres, centres), table, rtol=1e-9, atol=1e-7 * table.max(initial=1e-9))
    assert centres.shape[1] < max(len(table), 2)


def test_what_is_recorded_are_the_centres_of_the_cells_and_their_distances():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(7, 3))
    table = cdist(points, points)
    adata = tg.simulate.omics(500, 60, table, spread=0.0, noise=0.0)
    centres = record(adata)["centres"]
    np.testing.assert_allclose(cdist(centres, centres), table, atol=1e-12)
    kind = adata.obs["cell_type"].cat.codes.to_numpy()
    np.testing.assert_array_equal(adata.obsm["latent"], centres[kind])
    np.testing.assert_array_equal(adata.obsm["posterior"].argmax(1), kind)
    # features are a turn of the factors, drawn out by sqrt(features / factors)
    means = np.array([adata.X[kind == k].mean(0) for k in range(7)])
    np.testing.assert_allclose(cdist(means, means), table * np.sqrt(60 / 10), rtol=1e-5)


def test_spread_and_noise_are_standard_deviations():
    adata = tg.simulate.omics(20_000, 40, spread=0.7, noise=0.4, seed=1)
    away = adata.obsm["latent"] - record(adata)["centres"][adata.obs["cell_type"].cat.codes]
    np.testing.assert_allclose(away.std(0), 0.7, rtol=0.03)
    fit = np.linalg.lstsq(adata.obsm["latent"], adata.X.astype(float), rcond=None)
    np.testing.assert_allclose(np.sqrt(fit[1] / adata.n_obs), 0.4, rtol=0.03)


@pytest.mark.parametrize(("distance", "spread"), [(1.0, 1.0), (2.5, 1.0), (3.0, 2.0)])
def test_the_accuracy_of_the_best_guess_between_two_types(distance, spread):
    adata = tg.simulate.omics(4000, 30, [[0, distance], [distance, 0]], spread)
    best = norm.cdf(distance / (2 * spread))
    assert record(adata)["bayes_accuracy"] == pytest.approx(best, abs=0.003)
    guess = adata.obs["cell_type"].cat.categories[adata.obsm["posterior"].argmax(1)]
    assert (guess == adata.obs["cell_type"]).mean() == pytest.approx(best, abs=0.02)
    # noise on 30 features that show 10 factors adds a third of its variance
    through_noise = norm.cdf(distance / (2 * np.sqrt(spread**2 + 1 / 3)))
    assert record(adata)["bayes_accuracy_features"] == pytest.approx(through_noise, abs=0.003)


@pytest.mark.parametrize("n_features", [4, 60])
def test_no_classifier_beats_what_features_tell_and_a_linear_one_comes_near(n_features):
    adata = tg.simulate.omics(3000, n_features, shares=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1], seed=2)
    best = record(adata)["bayes_accuracy_features"]
    assert best < record(adata)["bayes_accuracy"]
    assert right(adata) == pytest.approx(best, abs=0.025)


def test_posterior_is_calibrated():
    adata = tg.simulate.omics(20_000, 2, shares=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    posterior = adata.obsm["posterior"]
    np.testing.assert_allclose(posterior.sum(1), 1)
    likely = (posterior[:, 0] > 0.4) & (posterior[:, 0] < 0.6)
    true = (adata.obs["cell_type"] == "type 1")[likely].mean()
    assert true == pytest.approx(posterior[likely, 0].mean(), abs=0.04)


def test_the_default_types_overlap():
    adata = tg.simulate.omics(10)
    assert 0.75 < record(adata)["bayes_accuracy"] < 0.9
    assert len(adata.obs["cell_type"].cat.categories) == 6


@settings(max_examples=15, deadline=None)
@given(
    n_samples=st.integers(1, 40),
    n_features=st.integers(1, 30),
    n_types=st.integers(3, 12),
    counts=st.sampled_from([None, 50.0]),
    second=st.sampled_from([None, 5]),
    spatial=st.sampled_from(["none", "random"]),
)
def test_one_seed_gives_the_same_bits_and_another_others(
    n_samples, n_features, n_types, counts, second, spatial
):
    asked = {"n_types": n_types, "counts": counts, "second_features": second, "spatial": spatial}
    one, again, other = (tg.simulate.omics(n_samples, n_features, seed=seed, **asked) for seed in (5, 5, 6))
    pairs = zip(one, again, strict=True) if second else [(one, again)]
    assert all(same(*pair) for pair in pairs)
    first = one[0] if second else one
    assert not same(first, other[0] if second else other)
    assert first.shape == (n_samples, n_features)
    assert first.X.dtype == np.float32
    assert ("spatial" in first.obsm) == (spatial != "none")


def test_features_stay_when_cells_get_places():
    one, other = (tg.simulate.omics(50, 9, spatial=spatial) for spatial in ("none", "random"))
    assert np.array_equal(one.X, other.X)


def test_counts_are_whole_and_as_many_as_asked_for():
    adata = tg.simulate.omics(3000, 50, counts=120.0)
    assert (adata.X.data == np.rint(adata.X.data)).all()
    totals = np.asarray(adata.X.sum(1)).ravel()
    assert totals.mean() == pytest.approx(120, rel=0.02)
    assert totals.var() == pytest.approx(120 + 120**2 * np.expm1(0.3**2), rel=0.1)
    log_counts = np.log1p(adata.X.toarray())
    assert right(ad.AnnData(log_counts, obs=adata.obs)) > 0.5


@pytest.mark.parametrize("asked", [0.4, 0.7])
@pytest.mark.parametrize("patch", [30.0, 60.0])
def test_in_tissue_neighbours_share_types_as_often_as_asked(asked, patch):
    shares = [0.3, 0.3, 0.1, 0.1, 0.1, 0.1]
    adata = tg.simulate.omics(3000, 2, shares=shares, spatial="tissue", same_neighbors=asked, patch=patch)
    near = cKDTree(adata.obsm["spatial"]).query(adata.obsm["spatial"], 7)
    kind = adata.obs["cell_type"].cat.codes.to_numpy()
    assert (kind[near[1][:, 1:]] == kind[:, None]).mean() == pytest.approx(asked, abs=0.02)
    assert np.median(near[0][:, 1:]) == pytest.approx(15, rel=0.1)
    np.testing.assert_allclose(np.bincount(kind) / 3000, shares, atol=0.03)
    # which place a cell has in the table says nothing of where it lies
    assert abs(np.corrcoef(np.arange(3000), adata.obsm["spatial"][:, 0])[0, 1]) < 0.06


def test_at_random_places_neighbours_share_types_by_chance():
    adata = tg.simulate.omics(3000, 2, spatial="random")
    near = cKDTree(adata.obsm["spatial"]).query(adata.obsm["spatial"], 7)[1][:, 1:]
    kind = adata.obs["cell_type"].cat.codes.to_numpy()
    assert (kind[near] == kind[:, None]).mean() == pytest.approx(1 / 6, abs=0.02)


def test_two_omics_together_tell_more_than_either_alone():
    rna, protein = tg.simulate.omics(2000, 100, second_features=40, seed=3)
    assert rna.obs.equals(protein.obs)
    assert np.array_equal(rna.obsm["latent"], protein.obsm["latent"])
    assert set(record(rna)["factors"]).isdisjoint(record(protein)["factors"])
    both = ad.AnnData(np.hstack([rna.X, protein.X]), obs=rna.obs)
    alone = [right(rna), right(protein)]
    for adata, accuracy in zip((rna, protein), alone, strict=True):
        assert accuracy == pytest.approx(record(adata)["bayes_accuracy_seen"], abs=0.05)
    assert right(both) > max(alone) + 0.1


def test_some_types_are_parted_in_one_omics_only():
    rna, protein = tg.simulate.omics(10, second_features=5)
    centres = record(rna)["centres"]
    apart = [
        np.linalg.norm((centres[0::2] - centres[1::2])[:, factors], axis=1)
        for factors in (record(rna)["factors"], record(protein)["factors"])
    ]
    np.testing.assert_allclose(apart, [[2.5, 0, 2.5], [0, 2.5, 0]], atol=1e-9)


def test_a_data_frame_names_the_types():
    names = ["T cell", "B cell"]
    table = pd.DataFrame([[0, 3.0], [3.0, 0]], names, names)
    assert list(tg.simulate.omics(10, 5, table).obs["cell_type"].cat.categories) == names
    with pytest.raises(InputError, match="have not the same names"):
        tg.simulate.omics(10, 5, table.set_axis(names[::-1], axis=1))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"distances": [[0, 1], [2, 0]]}, r"distances\[0, 1\] is 1 but distances\[1, 0\] is 2; give a symm"),
        ({"distances": [[0, -1], [-1, 0]]}, r"distances\[0, 1\] is -1; give distances of 0 or more"),
        ({"distances": [[0, np.nan], [np.nan, 0]]}, "is nan; give a finite number"),
        ({"distances": [[1, 2], [2, 0]]}, r"distances\[0, 0\] is 1; a type is at distance 0 from itself"),
        ({"distances": [[0, 1, 2], [1, 0, 2]]}, r"shape \(2, 3\)"),
        ({"distances": [["a"]]}, "no table of numbers"),
        ({"distances": [[0, 1, 5], [1, 0, 1], [5, 1, 0]]}, r"\[0, 2\] is 5, but the way over type 1 is 2"),
        # a star: its tips are 2 apart over the middle, which no four points in space are
        (
            {"distances": [[0, 1, 1, 1], [1, 0, 2, 2], [1, 2, 0, 2], [1, 2, 2, 0]]},
            "no points have these distances",
        ),
        ({"distances": [[0, 1], [1, 0]], "n_types": 3}, "n_types is 3, but distances are between 2"),
        ({"shares": [1, 1]}, "2 shares for 6 types"),
        ({"shares": [1, 1, 1, 1, 1, -1]}, "give numbers of 0 or more"),
        ({"latent_factors": 4}, "latent_factors is 4, but these distances need 5"),
        ({"n_types": 2, "second_features": 9}, "a second omics would see nothing"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"n_features": 2.5}, "n_features is 2.5; give a whole number"),
        ({"spread": -1}, "spread is -1"),
        ({"counts": 0}, "counts is 0"),
        ({"spatial": "brain"}, "spatial is 'brain'; choose one of none, random, tissue"),
        (
            {"spatial": "tissue", "same_neighbors": 0.99, "n_samples": 100},
            "same_neighbors is 0.99, but pa",
        ),
        ({"spatial": "tissue", "same_neighbors": 0.01}, "same_neighbors is 0.01, but by chance"),
        ({"colour": 1}, "no setting 'colour'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_makes_no_omics(asked, said):
    with pytest.raises(InputError, match=said):
        tg.simulate.omics(**asked)


def test_the_command_writes_what_the_function_makes(tmp_path, capsys):
    names = ["a", "b", "c"]
    table = pd.DataFrame([[0, 2.0, 3], [2, 0, 3], [3, 3, 0]], names, names)
    table.to_csv(tmp_path / "distances.csv")
    out = tmp_path / "deep" / "omics.h5ad"
    line = ["simulate", "omics", str(out), "--n-samples", "40", "--n-features", "7", "--second-features", "3"]
    line += ["--distances", str(tmp_path / "distances.csv"), "--counts", "30"]
    assert main([*line, "--seed", "7"]) == 0
    made = tg.simulate.omics(40, 7, table, counts=30.0, second_features=3, seed=7)
    for file, adata in zip((out, out.with_name("omics_second.h5ad")), made, strict=True):
        written = ad.read_h5ad(file)
        assert same(written, adata)
        np.testing.assert_array_equal(record(written)["centres"], record(adata)["centres"])
        assert json.loads(record(written)["params"])["n_features"] == 7
    assert main(line) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["simulate", "omics", str(out), "--overwrite", "--distances", str(tmp_path / "no.csv")]) == 2
    assert "cannot read distances" in capsys.readouterr().err


def test_a_name_that_is_no_h5ad_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"ends with \.h5ad"):
        tg.simulate.write_omics(tmp_path / "omics.csv")
    (tmp_path / "a.h5ad").mkdir()
    with pytest.raises(OutputError):
        tg.simulate.write_omics(tmp_path / "a.h5ad", overwrite=True)
