"""Molecules to cells to types to domains on one simulated slide, each step against the truth.

`python benchmarks/end_to_end.py [--cells 2000] [--seeds 3] [--elongation 2] [--counts 180] [--out FILE.json]`

`segment`, `annotate` and `domains` run as a user runs them, with defaults (one network for the domains). The
same `annotate` and `domains` are run on the vendor's cells (nuclei grown by 5 um) and on the true ones. The
types come from average profiles, one a type, as of a single-cell atlas. Cells are scored over those whose
nucleus was seen: a cell that was not found has no type and no domain.

| column | what |
| --- | --- |
| transcripts F1 | of the assignment |
| types macro-F1 | of the cells' types |
| domains ARI | of the cells that were found |
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import polars as pl
from anndata import AnnData, read_h5ad
from scipy import sparse
from sklearn.metrics import adjusted_rand_score, f1_score

import tissuegraph as tg

METHODS = ("tissuegraph", "vendor", "true cells")


def cells_of(transcripts: pl.DataFrame, column: str, genes: list[str]) -> AnnData:
    """Counts of the cells that a column of the transcripts names, at the middle of their transcripts."""
    own = transcripts.filter(pl.col(column).is_not_null() & ~pl.col(column).is_in(["UNASSIGNED", "-1"]))
    names, cell = np.unique(own[column].to_numpy(), return_inverse=True)
    gene = pd.Index(genes).get_indexer(own["feature_name"].to_list())
    counts = sparse.coo_matrix((np.ones(len(cell), np.float32), (cell, gene)), (len(names), len(genes)))
    adata = AnnData(counts.tocsr(), obs=pd.DataFrame(index=names.astype(str)), var=pd.DataFrame(index=genes))
    xy = own.select("x_location", "y_location").to_numpy().astype(np.float64)
    sums = np.stack([np.bincount(cell, xy[:, axis]) for axis in (0, 1)], 1)
    adata.obsm["spatial"] = sums / np.bincount(cell)[:, None]
    return adata


def run(folder: Path, **settings: Any) -> pd.DataFrame:
    """Run all steps in a folder; a row a method."""
    slide, seed = folder / "slide", settings.get("seed", 0)
    tg.simulate.tissue(slide, **settings)
    tg.segment(slide, folder / "out")
    truth = gpd.read_parquet(slide / "truth_cells.parquet").set_index("cell_id")
    seen = truth[truth["has_nucleus"]]
    ours = read_h5ad(folder / "out" / "cells.h5ad")
    ours.obs_names = ours.obs["cell_id"].astype(str)
    genes = list(ours.var_names)
    rows = pl.read_parquet(slide / "transcripts.parquet").join(
        pl.read_parquet(slide / "truth.parquet"), on="transcript_id"
    )
    rows = rows.filter((pl.col("qv") >= 20) & pl.col("feature_name").is_in(genes))
    true = cells_of(rows, "true_cell_id", genes)
    types = truth["cell_type"].astype(str)
    counts = pd.DataFrame(true.X.toarray(), index=types.loc[true.obs_names], columns=genes)
    profiles = counts.groupby(level=0).mean()
    judged = tg.evaluate(folder / "out", slide / "truth.parquet")
    assignment = [judged["tissuegraph"].f1, judged["vendor"].f1, 1.0]
    found = {}
    sets = (ours, cells_of(rows, "cell_id", genes), true)
    for name, cells, f1 in zip(METHODS, sets, assignment, strict=True):
        path = folder / f"{name.split()[0]}.h5ad"
        tg.annotate(cells, profiles, unknown=False, seed=seed)
        cells.write_h5ad(path)
        domains = path.with_suffix(".domains.h5ad")
        tg.find_domains(path, domains, n_domains=seen["domain"].nunique(), n_networks=1, seed=seed)
        found[name] = {"transcripts F1": f1} | scores(read_h5ad(domains), seen)
    return pd.DataFrame(found).T


def scores(cells: AnnData, truth: pd.DataFrame) -> dict[str, float]:
    """Of the types and the domains of cells, by their names."""
    said = cells.obs.reindex(truth.index)
    types = said["cell_type"].astype(object).fillna("not found").astype(str)
    there = said["domain"].notna()
    true_types = truth["cell_type"].astype(str)
    return {
        "cells found": float(there.mean()),
        "types macro-F1": f1_score(true_types, types, labels=sorted(set(true_types)), average="macro"),
        "domains ARI": adjusted_rand_score(
            truth["domain"].astype(str)[there], said["domain"].astype(str)[there]
        ),
    }


def gap_closed(table: pd.DataFrame, column: str = "types macro-F1") -> float:
    """How much of the vendor's distance from the true cells is gone."""
    ours, vendor, true = (table.loc[name, column] for name in METHODS)
    return 1 - (true - ours) / (true - vendor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--elongation", type=float, default=2.0)
    parser.add_argument("--counts", type=float, default=180.0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    tables = []
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory() as folder:
            settings = {"cells": asked.cells, "elongation": asked.elongation, "seed": seed}
            tables.append(run(Path(folder), counts_per_cell=asked.counts, **settings))
        print(tables[-1].round(3).to_string())
        print(
            f"seed {seed}: {gap_closed(tables[-1]):.0%} of the vendor's gap in types is closed\n", flush=True
        )
    if asked.out:
        asked.out.write_text(json.dumps([table.to_dict() for table in tables], indent=1) + "\n")


if __name__ == "__main__":
    main()
