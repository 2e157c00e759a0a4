"""Domains and denoised expression on simulated sections whose truth is known, beside the simplest baselines.

`python benchmarks/simulated_sections.py [--checks denoised thin rare batches stacked] [--seeds 3]`

All methods see the same sections of `tg.simulate.section`, new ones for every seed. The number of domains is
given; labels are refined. ARI is over all cells but where it says otherwise.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

import tissuegraph as tg
from tissuegraph.domains.denoise import own_shares
from tissuegraph.features.components import fit_components
from tissuegraph.features.expression import expression
from tissuegraph.graph.sections import section_codes, section_columns

FOUND = "found"
NAME = "X_bench"
NETWORKS = 3
"""As many as `tissuegraph domains` trains."""
PCA_DIMENSIONS = 30
FEWEST = 15
"""Cells on either side of a border between two domains for it to be looked at."""
TYPED = tg.StagateParams(alpha=0.8, pre_resolution=1.0)
UNSMOOTHED = tg.StagateParams(alpha=0.8, pre_resolution=1.0, smooth_target=0)
Row = dict[str, Any]
Floats = np.ndarray


def pca(adata: AnnData, width: int = PCA_DIMENSIONS) -> Floats:
    """Principal components, centred and z-scored section by section."""
    matrix = expression(adata, adata.var_names.to_numpy(str), None, normalize=True)
    return fit_components(matrix, width, section_codes(adata, section_columns(adata)), z_score=True)[1]


def embed(adata: AnnData, method: str, seed: int, params: tg.StagateParams | None = None) -> list[str]:
    """Write what the mixture is given, and name it as often as it counts.

    "pca" has as many partitions as "default", which is what `tissuegraph domains` does; "network" is one.
    """
    if method == "pca":
        adata.obsm[NAME] = pca(adata)
        return [NAME] * (2 * NETWORKS - 1)
    names = [f"{NAME}_{number}" for number in range(1 if method == "network" else NETWORKS)]
    for number, name in enumerate(names, seed * NETWORKS):
        tg.stagate(adata, params, normalize=True, seed=number, key_added=name)
    if method == "network":
        return names
    tg.smoothed_components(adata, normalize=True)
    return [*names, *["X_smoothed"] * (NETWORKS - 1)]


def domains(
    adata: AnnData, method: str, seed: int, *, rare: bool = False, params: tg.StagateParams | None = None
) -> None:
    """Write `obs["found"]`, as many domains as there are."""
    count, names = adata.obs["domain"].nunique(), embed(adata, method, seed, params)
    tg.cluster_domains(adata, count, use_rep=names, key_added=FOUND, rare=rare, seed=seed)


def ari(adata: AnnData) -> float:
    return float(adjusted_rand_score(adata.obs["domain"], adata.obs[FOUND]))


def of_domain(adata: AnnData, name: str) -> Row:
    """Recall, precision and F1 of the found domain that fits a true one best."""
    true = (adata.obs["domain"] == name).to_numpy()
    best = {"recall": 0.0, "precision": 0.0, "F1": 0.0}
    for label in adata.obs[FOUND].unique():
        found = (adata.obs[FOUND] == label).to_numpy()
        both = int((found & true).sum())
        f1 = 2 * both / (found.sum() + true.sum())
        if f1 > best["F1"]:
            best = {"recall": both / true.sum(), "precision": both / found.sum(), "F1": f1}
    return best


def correlation(truth: Floats, guess: Floats) -> float:
    """Mean over genes of the correlation over cells; a gene without variance counts as 0."""
    one, other = (table - table.mean(0) for table in (truth, guess))
    scale = np.sqrt((one**2).sum(0) * (other**2).sum(0))
    return float(np.divide((one * other).sum(0), scale, out=np.zeros_like(scale), where=scale > 0).mean())


def borders(adata: AnnData) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The two cells of every edge that crosses a border, the domains' numbers, and who lies at no border."""
    graph = adata.obsp["spatial_connectivities"]
    edges = sparse.coo_matrix(graph.maximum(graph.T))
    number = adata.obs["domain"].cat.codes.to_numpy()
    across = number[edges.row] != number[edges.col]
    inside = np.ones(adata.n_obs, bool)
    inside[edges.row[across]] = False
    return edges.row[across], edges.col[across], number, inside


