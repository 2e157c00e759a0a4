"""Attention that also sees features of the edges: inside the kernels, the same numbers as PyG's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.nn import GATv2Conv, to_hetero

from tissuegraph.nn.attention import MAX_FEATURES, FusedGATv2Conv
from tissuegraph.nn.neighbour_lists import NeighbourLists

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def twins(
    *args: object, dtype: torch.dtype = torch.float32, **options: object
) -> tuple[FusedGATv2Conv, GATv2Conv]:
    """Our layer and PyG's with the same weights; no parameter is zero."""
    torch.manual_seed(0)
    ours, theirs = FusedGATv2Conv(*args, **options).to(dtype), GATv2Conv(*args, **options).to(dtype)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.7)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def drawn(sources: int, targets: int, edges: int, features: int, hub: int = 0, seed: int = 0) -> Inputs:
    """Features of two kinds of nodes and edges; the last target hears no one, target 0 `hub` more."""
    generator = torch.Generator().manual_seed(seed)
    x_l, x_r = (torch.randn(n, 6, generator=generator) for n in (sources, targets))
    index = torch.stack(
        [
            torch.randint(sources, (edges + hub,), generator=generator),
            torch.randint(max(targets - 1, 1), (edges + hub,), generator=generator),
        ]
    )
    index[1, edges:] = 0
    index = index[:, torch.randperm(edges + hub, generator=generator)]
    return x_l, x_r, index, torch.randn(edges + hub, features, generator=generator)


def everything(
    conv: GATv2Conv, inputs: Inputs, edges: Tensor | NeighbourLists | None = None
) -> dict[str, Tensor]:
    """Output and all gradients of a weighted sum of it, in double precision."""
    dtype, index = conv.att.dtype, inputs[2] if edges is None else edges
    x_l, x_r, attr = (inputs[n].to(dtype).clone().requires_grad_() for n in (0, 1, 3))
    out = conv((x_l, x_r), index, attr)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    conv.zero_grad()
    (out * weight.to(dtype)).sum().backward()
    named = {"out": out, "x_l": x_l.grad, "x_r": x_r.grad, "edge_attr": attr.grad}
    named |= {name: parameter.grad for name, parameter in conv.named_parameters()}
    return {name: value.detach().double() for name, value in named.items() if value is not None}


def assert_close(got: dict[str, Tensor], truth: dict[str, Tensor], eps: float) -> None:
    assert got.keys() == truth.keys()
    for name, exact in truth.items():
        size = float(exact.abs().max()) if exact.numel() else 0.0
        torch.testing.assert_close(got[name], exact, rtol=0, atol=100 * eps * (10 + size))


@pytest.fixture
def without_pyg(monkeypatch):
    """Our layer may not fall back to PyG's code; PyG's own layer still runs it."""
    whole = GATv2Conv.forward

    def only_theirs(self: GATv2Conv, *args: object, **kwargs: object) -> object:
        assert not isinstance(self, FusedGATv2Conv)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(GATv2Conv, "forward", only_theirs)


@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 40)),
    heads=st.integers(1, 3),
    concat=st.booleans(),
    residual=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=30, deadline=None)
def test_agrees_with_pyg_between_two_kinds_of_nodes(sizes, heads, concat, residual, seed):
    options = {"heads": heads, "concat": concat, "residual": residual, "edge_dim": 3}
    ours, theirs = twins((6, 6), 3, add_self_loops=False, dtype=torch.float64, **options)
    inputs = drawn(*sizes, 3, seed=seed)
    assert_close(everything(ours, inputs), everything(theirs, inputs), 1e-14)


