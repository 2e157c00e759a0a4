"""Attention on a GPU against PyG's layer in double precision.

On a GPU, where there is one. Elsewhere in Triton's interpreter, which runs kernels on the CPU, one program
after the other: `TRITON_INTERPRET=1 pytest tests/nn/test_attention_triton.py`.
"""

from __future__ import annotations

import copy
import logging
import os
import re
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.nn import GATv2Conv

from tissuegraph.nn import attention, device_lists
from tissuegraph.nn.attention import FusedGATv2Conv
from tissuegraph.nn.device_lists import DeviceLists, device_lists_of
from tissuegraph.nn.neighbour_lists import NeighbourLists, lists_of
from tissuegraph.nn.pairs import FIXED, LEARNT, PairNet

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda")

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="the module triton is not installed")
needs_device = pytest.mark.skipif(
    DEVICE.type == "cpu" and not INTERPRETED,
    reason="no GPU that torch sees, and TRITON_INTERPRET=1 is not set",
)

Inputs = dict[str, Tensor]


@pytest.fixture
def on_device(monkeypatch):
    """Layers attend in Triton and nowhere else, interpreted on the CPU where there is no GPU."""
    from tissuegraph.nn.attention_triton import Attend

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("the layer left Triton")

    if DEVICE.type == "cpu":
        monkeypatch.setattr(attention, "_walk_on", lambda _: Attend)
        monkeypatch.setattr(attention, "_in_main_memory", lambda _: False)
    monkeypatch.setattr(attention.attention_cpu.Attend, "apply", fail)
    whole = GATv2Conv.forward

    def only_theirs(self: GATv2Conv, *args: object, **kwargs: object) -> object:
        return fail() if isinstance(self, FusedGATv2Conv) else whole(self, *args, **kwargs)

    monkeypatch.setattr(GATv2Conv, "forward", only_theirs)


def twins(
    *args: object, dtype: torch.dtype = torch.float32, **options: object
) -> tuple[FusedGATv2Conv, GATv2Conv]:
    """Our layer and PyG's with the same weights; no parameter is zero."""
    torch.manual_seed(0)
    ours, theirs = FusedGATv2Conv(*args, **options).to(dtype), GATv2Conv(*args, **options).to(dtype)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.7)
    theirs.load_state_dict(ours.state_dict())
    return ours.to(DEVICE), theirs.to(DEVICE)


def drawn(sources: int, targets: int, edges: int, *, features: int = 0, hub: int = 0) -> Inputs:
    """Nodes of two kinds and edges; the last target hears no one, the first `hub` more, the second one."""
    generator = torch.Generator().manual_seed(0)
    index = torch.stack(
        [
            torch.randint(sources, (edges + hub + 1,), generator=generator),
            torch.randint(2, max(targets - 1, 3), (edges + hub + 1,), generator=generator),
        ]
    )
    index[1, :hub], index[1, hub] = 0, 1
    made = {
        "x_l": torch.randn(sources, 6, generator=generator),
        "x_r": torch.randn(targets, 6, generator=generator),
        "edges": index[:, torch.randperm(edges + hub + 1, generator=generator)],
    }
    if features:
        made["attr"] = torch.randn(edges + hub + 1, features, generator=generator)
    return {name: value.to(DEVICE) for name, value in made.items()}


def everything(
    conv: GATv2Conv, inputs: Inputs, edges: Tensor | NeighbourLists | None = None
) -> dict[str, Tensor]:
    """Output and all gradients of a weighted sum of it, in double precision."""
    dtype = conv.att.dtype
    leaves = {
        name: value.to(dtype).clone().requires_grad_() for name, value in inputs.items() if name != "edges"
    }
    out = conv(
        (leaves["x_l"], leaves["x_r"]), inputs["edges"] if edges is None else edges, leaves.get("attr")
    )
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    conv.zero_grad()
    (out * weight.to(out)).sum().backward()
    named = {"out": out} | {name: leaf.grad for name, leaf in leaves.items()}
    named |= {name: parameter.grad for name, parameter in conv.named_parameters()}
    return {name: value.detach().double() for name, value in named.items() if value is not None}


