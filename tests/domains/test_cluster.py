"""Domains of a tissue of stripes, whose embedding is known."""

from __future__ import annotations

import os
import stat
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

import tissuegraph as tg
from tissuegraph.clustering import communities, consensus, mixture, partition, stability
from tissuegraph.clustering.mixture import climb, fit_mixture
from tissuegraph.domains.refine import refine_labels
from tissuegraph.errors import InputError, MachineError
from tissuegraph.graph.averages import average_over_neighbours

WIDTHS = [3, 5, 7, 9]  # of the stripes, in columns of a lattice


def stripes(noise: float = 1.0, seed: int = 0, rows: int = 24) -> ad.AnnData:
    """Stripes of four widths on a square lattice; each has its own centre in eight dimensions.

    | 1 1 1 | 2 2 2 2 2 | 3 3 3 3 3 3 3 | 4 ...
    """
    generator = np.random.default_rng(seed)
    stripe = np.tile(np.repeat(np.arange(4), WIDTHS), rows)
    column, row = np.tile(np.arange(24), rows), np.repeat(np.arange(rows), 24)
    n = len(stripe)
    adata = ad.AnnData(sparse.csr_matrix((n, 1)), obs=pd.DataFrame(index=[f"c{i:04d}" for i in range(n)]))
    adata.obs["stripe"] = stripe
    adata.obsm["spatial"] = np.stack([column, row], 1).astype(float)
    centres = 2.5 * np.eye(8)[:4]
    adata.obsm["X_stagate"] = (centres[stripe] + generator.normal(0, noise, (n, 8))).astype(np.float32)
    tg.spatial_neighbors(adata)
    return adata


def score(adata: ad.AnnData, key: str = "domain") -> float:
    return adjusted_rand_score(adata.obs["stripe"], adata.obs[key])


def graph(edges: list[tuple[int, int]], n: int) -> sparse.csr_matrix:
    rows, columns = np.array(edges).T
    return sparse.csr_matrix((np.ones(len(edges)), (rows, columns)), (n, n))


# ---- the whole


@pytest.mark.parametrize("method", ["gmm", "leiden", "louvain"])
def test_the_stripes_are_found(method):
    if method != "gmm":
        pytest.importorskip("igraph")
    adata = stripes()
    tg.cluster_domains(adata, 4, method)
    assert score(adata) > 0.9
    record = adata.uns["tissuegraph"]["domain"]
    assert (record["method"], record["n_domains"], record["seed"]) == (method, 4, 0)


def test_names_go_by_size_and_are_categories():
    adata = stripes()
    tg.cluster_domains(adata, 4, refine=False)
    domain = adata.obs["domain"]
    assert list(domain.cat.categories) == ["1", "2", "3", "4"]
    assert (np.diff(domain.value_counts()[["1", "2", "3", "4"]]) <= 0).all()
    assert (domain == adata.obs["domain_raw"]).all()


def test_the_same_again_and_the_same_in_another_order():
    first, again = stripes(2.0), stripes(2.0)
    for adata in (first, again):
        tg.cluster_domains(adata, 4)
    assert (first.obs["domain"] == again.obs["domain"]).all()
    order = np.random.default_rng(1).permutation(first.n_obs)
    other = stripes(2.0)[order].copy()
    tg.cluster_domains(other, 4)
    for key in ("domain", "domain_raw"):
        assert (other.obs[key].to_numpy() == first.obs[key].to_numpy()[order]).all()


def test_seeds_find_the_same_likeliest_mixture():
    found = []
    for seed in range(3):
        adata = stripes(1.5)
        tg.cluster_domains(adata, 4, seed=seed)
        found.append(adata.obs["domain"].astype(str))
    assert min(adjusted_rand_score(found[0], other) for other in found[1:]) > 0.97


def test_refinement_follows_the_neighbours_and_keeps_the_raw_labels():
    adata = stripes(1.6)
    tg.cluster_domains(adata, 4, smooth=0)
    assert score(adata) > score(adata, "domain_raw") + 0.05


def test_averaging_over_neighbours_helps():
    adata = stripes(2.0)
    for smooth in (0, 1):
        tg.cluster_domains(adata, 4, smooth=smooth, refine=False, key_added=f"smooth{smooth}")
    assert score(adata, "smooth1") > score(adata, "smooth0") + 0.1