@pytest.mark.parametrize("fill_value", ["mean", "add", 0.7, torch.tensor([0.1, -2.0, 1.0]).double()], ids=str)
@pytest.mark.parametrize("share_weights", [False, True])
@pytest.mark.usefixtures("without_pyg")
def test_what_a_node_says_to_itself_has_the_features_that_pyg_gives_it(fill_value, share_weights):
    ours, theirs = twins(
        6, 3, heads=2, edge_dim=3, fill_value=fill_value, share_weights=share_weights, dtype=torch.float64
    )
    x, _, index, attr = (part.double() if part.is_floating_point() else part for part in drawn(9, 9, 30, 3))
    index[0, :4] = index[1, :4]  # loops that are there already are replaced
    outs = []
    for conv in (ours, theirs):
        leaves = x.clone().requires_grad_(), attr.clone().requires_grad_()
        out = conv(leaves[0], index, leaves[1])
        outs.append([out, *torch.autograd.grad(out.square().sum(), [*leaves, *conv.parameters()])])
    for got, expected in zip(*outs, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.usefixtures("without_pyg")
def test_is_as_exact_as_pyg_with_thousands_of_neighbours(scale):
    ours, theirs = twins((6, 6), 16, heads=2, edge_dim=2, add_self_loops=False)
    x_l, x_r, index, attr = drawn(3000, 500, 6000, 2, hub=5000)
    inputs = (x_l * scale, x_r, index, attr)
    truth = everything(copy.deepcopy(theirs).double(), inputs)
    got, expected = everything(ours, inputs), everything(theirs, inputs)
    for name, exact in truth.items():
        error, allowed = ((value[name] - exact).square().mean().sqrt() for value in (got, expected))
        assert error <= 2 * allowed + 1e-7 * exact.abs().max(), name


def test_gradients_are_those_of_finite_differences():
    ours, _ = twins((6, 6), 3, heads=2, edge_dim=3, add_self_loops=False, dtype=torch.float64)
    x_l, x_r, index, attr = drawn(5, 4, 9, 3)
    names, parameters = zip(*ours.named_parameters(), strict=True)

    def run(x_l: Tensor, x_r: Tensor, attr: Tensor, *values: Tensor) -> Tensor:
        named = dict(zip(names, values, strict=True))
        return torch.func.functional_call(ours, named, ((x_l, x_r), index, attr))

    leaves = (part.double().requires_grad_() for part in (x_l, x_r, attr))
    assert torch.autograd.gradcheck(run, (*leaves, *parameters))


@pytest.mark.parametrize("sort_order", ["row", "col", None])
@pytest.mark.usefixtures("without_pyg")
def test_features_follow_their_edges_however_these_are_sorted(sort_order):
    ours, theirs = twins((6, 6), 3, edge_dim=3, add_self_loops=False, dtype=torch.float64)
    inputs = x_l, x_r, index, attr = drawn(30, 20, 90, 3)
    expected = everything(theirs, inputs)["out"]
    edges = EdgeIndex(index, sparse_size=(30, 20))
    if sort_order is not None:
        edges, order = edges.sort_by(sort_order)
        attr = attr[order]
    got = everything(ours, (x_l, x_r, index, attr), edges)
    torch.testing.assert_close(got["out"], expected)


@pytest.mark.usefixtures("without_pyg")
def test_features_of_lists_stand_in_their_order():
    ours, theirs = twins((6, 6), 3, edge_dim=3, dtype=torch.float64)
    x_l, x_r, index, attr = drawn(30, 20, 90, 3)
    order = torch.argsort(index[1], stable=True)
    pointer = np.searchsorted(index[1, order].numpy(), np.arange(21))
    lists = NeighbourLists(pointer, index[0, order].int().numpy(), 30)
    theirs.add_self_loops = False
    truth = everything(theirs, (x_l, x_r, index[:, order], attr[order]))
    assert_close(everything(ours, (x_l, x_r, index, attr[order]), lists), truth, 1e-14)


@pytest.mark.usefixtures("without_pyg")
def test_one_number_an_edge_needs_no_second_axis():
    ours, theirs = twins((6, 6), 3, edge_dim=1, add_self_loops=False, dtype=torch.float64)
    x_l, x_r, index, attr = drawn(30, 20, 90, 1)
    pair = x_l.double(), x_r.double()
    attr = attr[:, 0].double()
    torch.testing.assert_close(ours(pair, index, attr), theirs(pair, index, attr))


@pytest.mark.usefixtures("without_pyg")
def test_mixed_precision_walks_in_single():
    ours, theirs = twins((6, 6), 16, heads=2, edge_dim=2, add_self_loops=False)
    x_l, x_r, index, attr = drawn(30, 20, 90, 2)
    with torch.autocast("cpu", torch.bfloat16):
        mine, other = (conv((x_l, x_r), index, attr) for conv in (ours, theirs))
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, other.float(), atol=0.05, rtol=0.05)


