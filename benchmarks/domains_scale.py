"""STAGATE and domains on many simulated cells: seconds of each step, and peak memory of the whole process.

`python benchmarks/domains_scale.py [--cells 379000 1000000] [--genes 374 300] [--out FILE]`

One process draws sections block by block, with sparse counts; another one, which is measured, reads them,
builds the graph, fits `tg.stagate` with its defaults and finds domains. Memory is the summed PSS of that
process, imports included.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from measure import run_measured

import tissuegraph as tg

DOMAINS = 6
CASES = ((379_000, 374), (1_000_000, 300))


def find(path: Path, result: Path) -> None:
    """Do what is measured, and write how long each step took."""
    from anndata import read_h5ad
    from sklearn.metrics import adjusted_rand_score

    logging.basicConfig(level=logging.INFO)
    steps: dict[str, float] = {}

    def timed(name: str, start: float) -> None:
        steps[name] = round(time.perf_counter() - start, 1)

    start = time.perf_counter()
    adata = read_h5ad(path)
    timed("read", start)
    start = time.perf_counter()
    tg.spatial_neighbors(adata)
    timed("graph", start)
    start = time.perf_counter()
    tg.stagate(adata, normalize=True, device="cpu")
    timed("stagate", start)
    start = time.perf_counter()
    tg.cluster_domains(adata, DOMAINS, key_added="found")
    timed("domains", start)
    score = adjusted_rand_score(adata.obs["domain"], adata.obs["found"])
    result.write_text(json.dumps(steps | {"ARI": round(float(score), 3)}))


def measure(cells: int, genes: int, work: Path) -> dict[str, float]:
    path, result, log = (work / f"{cells}.{ending}" for ending in ("h5ad", "json", "log"))
    size = ["--cells", str(cells), "--genes", str(genes), "--domains", str(DOMAINS)]
    draw = [
        sys.executable,
        "-m",
        "tissuegraph.cli",
        "simulate",
        "section",
        str(path),
        "--skip-expected",
        *size,
    ]
    drawn = run_measured([*draw, "--counts-per-cell", "200", "--overwrite"], log)
    found = run_measured([sys.executable, __file__, "--find", str(path), str(result)], log)
    row = {"cells": cells, "genes": genes, **json.loads(result.read_text())}
    row |= {"whole process, min": round(found["seconds"] / 60, 1), "CPU min": round(found["CPU s"] / 60, 1)}
    return row | {"peak GB": round(found["GB"], 2), "drawn in s": round(drawn["seconds"], 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[cells for cells, _ in CASES])
    parser.add_argument("--genes", type=int, nargs="+", default=[genes for _, genes in CASES])
    parser.add_argument("--work", type=Path, help="folder for the sections; a temporary one by default")
    parser.add_argument("--find", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.find:
        find(*options.find)
        return
    if len(options.cells) != len(options.genes):
        parser.error("give as many --genes as --cells")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        for cells, genes in zip(options.cells, options.genes, strict=True):
            rows.append(measure(cells, genes, work))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(pd.DataFrame(rows).to_string(index=False))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
