from __future__ import annotations

import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.nn import GATv2Conv, to_hetero
from torch_geometric.utils import to_torch_csc_tensor

from tissuegraph.nn import attention_cpu, attention_kernels, neighbour_lists
from tissuegraph.nn.attention import FusedGATv2Conv

Pair = tuple[Tensor, Tensor]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, int, Tensor]:
    """Sources, targets and edges between them: empty, with repeats, with hubs, with nodes left out."""
    num_sources, num_targets = draw(st.integers(0, 12)), draw(st.integers(0, 12))
    if not num_sources or not num_targets:
        return num_sources, num_targets, torch.empty(2, 0, dtype=torch.long)
    ends = st.tuples(st.integers(0, num_sources - 1), st.integers(0, num_targets - 1))
    edges = draw(st.lists(ends, max_size=60))
    return num_sources, num_targets, torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T


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


def everything(conv: GATv2Conv, x: Tensor | Pair, edge_index: Tensor) -> dict[str, Tensor]:
    """Output and all gradients of a weighted sum of it, in double precision."""
    dtype = conv.att.dtype
    leaves = [part.to(dtype).clone().requires_grad_() for part in ([x] if isinstance(x, Tensor) else x)]
    out = conv(leaves[0] if isinstance(x, Tensor) else tuple(leaves), edge_index)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    conv.zero_grad()
    (out * weight.to(dtype)).sum().backward()
    named = {"out": out, **{f"x{n}": leaf.grad for n, leaf in enumerate(leaves)}}
    named |= {name: parameter.grad for name, parameter in conv.named_parameters()}
    return {name: value.detach().double() for name, value in named.items() if value is not None}


def assert_same(ours: GATv2Conv, theirs: GATv2Conv, x: Tensor | Pair, edge_index: Tensor) -> None:
    """Output and gradients as in PyG, up to rounding of sums whose terms are of order 10."""
    truth, got = everything(copy.deepcopy(theirs).double(), x, edge_index), everything(ours, x, edge_index)
    assert got.keys() == truth.keys()
    for name, exact in truth.items():
        size = float(exact.abs().max()) if exact.numel() else 0.0
        tolerance = 100 * torch.finfo(ours.att.dtype).eps * (10 + size)
        torch.testing.assert_close(
            got[name], exact, rtol=0, atol=tolerance, msg=lambda s, n=name: f"{n}: {s}"
        )