def contrast(adata: AnnData, truth: Floats, guess: Floats) -> tuple[float, float]:
    """Slope of guessed on true differences of domains: of cells on the two sides of a border, and inside."""
    one, other, number, inside = borders(adata)
    at, within = [], []
    for a in range(number.max() + 1):
        for b in range(a + 1, number.max() + 1):
            here = (number[one] == a) & (number[other] == b)
            for sides, kept in (
                ((np.unique(one[here]), np.unique(other[here])), at),
                ((np.flatnonzero(inside & (number == a)), np.flatnonzero(inside & (number == b))), within),
            ):
                if here.any() and min(map(len, sides)) >= FEWEST:
                    kept.append(
                        [table[sides[0]].mean(0) - table[sides[1]].mean(0) for table in (truth, guess)]
                    )
    slopes = [
        (pairs[:, 0] * pairs[:, 1]).sum() / (pairs[:, 0] ** 2).sum() for pairs in map(np.array, (at, within))
    ]
    return float(slopes[0]), float(slopes[1])


def judged(adata: AnnData, guess: Floats) -> Row:
    truth = np.log1p(adata.layers["expected"])
    at, within = contrast(adata, truth, guess)
    inside = borders(adata)[3]
    return {
        "correlation": correlation(truth, guess),
        "at borders": correlation(truth[~inside], guess[~inside]),
        "contrast kept": at / within,
    }


def denoised(seed: int) -> Iterator[tuple[str, Row]]:
    """Denoised against noise-free expression, of cells and of spots."""
    spots = {
        "lattice": "hexagonal",
        "spacing": 100,
        "cells_per_spot": 6,
        "counts_per_cell": 2000,
        "genes": 800,
    }
    for kind, settings in (("cells", {}), ("spots", spots)):
        adata = tg.simulate.section(seed=seed, cells=2000, **settings)
        tg.spatial_neighbors(adata)
        matrix: Any = expression(adata, adata.var_names.to_numpy(str), None, normalize=True)
        raw = matrix.toarray()
        graph = sparse.csr_matrix(adata.obsp["spatial_connectivities"]) + sparse.identity(adata.n_obs)
        mean = sparse.diags(1 / np.asarray(graph.sum(1)).ravel()) @ graph
        yield f"{kind}: raw", judged(adata, raw)
        yield f"{kind}: mean of neighbours", judged(adata, mean @ raw)
        yield f"{kind}: PCA, optimally shrunk", judged(adata, shrunk_pca(adata, matrix))
        for name, params in (("default", None), ("alpha 0.8, smooth_target 0", UNSMOOTHED)):
            tg.stagate(adata, params, normalize=True, save_denoised=True, seed=seed)
            yield f"{kind}: denoised, {name}", judged(adata, adata.layers["stagate_denoised"])


def shrunk_pca(adata: AnnData, matrix: Any) -> Floats:
    """Reconstruction from z-scored components, each shrunk as is best for it alone."""
    sections = np.zeros(adata.n_obs, np.int64)
    components, scores = fit_components(matrix, 100, sections, z_score=True)
    shares = own_shares((scores**2).mean(0, dtype=float), matrix.shape[1], *matrix.shape)[0]
    return components.expand((scores * shares).astype(np.float32), sections, components.moments)


def thin(seed: int) -> Iterator[tuple[str, Row]]:
    """A structure of one cell type, about two cells wide."""
    adata = tg.simulate.section(
        seed=seed, cells=1500, genes=300, domains=5, types=5, type_purity=0.95, thin_width=1.5
    )
    tg.spatial_neighbors(adata)
    for name, params in (("pca", None), ("default", None), ("network, alpha 0.8", TYPED)):
        domains(adata, name.split(",")[0], seed, params=params)
        yield name, of_domain(adata, "thin") | {"ARI": ari(adata)}
    tg.stagate(adata, TYPED, normalize=True, seed=seed, save_attention=True)
    count = adata.obs["domain"].nunique()
    tg.cluster_domains(adata, count, smooth=1, key_added=FOUND, graph_key="stagate_attention", seed=seed)
    yield "alpha 0.8, averaged along attention", of_domain(adata, "thin") | {"ARI": ari(adata)}


