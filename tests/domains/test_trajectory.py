from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from layered_tissue import NAMES, layered, unlabel
from scipy import sparse
from scipy.stats import spearmanr

import tissuegraph as tg
from tissuegraph.domains import neighbourhood
from tissuegraph.domains.diffusion import diffusion_positions
from tissuegraph.domains.trajectory import touching_domains
from tissuegraph.errors import InputError


def medians(adata: ad.AnnData) -> list[float]:
    return list(adata.obs.groupby("domain", observed=True)["pseudotime"].median()[NAMES])


# ---- PAGA


def test_layers_that_follow_each_other_are_connected():
    adata = layered()
    tg.paga(adata)
    strength = adata.uns["paga"]["connectivities"].toarray()
    apart = abs(np.subtract.outer(range(4), range(4)))
    assert strength[apart == 1].min() > 3 * strength[apart > 1].max()
    tree = adata.uns["paga"]["connectivities_tree"].toarray()
    assert set(zip(*np.nonzero(tree), strict=True)) == {(0, 1), (1, 2), (2, 3)}
    assert list(adata.uns["domain_sizes"]) == list(adata.obs["domain"].value_counts()[NAMES])


def test_cells_without_a_label_and_empty_categories_keep_the_result_aligned():
    adata = layered()
    known = unlabel(adata)
    categories = ["none", "L4", "L1", "L2", "L3"]
    adata.obs["domain"] = adata.obs["domain"].cat.set_categories(categories)
    tg.paga(adata)
    part = layered()[known].copy()
    tg.paga(part)
    strength = pd.DataFrame(adata.uns["paga"]["connectivities"].toarray(), categories, categories)
    assert np.allclose(strength.loc[NAMES, NAMES], part.uns["paga"]["connectivities"].toarray())
    assert not strength.loc["none"].any()
    assert list(adata.uns["domain_sizes"]) == [0, *part.obs["domain"].value_counts()[categories[1:]]]


def test_paga_is_scanpys_and_leaves_the_neighbours_of_the_user():
    import scanpy

    adata = layered()
    adata.uns["neighbors"], adata.obsp["connectivities"] = (
        {"mine": 1},
        sparse.eye_array(adata.n_obs, format="csr"),
    )
    tg.paga(adata)
    tg.umap(adata)
    assert adata.uns["neighbors"] == {"mine": 1}
    assert adata.obsp["connectivities"].nnz == adata.n_obs
    other = layered()
    scanpy.pp.neighbors(other, use_rep="X_stagate")
    scanpy.tl.paga(other, "domain")
    theirs = other.uns["paga"]["connectivities"].toarray()
    assert np.allclose(adata.uns["paga"]["connectivities"].toarray(), theirs, atol=1e-6)


# ---- pseudotime


@pytest.mark.parametrize(("root", "order"), [("L1", 1), ("L4", -1), ("c0003", 1)])
def test_pseudotime_follows_the_layers(root, order):
    adata = layered()
    tg.pseudotime(adata, root)
    assert spearmanr(range(4), medians(adata)).statistic == pytest.approx(order)
    time = adata.obs["pseudotime"]
    assert (time.min(), time.max()) == (0, 1)
    start = time.idxmin()
    assert start == root or adata.obs.loc[start, "domain"] == root
    assert abs(spearmanr(adata.obsm["spatial"][:, 1], time).statistic) > 0.95
    touching = adata.uns["tissuegraph"]["pseudotime"]["touching"]
    assert list(touching) == ["L1 - L2", "L2 - L3", "L3 - L4"]


def test_no_way_leads_past_the_layers_between():
    """L1 and L4 are alike here, so that without the tissue the last layer would seem near the first."""
    adata = layered()
    angle = 2 * np.pi * adata.obsm["spatial"][:, 1] / 30
    ring = 5 * np.stack([np.cos(angle), np.sin(angle)], 1)
    noise = np.random.default_rng(0).normal(0, 0.3, ring.shape)
    adata.obsm["X_stagate"] = (ring + noise).astype(np.float32)
    tg.pseudotime(adata, "L1")
    assert spearmanr(range(4), medians(adata)).statistic == pytest.approx(1)
    adata.obs["tissue"] = "one"
    tg.pseudotime(adata, "c0000", "tissue")
    assert medians(adata)[3] < medians(adata)[1]


