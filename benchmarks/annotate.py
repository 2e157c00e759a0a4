"""Cell types beside simple classifiers, on simulated cells with known truth and on pbmc68k_reduced.

`python benchmarks/annotate.py [--checks overlap pbmc unknown absent calibration notebook scale] [--seeds N]
[--out FILE.json]`. What each check asks:

| check | question |
| --- | --- |
| overlap | types that overlap, 10% of 3,000 cells labelled, real features and 10 to 100 counts a cell: accuracy on the others along the tissue, along the same edges between other cells, and of logistic regression, kNN and a random forest |
| pbmc | pbmc68k_reduced, random halves labelled: macro-F1 on the other half |
| unknown | each type of 30 cells or more left out of the labelled half: AUROC of being unlike any labelled cell, beside one minus the largest probability |
| absent | each type left out of the query instead: share of cells that are called so |
| calibration | expected calibration error on 20,000 cells that were not labelled |
| notebook | 300 cells, 50 genes, types with means 2, 0 and -2: accuracy along nearest neighbours and along all pairs |
| scale | 100,000 cells with 2,000 genes, 10% labelled: seconds and peak memory of the process |
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import logging
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

import tissuegraph as tg
from tissuegraph.cells.annotation.scores import calibration_error

KEY = "given"
Rows = list[dict[str, Any]]


def hide(adata: AnnData, labelled: np.ndarray, labels: str = "cell_type") -> AnnData:
    """A copy whose cells have their type in obs["given"] where they are labelled only."""
    copy = adata.copy()
    types = copy.obs[labels].astype(object).to_numpy()
    shown = np.full(len(types), np.nan, object)
    shown[labelled] = types[labelled]
    copy.obs[KEY] = shown
    return copy


def said(adata: AnnData, method: str = "gat", **settings: Any) -> np.ndarray:
    tg.annotate(adata, labels=KEY, method=method, key_added="said", **settings)
    return adata.obs["said"].astype(str).to_numpy()


def simple(adata: AnnData, labelled: np.ndarray, others: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """What simple classifiers say of the others: of 30 components, the forest of all features."""
    x = adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)
    if (x == np.rint(x)).all():
        x = np.log1p(x / np.maximum(x.sum(1, keepdims=True), 1) * 1e4)
    z = PCA(30, random_state=0).fit_transform(x)
    models = {
        "logistic": (LogisticRegression(max_iter=1000), z),
        "kNN": (KNeighborsClassifier(15), z),
        "random forest": (RandomForestClassifier(300, random_state=0), x),
    }
    return {name: m.fit(v[labelled], y[labelled]).predict(v[others]) for name, (m, v) in models.items()}


def overlap(seeds: int) -> Rows:
    rows = []
    for seed in range(seeds):
        for counts in (None, 10, 20, 50, 100):
            adata = tg.simulate.omics(3_000, 200, counts=counts, spatial="tissue", seed=seed)
            tg.spatial_neighbors(adata)
            generator = np.random.default_rng(seed)
            order = generator.permutation(adata.n_obs)
            labelled, others = np.sort(order[:300]), np.sort(order[300:])
            y = adata.obs["cell_type"].astype(str).to_numpy()
            row = {"seed": seed, "counts": counts or "real"}
            for name, guess in simple(adata, labelled, others, y).items():
                row[name] = np.mean(guess == y[others])
            row["tissue"] = np.mean(said(hide(adata, labelled), unknown=False)[others] == y[others])
            mixed = hide(adata, labelled)
            p = generator.permutation(adata.n_obs)
            mixed.obsp["spatial_connectivities"] = mixed.obsp["spatial_connectivities"][p][:, p]
            row["permuted"] = np.mean(said(mixed, unknown=False)[others] == y[others])
            rows.append(row)
    return rows


def pbmc_cells() -> AnnData:
    import scanpy as sc

    adata = sc.datasets.pbmc68k_reduced()
    adata.obs["cell_type"] = adata.obs["bulk_labels"]
    return adata


def halves(adata: AnnData, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    return np.sort(order[: adata.n_obs // 2]), np.sort(order[adata.n_obs // 2 :])


def pbmc(seeds: int) -> Rows:
    adata, rows = pbmc_cells(), []
    y = adata.obs["cell_type"].astype(str).to_numpy()
    for seed in range(seeds):
        labelled, others = halves(adata, seed)
        guesses = simple(adata, labelled, others, y)
        x = np.asarray(adata.X)
        for name, weights in (("logistic, genes", None), ("logistic, genes, balanced", "balanced")):
            model = LogisticRegression(max_iter=1000, class_weight=weights).fit(x[labelled], y[labelled])
            guesses[name] = model.predict(x[others])
        for method in ("gat", "gcn", "logistic"):
            guesses[f"tg {method}"] = said(hide(adata, labelled), method, unknown=False)[others]
        rows.append({"seed": seed} | {name: _macro(y[others], guess) for name, guess in guesses.items()})
    return rows


def _macro(y: np.ndarray, guess: np.ndarray) -> float:
    return f1_score(y, guess, labels=np.unique(y), average="macro", zero_division=0)


def unknown(seeds: int) -> Rows:
    adata, rows = pbmc_cells(), []
    sizes = adata.obs["cell_type"].value_counts()
    y = adata.obs["cell_type"].astype(str).to_numpy()
    for seed in range(seeds):
        labelled, others = halves(adata, seed)
        for left_out in sizes.index[sizes >= 30]:
            known = labelled[y[labelled] != left_out]
            given = hide(adata, known)
            reference, query = given[known].copy(), given[others].copy()
            tg.annotate(query, reference, labels=KEY, key_added="said")
            is_new = y[others] == left_out
            top = query.obsm["said_probabilities"].to_numpy().max(1)
            x = np.asarray(adata.X)
            plain = LogisticRegression(max_iter=1000).fit(x[known], y[known]).predict_proba(x[others]).max(1)
            called = query.obs["said"].astype(str).to_numpy() == "unknown"
            rows.append(
                {
                    "type": left_out,
                    "unlike": roc_auc_score(is_new, query.obs["said_unlike"]),
                    "1 - probability": roc_auc_score(is_new, 1 - top),
                    "1 - probability, logistic": roc_auc_score(is_new, 1 - plain),
                    "found": called[is_new].mean(),
                    "false": called[~is_new].mean(),
                }
            )
    return rows


def absent(seeds: int) -> Rows:
    rows = []
    for seed in range(seeds):
        for name, adata in (("pbmc68k", pbmc_cells()), ("omics", tg.simulate.omics(2_000, 200, seed=seed))):
            y = adata.obs["cell_type"].astype(str).to_numpy()
            sizes = adata.obs["cell_type"].value_counts()
            labelled, others = halves(adata, seed)
            for left_out in sizes.index[sizes >= 30]:
                kept = others[y[others] != left_out]
                given = hide(adata, labelled)
                reference, query = given[labelled].copy(), given[kept].copy()
                tg.annotate(query, reference, labels=KEY, key_added="said")
                called = query.obs["said"].astype(str).to_numpy() == left_out
                rows.append({"data": name, "type": left_out, "invented": called.mean()})
    return rows


def calibration(seeds: int) -> Rows:
    rows = []
    for seed in range(seeds):
        for counts in (None, 50):
            adata = tg.simulate.omics(22_000, 200, counts=counts, spatial="tissue", seed=seed)
            tg.spatial_neighbors(adata)
            y = adata.obs["cell_type"].astype(str).to_numpy()
            order = np.random.default_rng(seed).permutation(adata.n_obs)
            labelled, others = np.sort(order[:2_000]), np.sort(order[2_000:])
            given = hide(adata, labelled)
            right = said(given, unknown=False)[others] == y[others]
            error = calibration_error(right, given.obs["said_probability"].to_numpy()[others])
            rows.append({"seed": seed, "counts": counts or "real", "accuracy": right.mean(), "ECE": error})
    return rows


def notebook(seeds: int) -> Rows:
    rows = []
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        y = np.repeat(["a", "b", "c"], 100)
        x = np.repeat([2.0, 0.0, -2.0], 100)[:, None] + generator.normal(size=(300, 50))
        adata = AnnData(x.astype(np.float32), obs=pd.DataFrame({"cell_type": y}, index=map(str, range(300))))
        everyone = np.ones((300, 300), np.float32) - np.eye(300, dtype=np.float32)
        adata.obsp["all_connectivities"] = sparse.csr_matrix(everyone)
        order = generator.permutation(300)
        labelled, others = order[:150], order[150:]
        row: dict[str, Any] = {"seed": seed}
        for graph in ("expression", "all"):
            row[graph] = np.mean(said(hide(adata, labelled), graph=graph, unknown=False)[others] == y[others])
        rows.append(row)
    return rows


def scale(seeds: int) -> Rows:
    rows = []
    for seed in range(seeds):
        adata = tg.simulate.omics(100_000, 2_000, counts=1_000, spatial="tissue", seed=seed)
        tg.spatial_neighbors(adata)
        order = np.random.default_rng(seed).permutation(adata.n_obs)
        labelled, others = order[:10_000], order[10_000:]
        y = adata.obs["cell_type"].astype(str).to_numpy()
        for graph in ("spatial", "expression"):
            given = hide(adata, labelled)
            begin = time.perf_counter()
            right = said(given, graph=graph)[others] == y[others]
            seconds = time.perf_counter() - begin
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            rows.append({"graph": graph, "accuracy": right.mean(), "seconds": seconds, "peak GB": peak})
    return rows


CHECKS: dict[str, tuple[Callable[[int], Rows], list[str]]] = {
    "overlap": (overlap, ["counts"]),
    "pbmc": (pbmc, []),
    "unknown": (unknown, ["type"]),
    "absent": (absent, ["data"]),
    "calibration": (calibration, ["counts"]),
    "notebook": (notebook, []),
    "scale": (scale, ["graph"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checks", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("tissuegraph").setLevel(logging.ERROR)
    found = {}
    for name in arguments.checks:
        check, by = CHECKS[name]
        rows = found[name] = check(arguments.seeds)
        table = pd.DataFrame(rows).drop(columns="seed", errors="ignore")
        shown = table.groupby(by, sort=False).mean(numeric_only=True) if by else table
        print(f"\n{name}, {arguments.seeds} seeds\n{shown.round(3).to_string()}")
        numbers = table.select_dtypes("number")
        print(pd.DataFrame({"mean": numbers.mean(), "sd": numbers.std()}).round(3).T.to_string(), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