def test_sections_share_their_names():
    adata = ad.concat({"a": stripes(seed=0), "b": stripes(seed=1)}, label="section", index_unique="-")
    tg.spatial_neighbors(adata)
    tg.cluster_domains(adata, 4)
    assert score(adata) > 0.95
    assert (adata.obs.groupby("section", observed=True)["domain"].nunique() == 4).all()


def test_large_tissue_is_fitted_on_a_sample(monkeypatch):
    monkeypatch.setattr(partition, "SAMPLE", 150)
    monkeypatch.setattr(partition, "LARGE_SAMPLE", 300)
    adata = stripes()
    tg.cluster_domains(adata, 4)
    assert score(adata) > 0.9


def test_a_large_tissue_takes_its_communities_from_a_sample(monkeypatch):
    pytest.importorskip("igraph")
    monkeypatch.setattr(partition, "SAMPLE", 200)
    adata = stripes()
    tg.cluster_domains(adata, 4, "leiden")
    assert score(adata) > 0.9


def test_several_seeds_and_embeddings_are_joined():
    adata = stripes(2.0)
    generator = np.random.default_rng(5)
    names = [f"X_{i}" for i in range(6)]
    for name in names:
        adata.obsm[name] = adata.obsm["X_stagate"] + generator.normal(0, 1.5, (adata.n_obs, 8))
        tg.cluster_domains(adata, 4, use_rep=name, key_added=name)
    tg.cluster_domains(adata, 4, use_rep=names, n_seeds=2, key_added="joined")
    assert score(adata, "joined") > np.mean([score(adata, name) for name in names])
    assert adata.uns["tissuegraph"]["joined"]["n_seeds"] == 2


# ---- how many


def test_the_number_of_domains_is_found_and_the_curve_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(stability, "MOST", 7)
    adata = stripes()
    tg.cluster_domains(adata)
    adata.write_h5ad(tmp_path / "domains.h5ad")
    adata = ad.read_h5ad(tmp_path / "domains.h5ad")
    record = adata.uns["tissuegraph"]["domain"]
    assert record["n_domains"] == 4
    assert list(record["stability"]["n_domains"]) == [4, 5, 6, 7]
    assert score(adata) > 0.95
    axes = tg.plot.stability(adata)
    assert "4 domains" in axes.get_title(loc="left")
    assert list(axes.lines[0].get_ydata()) == pytest.approx(list(record["stability"]["agreement"]))


@pytest.mark.parametrize("n_domains", [5, 8])
def test_agreement_is_highest_at_the_true_number(n_domains, monkeypatch):
    monkeypatch.setattr(stability, "MOST", 10)
    generator = np.random.default_rng(n_domains)
    points = 4 * np.eye(10)[generator.integers(0, n_domains, 800)] + generator.normal(0, 1, (800, 10))
    assert stability.curve(points, generator).best() == n_domains


def test_a_picture_without_a_curve_is_an_error():
    adata = stripes()
    tg.cluster_domains(adata, 4)
    with pytest.raises(InputError, match=r"no curve in uns\['tissuegraph'\]\['domain'\]"):
        tg.plot.stability(adata)


# ---- the mixture