def test_cells_without_a_label_have_no_time_and_others_what_they_would_have_alone():
    adata = layered()
    known = unlabel(adata)
    tg.pseudotime(adata, "L1")
    assert np.array_equal(adata.obs["pseudotime"].notna(), known)
    part = adata[known].copy()
    tg.pseudotime(part, "L1")
    assert np.array_equal(part.obs["pseudotime"], adata.obs["pseudotime"][known])


def test_what_cannot_be_reached_is_nan_and_said(caplog):
    adata = layered()
    island = np.full(40, "island")
    other = adata[:40].copy()
    other.obs["domain"] = island
    other.obsm["spatial"] = other.obsm["spatial"] + 500
    other.obsm["X_stagate"] = other.obsm["X_stagate"] + 100
    both = ad.concat([adata, other], index_unique="-")
    tg.spatial_neighbors(both)
    with caplog.at_level(logging.WARNING):
        tg.pseudotime(both, "L1")
    assert "no way leads from 'L1' to 40 of 700 labelled cells" in caplog.text
    assert np.array_equal(both.obs["pseudotime"].isna(), both.obs["domain"] == "island")


def test_the_same_again_and_the_same_in_another_order():
    first, again = layered(), layered()
    for adata in (first, again):
        tg.pseudotime(adata, "L1", seed=3)
    assert np.array_equal(first.obs["pseudotime"], again.obs["pseudotime"])
    other = layered()[np.random.default_rng(0).permutation(first.n_obs)].copy()
    tg.pseudotime(other, "L1", seed=3)
    assert np.allclose(other.obs["pseudotime"][first.obs_names], first.obs["pseudotime"], atol=1e-4)


def test_a_long_chain_is_in_order():
    """Its slowest eigenvalue is 1 - 3e-6, beyond what single precision tells from a stationary one."""
    n = 1200
    chain = sparse.diags_array([np.ones(n - 1)] * 2, offsets=[1, -1], format="csr")
    where = diffusion_positions(chain, seed=0)
    distance = np.sqrt(((where - where[0]) ** 2).sum(1))
    assert (np.diff(distance) > 0).all()


def test_domains_touch_where_enough_of_a_border_is_shared():
    """0 0 1 1 2, in a row; 3 touches 1 with one edge of many."""
    codes = np.array([0, 0, 1, 1, 2, 3, -1])
    edges = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 6), (5, 6), (3, 5)]
    first, second = np.array(edges).T
    graph = sparse.csr_matrix((np.ones(len(edges)), (first, second)), (7, 7))
    touching = touching_domains(graph, codes, 5)
    assert set(zip(*np.nonzero(np.triu(touching, 1)), strict=True)) == {(0, 1), (1, 2), (1, 3)}
    assert touching.diagonal().all()
    assert np.array_equal(touching, touching.T)
    many = sparse.csr_matrix((np.ones(3), ([0, 1, 3], [2, 2, 5])), (7, 7))
    # a third of the border of domain 1, but all of that of domain 3
    assert touching_domains(many, codes, 5, 0.9)[1, 3]
    assert not touching_domains(many, np.array([0, 0, 1, 1, 2, 1, 0]), 5)[2, 0]


# ---- neighbours


@pytest.mark.slow
def test_approximate_neighbours_of_many_cells_are_nearly_the_exact_ones(monkeypatch):
    adata, other = layered(), layered()
    tg.pseudotime(adata, "L1")
    monkeypatch.setattr(neighbourhood, "EXACT_CELLS", 100)
    tg.pseudotime(other, "L1")
    assert np.corrcoef(adata.obs["pseudotime"], other.obs["pseudotime"])[0, 1] > 0.999
    again = layered()
    tg.pseudotime(again, "L1")
    assert np.array_equal(again.obs["pseudotime"], other.obs["pseudotime"])
    tg.paga(other)
    tg.umap(other)
    assert np.isfinite(other.obsm["X_umap"]).all()


# ---- UMAP


