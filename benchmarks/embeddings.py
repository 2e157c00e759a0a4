"""Embeddings of cells beside simple ones, on graphs and simulated cells whose labels are known.

`python benchmarks/embeddings.py [--checks graphs tissue omics scale] [--seeds N] [--out FILE.json]`. Accuracy is
that of a logistic regression on held-out cells, five stratified folds, unless said otherwise.

| check | question |
| --- | --- |
| graphs | node2vec on the karate club (four communities) and on graphs of five blocks, beside the leading eigenvectors of the normalised adjacency |
| tissue | infomax on simulated sections (3,000 cells, six layers): domains, from all labels of the other folds and from 2% of the cells, and types; beside components, the same averaged over neighbours, and an encoder that was not trained |
| omics | integrate on two omics that see different factors: each alone, side by side, and joint, by graph and by the number of components; with labels and as clusters |
| scale | seconds, CPU seconds and peak memory of the process, ten neighbours a cell (`--cells 100000`) |
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import logging
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scipy.sparse.linalg import eigsh
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tissuegraph as tg
from tissuegraph.nn.hop_graph import HopGraph

Rows = list[dict[str, Any]]
UNTRAINED = 1e-9
"""A learning rate that changes nothing."""
CELLS = 100_000


def accuracy(points: np.ndarray, labels: Any, seed: int, share: float | None = None) -> float:
    """On held-out cells; `share` of the cells are trained on, instead of four fifths."""
    split: Any = StratifiedKFold(5, shuffle=True, random_state=seed)
    if share is not None:
        split = StratifiedShuffleSplit(5, train_size=share, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(cross_val_score(model, points, labels, cv=split).mean())


def eigenvectors(graph: sparse.csr_matrix, number: int) -> np.ndarray:
    """The leading eigenvectors of the normalised adjacency, times their eigenvalues."""
    values, vectors = eigsh(HopGraph(graph).edges.astype(np.float64), number, v0=np.ones(graph.shape[0]))
    return vectors * values


def blocks(seed: int, n: int = 1000, number: int = 5, inside: float = 7, across: float = 4) -> AnnData:
    rng = np.random.default_rng(seed)
    block = np.arange(n) % number
    chance = np.where(block[:, None] == block, inside, across / (number - 1)) * number / n
    upper = np.triu(rng.random((n, n)) < chance, 1)
    adata = AnnData(np.zeros((n, 1), np.float32), obs=pd.DataFrame({"block": block.astype(str)}))
    adata.obsp["graph"] = sparse.csr_matrix((upper | upper.T).astype(np.float32))
    return adata


def graphs(seeds: int) -> Rows:
    rows = []
    for seed in range(seeds):
        karate = (tg.datasets.karate_club(), "karate", "community")
        for name, (adata, graph, labels) in {
            "karate": karate,
            "blocks": (blocks(seed), "graph", "block"),
        }.items():
            y = adata.obs[labels]
            edges = adata.obsp[graph if graph in adata.obsp else f"{graph}_connectivities"]
            for method, (p, q) in {
                "node2vec": (1, 1),
                "node2vec, q=2": (1, 2),
                "node2vec, q=0.5": (1, 0.5),
            }.items():
                tg.node2vec(adata, tg.Node2VecParams(p=p, q=q), graph=graph, seed=seed)
                plain = cross_val_score(
                    LogisticRegression(max_iter=1000),
                    adata.obsm["X_node2vec"],
                    y,
                    cv=StratifiedKFold(5, shuffle=True, random_state=seed),
                ).mean()
                rows.append({"graph": name, "method": method, "accuracy": plain})
            for number in (4, 16):
                found = accuracy(eigenvectors(edges, number), y, seed)
                rows.append({"graph": name, "method": f"{number} eigenvectors", "accuracy": found})
    return rows


def tissue(seeds: int) -> Rows:
    rows = []
    for seed in range(seeds):
        adata = tg.simulate.section(seed=seed)
        tg.spatial_neighbors(adata)
        mean = HopGraph(adata.obsp["spatial_connectivities"]).edges
        embeddings: dict[str, np.ndarray] = {}
        for name, settings in {
            "gcn": {},
            "gcn, one layer": {"layers": 1},
            "gcn, not trained": {"learning_rate": UNTRAINED, "epochs": 1},
            "gat": {"encoder": "gat"},
            "gcn, 16 dimensions": {"dimensions": 16},
            "16 dimensions, not trained": {"dimensions": 16, "learning_rate": UNTRAINED, "epochs": 1},
        }.items():
            model = tg.infomax(adata, tg.InfomaxParams(**settings), seed=seed)
            embeddings[name] = adata.obsm["X_infomax"]
        features = model.features.of(adata)
        embeddings |= {"components": features, "averaged twice": mean @ (mean @ features)}
        embeddings["averaged four times"] = mean @ (mean @ embeddings["averaged twice"])
        embeddings["16 components, averaged twice"] = embeddings["averaged twice"][:, :16]
        for name, points in embeddings.items():
            row = {"embedding": name, "domains": accuracy(points, adata.obs["domain"], seed)}
            row["domains, 2%"] = accuracy(points, adata.obs["domain"], seed, 0.02)
            rows.append(row | {"types": accuracy(points, adata.obs["cell_type"], seed)})
    return rows


def omics(seeds: int) -> Rows:
    rows = []
    for seed in range(seeds):
        pair = tg.simulate.omics(1000, 200, second_features=100, seed=seed)
        bayes = pair[0].uns["tissuegraph"]["simulated"]["bayes_accuracy"]
        for number in (10, 20, 50):
            for name, settings, graph in (
                ("integrated", {}, "joint"),
                ("integrated, own graphs", {}, "own"),
                ("integrated, not trained", {"learning_rate": UNTRAINED, "epochs": 1}, "joint"),
            ):
                params = tg.IntegrateParams(n_components=number, **settings)
                table = tg.integrate(*pair, labels="cell_type", graph=graph, params=params, seed=seed)
                shown = table if name == "integrated" else table.loc[["integrated"]]
                for kind, found in shown.iterrows():
                    label = name if kind == "integrated" else kind
                    scores = {"accuracy": found["accuracy"], "ari": found["ari"], "best guess": bayes}
                    rows.append({"components": number, "embedding": label, **scores})
    return rows


def scale(_: int) -> Rows:
    rng = np.random.default_rng(0)
    side = 10 * np.sqrt(CELLS)
    adata = AnnData(np.zeros((CELLS, 1), np.float32), obsm={"spatial": rng.random((CELLS, 2)) * side})
    tg.spatial_neighbors_knn(adata, 10)
    waves, shift = rng.normal(size=(2, 50)) / 100, rng.random(50) * 6
    noise = rng.normal(size=(CELLS, 50))
    adata.obsm["features"] = (np.sin(adata.obsm["spatial"] @ waves + shift) + noise).astype(np.float32)
    rows = []
    for name, run in {
        "node2vec": lambda: tg.node2vec(adata),
        "infomax, gcn": lambda: tg.infomax(adata, features="features"),
        "infomax, gat": lambda: tg.infomax(adata, tg.InfomaxParams(encoder="gat"), features="features"),
    }.items():
        begin, cpu = time.perf_counter(), time.process_time()
        run()
        row = {"method": name, "cells": CELLS, "seconds": time.perf_counter() - begin}
        row |= {"CPU seconds": time.process_time() - cpu}
        rows.append(row | {"peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6})
    return rows


CHECKS: dict[str, tuple[Callable[[int], Rows], list[str]]] = {
    "graphs": (graphs, ["graph", "method"]),
    "tissue": (tissue, ["embedding"]),
    "omics": (omics, ["components", "embedding"]),
    "scale": (scale, ["method"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checks", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=CELLS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    globals()["CELLS"] = arguments.cells
    logging.getLogger("tissuegraph").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    found = {}
    for name in arguments.checks:
        check, by = CHECKS[name]
        found[name] = check(arguments.seeds)
        table = pd.DataFrame(found[name]).groupby(by, sort=False)
        both = pd.concat({"mean": table.mean(), "sd": table.std()}, axis=1).round(3)
        print(f"\n{name}, {arguments.seeds} seeds\n{both.to_string()}", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