def spatial(num_sources: int, num_targets: int, num_edges: int, features: int = 8) -> tuple[Pair, Tensor]:
    """Random features and edges; the last target hears no one, target 0 a third of all."""
    generator = torch.Generator().manual_seed(2)
    x = tuple(torch.randn(n, features, generator=generator) for n in (num_sources, num_targets))
    sources = torch.randint(num_sources, (num_edges,), generator=generator)
    targets = torch.randint(num_targets - 1, (num_edges,), generator=generator)
    targets[torch.randperm(num_edges, generator=generator)[: num_edges // 3]] = 0
    return x, torch.stack([sources, targets])


@given(
    graph=graphs(),
    width=st.sampled_from([(16, torch.float32), (3, torch.float64)]),  # each is compiled anew: seconds
    heads=st.integers(1, 4),
    concat=st.booleans(),
    bias=st.booleans(),
    residual=st.booleans(),
    slope=st.sampled_from([0.0, 0.2, 1.5]),
)
@settings(max_examples=30, deadline=None)
def test_agrees_with_pyg_between_two_kinds_of_nodes(graph, width, heads, concat, bias, residual, slope):
    num_sources, num_targets, edges = graph
    ours, theirs = twins(
        (5, 4),
        width[0],
        dtype=width[1],
        heads=heads,
        concat=concat,
        bias=bias,
        residual=residual,
        negative_slope=slope,
        add_self_loops=False,
    )
    assert_same(ours, theirs, (torch.randn(num_sources, 5), torch.randn(num_targets, 4)), edges)


@given(graph=graphs(), share=st.booleans(), loops=st.booleans(), heads=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_agrees_with_pyg_within_one_kind_of_nodes(graph, share, loops, heads):
    num_sources, num_targets, edges = graph
    ours, theirs = twins(5, 16, heads=heads, share_weights=share, add_self_loops=loops)
    assert_same(ours, theirs, torch.randn(max(num_sources, num_targets), 5), edges)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_is_as_exact_as_pyg_with_thousands_of_neighbours(scale):
    x, edges = spatial(3000, 1000, 12_000)
    ours, theirs = twins((8, 8), 16, heads=4, add_self_loops=False)
    x = (x[0] * scale, x[1])
    truth = everything(copy.deepcopy(theirs).double(), x, edges)
    got, expected = everything(ours, x, edges), everything(theirs, x, edges)
    for name, exact in truth.items():
        error, allowed = ((value[name] - exact).square().mean().sqrt() for value in (got, expected))
        assert error <= 2 * allowed + 1e-7 * exact.abs().max(), name


@pytest.mark.parametrize("loops", [False, True])
def test_gradients_are_those_of_finite_differences(loops):
    ours, _ = twins(4, 3, heads=2, add_self_loops=loops, dtype=torch.float64)
    edges = torch.tensor([[0, 1, 2, 2, 4, 0, 3], [1, 0, 0, 0, 2, 2, 3]])
    names, parameters = zip(*ours.named_parameters(), strict=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(ours, dict(zip(names, values, strict=True)), (x, edges))

    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *parameters))


def test_who_hears_no_one_gets_the_bias():
    x, edges = spatial(6, 5, 9)
    ours, _ = twins((8, 8), 16, add_self_loops=False)
    x[1][4] = torch.nan  # not even what it says itself counts
    assert torch.equal(ours(x, edges)[4], ours.bias)


def test_nan_and_infinity_stay_where_pyg_has_them():
    x, edges = spatial(40, 30, 80)
    ours, theirs = twins((8, 8), 16, heads=2, add_self_loops=False)
    x[0][3, 2], x[0][5, 1], x[1][7, 0] = torch.nan, torch.inf, -torch.inf
    assert torch.equal(ours(x, edges).isfinite(), theirs(x, edges).isfinite())


def test_numbering_of_nodes_and_order_of_edges_do_not_matter():
    x, edges = spatial(50, 50, 300)
    ours, _ = twins(8, 16, heads=4, add_self_loops=False)
    order = torch.randperm(50)
    place = order.argsort()
    moved = ours(x[0][order], place[edges][:, torch.randperm(300)])
    torch.testing.assert_close(moved, ours(x[0], edges)[order])


def attend(edges: Tensor) -> list[Tensor]:
    """Output and gradients of the part between the linear layers."""
    generator = torch.Generator().manual_seed(3)
    sizes = ((2000, 4, 16), (1500, 4, 16), (1, 4, 16))
    x_l, x_r, att = (torch.randn(size, generator=generator).requires_grad_() for size in sizes)
    lists = neighbour_lists.lists_of(edges, 2000, 1500, loops=False)
    assert lists is not None
    assert min(len(lists.bounds), len(lists.transposed.bounds)) > 3
    out = attention_cpu.Attend.apply(x_l, x_r, att, torch.empty(0, 0), torch.empty(0, 4, 16), 0.2, lists)
    return [out.detach(), *torch.autograd.grad((out * out).sum(), (x_l, x_r, att))]


def test_bit_equal_twice_and_on_any_number_of_threads():
    _, edges = spatial(2000, 1500, 20_000)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            results.append(attend(edges.clone()))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_two_callers_at_once():
    _, edges = spatial(2000, 1500, 20_000)
    with ThreadPoolExecutor(4) as pool:
        first, *rest = pool.map(attend, [edges] * 8)
    for other in rest:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


class Network(nn.Module):
    def __init__(self, conv: type[GATv2Conv]) -> None:
        super().__init__()
        self.first = conv((-1, -1), 16, heads=2, add_self_loops=False)
        self.second = conv((32, 32), 16, concat=False, add_self_loops=False)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.second(self.first(x, edge_index).relu(), edge_index)


def test_survives_to_hetero_copies_and_pickles():
    kinds = [("tx", "near", "tx"), ("tx", "in", "bd"), ("bd", "near", "bd")]
    x = {"tx": torch.randn(20, 8), "bd": torch.randn(7, 4)}
    edges = {
        (s, how, t): torch.stack([torch.randint(len(x[s]), (40,)), torch.randint(len(x[t]), (40,))])
        for s, how, t in kinds
    }
    ours, theirs = (
        to_hetero(Network(conv), (["tx", "bd"], kinds), aggr="sum") for conv in (FusedGATv2Conv, GATv2Conv)
    )
    ours(x, edges), theirs(x, edges)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    theirs.load_state_dict(ours.state_dict())
    expected = theirs(x, edges)
    conv = ours.first["tx__near__tx"]
    assert isinstance(conv, FusedGATv2Conv)
    for model in (ours, copy.deepcopy(ours)):
        for kind, value in model(x, edges).items():
            torch.testing.assert_close(value, expected[kind])
    again = pickle.loads(pickle.dumps(conv))
    pair = (x["tx"], x["tx"])
    assert torch.equal(again(pair, edges[kinds[0]]), conv(pair, edges[kinds[0]]))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("sort_order", ["row", "col", None])
def test_takes_pyg_edge_index(dtype, sort_order):
    x, edges = spatial(30, 20, 90)
    ours, theirs = twins((8, 8), 16, add_self_loops=False)
    index = EdgeIndex(edges.to(dtype), sparse_size=(30, 20))
    index = index if sort_order is None else index.sort_by(sort_order).values
    torch.testing.assert_close(ours(x, index), theirs(x, edges))


def forbid(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(owner, name, fail)


@pytest.mark.parametrize(
    "options", [{}, {"concat": False}, {"residual": True}, {"dropout": 0.5}, {"bias": False}]
)
def test_kernels_run_where_they_can(options, monkeypatch):
    x, edges = spatial(30, 20, 90)
    ours, _ = twins((8, 8), 16, add_self_loops=False, **options)
    forbid(monkeypatch, GATv2Conv, "forward")
    ours.eval()(x, edges)


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({"edge_dim": 20}, {"edge_attr": torch.ones(90, 20)}),
        ({}, {"return_attention_weights": True}),
        ({"dropout": 0.5}, {}),
        ({"aggr": "mean"}, {}),
        ({"aggr": "max"}, {}),
        ({"aggr": ["sum", "max"], "concat": False, "bias": False}, {}),
        ({"flow": "target_to_source"}, {}),
    ],
)
def test_the_rest_runs_as_pyg(options, call, monkeypatch):
    x, edges = spatial(30, 30, 90)
    ours, theirs = twins((8, 8), 16, add_self_loops=False, **options)
    forbid(monkeypatch, attention_kernels, "forward")
    outs = []
    for conv in (ours, theirs):
        torch.manual_seed(4)
        out = conv(x, edges, **call)
        outs.append(out if isinstance(out, Tensor) else torch.cat([out[0].flatten(), out[1][1].flatten()]))
    assert torch.equal(*outs)


def test_other_tensors_run_as_pyg(monkeypatch):
    x, edges = spatial(30, 30, 90)
    ours, theirs = twins(8, 16, add_self_loops=False)
    forbid(monkeypatch, attention_kernels, "forward")
    sparse = to_torch_csc_tensor(edges, size=(30, 30)).t()
    assert torch.equal(ours(x[0], sparse), theirs(x[0], sparse))
    assert ours.to("meta")(x[0].to("meta"), edges.to("meta")).shape == (30, 16)
    ours, theirs = twins(8, 16, add_self_loops=False, dtype=torch.bfloat16)
    half = x[0].bfloat16()
    assert torch.equal(ours(half, edges), theirs(half, edges))


@pytest.mark.parametrize("edge_dim", [None, 2])
def test_compiled_it_runs_as_pyg(edge_dim, monkeypatch):
    x, edges = spatial(30, 20, 90)
    ours, theirs = twins((8, 8), 16, heads=2, add_self_loops=False, edge_dim=edge_dim)
    attr = None if edge_dim is None else torch.ones(90, edge_dim)
    plain = ours(x, edges, attr)
    forbid(monkeypatch, attention_kernels, "forward")
    compiled = torch.compile(ours, backend="eager")(x, edges, attr)
    assert torch.equal(compiled, theirs(x, edges, attr))
    torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=1e-4)


