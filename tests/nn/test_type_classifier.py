"""TypeClassifier against its formula in float64, and what is fixed in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_geometric.nn import GATv2Conv

from tissuegraph.nn.type_classifier import TypeClassifier

N, D, T = 40, 7, 5


def inputs(seed: int = 0):
    torch.manual_seed(seed)
    edges = torch.randint(N, (2, 150))
    return torch.randn(N, D), edges[:, edges[0] != edges[1]].unique(dim=1)


def network(method: str = "gat", **settings) -> TypeClassifier:
    torch.manual_seed(1)
    net = TypeClassifier(torch.randn(T, D), torch.randn(T), method, hidden=8, heads=2, **settings)
    return net.eval()


@pytest.mark.parametrize("method", ["gat", "gcn"])
@pytest.mark.parametrize("layers", [1, 3])
def test_it_begins_as_the_regression_and_stays_there_in_its_own_part(method, layers):
    x, edges = inputs()
    net = network(method, layers=layers)
    torch.testing.assert_close(net(x, edges), net.own(x))
    net.train()
    torch.nn.functional.cross_entropy(net(x, edges), torch.arange(N) % T).backward()
    assert net.own.weight.grad is None
    assert net.out.weight.grad.abs().sum() > 0


def test_the_formula_in_double_precision():
    x, edges = inputs()
    net = network(layers=2).double()
    torch.nn.init.normal_(net.out.weight)
    x = x.double()
    own = x @ net.own.weight.T + net.own.bias
    h = torch.cat([(x @ net.lift.weight.T + net.lift.bias).clamp(min=0), own.softmax(1)], 1)
    for number, layer in enumerate(net.convolutions):
        plain = GATv2Conv(layer.in_channels, 4, 2).double()
        plain.load_state_dict(layer.state_dict())
        told = torch.nn.functional.elu(plain(h, edges))
        h = told if number == 0 else h + told
    torch.testing.assert_close(net(x, edges), own + h @ net.out.weight.T + net.out.bias)


@pytest.mark.parametrize("method", ["gat", "gcn"])
def test_the_order_of_cells_does_not_matter(method):
    x, edges = inputs()
    net = network(method)
    torch.nn.init.normal_(net.out.weight)
    order = torch.randperm(N)
    place = torch.argsort(order)
    with torch.no_grad():
        torch.testing.assert_close(net(x[order], place[edges]), net(x, edges)[order])


def test_attention_adds_up_to_one():
    x, edges = inputs()
    found, weights = network().attention(x, edges)
    sums = np.bincount(found[1].numpy(), weights.detach().numpy(), N)
    np.testing.assert_allclose(sums, 1, atol=1e-5)
