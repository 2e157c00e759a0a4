"""Denoised components against noise that we added ourselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.domains.denoise import denoise, own_shares
from tissuegraph.features.components import fit_components, mean_squared_length

CELLS, WIDTH = 4000, 5
GENES = 200


def drawn(noise, share=0.7, seed=0):
    """Signal, and the signal with noise, of pairs of cells that share most of it: [N, K] each."""
    random = np.random.default_rng(seed)
    scale = np.sqrt([60.0, 40.0, 20.0, 12.0, 12.0])
    pairs = np.repeat(random.normal(size=(CELLS // 2, WIDTH)), 2, 0)
    signal = scale * (np.sqrt(share) * pairs + np.sqrt(1 - share) * random.normal(size=(CELLS, WIDTH)))
    return signal, (signal + noise * random.normal(size=signal.shape)).astype(np.float32)


def partner(scores):
    """What the other cell of the pair shows."""
    return scores.reshape(-1, 2, scores.shape[1])[:, ::-1].reshape(scores.shape)


def total(scores, noise):
    """Variance of all components, those of noise alone included."""
    return float((scores.astype(float) ** 2).mean(0).sum() + (GENES - WIDTH) * noise**2)


def error(signal, guess):
    return float(((signal - guess) ** 2).mean())


@pytest.mark.parametrize("rebuild", [partner, lambda y: (y + partner(y)) / 2, lambda y: np.zeros_like(y)])
def test_weights_are_as_good_as_those_that_know_the_truth(rebuild):
    signal, scores = drawn(4.0)
    found = denoise(scores, rebuild, total(scores, 4.0), GENES, 0)
    heard = rebuild(scores)
    best = np.empty_like(found)
    for k in range(WIDTH):
        table = np.stack([scores[:, k], heard[:, k]], 1)
        best[:, k] = table @ np.linalg.lstsq(table, signal[:, k], rcond=None)[0]
    assert error(signal, found) < 1.03 * error(signal, best)
    assert error(signal, found) < 0.7 * error(signal, scores)


def test_a_reconstruction_that_only_repeats_the_cell_is_not_trusted():
    signal, scores = drawn(4.0)
    found = denoise(scores, lambda y: 2 * y, total(scores, 4.0), GENES, 0)
    alone = denoise(scores, np.zeros_like, total(scores, 4.0), GENES, 0)
    np.testing.assert_allclose(found, alone, rtol=0.02, atol=0.02)
    assert error(signal, found) < error(signal, scores)


def test_without_noise_all_stays():
    scores = drawn(0.0)[1]
    found = denoise(scores, partner, float((scores.astype(float) ** 2).mean(0).sum()), GENES, 0)
    np.testing.assert_allclose(found, scores, rtol=1e-5)


def test_one_seed_gives_the_same_bits():
    scores = drawn(3.0)[1]
    one, other = (denoise(scores, partner, total(scores, 3.0), GENES, 5) for _ in range(2))
    assert np.array_equal(one, other)


def test_cells_that_are_all_alike():
    scores = np.zeros((10, 3), np.float32)
    assert not denoise(scores, lambda y: y, 0.0, 20, 0).any()
    assert not denoise(scores, lambda y: y, 1.0, 20, 0).any()


def test_noise_alone_is_no_signal():
    table = np.random.default_rng(0).normal(size=(2000, 100)).astype(np.float32)
    section = np.zeros(2000, np.int64)
    scores = fit_components(table, 50, section, z_score=False)[1]
    shares, noise = own_shares((scores.astype(float) ** 2).mean(0), 100.0, 2000, 100)
    assert noise == pytest.approx(1, rel=0.05)
    assert shares.max() < 0.35  # at the edge of the spectrum the shrinkage has a vertical slope
    assert (shares == 0).mean() > 0.9


@settings(max_examples=30, deadline=None)
@given(
    powers=st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    cells=st.integers(1, 10_000),
    genes=st.integers(1, 10_000),
)
def test_shares_are_shares_and_grow_with_the_variance(powers, cells, genes):
    ordered = np.sort(np.array(powers))[::-1]
    shares, noise = own_shares(ordered, float(ordered.sum()) + 1.0, cells, max(genes, len(ordered)))
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (np.diff(shares) <= 1e-9).all()
    assert noise >= 0


def test_mean_squared_length_is_that_of_the_centred_table():
    random = np.random.default_rng(1)
    table = random.poisson(1.0, (60, 8)).astype(np.float32)
    section = random.integers(0, 2, 60)
    components = fit_components(table, 3, section, z_score=True)[0]
    by = components.moments
    plain = (((table - by.mean[section]) / by.scale[section]) ** 2).sum(1).mean()
    assert mean_squared_length(table, section, by) == pytest.approx(plain, rel=1e-5)