class Network(nn.Module):
    def __init__(self, conv: type[GATv2Conv]) -> None:
        super().__init__()
        self.conv = conv((6, 6), 3, edge_dim=3, add_self_loops=False)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return self.conv(x, edge_index, edge_attr)


def test_survives_to_hetero():
    x_l, x_r, index, attr = drawn(30, 20, 90, 3)
    kinds = [("tx", "belongs", "bd")]
    ours, theirs = (
        to_hetero(Network(conv), (["tx", "bd"], kinds)).double() for conv in (FusedGATv2Conv, GATv2Conv)
    )
    theirs.load_state_dict(ours.state_dict())
    assert isinstance(ours.conv["tx__belongs__bd"], FusedGATv2Conv)
    x = {"tx": x_l.double(), "bd": x_r.double()}
    outs = (net(x, {kinds[0]: index}, {kinds[0]: attr.double()})["bd"] for net in (ours, theirs))
    torch.testing.assert_close(*outs)


def test_a_layer_for_features_may_go_without():
    ours, theirs = twins((6, 6), 3, edge_dim=3, add_self_loops=False, dtype=torch.float64)
    x_l, x_r, index, _ = drawn(30, 20, 90, 3)
    pair = x_l.double(), x_r.double()
    torch.testing.assert_close(ours(pair, index), theirs(pair, index))


def test_bit_equal_twice_and_on_any_number_of_threads():
    ours, _ = twins((6, 6), 16, edge_dim=2, add_self_loops=False)
    inputs = drawn(2000, 1500, 20_000, 2)
    for part in (ours.lin_l, ours.lin_r):  # products of torch do differ with the number of threads
        part.register_forward_hook(lambda _module, _given, out: torch.ones_like(out) / 3)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            results.append(everything(ours, inputs))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(value, other[name]) for name, value in results[0].items())


@pytest.mark.parametrize("edge_dim", [2, MAX_FEATURES + 1])
@pytest.mark.parametrize(
    ("options", "call"), [({"dropout": 0.5}, {}), ({}, {"return_attention_weights": True})]
)
def test_the_rest_runs_as_pyg(options, call, edge_dim):
    ours, theirs = twins((6, 6), 16, edge_dim=edge_dim, add_self_loops=False, **options)
    x_l, x_r, index, attr = drawn(30, 20, 90, edge_dim)
    outs = []
    for conv in (ours, theirs):
        torch.manual_seed(4)
        out = conv((x_l, x_r), index, attr, **call)
        outs.append(out if isinstance(out, Tensor) else torch.cat([out[0].flatten(), out[1][1].flatten()]))
    assert torch.equal(*outs)


@pytest.mark.parametrize(
    "wrong", [torch.ones(89, 2), torch.ones(90, 3), torch.ones(90, 2, dtype=torch.int64)]
)
def test_features_that_do_not_fit_are_pygs_error(wrong):
    ours, _ = twins((6, 6), 16, edge_dim=2, add_self_loops=False)
    x_l, x_r, index, _ = drawn(30, 20, 90, 2)
    with pytest.raises(RuntimeError):
        ours((x_l, x_r), index, wrong)
