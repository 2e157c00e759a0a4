"""Smoothed components against principal components by numpy."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import tissuegraph as tg
from tissuegraph.domains.refine import neighbour_noise
from tissuegraph.errors import InputError
from tissuegraph.graph.averages import average_over_neighbours


def lattice(side: int = 12, genes: int = 20, seed: int = 0) -> ad.AnnData:
    """Counts on a square lattice, in two halves."""
    generator = np.random.default_rng(seed)
    column, row = np.tile(np.arange(side), side), np.repeat(np.arange(side), side)
    rate = np.where((column < side // 2)[:, None] == (np.arange(genes) % 2 == 0), 2.0, 6.0)
    adata = ad.AnnData(sparse.csr_matrix(generator.poisson(rate).astype(np.float32)))
    adata.obsm["spatial"] = np.stack([column, row], 1).astype(float)
    tg.spatial_neighbors(adata)
    return adata


@pytest.mark.parametrize("times", [0, 1, 2])
def test_they_are_the_principal_components_averaged_over_neighbours(times):
    adata = lattice()
    tg.smoothed_components(adata, 4, normalize=True, z_score=False, times=times)
    counts = adata.X.toarray()
    logged = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    left, values, _ = np.linalg.svd(logged - logged.mean(0), full_matrices=False)
    graph = adata.obsp["spatial_connectivities"]
    expected = average_over_neighbours(left[:, :4] * values[:4], graph, times)
    found = adata.obsm["X_smoothed"]
    signs = np.sign((found * expected).sum(0))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found * signs, expected, rtol=1e-3, atol=1e-3 * abs(expected).max())


def test_raw_counts_are_refused_unless_they_are_to_be_normalised():
    with pytest.raises(InputError, match="raw counts"):
        tg.smoothed_components(lattice(), 4)


def test_the_noise_is_what_neighbours_do_not_share():
    """A smooth direction has little of it, a random one much; its scale is that of the averaged points."""
    adata, generator = lattice(30), np.random.default_rng(1)
    graph = adata.obsp["spatial_connectivities"]
    smooth = np.sin(adata.obsm["spatial"][:, 0] / 5)
    points = np.stack([smooth, generator.normal(0, 1, len(smooth))], 1)
    averaged = average_over_neighbours(points, graph)
    noise = neighbour_noise(points, averaged, graph)
    assert noise[1, 1] > 20 * noise[0, 0]
    covariance = np.cov(averaged.T, bias=True)
    assert np.trace(np.linalg.solve(covariance, noise)) == pytest.approx(2, rel=1e-5)
    turned = neighbour_noise(points @ [[1, 2], [0, 3]], averaged @ [[1, 2], [0, 3]], graph)
    np.testing.assert_allclose(turned, np.array([[1, 2], [0, 3]]).T @ noise @ [[1, 2], [0, 3]], rtol=1e-5)


def test_no_neighbours_and_no_variance_are_no_crash():
    alone = sparse.csr_matrix((5, 5))
    assert np.isfinite(neighbour_noise(np.ones((5, 2)), np.ones((5, 2)), alone)).all()