def assert_as_exact(ours: GATv2Conv, theirs: GATv2Conv, inputs: Inputs) -> None:
    """At most twice as far from double precision as PyG in single."""
    truth = everything(copy.deepcopy(theirs).double(), inputs)
    got, expected = everything(ours, inputs), everything(theirs, inputs)
    assert got.keys() == truth.keys()
    for name, exact in truth.items():
        error, allowed = ((value[name] - exact).square().mean().sqrt() for value in (got, expected))
        assert error <= 2 * allowed + 1e-7 * exact.abs().max(), name


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@needs_triton
@needs_device
@pytest.mark.usefixtures("on_device")
class TestKernels:
    @pytest.mark.parametrize(("heads", "channels"), [(4, 16), (1, 1), (3, 5), (2, 33)])
    @pytest.mark.parametrize("features", [0, 3])
    def test_as_exact_as_pyg_for_any_number_of_heads_channels_and_features(self, heads, channels, features):
        dims = {"edge_dim": features} if features else {}
        ours, theirs = twins((6, 6), channels, heads=heads, add_self_loops=False, **dims)
        assert_as_exact(ours, theirs, drawn(17, 13, 60, features=features, hub=20))

    @pytest.mark.parametrize("options", [{"concat": False}, {"bias": False}, {"residual": True}], ids=str)
    def test_as_exact_as_pyg_with_any_option(self, options):
        ours, theirs = twins((6, 6), 16, heads=2, add_self_loops=False, **options)
        assert_as_exact(ours, theirs, drawn(17, 13, 60))

    @pytest.mark.parametrize("scale", [1.0, 30.0])
    def test_as_exact_as_pyg_with_thousands_of_neighbours(self, scale):
        ours, theirs = twins((6, 6), 16, edge_dim=2, add_self_loops=False)
        inputs = drawn(40, 6, 20, hub=3000, features=2)
        assert_as_exact(ours, theirs, inputs | {"x_l": inputs["x_l"] * scale})

    @pytest.mark.parametrize("sizes", [(5, 4), (0, 4), (4, 0), (0, 0)], ids=str)
    def test_a_graph_without_edges(self, sizes):
        ours, theirs = twins((6, 6), 16, heads=2, residual=True, add_self_loops=False)
        inputs = {name: torch.randn(n, 6) for name, n in zip(("x_l", "x_r"), sizes, strict=True)}
        inputs["edges"] = torch.empty(2, 0, dtype=torch.long)
        inputs = {name: value.to(DEVICE) for name, value in inputs.items()}
        got, expected = everything(ours, inputs), everything(theirs, inputs)
        for name, value in expected.items():
            torch.testing.assert_close(got[name], value, atol=1e-5, rtol=1e-5)

    def test_who_hears_no_one_gets_the_bias(self):
        ours, _ = twins((6, 6), 16, add_self_loops=False)
        inputs = drawn(9, 8, 30)
        inputs["x_r"][7] = torch.nan  # not even what it says itself counts
        out = ours((inputs["x_l"], inputs["x_r"]), inputs["edges"])
        assert torch.equal(out[7], ours.bias)
        assert out.isfinite().all()

    def test_nan_and_infinity_stay_where_pyg_has_them(self):
        ours, theirs = twins((6, 6), 16, heads=2, add_self_loops=False)
        inputs = drawn(40, 30, 80)
        inputs["x_l"][3, 2], inputs["x_l"][5, 1], inputs["x_r"][7, 0] = torch.nan, torch.inf, -torch.inf
        out, expected = (conv((inputs["x_l"], inputs["x_r"]), inputs["edges"]) for conv in (ours, theirs))
        assert torch.equal(out.isfinite(), expected.isfinite())

    @pytest.mark.parametrize("options", [{"fill_value": "mean"}, {"share_weights": True}], ids=str)
    def test_nodes_that_also_hear_themselves(self, options):
        ours, theirs = twins(6, 5, heads=2, edge_dim=2, dtype=torch.float64, **options)
        inputs = drawn(12, 12, 40, features=2)
        x, attr = inputs["x_l"].double(), inputs["attr"].double()
        outs = []
        for conv in (ours, theirs):
            leaves = x.clone().requires_grad_(), attr.clone().requires_grad_()
            out = conv(leaves[0], inputs["edges"], leaves[1])
            outs.append([out, *torch.autograd.grad(out.square().sum(), [*leaves, *conv.parameters()])])
        for got, expected in zip(*outs, strict=True):
            torch.testing.assert_close(got, expected)

    def test_gradients_are_those_of_finite_differences(self):
        ours, _ = twins((6, 6), 3, edge_dim=1, add_self_loops=False, dtype=torch.float64)
        inputs = drawn(3, 4, 5, features=1)
        leaves = [inputs[name].double().requires_grad_() for name in ("x_l", "x_r", "attr")]
        names, parameters = zip(*ours.named_parameters(), strict=True)

        def run(x_l: Tensor, x_r: Tensor, attr: Tensor, *values: Tensor) -> Tensor:
            named = dict(zip(names, values, strict=True))
            return torch.func.functional_call(ours, named, ((x_l, x_r), inputs["edges"], attr))

        assert torch.autograd.gradcheck(run, (*leaves, *parameters), fast_mode=True)

    def test_numbering_of_nodes_and_order_of_edges_do_not_matter(self):
        ours, _ = twins((6, 6), 16, heads=2, edge_dim=2, add_self_loops=False)
        inputs = drawn(30, 20, 90, features=2)
        of_l, of_r, of_edges = (torch.randperm(n, device=DEVICE) for n in (30, 20, 91))
        edges = torch.stack([of_l.argsort()[inputs["edges"][0]], of_r.argsort()[inputs["edges"][1]]])
        moved = {
            "x_l": inputs["x_l"][of_l],
            "x_r": inputs["x_r"][of_r],
            "edges": edges[:, of_edges],
            "attr": inputs["attr"][of_edges],
        }
        found = []
        for given in (inputs, moved):
            leaves = [given[name].clone().requires_grad_() for name in ("x_l", "x_r", "attr")]
            out = ours((leaves[0], leaves[1]), given["edges"], leaves[2])
            found.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
        for before, after, order in zip(*found, (of_r, of_l, of_r, of_edges), strict=True):
            torch.testing.assert_close(after, before[order], atol=1e-3, rtol=1e-4)

    def test_targets_that_share_a_part_of_a_sum(self, monkeypatch):
        from tissuegraph.nn import attention_triton

        monkeypatch.setattr(attention_triton, "FEWEST_PARTS", 3)
        monkeypatch.setattr(attention_triton, "MOST_PARTS", 3)
        assert attention_triton._rows_a_part(13, 16) == 5
        ours, theirs = twins((6, 6), 16, edge_dim=2, add_self_loops=False)
        assert_as_exact(ours, theirs, drawn(17, 13, 60, features=2))

    def test_two_runs_are_bit_equal(self):
        from tissuegraph.nn.attention_triton import Attend

        inputs = drawn(20, 15, 50, features=2, hub=50)
        lists = device_lists_of(inputs["edges"], 20, 15, loops=False)
        results = []
        for _ in range(2):
            generator = torch.Generator().manual_seed(3)
            shapes = (20, 2, 16), (15, 2, 16), (1, 2, 16), (101, 2), (2, 2, 16)
            leaves = [torch.randn(s, generator=generator).to(DEVICE).requires_grad_() for s in shapes]
            out = Attend.apply(*leaves, 0.2, lists)
            results.append([out.detach(), *torch.autograd.grad((out * out).sum(), leaves)])
        assert all(torch.equal(*both) for both in zip(*results, strict=True))

    @pytest.mark.parametrize("sort_order", ["row", "col", None])
    def test_takes_pyg_edge_index(self, sort_order):
        ours, theirs = twins((6, 6), 5, edge_dim=2, add_self_loops=False, dtype=torch.float64)
        inputs = drawn(30, 20, 60, features=2)
        expected, edges = everything(theirs, inputs), EdgeIndex(inputs["edges"], sparse_size=(30, 20))
        if sort_order is not None:
            edges, order = edges.sort_by(sort_order)
            inputs["attr"] = inputs["attr"][order]
        torch.testing.assert_close(everything(ours, inputs, edges)["out"], expected["out"])

    def test_lists_and_their_edges_give_the_same_bits(self):
        ours, _ = twins((6, 6), 16, heads=2, edge_dim=2, add_self_loops=False)
        inputs = drawn(30, 20, 90, features=2)
        order = torch.sort(inputs["edges"][1], stable=True).indices
        edges = inputs["edges"][:, order]
        inputs |= {"edges": edges, "attr": inputs["attr"][order]}
        pointer = np.searchsorted(edges[1].cpu().numpy(), np.arange(21))
        lists = NeighbourLists(pointer, edges[0].int().cpu().numpy(), 30)
        assert_same(everything(ours, inputs, lists), everything(ours, inputs))

    def test_mixed_precision_walks_in_single(self):
        ours, theirs = twins((6, 6), 16, heads=2, add_self_loops=False)
        inputs = drawn(30, 20, 90)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            mine, other = (conv((inputs["x_l"], inputs["x_r"]), inputs["edges"]) for conv in (ours, theirs))
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, other.float(), atol=0.05, rtol=0.05)

    def test_the_result_may_be_changed_in_place(self):
        ours, theirs = twins((6, 6), 16, add_self_loops=False, bias=False)
        inputs = drawn(30, 20, 90)
        for conv in (ours, theirs):
            conv((inputs["x_l"], inputs["x_r"]), inputs["edges"]).relu_().sum().backward()
        torch.testing.assert_close(ours.att.grad, theirs.att.grad, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("attending", [LEARNT, FIXED])
    def test_a_network_over_lists_trains_there(self, attending, monkeypatch):
        torch.manual_seed(0)
        network = PairNet(3, hidden=8, layers=1, heads=2, attention=attending)
        features, place, tx = torch.randn(9, 3), torch.randn(9, 2), torch.arange(9) // 3
        lists = NeighbourLists(np.arange(10), np.arange(9, dtype=np.int32)[::-1].copy(), 9)
        there = copy.deepcopy(network).to(DEVICE)
        pairs, none = there(features.to(DEVICE), tx.to(DEVICE), 3, place.to(DEVICE), lists)
        (pairs.sum() + none.sum()).backward()
        monkeypatch.undo()
        expected = network(features, tx, 3, place, lists)
        (expected[0].sum() + expected[1].sum()).backward()
        torch.testing.assert_close(pairs.cpu(), expected[0], atol=1e-5, rtol=1e-5)
        for mine, other in zip(there.parameters(), network.parameters(), strict=True):
            if other.grad is not None:
                torch.testing.assert_close(mine.grad.cpu(), other.grad, atol=1e-4, rtol=1e-4)


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="TRITON_INTERPRET=1 is set: nothing is compiled")
@pytest.mark.parametrize(("heads", "channels", "features"), [(4, 16, 0), (3, 5, 3), (1, 128, 16)])
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_without_atomics_for_gpus_that_are_not_there(heads, channels, features, capability):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from tissuegraph.nn import attention_triton
    from tissuegraph.nn import triton_kernels as kernels

    sizes = attention_triton._sizes(
        torch.empty(1, heads, channels), torch.empty(features, heads, channels), 0.2
    )
    options = {"num_warps": sizes.pop("num_warps")}
    types = {
        "pointer": "*i64",
        "neighbours": "*i32",
        "order": "*i64",
        "of_att": "*fp64",
        "of_weight": "*fp64",
    }
    types |= {"num_targets": "i32", "rows": "i32"} | dict.fromkeys([*sizes, "OF_EDGES"], "constexpr")
    for kernel in (kernels.forward, kernels.backward_targets, kernels.backward_sources):
        fixed = {n: v for n, v in (sizes | {"OF_EDGES": True}).items() if n in kernel.arg_names}
        source = ASTSource(kernel, {n: types.get(n, "*fp32") for n in kernel.arg_names}, fixed)
        made = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert "ld.global" in made.asm["ptx"]
        assert not re.search(r"\b(atom|red)\.", made.asm["ptx"])


