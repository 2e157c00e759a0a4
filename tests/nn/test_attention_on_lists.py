"""Attention over neighbour lists: the same numbers as over the edges that they stand for."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv

from tissuegraph.nn import attention, attention_kernels
from tissuegraph.nn.attention import FusedGATv2Conv
from tissuegraph.nn.neighbour_lists import ITEMS_A_CHUNK, NeighbourLists, lists_of

Heard = list[list[int]]


def listed(heard: Heard, num_others: int) -> NeighbourLists:
    """The lists of all rows, one after the other."""
    pointer = np.cumsum([0, *map(len, heard)])
    return NeighbourLists(pointer, np.array([j for one in heard for j in one], np.int32), num_others)


def edges_of(heard: Heard) -> Tensor:
    """The same as [2, E], row by row."""
    edges = [(j, i) for i, one in enumerate(heard) for j in one]
    return torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Heard, int]:
    """Whom each of some rows hears among some others: nobody, one twice, itself, all."""
    num_others = draw(st.integers(0, 9))
    one = st.lists(st.integers(0, num_others - 1), max_size=12) if num_others else st.just([])
    return draw(st.lists(one, max_size=9)), num_others


def drawn(seed: int = 0, rows: int = 30) -> tuple[Heard, Tensor]:
    """Whom each row hears, some themselves, some nobody, and the features of all [rows, 8]."""
    generator = np.random.default_rng(seed)
    heard = [generator.integers(0, rows, generator.integers(0, 9)).tolist() for _ in range(rows)]
    heard[0], heard[1] = [], [1, 2, 1]
    return heard, torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))


def layer(conv: type[GATv2Conv] = FusedGATv2Conv, *sizes, **options) -> GATv2Conv:
    """A layer with random weights, the same for either class."""
    torch.manual_seed(0)
    made = conv(*(sizes or (8, 16)), **options)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.7)
    return made


def everything(
    conv: GATv2Conv, x: tuple[Tensor, Tensor], edges: Tensor | NeighbourLists
) -> dict[str, Tensor]:
    """Output and all gradients of a weighted sum of it."""
    leaves = tuple(part.clone().requires_grad_() for part in x)
    out = conv(leaves, edges)
    conv.zero_grad()
    (out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum().backward()
    of_weights = {name: parameter.grad for name, parameter in conv.named_parameters()}
    return {"out": out.detach(), "x_l": leaves[0].grad, "x_r": leaves[1].grad, **of_weights}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name, value in one.items():
        assert value is not None, name
        assert torch.equal(value, other[name]), name


@given(graph=graphs(), concat=st.booleans(), residual=st.booleans(), share=st.booleans())
@settings(max_examples=40, deadline=None)
def test_lists_and_their_edges_give_the_same_bits(graph, concat, residual, share):
    heard, num_others = graph
    conv = layer(heads=2, concat=concat, residual=residual, add_self_loops=False, share_weights=share)
    x = torch.randn(num_others, 8), torch.randn(len(heard), 8)
    lists = listed(heard, num_others)
    assert torch.equal(lists.edge_index, edges_of(heard))
    assert_equal(everything(conv, x, lists), everything(conv, x, edges_of(heard)))


def test_lists_give_what_pyg_gives():
    heard, x = drawn()
    options = {"heads": 4, "add_self_loops": False}
    mine = everything(layer(**options), (x, x), listed(heard, len(x)))
    theirs = everything(layer(GATv2Conv, **options), (x, x), edges_of(heard))
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, atol=1e-3, rtol=1e-4)


def forbid(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(owner, name, fail)


def test_nothing_is_sorted_for_lists(monkeypatch):
    heard, x = drawn()
    forbid(monkeypatch, attention, "lists_of")
    forbid(monkeypatch, GATv2Conv, "forward")
    forbid(monkeypatch, NeighbourLists, "edge_index")
    layer(add_self_loops=False)(x, listed(heard, len(x)))


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({"dropout": 0.5}, {}),
        ({}, {"return_attention_weights": True}),
        ({"edge_dim": 20}, {"edge_attr": "by edge"}),
        ({"aggr": "mean"}, {}),
    ],
    ids=["dropout", "weights", "many edge features", "mean"],
)
def test_what_the_kernels_do_not_cover_runs_as_pyg_on_the_lists_as_they_are(
    options, call, loops, monkeypatch
):
    heard, x = drawn()
    edges = edges_of(heard)
    if "edge_attr" in call:
        call = {"edge_attr": torch.randn(edges.shape[1], 20)}
    ours = layer(heads=2, add_self_loops=loops, **options)
    theirs = layer(GATv2Conv, heads=2, add_self_loops=False, **options)
    forbid(monkeypatch, attention_kernels, "forward")
    outs = []
    for conv, where in ((ours, listed(heard, len(x))), (theirs, edges)):
        torch.manual_seed(4)
        out = conv(x, where, **call)
        outs.append([out] if isinstance(out, Tensor) else [out[0], *out[1]])
    assert all(torch.equal(*both) for both in zip(*outs, strict=True))
    assert ours.add_self_loops == loops
    for out, *_ in outs:
        out.sum().backward()
    assert torch.equal(ours.lin_l.weight.grad, theirs.lin_l.weight.grad)


@pytest.mark.parametrize("loops", [False, True])
def test_the_kernels_and_pyg_take_the_same_lists(loops):
    heard, x = drawn()
    conv, lists = layer(heads=2, add_self_loops=loops), listed(heard, len(x))
    out, (edges, weights) = conv(x, lists, return_attention_weights=True)
    torch.testing.assert_close(conv(x, lists), out, atol=1e-5, rtol=1e-5)
    assert torch.equal(edges, lists.edge_index)
    total = torch.zeros(len(x), 2).index_add(0, edges[1], weights)
    expected = torch.tensor([[float(bool(one))] * 2 for one in heard])
    torch.testing.assert_close(total, expected)


def test_dropout_rests_out_of_training():
    heard, x = drawn()
    lists = listed(heard, len(x))
    options = {"heads": 2, "add_self_loops": False}
    assert torch.equal(layer(dropout=0.5, **options).eval()(x, lists), layer(**options)(x, lists))


def test_hooks_are_called():
    heard, x = drawn()
    conv, seen = layer(), []
    conv.register_message_forward_hook(lambda *event: seen.append(event))
    conv(x, listed(heard, len(x)))
    assert seen


def test_copies_share_no_weights_with_the_layer():
    heard, x = drawn()
    conv, lists = layer(), listed(heard, len(x))
    conv(x, lists, return_attention_weights=True)
    other = copy.deepcopy(conv)
    with torch.no_grad():
        other.att += 1
    assert not torch.equal(conv(x, lists), other(x, lists))


@given(graphs())
def test_the_transposed_lists_are_those_of_a_loop(graph):
    heard, num_others = graph
    turned = listed(heard, num_others).transposed
    expected = [[i for i, one in enumerate(heard) for j in one if j == other] for other in range(num_others)]
    found = np.split(turned.neighbours, turned.pointer[1:-1]) if num_others else []
    assert [one.tolist() for one in found] == expected
    assert turned.num_others == len(heard)


@pytest.mark.parametrize("rows", [0, 1, 50, 5000])
def test_the_chunks_cover_every_row_once(rows):
    generator = np.random.default_rng(0)
    heard = [generator.integers(0, rows, int(degree)).tolist() for degree in generator.exponential(5, rows)]
    lists = listed(heard, rows)
    covered = [row for first, end in lists.bounds for row in range(first, end)]
    assert covered == list(range(rows))
    work = [end - first + lists.pointer[end] - lists.pointer[first] for first, end in lists.bounds]
    assert max(work) < 2 * ITEMS_A_CHUNK


def test_edges_in_any_order_make_lists_that_hear_the_same():
    heard, x = drawn()
    edges = edges_of(heard)[:, torch.randperm(sum(map(len, heard)))]
    lists = lists_of(edges, len(x), len(x), loops=False)
    assert lists is not None
    found = np.split(lists.neighbours, lists.pointer[1:-1])
    assert [sorted(one.tolist()) for one in found] == [sorted(one) for one in heard]