def test_hooks_are_called():
    x, edges = spatial(30, 30, 90)
    ours, _ = twins(8, 16, add_self_loops=False)
    seen = []
    handle = ours.register_message_forward_hook(lambda *event: seen.append(event))
    ours(x[0], edges)
    assert seen
    handle.remove()


def test_mixed_precision_walks_in_single():
    x, edges = spatial(30, 20, 90)
    ours, theirs = twins((8, 8), 16, heads=2, add_self_loops=False)
    with torch.autocast("cpu", torch.bfloat16):
        mine, other = ours(x, edges), theirs(x, edges)
    assert mine.dtype == other.dtype == torch.float32
    torch.testing.assert_close(mine, other, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("edge", [[0, 20], [30, 0], [-1, 0], [0, -1]])
def test_an_edge_to_nowhere_is_pygs_error(edge):
    x, _ = spatial(30, 20, 90)
    ours, _ = twins((8, 8), 16, add_self_loops=False)
    with pytest.raises(IndexError, match="edge_index"):
        ours(x, torch.tensor(edge)[:, None])


@pytest.mark.parametrize("how", ["torch", "numpy", "data"])
def test_edges_that_change_in_place_are_sorted_anew(how):
    x, edges = spatial(30, 20, 90)
    ours, theirs = twins((8, 8), 16, add_self_loops=False)
    before = ours(x, edges)
    if how == "numpy":
        edges.numpy()[0, 5] += 1
    else:
        (edges.data if how == "data" else edges)[0, 5] += 1
    expected = theirs(x, edges)
    assert not torch.equal(before, ours(x, edges))
    torch.testing.assert_close(ours(x, edges), expected)


def test_the_gradient_is_that_of_the_edges_that_were_walked():
    x, edges = spatial(30, 20, 90)
    ours, theirs = twins((8, 8), 16, add_self_loops=False)
    x[0].requires_grad_()
    theirs(x, edges.clone()).sum().backward()
    expected, x[0].grad = x[0].grad, None
    out = ours(x, edges)
    edges.zero_()
    out.sum().backward()
    torch.testing.assert_close(x[0].grad, expected)


def test_layers_share_the_sorted_edges_and_let_them_go():
    x, edges = spatial(30, 20, 90)
    gc.collect()
    before = len(neighbour_lists._known_lists)
    ours, _ = twins((8, 8), 16, add_self_loops=False)
    ours(x, edges).sum().backward()
    lists = neighbour_lists.lists_of(edges, 30, 20, loops=False)
    assert lists is neighbour_lists.lists_of(edges, 30, 20, loops=False)
    assert lists is not neighbour_lists.lists_of(edges, 31, 20, loops=False)
    assert len(neighbour_lists._known_lists) == before + 1
    del edges, lists
    gc.collect()
    assert len(neighbour_lists._known_lists) == before


def test_the_result_may_be_changed_in_place():
    x, edges = spatial(30, 20, 90)
    ours, theirs = twins((8, 8), 16, add_self_loops=False, bias=False)
    for conv in (ours, theirs):
        conv(x, edges).relu_().sum().backward()
    torch.testing.assert_close(ours.att.grad, theirs.att.grad, rtol=1e-4, atol=1e-4)
