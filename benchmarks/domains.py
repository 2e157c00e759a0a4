"""Tissue domains against manual labels: ours beside smoothed PCA, uniform weights and the public PyG port.

`python benchmarks/domains.py DATA [--sets 151673 151674 starmap] [--seeds 10] [--methods ...] [--port PORT]
[--out FILE.json]`, where DATA holds `dlpfc/*.h5ad` and `starmap_mpfc/starmap_mpfc.h5ad`, and PORT is a
checkout of github.com/QIFEIDKN/STAGATE_pyG. Everything is left at its defaults.

Unlabelled spots stay in the graph and are left out of the score; the number of domains is given. All methods
are given the same genes and graph, and go through the same `tg.cluster_domains` with the same seed: raw and
refined labels, adjusted Rand index, mean and standard deviation over seeds. "starmap" is each of the sections
by itself, their mean, and all jointly. No two seeds share a network.

| method | what the mixture is given |
| --- | --- |
| domains | what `tissuegraph domains` gives it: three networks, and twice the smoothed components |
| stagate | one network, `tg.stagate` |
| uniform | one network whose attention is the same for all neighbours and stays so |
| pca | the 30 leading principal components, smoothed as everything is, as many partitions as "domains" has |
| smoothed | the same of the 50 smoothed components that "domains" has beside the networks |
| port | the port's network and loop (1,000 epochs); only with PORT |
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData, read_h5ad
from sklearn.metrics import adjusted_rand_score

import tissuegraph as tg
from tissuegraph.domains.params import StagateParams
from tissuegraph.features.expression import expression, modelled_genes

METHODS = ("domains", "stagate", "uniform", "pca", "smoothed")
NETWORKS = 3
"""As many as `tissuegraph domains` trains."""
SETS = ("151673", "151674", "starmap")
PCA_DIMENSIONS = 30
"""As many as the network's embedding has."""
TRUTH = "truth"


def tissues(data: Path, name: str) -> Iterator[tuple[str, AnnData]]:
    """The AnnData of a set by name, each with its manual labels in `obs["truth"]`."""
    if name != "starmap":
        adata = read_h5ad(data / "dlpfc" / f"{name}.h5ad")
        adata.obs[TRUTH] = adata.obs.pop("layer")
        yield name, adata
        return
    adata = read_h5ad(data / "starmap_mpfc" / "starmap_mpfc.h5ad")
    adata.obs[TRUTH] = adata.obs.pop("domain")
    for i, section in enumerate(sorted(adata.obs["section"].unique())):
        yield f"starmap {i + 1}", adata[adata.obs["section"] == section].copy()
    yield "starmap jointly", adata


def embed(adata: AnnData, method: str, seed: int, port: Path | None) -> list[str]:
    """Write what the mixture is given, and name it as often as it counts."""
    if method in ("pca", "smoothed"):
        return ["X_bench_pca" if method == "pca" else "X_smoothed"] * (2 * NETWORKS - 1)
    if method == "port":
        adata.obsm["X_port"] = port_embedding(adata, seed, port)
        return ["X_port"]
    if method == "uniform":
        params = StagateParams(attention="uniform")
        tg.stagate(adata, params, normalize=True, seed=seed, key_added="X_uniform")
        return ["X_uniform"]
    names = [f"X_stagate{seed + i}" for i in range(NETWORKS if method == "domains" else 1)]
    for i, name in enumerate(names):
        if name not in adata.obsm:
            tg.stagate(adata, normalize=True, seed=seed + i, key_added=name)
    return [*names, *["X_smoothed"] * (NETWORKS - 1)] if method == "domains" else names


def port_embedding(adata: AnnData, seed: int, port: Path | None) -> np.ndarray:
    """Train the port's network as its function does, on the same genes and graph."""
    import stagate_speed

    matrix: Any = expression(adata, modelled_genes(adata), None, normalize=True)
    graph = adata.obsp["spatial_connectivities"]
    other = stagate_speed.Port(port, matrix, graph, seed=seed)
    other.train(1000)
    return other.embedding()


def agreement(adata: AnnData, column: str) -> float:
    known = adata.obs[TRUTH].notna().to_numpy()
    return float(adjusted_rand_score(adata.obs[TRUTH][known].astype(str), adata.obs[column][known]))


def measure(name: str, adata: AnnData, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each method and seed."""
    tg.spatial_neighbors(adata)
    tg.mark_variable_genes(adata, normalize=True)
    n_domains = adata.obs[TRUTH].nunique()
    tg.smoothed_components(adata, normalize=True)
    tg.smoothed_components(adata, PCA_DIMENSIONS, normalize=True, times=0, key_added="X_bench_pca")
    for number in range(options.first_seed, options.first_seed + options.seeds):
        seed = number * NETWORKS
        for method in options.methods:
            start = time.perf_counter()
            names = embed(adata, method, seed, options.port)
            tg.cluster_domains(adata, n_domains, seed=seed, use_rep=names)
            seconds = time.perf_counter() - start
            row = {"set": name, "method": method, "seed": seed, "seconds": round(seconds, 1)}
            row |= {"raw": agreement(adata, "domain_raw"), "refined": agreement(adata, "domain")}
            print(f"{name} {method} {seed}: {row['raw']:.3f} {row['refined']:.3f}", file=sys.stderr)
            yield row


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over seeds; the sections of STARmap one by one are also averaged, seed by seed."""
    single = rows[rows["set"].str.fullmatch(r"starmap \d")]
    pooled = single.groupby(["method", "seed"], sort=False)[["raw", "refined"]].mean().reset_index()
    rows = pd.concat([rows, pooled.assign(set="starmap, mean of sections")])
    groups = rows.groupby(["set", "method"], sort=False)
    table = groups[["raw", "refined"]].agg(["mean", "std"])
    table.columns = [" ".join(pair) for pair in table.columns]
    table["seconds"] = groups["seconds"].median()
    base = rows[rows["method"] == "pca"].set_index(["set", "seed"])["refined"]
    ahead = rows.set_index(["set", "seed"])
    ahead = ahead.assign(ahead=ahead["refined"] - base.reindex(ahead.index)).reset_index()
    table["ahead of pca"] = ahead.groupby(["set", "method"], sort=False)["ahead"].mean()
    return table.round(3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, "port"), default=METHODS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--port", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.port and "port" not in options.methods:
        options.methods = [*options.methods, "port"]
    if "port" in options.methods and options.port is None:
        parser.error("the port needs --port, a checkout of github.com/QIFEIDKN/STAGATE_pyG")
    logging.disable(logging.INFO)
    found = [
        row
        for name in options.sets
        for tissue, adata in tissues(options.data, name)
        for row in measure(tissue, adata, options)
    ]
    table = summary(pd.DataFrame(found))
    print(table.to_string())
    if options.out:
        result = {"rows": found, "summary": table.reset_index().to_dict("records")}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