class TestLists:
    """Sorting on a device is plain torch, and so the same anywhere."""

    @pytest.mark.parametrize("loops", [False, True])
    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
    def test_are_those_of_the_cpu(self, loops, dtype):
        edges = drawn(30, 20, 90)["edges"].to(dtype)
        there = device_lists_of(edges, 30, 20, loops=loops)
        here = lists_of(edges.cpu(), 30, 20, loops=loops, places=True)
        assert isinstance(there, DeviceLists)
        assert here is not None
        pairs = [
            (there.pointer, here.pointer),
            (there.neighbours, here.neighbours),
            (there.places, here.places),
            (there.transposed.pointer, here.transposed.pointer),
            (there.transposed.neighbours, here.transposed.neighbours),
            (there.transposed.places, here.order),
        ]
        for found, expected in pairs:
            assert found is not None
            assert found.tolist() == expected.tolist()

    @pytest.mark.parametrize("edge", [[0, 20], [30, 0], [-1, 0], [0, -1]])
    def test_there_are_none_for_an_edge_to_nowhere(self, edge):
        edges = torch.tensor(edge, device=DEVICE)[:, None]
        assert device_lists_of(edges, 30, 20, loops=False) is None

    def test_layers_share_them_until_the_edges_change(self):
        edges = drawn(30, 20, 90)["edges"]
        first = device_lists_of(edges, 30, 20, loops=False)
        assert device_lists_of(edges, 30, 20, loops=False) is first
        edges.data[0, 5] = (edges[0, 5] + 1) % 30
        assert device_lists_of(edges, 30, 20, loops=False) is not first
        assert len(device_lists._known_lists) >= 1


def test_a_gpu_without_triton_runs_pygs_code_and_the_log_says_so_once(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "tissuegraph.nn.attention_triton", None)  # import raises ImportError
    attention._on_gpu.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert [attention._walk_on(torch.device("cuda", n)) for n in (0, 1)] == [None, None]
    assert [record.message for record in caplog.records if "triton" in record.message] == [
        "no module triton: attention on the GPU runs as PyG's, with its memory; install triton"
    ]
    attention._on_gpu.cache_clear()
