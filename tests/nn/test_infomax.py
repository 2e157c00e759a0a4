"""Deep Graph Infomax against PyG, and its graphs, patches and corruptions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch import nn
from torch_geometric.nn import DeepGraphInfomax, GATv2Conv, GCNConv

from tissuegraph.graph.patches import connected_patches
from tissuegraph.nn.encoders import Encoder
from tissuegraph.nn.hop_graph import HopGraph
from tissuegraph.nn.infomax import Corruption, Infomax, infomax_loss
from tissuegraph.nn.infomax_batches import MIN_STEPS, VALIDATIONS, Batches, Corruptions, View

KINDS = ("gcn", "gat")


def random_graph(n, seed, symmetric=False):
    rng = np.random.default_rng(seed)
    table = sparse.random(n, n, min(1.0, 4 / n), random_state=rng, format="csr")
    return sparse.csr_matrix(table + table.T if symmetric else table)


def network(kind, dims=(5, 8, 6), seed=0):
    torch.manual_seed(seed)
    made = Infomax(Encoder(kind, dims, heads=2), dims[-1])
    for name, value in made.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(value)
    return made


class PlainEncoder(nn.Module):
    """The same layers from PyG."""

    def __init__(self, kind):
        super().__init__()
        pairs = ((5, 8), (8, 6))
        self.convs = nn.ModuleList(
            GCNConv(*p) if kind == "gcn" else GATv2Conv(p[0], p[1] // 2, 2) for p in pairs
        )
        self.bends = nn.ModuleList(nn.PReLU(p[1]) for p in pairs)

    def take(self, ours):
        """Take the weights of our encoder."""
        self.bends.load_state_dict(ours.bends.state_dict())
        for conv, layer in zip(self.convs, ours.layers, strict=True):
            if isinstance(conv, GCNConv):
                conv.load_state_dict({"bias": layer.bias, "lin.weight": layer.weight})
            else:
                conv.load_state_dict(layer.conv.state_dict())

    def forward(self, x, edges, weights):
        for conv, bend in zip(self.convs, self.bends, strict=True):
            x = bend(conv(x, edges, weights) if isinstance(conv, GCNConv) else conv(x, edges))
        return x


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_those_of_pyg(kind):
    graph = random_graph(30, 1)
    graph.setdiag(0)
    graph.eliminate_zeros()
    rows, order = torch.randn(30, 5), torch.randperm(30)
    ours = network(kind)
    loss = infomax_loss(*ours(Corruption(rows, order, HopGraph(graph).whole(2))))
    loss.backward()
    theirs = DeepGraphInfomax(
        6,
        PlainEncoder(kind),
        summary=lambda z, *_: torch.sigmoid(z.mean(0)),
        corruption=lambda x, *rest: (x[order], *rest),
    )
    theirs.weight.data.copy_(ours.weight.data)
    theirs.encoder.take(ours.encoder)
    entries = graph.tocoo()
    edges = torch.from_numpy(np.stack([entries.col, entries.row]).astype(np.int64))
    weights = torch.from_numpy(entries.data.astype(np.float32))
    expected = theirs.loss(*theirs(rows, edges, weights))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    expected.backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-6)
    first, other = ours.encoder.layers[0], theirs.encoder.convs[0]
    pair = (first.weight, other.lin.weight) if kind == "gcn" else (first.conv.att, other.att)
    torch.testing.assert_close(pair[0].grad, pair[1].grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_in_another_order_get_the_same_embedding(kind):
    graph, rows = random_graph(40, 2), torch.randn(40, 5)
    turn = np.random.default_rng(0).permutation(40)
    made = network(kind)
    straight = made.encoder(rows, HopGraph(graph).whole(2))
    turned = made.encoder(rows[turn], HopGraph(graph[turn][:, turn]).whole(2))
    torch.testing.assert_close(turned, straight[turn], rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 40), st.integers(0, 1000), st.sampled_from(KINDS), st.integers(1, 3))
def test_some_cells_with_their_surroundings_get_what_the_whole_gives(n, seed, kind, num_layers):
    graph = HopGraph(random_graph(n, seed))
    made = network(kind, (5, *[4] * num_layers), seed)
    rows = torch.randn(n, 5)
    whole = made.encoder(rows, graph.whole(num_layers))
    core = np.random.default_rng(seed).permutation(n)[: max(1, n // 3)]
    cells, hops = graph.around(core, num_layers)
    assert np.array_equal(cells[: len(core)], core)
    assert len(np.unique(cells)) == len(cells)
    part = made.encoder(rows[torch.from_numpy(cells)], hops)
    torch.testing.assert_close(part, whole[core], rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 80), st.integers(0, 1000), st.integers(1, 40))
def test_patches_hold_every_node_once(n, seed, most):
    graph = random_graph(n, seed)
    patches = connected_patches(graph, most)
    assert sorted(np.concatenate(patches).tolist()) == list(range(n))
    assert max(map(len, patches)) <= most
    together = [len(a) + len(b) for a, b in pairwise(patches)]
    assert not together or min(together) > most


def test_a_patch_of_one_piece_is_connected():
    side = 30
    path = sparse.diags([np.ones(side - 1)], [1])
    grid = sparse.csr_matrix(
        sparse.kron(path, sparse.identity(side)) + sparse.kron(sparse.identity(side), path)
    )
    patches = connected_patches(grid, 100)
    connected = [sparse.csgraph.connected_components(grid[patch][:, patch])[0] == 1 for patch in patches]
    assert np.mean(connected) > 0.7
    assert len(patches) <= 16


def corruptions(batch_cells, **options):
    rows = torch.arange(60.0)[:, None].repeat(1, 2)
    graph = HopGraph(random_graph(60, 3, symmetric=True))
    return Corruptions([View(rows, graph)], Batches(2, batch_cells), seed=5, **options)


@pytest.mark.parametrize("batch_cells", [None, 16])
def test_training_sees_new_corruptions_and_validation_the_same(batch_cells):
    train, val = corruptions(batch_cells), corruptions(batch_cells, fixed=True)
    assert (len(train), len(val)) == (MIN_STEPS, VALIDATIONS)
    first, again = (train[2].order for _ in range(2))
    assert len(first) != len(again) or not torch.equal(first, again)
    assert torch.equal(first, corruptions(batch_cells)[2].order)
    once, twice = ([val[i] for i in range(4)] for _ in range(2))
    for one, other in zip(once, twice, strict=True):
        assert torch.equal(one.order, other.order)
        assert torch.equal(one.rows, other.rows)
    one = once[0]
    assert sorted(one.order.tolist()) == list(range(len(one.rows)))
    assert one.hops.num_core == 60 if batch_cells is None else 10 <= one.hops.num_core <= 16