def test_umap_keeps_layers_apart_and_gives_the_same_bits_for_a_seed():
    adata = layered()
    tg.umap(adata)
    first = adata.obsm["X_umap"]
    assert first.shape == (adata.n_obs, 2)
    assert first.dtype == np.float32
    centres = pd.DataFrame(first).groupby(adata.obs["domain"].to_numpy()).median().loc[NAMES].to_numpy()
    gaps = np.linalg.norm(centres[:, None] - centres, axis=2)
    assert gaps[0, 3] > gaps[0, 1]
    tg.umap(adata)
    assert np.array_equal(adata.obsm["X_umap"], first)
    tg.umap(adata, key_added="X_other", seed=1)
    assert not np.array_equal(adata.obsm["X_other"], first)


# ---- what is asked wrongly


def drop(name: str):
    def spoil(adata: ad.AnnData) -> None:
        for store in (adata.obsm, adata.obsp, adata.obs):
            if name in store:
                del store[name]

    return spoil


def put_nan(adata: ad.AnnData) -> None:
    adata.obsm["X_stagate"][3] = np.nan


def unlabel_the_root(adata: ad.AnnData) -> None:
    adata.obs.iloc[0, 0] = np.nan


def lonely_root(adata: ad.AnnData) -> None:
    adata.obs["domain"] = ["alone", *adata.obs["domain"][1:]]
    adata.obsm["X_stagate"][0] = 500


def one_domain(adata: ad.AnnData) -> None:
    adata.obs["domain"] = "all"


@pytest.mark.parametrize(
    ("call", "spoil", "message"),
    [
        ("paga", drop("domain"), r"no column 'domain' in obs"),
        ("paga", one_domain, r"names 1 domains; at least 2"),
        ("paga", drop("X_stagate"), r"no embedding in obsm\['X_stagate'\]; found: spatial; run tg.stagate"),
        ("umap", drop("X_stagate"), r"no embedding in obsm\['X_stagate'\]"),
        ("umap", put_nan, r"obsm\['X_stagate'\] is NaN or infinite in 1 cells"),
        ("L1", drop("spatial_connectivities"), r"no graph in obsp\['spatial_connectivities'\]"),
        (
            "L9",
            None,
            r"'L9' is no domain of obs\['domain'\] \(L1, L2, L3, L4\) and no name of a cell",
        ),
        ("c0000", unlabel_the_root, r"the root 'c0000' has no label in obs\['domain'\]"),
        ("alone", lonely_root, r"only 1 cells can be reached from 'alone'; choose another root"),
    ],
)
def test_what_is_asked_wrongly_is_said(call, spoil, message):
    adata = layered()
    if spoil:
        spoil(adata)
    with pytest.raises(InputError, match=message):
        getattr(tg, call)(adata) if call in ("paga", "umap") else tg.pseudotime(adata, call)


def test_three_cells_have_no_neighbourhood():
    with pytest.raises(InputError, match=r"3 cells are too few for neighbours; give 4 or more"):
        tg.umap(layered()[:3].copy())


# ---- real tissue

LAYERS = ["L1", "L2", "L3", "L4", "L5", "L6", "WM"]
SHARED = Path(__file__).resolve().parents[3] / "shared/data"


@pytest.mark.slow
@pytest.mark.parametrize("section", ["151673", "151674"])
def test_pseudotime_of_a_cortex_follows_its_layers(section):
    """From the first layer and from the white matter, in the given layers and in domains that are found."""
    path = SHARED / "dlpfc" / f"{section}.h5ad"
    if not path.exists():
        pytest.skip("shared/data/dlpfc is not beside the checkout")
    adata = ad.read_h5ad(path)
    tg.spatial_neighbors(adata)
    tg.stagate(adata, normalize=True)
    tg.cluster_domains(adata, len(LAYERS))
    for end, order in (("L1", 1), ("WM", -1)):
        found = adata.obs["domain"][adata.obs["layer"] == end].mode()[0]
        for key, root in (("layer", end), ("domain", found)):
            tg.pseudotime(adata, root, key)
            time = adata.obs.groupby("layer", observed=True)["pseudotime"].median()[LAYERS]
            assert spearmanr(range(len(LAYERS)), time).statistic == pytest.approx(order)
