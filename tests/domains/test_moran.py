from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import gamma, kstest, norm

from tissuegraph.domains.moran import as_graph, moran_moments, upper_tail


def random_graph(n: int, generator: np.random.Generator, density: float = 0.5) -> np.ndarray:
    weights = generator.random((n, n)) * (generator.random((n, n)) < density)
    np.fill_diagonal(weights, 0)
    weights[0, 1] = 1
    return weights


def grid(side: int) -> sparse.csr_matrix:
    """A square lattice whose cells have four neighbours."""
    line = sparse.diags_array([np.ones(side - 1)] * 2, offsets=[1, -1])
    return sparse.csr_matrix(sparse.kronsum(line, line))


def by_loops(values: np.ndarray, weights: np.ndarray) -> float:
    n, mean = len(values), values.mean()
    above = sum(weights[i, j] * (values[i] - mean) * (values[j] - mean) for i in range(n) for j in range(n))
    return n / weights.sum() * above / ((values - mean) ** 2).sum()


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(6, 30))
def test_the_index_is_that_of_the_formula(seed, n):
    generator = np.random.default_rng(seed)
    weights, values = random_graph(n, generator, 0.3), generator.gamma(1, 1, (n, 3))
    found = moran_moments(values, as_graph(sparse.csr_matrix(weights))).index()
    assert found == pytest.approx([by_loops(column, weights) for column in values.T])


def test_the_index_is_scanpys():
    import scanpy

    generator = np.random.default_rng(0)
    graph, values = grid(12), generator.poisson(1.5, (144, 20)).astype(float)
    theirs = scanpy.metrics.morans_i(graph, values.T)
    assert moran_moments(values, as_graph(graph)).index() == pytest.approx(theirs, abs=1e-6)


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([6, 7]))
def test_the_moments_are_those_of_all_permutations(seed, n):
    generator = np.random.default_rng(seed)
    weights, values = random_graph(n, generator), generator.gamma(1, 1, n)
    moments = moran_moments(values[:, None], as_graph(sparse.csr_matrix(weights)))
    centred = (values - values.mean())[np.array(list(permutations(range(n))))]
    every = np.einsum("pi,ij,pj->p", centred, weights, centred)
    assert moments.mean[0] == pytest.approx(every.mean())
    assert moments.variance[0] == pytest.approx(every.var(), rel=1e-6)
    assert moments.third[0] == pytest.approx(((every - every.mean()) ** 3).mean(), rel=1e-6, abs=1e-9)


def test_two_pieces_are_permuted_apart():
    """The sum of two has the moments of all pairs of permutations of either."""
    generator = np.random.default_rng(1)
    parts, every = [], np.zeros(1)
    for _ in range(2):
        weights, values = random_graph(6, generator), generator.gamma(1, 1, 6)
        parts.append(moran_moments(values[:, None], as_graph(sparse.csr_matrix(weights))))
        centred = (values - values.mean())[np.array(list(permutations(range(6))))]
        every = np.add.outer(every, np.einsum("pi,ij,pj->p", centred, weights, centred)).ravel()
    both = parts[0] + parts[1]
    assert [both.mean[0], both.variance[0]] == pytest.approx([every.mean(), every.var()])
    assert both.third[0] == pytest.approx(((every - every.mean()) ** 3).mean(), rel=1e-6)


@pytest.mark.parametrize("rate", [0.1, 1.0, 20.0])
def test_p_values_are_uniform_where_place_means_nothing(rate):
    values = np.random.default_rng(0).poisson(rate, (900, 1500)).astype(float)
    p = moran_moments(values, as_graph(grid(30))).p_values()
    assert kstest(p, "uniform").pvalue > 0.01
    assert (p < 0.01).mean() == pytest.approx(0.01, abs=0.006)


def test_the_tail_of_a_gene_that_few_cells_express_is_that_of_permutations():
    generator, graph = np.random.default_rng(0), as_graph(grid(30))
    values = np.zeros(900)
    values[:30] = generator.gamma(4, 1, 30)
    shuffled = generator.permuted(np.tile(values, (8_000, 1)), axis=1).T
    moments = moran_moments(shuffled, graph)
    for level in (0.01, 0.002):
        at = np.quantile(moments.score(), 1 - level)
        p = moments.p_values()[abs(moments.score() - at).argmin()]
        assert level / 2 < p < 2 * level
    # the normal distribution promises far too much
    assert norm.sf(at) < 0.002 / 20


@given(st.floats(-3, 3), st.floats(-5, 5))
def test_the_tail_is_that_of_a_gamma_distribution(skewness, score):
    shape = 4 / max(skewness**2, 1e-12)
    plain = norm.sf(score)
    if abs(skewness) > 1e-2:
        side = np.sign(skewness) * score
        plain = gamma(shape, -np.sqrt(shape), 1 / np.sqrt(shape))
        plain = plain.sf(side) if skewness > 0 else plain.cdf(side)
    found = upper_tail(np.array([score]), np.array([skewness]))[0]
    assert found == pytest.approx(plain, abs=1e-3 if abs(skewness) <= 1e-2 else 1e-7)


def test_loops_and_directions_do_not_matter():
    generator = np.random.default_rng(0)
    weights, values = random_graph(10, generator), generator.normal(size=(10, 2))
    there = moran_moments(values, as_graph(sparse.csr_matrix(weights)))
    other = moran_moments(values, as_graph(sparse.csr_matrix(weights.T + 3 * np.eye(10))))
    assert there.score() == pytest.approx(other.score())
    assert there.p_values() == pytest.approx(other.p_values())
