"""STAGATE against its public PyG port: seconds an epoch and peak memory, at the port's formulas, in one run.

`python benchmarks/stagate_speed.py PORT CELLS.h5ad [--genes 3000] [--epochs 5] [--rounds 3] [--out FILE]`,
where PORT is a checkout of github.com/QIFEIDKN/STAGATE_pyG and CELLS has raw counts and `obsm["spatial"]`.
The two take turns, so that a busy machine slows both; compare the ratios. Both start from the same weights,
and the embeddings after those epochs are compared, so that what is timed is the same computation. Memory is
the peak of a process of its own, above what stood after imports, a first step on sixty cells and reading. The
port imports torch_sparse without using it, so a stub stands in.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import types
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from anndata import read_h5ad
from scipy import sparse

from tissuegraph.domains.params import stagate_params
from tissuegraph.domains.stagate_model import new_network
from tissuegraph.features.expression import expression
from tissuegraph.graph.spatial import spatial_neighbors_knn
from tissuegraph.nn.stagate_batches import Tissue, apply
from tissuegraph.nn.stagate_fit import Descent, fit
from tissuegraph.nn.stagate_graph import CellGraph

STATUS = Path("/proc/self/status")
SEED = 0
SIDES = ("ours", "ours, tied", "port")


def cells(path: Path, genes: int) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Normalised expression of the most variable genes, and six neighbours, both ways."""
    adata = read_h5ad(path)
    matrix: Any = expression(adata, adata.var_names.to_numpy(str), None, normalize=True)
    squares = np.asarray(matrix.multiply(matrix).mean(0)).ravel()
    variance = squares - np.asarray(matrix.mean(0)).ravel() ** 2
    spatial_neighbors_knn(adata, 6)
    graph = adata.obsp["spatial_connectivities"]
    return matrix[:, np.sort(np.argsort(-variance)[:genes])], sparse.csr_matrix(graph.maximum(graph.T))


def port_model(folder: Path) -> Any:
    """The port's class of its network, without its package's plotting imports."""
    stub: Any = types.ModuleType("torch_sparse")
    stub.SparseTensor, stub.set_diag = type("SparseTensor", (), {}), None
    package = types.ModuleType("STAGATE_pyG")
    package.__path__ = [str(folder / "STAGATE_pyG")]
    sys.modules |= {"torch_sparse": stub, "STAGATE_pyG": package}
    from STAGATE_pyG.STAGATE import STAGATE  # type: ignore[import-not-found]

    return STAGATE


class Port:
    """The port's network and the loop that it trains in."""

    def __init__(
        self, folder: Path, matrix: sparse.csr_matrix, graph: sparse.csr_matrix, seed: int = SEED
    ) -> None:
        torch.manual_seed(seed)
        self.x = torch.FloatTensor(matrix.toarray() if sparse.issparse(matrix) else matrix)
        edges = (graph + sparse.identity(graph.shape[0])).nonzero()
        self.edges = torch.LongTensor(np.array(edges))
        self.network = port_model(folder)([matrix.shape[1], 512, 30])
        self.weights = [weight.detach().clone() for weight in self.network.parameters()]
        self.adam = torch.optim.Adam(self.network.parameters(), lr=1e-3, weight_decay=1e-4)

    def train(self, epochs: int) -> None:  # noqa: D102
        for _ in range(epochs):
            self.adam.zero_grad()
            _, guess = self.network(self.x, self.edges)
            torch.nn.functional.mse_loss(self.x, guess).backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.adam.step()

    @torch.no_grad()
    def embedding(self) -> np.ndarray:  # noqa: D102
        return self.network(self.x, self.edges)[0].numpy()