def rare(seed: int) -> Iterator[tuple[str, Row]]:
    """A domain of 2% of the cells, in two patches."""
    adata = tg.simulate.section(seed=seed, rare_share=0.02)
    tg.spatial_neighbors(adata)
    for name in ("pca", "pca, rare=True", "network", "default", "default, rare=True"):
        domains(adata, name.split(",")[0], seed, rare=name.endswith("rare=True"))
        yield name, of_domain(adata, "rare") | {"ARI": ari(adata)}


def batches(seed: int) -> Iterator[tuple[str, Row]]:
    """Twenty sections with gene-wise batch effects, the last of them held out and assigned."""
    adata = tg.simulate.section(
        seed=seed, samples=20, cells=600, genes=300, domains=4, types=6, batch_effect=0.5
    )
    tg.spatial_neighbors(adata)
    last = (adata.obs["sample"] == "sample 20").to_numpy()
    for name in ("pca", "network", "default"):
        domains(adata, name, seed)
        yield name, {"ARI": ari(adata), "ARI held out": ari(adata[last])}
    reference, other = adata[~last].copy(), adata[last].copy()
    other.obsm.clear()
    other.obsm["spatial"] = adata.obsm["spatial"][last]
    domains(reference, "default", seed)
    tg.assign_domains(reference, other, key=FOUND, normalize=True)
    yield "default, the last assigned", {"ARI": ari(reference), "ARI held out": ari(other)}


def stacked(seed: int) -> Iterator[tuple[str, Row]]:
    """Ten sections one upon the other, a little shifted."""
    adata = tg.simulate.section(seed=seed, sections=10, cells=400, genes=300, domains=5, shift=4.0)
    sections = adata.obs["section"]
    for name in ("pca", "default"):
        scores = []
        for section in sections.cat.categories:
            part = adata[sections == section].copy()
            tg.spatial_neighbors(part)
            domains(part, name, seed)
            scores.append(ari(part))
        yield f"{name}, one by one", {"ARI by section": np.mean(scores)}
    for name, build in (("edges within sections", flat), ("z-edges", upright)):
        build(adata)
        for method in ("pca", "network", "default"):
            domains(adata, method, seed)
            scores = [ari(adata[sections == section]) for section in sections.cat.categories]
            yield f"{method}, {name}", {"ARI by section": np.mean(scores), "ARI": ari(adata)}


def flat(adata: AnnData) -> None:
    tg.spatial_neighbors(adata, section_key="section")


def upright(adata: AnnData) -> None:
    tg.spatial_neighbors_3d(adata, "section", radius=26.0, z_radius=15.0)


CHECKS: dict[str, Callable[[int], Iterator[tuple[str, Row]]]] = {
    "denoised": denoised,
    "thin": thin,
    "rare": rare,
    "batches": batches,
    "stacked": stacked,
}


def measure(check: str, seed: int) -> Iterator[Row]:
    start = time.perf_counter()
    for method, found in CHECKS[check](seed):
        row = {"check": check, "method": method, "seed": seed, **found}
        print(
            json.dumps(
                {name: float(np.round(v, 3)) if isinstance(v, float) else v for name, v in row.items()}
            ),
            file=sys.stderr,
            flush=True,
        )
        yield row
    print(f"{check} {seed}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checks", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = [row for check in options.checks for seed in range(options.seeds) for row in measure(check, seed)]
    for check, part in pd.DataFrame(rows).groupby("check", sort=False):
        means = part.groupby("method", sort=False).mean(numeric_only=True).drop(columns="seed")
        spread = part.groupby("method", sort=False).std(numeric_only=True).drop(columns="seed")
        table = means.dropna(axis=1, how="all").round(3).astype(str) + " ± " + spread.round(3).astype(str)
        print(f"\n{check}: {CHECKS[str(check)].__doc__}\n{table.dropna(axis=1, how='all').to_string()}")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
