"""Gene vectors: genes of one cell type point one way, and nothing is made up where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from tissuegraph.segmentation import gene_vectors as module
from tissuegraph.segmentation.gene_vectors import PSEUDOCOUNT, gene_vectors


def planted(nuclei: int = 200, genes: int = 30, groups: int = 2, seed: int = 0) -> sparse.csr_matrix:
    """Counts of nuclei of several types, each of which expresses every so many genes five times as much."""
    generator = np.random.default_rng(seed)
    kind = generator.integers(0, groups, nuclei)
    rate = np.where(np.arange(genes)[None] % groups == kind[:, None], 2.5, 0.5)
    return sparse.csr_matrix(generator.poisson(rate * generator.gamma(2, 0.5, (nuclei, 1))).astype(float))


@pytest.fixture(params=["dense", "sparse"], autouse=True)
def solver(request, monkeypatch):
    """Both ways to the leading axes."""
    monkeypatch.setattr(module, "DENSE", 10**6 if request.param == "dense" else 0)


def test_two_groups_of_genes_point_apart():
    first = gene_vectors(planted())[:, 0]
    even, odd = np.sign(first[::2]), np.sign(first[1::2])
    assert (even == even[0]).all()
    assert (odd == -even[0]).all()


def test_three_groups_of_genes_separate():
    vectors = gene_vectors(planted(groups=3))[:, :2]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    same = np.arange(30)[:, None] % 3 == np.arange(30)[None] % 3
    cosine = vectors @ vectors.T
    assert cosine[same].min() > cosine[~same].max()


def test_axes_have_mean_square_one_and_a_fixed_sign():
    counts = planted(groups=4)
    vectors = gene_vectors(counts, k=3).astype(float)
    share = np.asarray(counts.sum(0)).ravel() + PSEUDOCOUNT
    assert (share / share.sum()) @ vectors**2 == pytest.approx(np.ones(3), abs=1e-4)
    assert (vectors[np.abs(vectors).argmax(0), np.arange(3)] > 0).all()


def test_both_solvers_agree(monkeypatch):
    found = []
    for limit in (0, 10**6):
        monkeypatch.setattr(module, "DENSE", limit)
        found.append(gene_vectors(planted(groups=3), k=2))
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_twice_the_same_bits():
    assert gene_vectors(planted()).tobytes() == gene_vectors(planted()).tobytes()


def test_nuclei_without_transcripts_and_their_order_do_not_matter():
    counts = planted()
    padded = sparse.vstack([sparse.csr_matrix((7, 30)), counts[::-1]]).tocsr()
    assert gene_vectors(padded)[:, 0] == pytest.approx(gene_vectors(counts)[:, 0], abs=1e-4)


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros((20, 12)),
        np.zeros((0, 12)),
        np.ones((1, 12)),
        np.ones((12, 1)),
        np.eye(2),
        np.tile(np.arange(1, 13), (20, 1)),
        np.arange(1, 21)[:, None] * np.arange(1, 13),
        np.eye(12)[[3] * 20],
    ],
    ids=["zero", "no nuclei", "one nucleus", "one gene", "2x2", "alike", "one profile", "one gene seen"],
)
def test_what_the_data_cannot_tell_is_zero(counts):
    vectors = gene_vectors(sparse.csr_matrix(counts.astype(float)))
    assert vectors.shape == (counts.shape[1], 8)
    assert vectors.dtype == np.float32
    assert (vectors == 0).all()


def test_axes_beyond_the_rank_are_zero():
    profiles = np.random.default_rng(0).uniform(1, 5, (2, 30))
    counts = sparse.csr_matrix(profiles[np.arange(100) % 2])
    vectors = gene_vectors(counts)
    assert (vectors[:, 0] != 0).any()
    assert (vectors[:, 1:] == 0).all()


def test_few_small_nuclei_give_the_same_every_time(monkeypatch):
    monkeypatch.setattr(module, "DENSE", 64)
    counts = sparse.csr_matrix(np.eye(12)[[0, 0, 1, 2, 2, 3]])
    assert len({gene_vectors(counts).tobytes() for _ in range(5)}) == 1
