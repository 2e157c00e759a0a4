"""FusedGATv2Conv against PyG's GATv2Conv: seconds, peak memory and error, both in one run.

`python benchmarks/attention.py [--nodes 200000] [--features 0] [--device cpu] [--out attention.json]`. The
two take turns, so that a busy machine slows both; compare the ratios. The graph joins each of the nodes,
random points of a square that are sorted by place as in a tile, to its nearest neighbours; `shuffled` has the
same edges among nodes in random order, which is the hardest case for memory.
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


def layer(name: str, attr: Tensor | None = None, device: str = "cpu") -> GATv2Conv:
    torch.manual_seed(0)
    edge_dim = None if attr is None else attr.shape[1]
    return CONVS[name](IN_CHANNELS, CHANNELS, heads=HEADS, add_self_loops=False, edge_dim=edge_dim).to(device)


def edge_features(edges: Tensor, features: int) -> Tensor | None:
    return torch.randn(edges.shape[1], features, device=edges.device) if features else None


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
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def take_turns(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, after one run that does not count."""
    for run in runs.values():
        run()
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(repeats)]
    return {name: median(row[name] for row in times) for name in runs}


def forward_only(conv: GATv2Conv, x: Tensor, edges: Tensor, attr: Tensor | None) -> None:
    with torch.no_grad():
        conv(x, edges, attr)


def forward_and_backward(conv: GATv2Conv, x: Tensor, edges: Tensor, attr: Tensor | None) -> None:
    conv.zero_grad()
    conv(x, edges, attr).square().mean().backward()


def speed(
    nodes: int, neighbours: int, repeats: int, shuffled: bool, features: int, device: str
) -> dict[str, dict[str, float]]:
    edges = tissue_graph(nodes, neighbours, shuffled).to(device)
    x, attr = torch.randn(nodes, IN_CHANNELS, device=device).requires_grad_(), edge_features(edges, features)
    convs = {name: layer(name, attr, device) for name in CONVS}
    where = "shuffled" if shuffled else "sorted"

    def runs(step: Callable[..., None], fresh: bool = False) -> dict[str, Callable[[], object]]:
        # `fresh` edges are sorted anew, as for the first layer of a network; later layers find them sorted.
        def run(conv: GATv2Conv) -> None:
            step(conv, x, edges.clone() if fresh else edges, attr)

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


def peak_mib(name: str, edges_wanted: int, features: int, device: str) -> float:
    """Peak memory of forward and backward above inputs and libraries; to be called in a new process."""
    nodes = edges_wanted // 10
    x = torch.randn(nodes, IN_CHANNELS).to(device)
    edges = torch.stack([torch.randint(nodes, (edges_wanted,)), torch.arange(edges_wanted) % nodes]).to(
        device
    )
    attr = edge_features(edges, features)
    conv = layer(name, attr, device)
    forward_and_backward(conv, x[:50], edges[:, :100] % 50, None if attr is None else attr[:100])
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        forward_and_backward(conv, x.requires_grad_(), edges, attr)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    resident = resident_mib("VmRSS")
    forward_and_backward(conv, x.requires_grad_(), edges, attr)
    return resident_mib("VmHWM") - resident


def memory(edges_wanted: int, features: int, device: str) -> dict[str, dict[str, float]]:
    options = "--edges", str(edges_wanted), "--features", str(features), "--device", device
    command = [sys.executable, __file__, *options, "--peak-of"]
    peaks = {
        name: float(subprocess.run([*command, name], check=True, capture_output=True, text=True).stdout)
        for name in CONVS
    }
    return {f"peak memory of forward + backward, {edges_wanted:,} edges (MiB)": peaks}


def gradients(conv: GATv2Conv, x: Tensor, edges: Tensor, attr: Tensor | None) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    out = conv(x, edges, attr)
    out.square().sum().backward()
    return {"out": out.detach(), "x": x.grad} | {name: p.grad for name, p in conv.named_parameters()}


def errors(nodes: int, neighbours: int, features: int, device: str) -> dict[str, dict[str, float]]:
    """Largest error against PyG in double precision, as a share of the largest value."""
    edges = tissue_graph(nodes, neighbours, shuffled=False).to(device)
    x, attr = torch.randn(nodes, IN_CHANNELS, device=device), edge_features(edges, features)
    exact = None if attr is None else attr.double()
    truth = gradients(layer("pyg", attr, device).double(), x.double(), edges, exact)
    rows: dict[str, dict[str, float]] = {f"error of {part}": {} for part in truth}
    for name in CONVS:
        for part, value in gradients(layer(name, attr, device), x, edges, attr).items():
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
    parser.add_argument("--features", type=int, default=0, help="features of an edge")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--peak-of", choices=list(CONVS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        print(peak_mib(options.peak_of, options.edges, options.features, options.device))
        return
    case = options.features, options.device
    rows: dict[str, dict[str, float]] = {}
    for shuffled in (False, True):
        rows |= speed(options.nodes, options.neighbours, options.repeats, shuffled, *case)
    if STATUS.exists() or options.device != "cpu":  # Linux
        rows |= memory(options.edges, *case)
    rows |= errors(options.nodes // 10, options.neighbours, *case)
    print(f"{'':60}{'ours':>12}{'PyG':>12}{'PyG / ours':>12}")
    for name, row in rows.items():
        row["ratio"] = row["pyg"] / max(row["ours"], 1e-30)
        print(f"{name:60}{row['ours']:12.3g}{row['pyg']:12.3g}{row['ratio']:12.2f}")
    if options.out:
        threads = torch.get_num_threads()
        settings = {name: getattr(options, name) for name in ("nodes", "neighbours", "features", "device")}
        settings["threads"] = threads
        options.out.write_text(json.dumps({"settings": settings, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