def blobs(n: int, k: int, d: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    points = generator.normal(0, 2, (k, d))[generator.integers(0, k, n)] + generator.normal(0, 1, (n, d))
    return points @ generator.normal(0, 1, (d, d)) + 100


@settings(max_examples=25)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_the_likelihood_is_that_of_the_densities(k, d, seed):
    points = blobs(80, k, d, seed)
    mixture = fit_mixture(points, k, np.random.default_rng(seed), n_starts=3)
    densities = [
        np.log(share) + multivariate_normal(mean, mixture.covariance, allow_singular=True).logpdf(points)
        for mean, share in zip(mixture.means, mixture.shares, strict=True)
    ]
    total = np.logaddexp.reduce(densities, axis=0)
    assert mixture.log_likelihood == pytest.approx(total.mean(), abs=1e-6)
    assert np.array_equal(mixture.predict(points), np.argmax(densities, 0))
    assert mixture.shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_the_mixture_is_at_least_as_likely_as_that_of_sklearn(seed):
    points = blobs(300, 6, 5, seed)
    ours = fit_mixture(points, 6, np.random.default_rng(0))
    theirs = GaussianMixture(6, covariance_type="tied", n_init=5, max_iter=300, tol=1e-5, random_state=0)
    assert ours.log_likelihood >= theirs.fit(points).score(points) - 1e-3


def test_climbing_on_raises_the_likelihood():
    points = blobs(300, 4, 3, 0)
    few = fit_mixture(points[:60], 4, np.random.default_rng(0))
    everything = climb(points, [few])
    start = mean_log_likelihood(few, points)
    assert everything.log_likelihood >= start


def mean_log_likelihood(mixture, points: np.ndarray) -> float:
    densities = [
        np.log(share) + multivariate_normal(mean, mixture.covariance).logpdf(points)
        for mean, share in zip(mixture.means, mixture.shares, strict=True)
    ]
    return float(np.logaddexp.reduce(densities, axis=0).mean())


def test_cells_that_are_all_alike_are_no_crash():
    adata = stripes()
    adata.obsm["X_stagate"][:] = 1
    tg.cluster_domains(adata, 4)
    assert adata.obs["domain"].notna().all()


@pytest.mark.parametrize("seed", range(3))
def test_directions_of_noise_do_not_decide(seed):
    """Twelve directions that differ from cell to cell in clumps of their own, beside one of tissue."""
    adata, generator = stripes(), np.random.default_rng(seed)
    clumps = generator.choice([-3.0, 3.0], (adata.n_obs, 12), p=[0.1, 0.9])
    tissue = 4.0 * adata.obs["stripe"].to_numpy()[:, None]
    points = np.concatenate([tissue, clumps], 1)
    adata.obsm["X_stagate"] = points + generator.normal(0, 1, points.shape)
    found = {}
    for noise in (True, False):
        tg.cluster_domains(adata, 4, noise=noise, smooth=1, refine=False)
        found[noise] = score(adata)
    assert found[True] > 0.8
    assert found[True] >= found[False]


def test_the_covariance_is_the_mean_of_the_noise_and_of_what_the_points_say():
    points, noise = blobs(200, 1, 3, 0), np.diag([1.0, 2.0, 3.0])
    mixture = fit_mixture(points, 1, np.random.default_rng(0), noise=noise)
    np.testing.assert_allclose(mixture.covariance, (np.cov(points.T, bias=True) + noise) / 2, rtol=1e-3)


def test_an_embedding_that_stands_twice_counts_twice():
    adata = stripes(2.0)
    adata.obsm["X_other"] = np.random.default_rng(0).normal(0, 1, (adata.n_obs, 8))
    tg.cluster_domains(adata, 4, use_rep=["X_stagate"] * 3 + ["X_other"])
    assert score(adata) > 0.8


# ---- neighbours, communities, consensus


def test_an_average_is_that_of_a_cell_and_its_neighbours():
    line = graph([(0, 1), (1, 0), (1, 2), (2, 1)], 4)
    points = np.array([[0.0], [3.0], [9.0], [5.0]])
    assert np.allclose(average_over_neighbours(points, line), [[1.5], [4.0], [6.0], [5.0]])
    assert np.array_equal(average_over_neighbours(points, line, 0), points)


def test_a_cell_follows_its_surroundings_only_where_most_agree():
    """Cell 0 sits in a ring of label 1 and follows; a pair of cells on their own keep what they are."""
    ring = [(0, i) for i in range(1, 7)] + [(i, i % 6 + 1) for i in range(1, 7)]
    edges = [*ring, *((j, i) for i, j in ring), (7, 8), (8, 7)]
    labels = np.array([0, 1, 1, 1, 1, 1, 1, 0, 1])
    assert list(refine_labels(labels, graph(edges, 9))) == [1, 1, 1, 1, 1, 1, 1, 0, 1]


@pytest.mark.parametrize("method", ["leiden", "louvain"])
@pytest.mark.parametrize("n_domains", [2, 5, 9])
def test_communities_are_searched_to_the_wanted_number(method, n_domains):
    pytest.importorskip("igraph")
    labels = communities.find_communities(blobs(300, 4, 6, 0), n_domains, method, 0)
    assert len(np.unique(labels)) == n_domains


def test_communities_without_igraph_name_the_next_step(monkeypatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(MachineError, match=r"pip install igraph"):
        tg.cluster_domains(stripes(), 4, "leiden")


@pytest.mark.parametrize("most", [30, 10_000])
def test_the_consensus_is_nearer_to_the_truth_than_its_parts(most, monkeypatch):
    monkeypatch.setattr(consensus, "MOST_CELLS", most)
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 300)
    parts = []
    for _ in range(9):
        names = generator.permutation(3)
        parts.append(np.where(generator.random(300) < 0.2, generator.integers(0, 3, 300), names[truth]))
    joined = consensus.consensus(parts, 3, generator)
    best = max(adjusted_rand_score(truth, part) for part in parts)
    assert adjusted_rand_score(truth, joined) > best + 0.1


# ---- R


def test_mclust_without_r_names_the_next_step(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MachineError, match=r"needs R, and no Rscript is on PATH; install R and its package mclust"
    ):
        tg.cluster_domains(stripes(), 4, "mclust")


def fake_rscript(folder, body: str) -> None:
    path = folder / "Rscript"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nscript, table, answer, n, seed = sys.argv[1:]\n{body}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_mclust_gives_its_classification(monkeypatch, tmp_path):
    """A stand-in for R reads the table as R would: it labels by the largest column."""
    fake_rscript(
        tmp_path,
        "assert 'modelNames = \"EEE\"' in open(script).read() and (n, seed) == ('4', '7')\n"
        "rows = [list(map(float, line.split(','))) for line in open(table)]\n"
        "open(answer, 'w').write(''.join(f'{row.index(max(row[:4])) + 1}\\n' for row in rows))",
    )
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    adata = stripes()
    tg.cluster_domains(adata, 4, "mclust", seed=7)
    assert score(adata) > 0.9


def test_mclust_that_is_not_installed_in_r_is_said(monkeypatch, tmp_path):
    fake_rscript(tmp_path, "sys.exit('there is no package called mclust')")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(
        MachineError, match=r"mclust failed \(there is no package called mclust\); run install"
    ):
        tg.cluster_domains(stripes(), 4, "mclust")


# ---- what is asked wrongly


def without(name: str):
    def spoil(adata: ad.AnnData) -> None:
        del adata.obsp[name]

    return spoil


def put_nan(adata: ad.AnnData) -> None:
    adata.obsm["X_stagate"][3:5] = np.nan


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (None, {"method": "kmeans"}, r"method is 'kmeans'; expected one of: gmm, leiden"),
        (None, {"n_domains": 0}, r"n_domains is 0; give a number from 1 to 576"),
        (None, {"n_domains": 577}, r"n_domains is 577"),
        (
            None,
            {"use_rep": "X_pca"},
            r"no embedding in obsm\['X_pca'\]; found: spatial, X_stagate; run tg.stagate",
        ),
        (put_nan, {}, r"obsm\['X_stagate'\] is NaN or infinite in 2 cells"),
        (
            without("spatial_connectivities"),
            {},
            r"no spatial graph in obsp\['spatial_connectivities'\]; build one",
        ),
    ],
)
def test_what_is_asked_wrongly_is_said(spoil, options, message):
    adata = stripes()
    if spoil:
        spoil(adata)
    with pytest.raises(InputError, match=message):
        tg.cluster_domains(adata, **{"n_domains": 4, **options})


