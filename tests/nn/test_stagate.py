"""STAGATE against a plain dense implementation in double precision, which writes everything out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tissuegraph.nn.sparse import Pattern, SparseRows, edge_dots, weighted_sums
from tissuegraph.nn.stagate import LOSSES, Stagate, reduce_errors
from tissuegraph.nn.stagate_batches import Batch
from tissuegraph.nn.stagate_fit import Descent, fit
from tissuegraph.nn.stagate_graph import CellGraph, mixed_batches, patches


def random_graph(generator, cells, share=0.15, weighted=False):
    """Edges with direction; cells 0 and 1 have none."""
    graph = generator.random((cells, cells)) < share
    graph[:2] = graph[:, :2] = False
    weights = generator.uniform(0.2, 1, (cells, cells)) if weighted else 1.0
    return sparse.csr_matrix(graph * weights)


def expression(generator, cells, genes):
    counts = generator.poisson(0.4, (cells, genes)).astype(float)
    counts[2] = 0
    return np.log1p(counts)


def dense_attention(projected, vectors, weights):
    receive, send = (projected @ vectors).T
    raised = weights * torch.sigmoid(receive[:, None] + send[None, :]).exp()
    return raised / raised.sum(1, keepdim=True)


def dense_errors(network, x, weights, pruned):
    """The formulas of the paper, term by term."""
    bend = torch.nn.functional.elu if network.nonlinearity == "elu" else lambda values: values
    projected = x @ network.weight0
    attention = dense_attention(projected, network.attention, weights)
    if network.alpha:
        same = dense_attention(projected, network.pruned_attention, pruned)
        attention = (1 - network.alpha) * attention + network.alpha * same
    embedding = bend(attention @ projected) @ network.weight1
    guess = bend(attention @ (embedding @ network.weight1.T)) @ network.weight0.T
    return embedding, guess


def dense_loss(x, guess, loss):
    if loss == "mse":
        return (x - guess).square().mean()
    if loss == "frobenius":
        return (x - guess).square().sum().sqrt()
    return torch.linalg.vector_norm(x - guess, dim=1).sum()


def dense_weights(graph, data):
    adjacency = graph.adjacency
    return torch.tensor(sparse.csr_matrix((data, adjacency.indices, adjacency.indptr)).toarray()).double()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("alpha", "nonlinearity", "weighted", "sparse_rows"),
    [
        (0.0, "elu", False, True),
        (0.4, "elu", False, True),
        (0.0, "none", True, False),
        (1.0, "elu", True, True),
    ],
)
@pytest.mark.parametrize("kernels", [True, False])
def test_loss_and_gradients_are_those_of_the_dense_formulas(
    monkeypatch, kernels, loss, alpha, nonlinearity, weighted, sparse_rows
):
    if not kernels:  # as on a GPU
        monkeypatch.setattr("tissuegraph.nn.sparse._has_kernels", lambda _: False)
    random = np.random.default_rng(3)
    x = expression(random, 40, 23)
    types = random.integers(-1, 3, 40)
    graph = CellGraph(random_graph(random, 40, weighted=weighted), types)
    network = Stagate(
        23, 20, 7, alpha=alpha, nonlinearity=nonlinearity, generator=torch.Generator().manual_seed(1)
    ).double()
    rows = SparseRows(sparse.csr_matrix(x), torch.float64) if sparse_rows else torch.tensor(x)
    norms = torch.tensor(x).square().sum(1)

    whole = graph.whole(torch.float64)
    mine = reduce_errors(network.errors(rows, norms, whole), norms, 23, loss)
    gradients = torch.autograd.grad(mine, list(network.parameters()))
    weights, pruned = (dense_weights(graph, data) for data in (graph.adjacency.data, graph.pruned))
    embedding, guess = dense_errors(network, torch.tensor(x), weights, pruned)
    theirs = dense_loss(torch.tensor(x), guess, loss)
    expected = torch.autograd.grad(theirs, list(network.parameters()), allow_unused=True)

    encoded = network.encode(network.project(rows), whole)
    torch.testing.assert_close(encoded.embedding, embedding, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(network.reconstruct(encoded, whole), guess, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    for found, wanted in zip(gradients, expected, strict=True):
        wanted = torch.zeros_like(found) if wanted is None else wanted
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 90), st.floats(0, 1), st.integers(0, 2**31))
def test_products_are_those_of_scipy(rows, columns, width, density, seed):
    random = np.random.default_rng(seed)
    matrix = sparse.random(rows, columns, density, "csr", rng=random)
    table, other = (
        torch.tensor(random.normal(size=(columns, width))),
        torch.tensor(random.normal(size=(rows, width))),
    )
    found = SparseRows(matrix, torch.float64)
    torch.testing.assert_close(found.times(table), torch.tensor(matrix @ table.numpy()))
    torch.testing.assert_close(found.transposed_times(other), torch.tensor(matrix.T @ other.numpy()))
    along = edge_dots(found.pattern, other, table)
    expected = (other[found.pattern.rows] * table[found.pattern.columns]).sum(1)
    torch.testing.assert_close(along, expected)


def test_the_number_of_threads_changes_no_bit_of_a_product():
    random = np.random.default_rng(0)
    matrix = sparse.random(3000, 500, 0.05, "csr", dtype=np.float32, rng=random)
    rows, table = SparseRows(matrix), torch.randn(500, 130)
    threads = torch.get_num_threads()
    found = []
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        found.append(rows.times(table))
    torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_blocks_with_their_surroundings_are_the_whole(alpha):
    random = np.random.default_rng(5)
    positions = random.random((300, 2))
    near = ((positions[:, None] - positions[None]) ** 2).sum(2) < 0.006
    graph = CellGraph(sparse.csr_matrix(near.astype(float)), random.integers(0, 3, 300))
    x = torch.tensor(expression(random, 300, 15))
    network = Stagate(15, 16, 4, alpha=alpha, generator=torch.Generator().manual_seed(1)).double()
    norms = x.square().sum(1)
    errors = network.errors(x, norms, graph.whole(torch.float64))
    parts = patches(positions, 50)
    assert sorted(np.concatenate(parts)) == list(range(300))
    for core in parts:
        cells, around = graph.around(core, torch.float64)
        assert len(cells) < 300
        found = network.errors(x[cells], norms[core], around)
        torch.testing.assert_close(found, errors[core], rtol=1e-10, atol=1e-12)


def descent(**changes):
    given = {
        "loss": "mse",
        "learning_rate": 1e-2,
        "weight_decay": 1e-4,
        "decay_last_only": False,
        "gradient_clipping": 5.0,
        "two_updates": False,
    }
    return Descent(**given | changes)


def trained(seed=0, epochs=5, **changes):
    random = np.random.default_rng(2)
    x = SparseRows(sparse.csr_matrix(expression(random, 50, 30)))
    network = Stagate(30, 16, 4, generator=torch.Generator().manual_seed(seed))
    batch = Batch(x, x.squared_norms(), CellGraph(random_graph(random, 50)).whole())
    return network, fit(network, ([batch] for _ in range(epochs)), descent(**changes))


@pytest.mark.parametrize("loss", LOSSES)
def test_training_lowers_the_loss(loss):
    _, history = trained(epochs=30, loss=loss)
    assert history[-1] < 0.9 * history[0]


def test_one_seed_gives_the_same_bits_and_another_does_not():
    one, again, other = trained()[0], trained()[0], trained(seed=1)[0]
    assert torch.equal(one.weight0, again.weight0)
    assert not torch.equal(one.weight0, other.weight0)


@pytest.mark.parametrize(("inputs", "hidden", "latent"), [(12, 20, 6), (4, 20, 6), (12, 6, 6), (12, 20, 10)])
def test_components_pass_at_first(inputs, hidden, latent):
    random = np.random.default_rng(0)
    x = torch.tensor(random.normal(size=(200, inputs))).float()
    lonely = CellGraph(sparse.csr_matrix((200, 200))).whole()
    generator = torch.Generator().manual_seed(0)
    network = Stagate(inputs, hidden, latent, initialisation="components", generator=generator)
    with torch.no_grad():
        encoded = network.encode(network.project(x), lonely)
        rebuilt = network.reconstruct(encoded, lonely)
    passed = min(inputs, hidden // 2, latent)
    for values in (encoded.embedding, rebuilt):
        for one in range(passed):
            assert np.corrcoef(x[:, one], values[:, one])[0, 1] > 0.9
    assert float((rebuilt[:, :passed] - x[:, :passed]).square().mean()) < 0.3
    other = Stagate(inputs, hidden, latent, initialisation="components", generator=generator)
    assert not torch.equal(network.weight0, other.weight0)


def test_two_updates_are_those_of_two_optimisers_that_share_storage():
    """What happens where a decoder weight is assigned the data of the encoder's transpose."""
    random = np.random.default_rng(2)
    x = torch.tensor(expression(random, 50, 30)).float()
    graph = CellGraph(random_graph(random, 50))
    network = Stagate(30, 16, 4, generator=torch.Generator().manual_seed(0))
    shares = torch.tensor(graph.adjacency.toarray())
    first, second = torch.nn.Parameter(network.weight0.detach().clone()), None
    second = torch.nn.Parameter(network.weight1.detach().clone())
    vectors = torch.nn.Parameter(network.attention.detach().clone())
    third, fourth = torch.nn.Parameter(second.data.T), torch.nn.Parameter(first.data.T)
    adam = torch.optim.Adam([first, vectors, second, third, fourth], lr=1e-2, weight_decay=1e-4)
    for _ in range(5):
        adam.zero_grad()
        projected = x @ first
        attention = dense_attention(projected, vectors, shares)
        embedding = torch.nn.functional.elu(attention @ projected) @ second
        guess = torch.nn.functional.elu(attention @ (embedding @ third)) @ fourth
        (x - guess).square().mean().backward()
        torch.nn.utils.clip_grad_norm_([first, vectors, second, third, fourth], 0.05)
        adam.step()
    mine, _ = trained(two_updates=True, gradient_clipping=0.05)
    torch.testing.assert_close(mine.weight0, first.data, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine.weight1, second.data, rtol=1e-4, atol=1e-5)


def test_the_number_of_threads_changes_no_bit_of_training():
    threads, found = torch.get_num_threads(), []
    for number in (1, 3):
        torch.set_num_threads(number)
        random = np.random.default_rng(2)
        x = SparseRows(sparse.random(2000, 600, 0.1, "csr", dtype=np.float32, rng=random))
        network = Stagate(600, 600, 4, generator=torch.Generator().manual_seed(0))
        batch = Batch(x, x.squared_norms(), CellGraph(random_graph(random, 2000, share=0.003)).whole())
        fit(network, ([batch] for _ in range(2)), descent())
        found.append(network.weight0)
    torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_batches_hold_every_cell_once():
    parts = patches(np.random.default_rng(0).random((1000, 3)), 60)
    batches = list(mixed_batches(parts, 250, torch.Generator().manual_seed(0)))
    assert len(batches) == 4
    assert sorted(np.concatenate(batches)) == list(range(1000))


def test_an_empty_pattern_gives_zeros():
    pattern = Pattern(np.zeros(4, np.int64), np.zeros(0, np.int32), 5)
    assert torch.equal(weighted_sums(pattern, torch.zeros(0), torch.ones(5, 3)), torch.zeros(3, 3))
