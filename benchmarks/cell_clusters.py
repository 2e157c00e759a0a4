"""Clusters of cells: how well types are found, and how often clusters where there are none; a collapsing loss.

`python benchmarks/cell_clusters.py [--checks types clouds collapse scale] [--seeds N] [--out FILE.json]`

| check | question |
| --- | --- |
| types | 2,000 simulated cells of six types in pairs, and pbmc68k_reduced: ARI of each method, with the number of types given and without, and the number that is found |
| clouds | Gaussian clouds of 2 to 50 dimensions, round to long, without any clusters: how often some are called stable |
| collapse | a GCN trained to make its embeddings short (`mean |z_i|`), beside the same trained by Deep Graph Infomax: loss, spread, silhouette and ARI of k-means |
| scale | 100,000 cells: seconds and peak memory of the process |
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import logging
import resource
import time
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

import tissuegraph as tg
from tissuegraph.cells.inputs import fit_features, graph_of
from tissuegraph.nn.encoders import Encoder
from tissuegraph.nn.hop_graph import HopGraph
from tissuegraph.nn.infomax import Corruption, Infomax, infomax_loss

METHODS = ("leiden", "louvain", "gmm", "kmeans")
Rows = list[dict[str, Any]]


def inputs(seed: int) -> dict[str, tuple[ad.AnnData, str]]:
    """Cells with known types, and the column that names them."""
    import scanpy

    cells = {
        f"types {apart} apart": (tg.simulate.omics(2000, 200, separation=apart, seed=seed), "cell_type")
        for apart in (2.5, 4.0)
    }
    counts = tg.simulate.omics(2000, 200, separation=4.0, counts=500.0, seed=seed)
    cells["types 4.0 apart, 500 counts"] = counts, "cell_type"
    if seed == 0:
        cells["pbmc68k_reduced"] = scanpy.datasets.pbmc68k_reduced(), "bulk_labels"
    return cells


def types(seeds: int) -> Rows:
    rows: Rows = []
    for seed in range(seeds):
        for name, (adata, labels) in inputs(seed).items():
            for method in METHODS:
                truth = adata.obs[labels]
                tg.cluster_cells(adata, truth.nunique(), method, seed=seed)
                given = adjusted_rand_score(truth, adata.obs["cluster"])
                tg.cluster_cells(adata, method=method, seed=seed)
                found = adata.uns["tissuegraph"]["cluster"]
                rows.append(
                    {"cells": name, "method": method, "types": truth.nunique(), "ARI, number given": given}
                )
                rows[-1] |= {"number found": found["n_clusters"]}
                rows[-1] |= {"ARI, number found": adjusted_rand_score(truth, adata.obs["cluster"])}
                rows[-1] |= {"silhouette": found["silhouette"], "agreement": found["agreement"]}
    table = pd.DataFrame(rows).groupby(["cells", "method"], sort=False).mean()
    return table.reset_index().to_dict("records")


def clouds(seeds: int) -> Rows:
    rows: Rows = []
    for method in METHODS:
        generator, called = np.random.default_rng(3), 0
        for seed in range(10 * seeds):
            wide, power = int(generator.integers(2, 51)), generator.uniform(0, 1.5)
            cells = int(generator.choice([200, 500]))
            points = generator.normal(size=(cells, wide)) / np.arange(1, wide + 1) ** power
            adata = ad.AnnData(points.astype(np.float32), obs=pd.DataFrame(index=map(str, range(cells))))
            tg.cluster_cells(adata, method=method, seed=seed)
            called += adata.obs["cluster"].nunique() > 1
        rows.append({"method": method, "clouds": 10 * seeds, "called clusters": called})
    return rows


def collapse(seeds: int, steps: int = 300) -> Rows:
    rows: Rows = []
    for seed in range(seeds):
        adata = tg.simulate.omics(1000, 200, separation=4.0, seed=seed)
        _, features = fit_features(adata, None, None, 50, None)
        hops = HopGraph(graph_of(adata, "expression", features, 15, seed)).whole(2)
        x = torch.from_numpy(features)
        for loss in ("mean |z|", "infomax"):
            torch.manual_seed(seed)
            network = Infomax(Encoder("gcn", (x.shape[1], 32, 16)), 16)
            descent = torch.optim.Adam(network.parameters(), lr=1e-2)
            for step in range(steps + 1):
                if step in (0, 30, steps):
                    z = network.encoder(x, hops).detach().numpy()
                    rows.append({"loss": loss, "step": step} | judged(z, adata.obs["cell_type"]))
                shuffled = Corruption(x, torch.randperm(len(x)), hops)
                z = network.encoder(x, hops)
                value = z.norm(dim=1).mean() if loss == "mean |z|" else infomax_loss(*network(shuffled))
                if step in (0, 30, steps):
                    rows[-1]["value"] = float(value.detach())
                descent.zero_grad()
                value.backward()
                descent.step()
    return pd.DataFrame(rows).groupby(["loss", "step"], sort=False).mean().reset_index().to_dict("records")


def judged(z: np.ndarray, truth: pd.Series) -> dict[str, float]:
    """Spread of an embedding, and what k-means makes of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer places than clusters
        found = KMeans(truth.nunique(), n_init=10, random_state=0).fit_predict(z)
    several = len(np.unique(found)) > 1
    return {
        "mean |z|": float(np.linalg.norm(z, axis=1).mean()),
        "spread": float(z.std(0).mean()),
        "silhouette": float(silhouette_score(z, found)) if several else float("nan"),
        "ARI": adjusted_rand_score(truth, found),
    }


def scale(_: int) -> Rows:
    rows: Rows = []
    adata = tg.simulate.omics(100_000, 200, separation=4.0)
    for method in METHODS:
        for number in (6, None):
            begin = time.perf_counter()
            tg.cluster_cells(adata, number, method)
            row = {"method": method, "number": number or "sought", "seconds": time.perf_counter() - begin}
            row["ARI"] = adjusted_rand_score(adata.obs["cell_type"], adata.obs["cluster"])
            row["peak GB so far"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            rows.append(row)
    return rows


CHECKS = {"types": types, "clouds": clouds, "collapse": collapse, "scale": scale}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", nargs="+", choices=list(CHECKS), default=list(CHECKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    # that a cloud is one cluster is a warning each time
    logging.getLogger("tissuegraph").setLevel(logging.ERROR)
    results = {}
    for name in options.checks:
        results[name] = CHECKS[name](options.seeds)
        print(f"\n{name}\n{pd.DataFrame(results[name]).to_string(index=False, float_format='{:.3g}'.format)}")
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
