"""Sections that are given the domains of others."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import tissuegraph as tg
from tissuegraph.errors import InputError, ModelError

QUICK = tg.StagateParams(hidden_dims=(32, 10), n_components=20, epochs=60)


def sections() -> ad.AnnData:
    adata = tg.simulate.section(
        seed=2, samples=3, cells=400, genes=100, domains=3, types=3, type_purity=0.8, batch_effect=0.5
    )
    adata.obs["true"] = adata.obs.pop("domain")
    tg.spatial_neighbors(adata)
    return adata


@pytest.fixture(scope="module")
def fitted() -> tuple[ad.AnnData, ad.AnnData]:
    """Two sections with domains, and a third one."""
    adata = sections()
    last = (adata.obs["sample"] == "sample 3").to_numpy()
    reference, other = adata[~last].copy(), adata[last].copy()
    tg.stagate(reference, QUICK, normalize=True)
    tg.cluster_domains(reference, 3)
    return reference, other


def agreement(adata: ad.AnnData) -> float:
    return adjusted_rand_score(adata.obs["true"], adata.obs["domain"])


def test_a_held_out_section_gets_the_domains_of_the_others(fitted):
    reference, other = fitted[0], fitted[1].copy()
    before = reference.obs.copy()
    tg.assign_domains(reference, other, normalize=True)
    assert reference.obs.equals(before)
    assert list(other.obs["domain"].cat.categories) == list(reference.obs["domain"].cat.categories)
    assert agreement(other) > agreement(reference) - 0.1 > 0.3
    # the names mean the same
    both = ad.concat([reference, other])
    assert agreement(both) > agreement(reference) - 0.05
    assert other.uns["tissuegraph"]["domain"]["method"] == "assigned"


def test_the_reference_itself_gets_nearly_what_it_had(fitted):
    reference = fitted[0]
    again = reference.copy()
    tg.assign_domains(reference, again)
    assert (again.obs["domain"] == reference.obs["domain"]).mean() > 0.95


def test_saved_and_read_it_gives_the_same(fitted, tmp_path):
    reference, one, other = fitted[0], fitted[1].copy(), fitted[1].copy()
    reference.write_h5ad(tmp_path / "reference.h5ad")
    tg.assign_domains(reference, one, normalize=True)
    tg.assign_domains(tmp_path / "reference.h5ad", other, normalize=True)
    assert np.array_equal(one.obs["domain"], other.obs["domain"])
    assert np.array_equal(one.obs["domain_raw"], other.obs["domain_raw"])


def test_order_of_the_new_cells_does_not_matter(fitted):
    one = fitted[1].copy()
    shuffled = one[np.random.default_rng(0).permutation(one.n_obs)].copy()
    tg.assign_domains(fitted[0], one, normalize=True)
    tg.assign_domains(fitted[0], shuffled, normalize=True)
    same = shuffled.obs["domain"].reindex(one.obs_names).to_numpy() == one.obs["domain"].to_numpy()
    assert same.mean() > 0.99  # sums of floats go by order


def test_a_consensus_of_networks_is_assigned_by_all_of_them(fitted):
    reference, other = fitted[0].copy(), fitted[1].copy()
    tg.stagate(reference, QUICK, normalize=True, seed=1, key_added="X_stagate_2")
    tg.cluster_domains(reference, 3, use_rep=["X_stagate", "X_stagate_2"])
    tg.assign_domains(reference, other, normalize=True)
    assert {"X_stagate", "X_stagate_2"} <= set(other.obsm)
    assert agreement(other) > agreement(reference) - 0.1
    assert agreement(other) > 0.4


def test_smoothed_components_count_only_where_both_have_them(fitted):
    reference, other = fitted[0].copy(), fitted[1].copy()
    tg.smoothed_components(reference, normalize=True)
    tg.cluster_domains(reference, 3, use_rep=["X_stagate", "X_smoothed", "X_smoothed"])
    tg.assign_domains(reference, other, normalize=True)
    assert other.uns["tissuegraph"]["domain"]["use_rep"] == ["X_stagate"]
    tg.cluster_domains(reference, 3, use_rep="X_smoothed")
    with pytest.raises(ModelError, match="holds no model of X_smoothed"):
        tg.assign_domains(reference, fitted[1].copy(), normalize=True)


def test_one_domain_and_one_cell(fitted):
    reference = fitted[0].copy()
    tg.cluster_domains(reference, 1)
    other = fitted[1][:1].copy()
    tg.spatial_neighbors(other)
    tg.assign_domains(reference, other, normalize=True)
    assert other.obs["domain"].tolist() == ["1"]


def test_what_a_reference_must_have(fitted, tmp_path):
    reference, other = fitted[0].copy(), fitted[1].copy()
    with pytest.raises(InputError, match=r"no domains in obs\['layer'\]"):
        tg.assign_domains(reference, other, key="layer", normalize=True)
    with pytest.raises(InputError, match="cannot be read"):
        tg.assign_domains(tmp_path / "none.h5ad", other)
    bare = reference.copy()
    del bare.uns["tissuegraph"]["X_stagate"]
    with pytest.raises(ModelError, match="holds no model"):
        tg.assign_domains(bare, other, normalize=True)
    del reference.obsm["X_stagate"]
    with pytest.raises(InputError, match=r"lacks obsm\['X_stagate'\]"):
        tg.assign_domains(reference, other, normalize=True)
    with pytest.raises(InputError, match="genes of the model are missing"):
        tg.assign_domains(fitted[0], other[:, :50].copy(), normalize=True)
