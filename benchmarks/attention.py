"""FusedGATv2Conv against PyG's GATv2Conv: seconds, peak memory and error, both in one run.

`python benchmarks/attention.py [--nodes 200000] [--out attention.json]`. The two take turns, so that a busy
machine slows both; compare the ratios. The graph joins each of the nodes, random points of a square that are
sorted by place as in a tile, to its nearest neighbours; `shuffled` has the same edges among nodes in random
order, which is the hardest case for memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch_geometric.nn import GATv2Conv

from tissuegraph.nn.attention import FusedGATv2Conv

IN_CHANNELS, HEADS, CHANNELS = 64, 4, 16
MEMORY_EDGES = 3_000_000
STATUS = Path("/proc/self/status")
CONVS = {"ours": FusedGATv2Conv, "pyg": GATv2Conv}


def layer(name: str) -> GATv2Conv:
    torch.manual_seed(0)
    return CONVS[name](IN_CHANNELS, CHANNELS, heads=HEADS, add_self_loops=False)


def tissue_graph(nodes: int, neighbours: int, shuffled: bool) -> Tensor:
    """Edges [2, nodes * neighbours] from the nearest neighbours of each point."""
    generator = np.random.default_rng(0)
    points = generator.random((nodes, 2))
    if not shuffled:
        column, row = (points * np.sqrt(nodes / 100)).astype(int).T
        points = points[np.lexsort((row, column))]
    nearest = np.asarray(cKDTree(points).query(points, neighbours + 1)[1])[:, 1:]
    return torch.stack([torch.from_numpy(nearest.ravel()), torch.arange(nodes).repeat_interleave(neighbours)])


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def take_turns(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, after one run that does not count."""
    for run in runs.values():
        run()
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(repeats)]
    return {name: median(row[name] for row in times) for name in runs}


def forward_only(conv: GATv2Conv, x: Tensor, edges: Tensor) -> None:
    with torch.no_grad():
        conv(x, edges)


def forward_and_backward(conv: GATv2Conv, x: Tensor, edges: Tensor) -> None:
    conv.zero_grad()
    conv(x, edges).square().mean().backward()


def speed(nodes: int, neighbours: int, repeats: int, shuffled: bool) -> dict[str, dict[str, float]]:
    edges = tissue_graph(nodes, neighbours, shuffled)
    x = torch.randn(nodes, IN_CHANNELS, requires_grad=True)
    convs = {name: layer(name) for name in CONVS}
    where = "shuffled" if shuffled else "sorted"

    def runs(step: Callable[..., None], fresh: bool = False) -> dict[str, Callable[[], object]]:
        # `fresh` edges are sorted anew, as for the first layer of a network; later layers find them sorted.
        def run(conv: GATv2Conv) -> None:
            step(conv, x, edges.clone() if fresh else edges)

        return {name: partial(run, conv) for name, conv in convs.items()}

    return {
        f"forward, {where} (s)": take_turns(runs(forward_only), repeats),
        f"forward, {where}, first layer (s)": take_turns(runs(forward_only, fresh=True), repeats),
        f"forward + backward, {where} (s)": take_turns(runs(forward_and_backward), repeats),
        f"forward + backward, {where}, first layer (s)": take_turns(
            runs(forward_and_backward, fresh=True), repeats
        ),
    }


def resident_mib(what: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process; `ru_maxrss` would also count the parent's."""
    line = next(row for row in STATUS.read_text().splitlines() if row.startswith(what))
    return int(line.split()[1]) / 1024


def peak_mib(name: str, edges_wanted: int) -> float:
    """Peak memory of forward and backward above inputs and libraries; to be called in a new process."""
    nodes = edges_wanted // 10
    conv, x = layer(name), torch.randn(nodes, IN_CHANNELS)
    edges = torch.stack([torch.randint(nodes, (edges_wanted,)), torch.arange(edges_wanted) % nodes])
    forward_and_backward(conv, x[:50], edges[:, :100] % 50)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = resident_mib("VmRSS")
    forward_and_backward(conv, x.requires_grad_(), edges)
    return resident_mib("VmHWM") - before


def memory(edges_wanted: int) -> dict[str, dict[str, float]]:
    command = [sys.executable, __file__, "--edges", str(edges_wanted), "--peak-of"]
    peaks = {
        name: float(subprocess.run([*command, name], check=True, capture_output=True, text=True).stdout)
        for name in CONVS
    }
    return {f"peak memory of forward + backward, {edges_wanted:,} edges (MiB)": peaks}


def gradients(conv: GATv2Conv, x: Tensor, edges: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    out = conv(x, edges)
    out.square().sum().backward()
    return {"out": out.detach(), "x": x.grad} | {name: p.grad for name, p in conv.named_parameters()}


def errors(nodes: int, neighbours: int) -> dict[str, dict[str, float]]:
    """Largest error against PyG in double precision, as a share of the largest value."""
    edges, x = tissue_graph(nodes, neighbours, shuffled=False), torch.randn(nodes, IN_CHANNELS)
    truth = gradients(layer("pyg").double(), x.double(), edges)
    rows: dict[str, dict[str, float]] = {f"error of {part}": {} for part in truth}
    for name in CONVS:
        for part, value in gradients(layer(name), x, edges).items():
            error = (value - truth[part]).abs().max() / truth[part].abs().max()
            rows[f"error of {part}"][name] = float(error)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=200_000)
    parser.add_argument("--neighbours", type=int, default=10)
    parser.add_argument("--edges", type=int, default=MEMORY_EDGES, help="edges at which memory is measured")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--peak-of", choices=list(CONVS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        print(peak_mib(options.peak_of, options.edges))
        return
    rows: dict[str, dict[str, float]] = {}
    for shuffled in (False, True):
        rows |= speed(options.nodes, options.neighbours, options.repeats, shuffled)
    if STATUS.exists():  # Linux
        rows |= memory(options.edges)
    rows |= errors(options.nodes // 10, options.neighbours)
    print(f"{'':60}{'ours':>12}{'PyG':>12}{'PyG / ours':>12}")
    for name, row in rows.items():
        row["ratio"] = row["pyg"] / max(row["ours"], 1e-30)
        print(f"{name:60}{row['ours']:12.3g}{row['pyg']:12.3g}{row['ratio']:12.2f}")
    if options.out:
        threads = torch.get_num_threads()
        settings = {"nodes": options.nodes, "neighbours": options.neighbours, "threads": threads}
        options.out.write_text(json.dumps({"settings": settings, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