class Ours:
    """Our network at the port's formulas, twice updated as there or truly tied."""

    def __init__(self, matrix: sparse.csr_matrix, graph: sparse.csr_matrix, *, twice: bool) -> None:
        params = stagate_params("paper-pyg")
        self.network = new_network(params, matrix.shape[1], torch.Generator().manual_seed(SEED))
        self.tissue = Tissue(matrix, CellGraph(graph))
        names = ("loss", "learning_rate", "weight_decay", "decay_last_only", "gradient_clipping")
        self.descent = Descent(**{name: getattr(params, name) for name in names}, two_updates=twice)
        self.batch = self.tissue.whole()

    def start_from(self, port: Port) -> None:
        """Take the weights that the port starts from."""
        first = port.network.conv1
        with torch.no_grad():
            self.network.weight0.copy_(first.lin_src)
            self.network.weight1.copy_(port.network.conv2.lin_src)
            self.network.attention.copy_(torch.stack([first.att_dst.flatten(), first.att_src.flatten()], 1))

    def train(self, epochs: int) -> None:  # noqa: D102
        fit(self.network, ([self.batch] for _ in range(epochs)), self.descent)

    def embedding(self) -> np.ndarray:  # noqa: D102
        return apply(self.network, self.tissue, None).embedding


def made(side: str, folder: Path, matrix: sparse.csr_matrix, graph: sparse.csr_matrix) -> Any:
    return Port(folder, matrix, graph) if side == "port" else Ours(matrix, graph, twice=side == "ours")


def peak_memory(side: str, options: argparse.Namespace) -> float:
    """MB above the imports, in a process of its own."""
    command = [sys.executable, __file__, str(options.port), str(options.cells), "--genes", str(options.genes)]
    done = subprocess.run([*command, "--memory", side], check=True, capture_output=True, text=True)
    return float(done.stdout)


def say_memory(options: argparse.Namespace) -> None:
    """Print the peak of training, above what stood before."""
    port_model(options.port)
    few = sparse.random(60, 40, 0.5, "csr", np.float32)
    made(options.memory, options.port, few, sparse.identity(60, format="csr")).train(1)  # loads code
    matrix, graph = cells(options.cells, options.genes)
    Path("/proc/self/clear_refs").write_text("5")
    before = int(STATUS.read_text().split("VmRSS:")[1].split()[0])
    made(options.memory, options.port, matrix, graph).train(3)
    peak = int(STATUS.read_text().split("VmHWM:")[1].split()[0])
    print(round((peak - before) / 1024, 1))


def difference(port: Port, ours: Ours, epochs: int) -> float:
    """Largest difference of embeddings, over the largest value, after training from the same weights."""
    ours.start_from(port)
    port.train(epochs)
    ours.train(epochs)
    theirs, mine = port.embedding(), ours.embedding()
    return float(abs(theirs - mine).max() / abs(theirs).max())


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds an epoch of each, taking turns, and how far the embeddings are apart."""
    matrix, graph = cells(options.cells, options.genes)
    sides = {side: made(side, options.port, matrix, graph) for side in SIDES}
    apart = difference(sides["port"], sides["ours"], options.epochs)
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(options.rounds + 1):
        for side, model in sides.items():
            start = time.perf_counter()
            model.train(options.epochs)
            seconds[side].append((time.perf_counter() - start) / options.epochs)
    share = sparse.csr_matrix(matrix).nnz / np.prod(matrix.shape)
    return {
        "cells": matrix.shape[0],
        "genes": matrix.shape[1],
        "share of entries that are not zero": round(float(share), 3),
        "threads": torch.get_num_threads(),
        "seconds an epoch": {side: round(median(times[1:]), 4) for side, times in seconds.items()},
        "times faster": {
            side: round(median(np.divide(seconds["port"][1:], seconds[side][1:])), 2) for side in SIDES[:2]
        },
        f"largest difference of embeddings after {options.epochs} epochs, relative": apart,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--genes", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.memory:
        say_memory(options)
        return
    result = compare(options)
    memory = {side: peak_memory(side, options) for side in SIDES}
    result["peak memory above imports, MB"] = memory
    result["share of the port's memory"] = round(memory["ours"] / memory["port"], 3)
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