def test_no_graph_is_needed_where_none_is_used():
    adata = stripes()
    del adata.obsp["spatial_connectivities"]
    tg.cluster_domains(adata, 4, refine=False, smooth=0)
    assert score(adata) > 0.7


@pytest.mark.parametrize("seed", range(3))
def test_a_mixture_that_is_stuck_gives_a_small_component_its_place(seed):
    """It starts with one large component in two halves, and the small one swallowed by another."""
    generator = np.random.default_rng(seed)
    label = np.repeat(np.arange(7), [500] * 6 + [40])
    centres = np.zeros((7, 8))
    centres[:6, 0] = 20 * np.arange(6)
    centres[6, :2] = 50, 8
    points = centres[label] + generator.normal(0, 1, (len(label), 8))
    points[:, 2:4] += generator.normal(0, 8, (len(label), 2))
    wrong = np.where(label == 6, 2, label)
    wrong[:500] = np.where(points[:500, 2] > 0, 6, 0)
    members = np.eye(7)[wrong][:, None]
    stuck = mixture._climb(points, members, mixture.MOST_STEPS, None)[0]
    freed = mixture._relocate(points, stuck, np.random.default_rng(seed), 12, None)
    assert adjusted_rand_score(label, stuck.predict(points)) < 0.95
    assert adjusted_rand_score(label, freed.predict(points)) > 0.99
    assert freed.log_likelihood > stuck.log_likelihood
