"""Other tools and simple rules beside `tg.segment` on simulated tissue: F1, time and memory in one table.

Usage: python benchmarks/segment_peers.py [--cells 600] [--elongation 1 3] [--seeds 101]
       [--peers nearest voronoi comseg boms proseg baysor tissuegraph] [--set boms.radius=6]
       [--keep FOLDER] [--out peers.json]

Every peer gets the same transcripts (quality of 20 or more, no controls) and the same nuclei, in a process
of its own; see peers/exchange.py. Seconds are the wall time of that process, with its start and imports;
CPU seconds are summed over its threads and children, and depend less on what else the machine does. Peak
memory is the sum of the proportional set sizes (PSS) of its process tree, sampled every quarter of a second
(Linux). Cells of a peer that makes its own are called after nuclei without the truth: one to one, by the
number of their transcripts inside a nucleus; what is left over counts as cells without a known nucleus.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import shapely
from measure import run_measured

import tissuegraph as tg
from tissuegraph.metrics.segmentation import score_assignment

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = Path(os.environ.get("TISSUEGRAPH_PEERS", HERE / ".peers"))
DISTANCES = np.arange(0, 20.5, 0.5)
PLAIN_DISTANCE = 5.0
COLUMNS = ("F1", "precision", "recall", "unseen", "seconds", "CPU s", "GB", "tx/s")


@dataclass(frozen=True)
class Peer:
    """How to run a peer, tell its version and get it."""

    adapter: Path
    environment: str | None = None
    """Its folder in `ENVIRONMENTS`; our own interpreter where None."""
    distribution: str | None = None
    """Its name on PyPI, which tells the version."""
    binary: str | None = None
    """The program on PATH that it needs."""
    makes_cells: bool = False
    """Its cells have ids of their own."""

    @property
    def python(self) -> str:
        """The interpreter that runs its adapter."""
        return str(ENVIRONMENTS / self.environment / "bin/python") if self.environment else sys.executable

    def missing(self) -> str | None:
        """Say how to get what is missing, if something is."""
        if self.binary and not shutil.which(self.binary):
            return f"no {self.binary} on PATH; see benchmarks/run_proseg_baysor.py"
        if self.environment and not Path(self.python).exists():
            return f"run benchmarks/peers/setup.sh {self.environment}"
        return None

    def version(self) -> str:
        """Ask the installed peer."""
        if self.binary:
            command = [self.binary, "--version"]
        elif self.distribution:
            code = f"from importlib.metadata import version; print(version({self.distribution!r}))"
            command = [self.python, "-c", code]
        else:
            return "-"
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        return found[-1] if found else "?"


PEERS = {
    "nearest": Peer(HERE / "peers/nearest_adapter.py"),
    "voronoi": Peer(HERE / "peers/voronoi_adapter.py"),
    "comseg": Peer(HERE / "peers/comseg_adapter.py", environment="comseg", distribution="ComSeg"),
    "boms": Peer(HERE / "peers/boms_adapter.py", environment="boms", distribution="boms", makes_cells=True),
    "proseg": Peer(HERE / "run_proseg_baysor.py", binary="proseg", makes_cells=True),
    "baysor": Peer(HERE / "run_proseg_baysor.py", binary="baysor", makes_cells=True),
    "tissuegraph": Peer(HERE / "peers/tissuegraph_adapter.py", distribution="tissuegraph"),
}


def prepare(folder: Path, cells: int, elongation: float, seed: int) -> pl.DataFrame:
    """Simulate a slide, write what the peers get, and return its transcripts with their true cells."""
    slide = tg.simulate.tissue(
        folder / "slide", cells=cells, seed=seed, elongation=elongation, overwrite=True
    )
    sample = tg.read_xenium(slide)
    nuclei = sample.nuclei
    if nuclei is None:
        raise SystemExit("the slide has no nuclei, which every peer needs; take another seed.")
    outlines = nuclei.geometry.to_numpy()
    numbers = np.arange(1, len(outlines) + 1)
    pl.DataFrame(
        {
            "nucleus": numbers,
            "cell_id": list(nuclei.index),
            "x": shapely.get_x(shapely.centroid(outlines)),
            "y": shapely.get_y(shapely.centroid(outlines)),
            "geometry": list(shapely.to_wkb(outlines)),
        }
    ).write_parquet(folder / "nuclei.parquet")
    kept = sample.scan().filter((pl.col("qv") >= 20) & ~pl.col("is_control")).collect()
    points = shapely.points(kept["x"].to_numpy(), kept["y"].to_numpy())
    inside, position = shapely.STRtree(outlines).query(points, predicate="within")
    nucleus = np.zeros(len(kept), np.int64)
    nucleus[inside] = numbers[position]
    kept = kept.with_columns(pl.Series("nucleus", nucleus))
    kept.select("row", "x", "y", "z", "gene", "nucleus").write_parquet(folder / "transcripts.parquet")
    return kept.join(pl.read_parquet(slide / "truth.parquet"), on="transcript_id", maintain_order="left")


def map_to_nuclei(table: pl.DataFrame, nuclei: pl.DataFrame) -> pl.Series:
    """Give the cells of a peer the ids of nuclei: one to one, most transcripts inside the nucleus first.

    The truth is not asked. A cell that gets no nucleus keeps an id of its own.
    """
    inside = table.filter(pl.col("cell_id").is_not_null() & (pl.col("nucleus") > 0))
    pairs = (
        inside.group_by("cell_id", "nucleus")
        .len()
        .sort("len", "cell_id", "nucleus", descending=[True, False, False])
    )
    nucleus_of: dict[str, int] = {}
    taken = set[int]()
    for cell, nucleus, _ in pairs.iter_rows():
        if cell not in nucleus_of and nucleus not in taken:
            nucleus_of[cell] = nucleus
            taken.add(nucleus)
    names = dict(zip(nuclei["nucleus"], nuclei["cell_id"], strict=True))
    ids = {cell: names[nucleus] for cell, nucleus in nucleus_of.items()}
    return table["cell_id"].map_elements(lambda cell: ids.get(cell, f"new-{cell}"), return_dtype=pl.String)


def assignments(name: str, result: pl.DataFrame, score: Any) -> Iterator[tuple[str, pl.Series]]:
    """Yield what to score of a result: itself, or of distances the plain one and the best (an oracle)."""
    if "distance" not in result.columns:
        yield name, result["cell_id"]
        return
    within = {
        limit: result.select(pl.when(pl.col("distance") <= limit).then("cell_id"))["cell_id"]
        for limit in DISTANCES
    }
    yield f"{name}, {PLAIN_DISTANCE:g} um", within[PLAIN_DISTANCE]
    best = max(DISTANCES, key=lambda limit: score(within[limit]).f1)
    yield f"{name}, oracle {best:g} um", within[best]


def rows_of(
    name: str, folder: Path, truth: pl.DataFrame, settings: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Run a peer and yield its rows of the table."""
    peer, result = PEERS[name], folder / f"{name}.parquet"
    missing = peer.missing()
    if missing:
        yield {"peer": name, "note": f"not installed: {missing}"}
        return
    words = [name] if peer.binary else []
    command = [peer.python, str(peer.adapter), *words, str(folder), str(result), json.dumps(settings)]
    try:
        cost = run_measured(command, folder / f"{name}.log")
    except RuntimeError as error:
        yield {"peer": name, "version": peer.version(), "note": f"failed: {error}"}
        return
    found = pl.read_parquet(result).with_columns(pl.col("row").cast(pl.UInt64))
    table = truth.select("row", "nucleus", "true_cell_id").join(
        found, on="row", how="left", maintain_order="left"
    )
    nuclei = pl.read_parquet(folder / "nuclei.parquet")
    if peer.makes_cells:
        table = table.with_columns(map_to_nuclei(table, nuclei).alias("cell_id"))

    def score(cell_id: pl.Series) -> Any:
        return score_assignment(table["true_cell_id"], cell_id, nuclei["cell_id"])

    for label, cell_id in assignments(name, table, score):
        scores = score(cell_id)
        yield {
            "peer": label,
            "version": peer.version(),
            "F1": scores.f1,
            "precision": scores.precision,
            "recall": scores.recall,
            "unseen": scores.unseen,
            **cost,
            "tx/s": len(truth) / cost["seconds"],
        }


def line(row: dict[str, Any]) -> str:
    head = f"{row['peer']:<24}{row.get('version', '-'):>9}"
    if "note" in row:
        return f"{head}  {row['note']}"
    digits = {"seconds": 1, "CPU s": 1, "GB": 2, "tx/s": 0}
    values = ("-" if row[name] is None else f"{row[name]:.{digits.get(name, 3)}f}" for name in COLUMNS)
    return head + "".join(f"{value:>11}" for value in values)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=600)
    parser.add_argument("--elongation", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101])
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--set", nargs="+", default=[], metavar="PEER.NAME=VALUE", help="change settings")
    parser.add_argument("--keep", type=Path, help="a folder for the slides, results and logs")
    parser.add_argument("--out", type=Path, help="a JSON file for the rows")
    chosen = parser.parse_args()
    settings: dict[str, dict[str, Any]] = {name: {} for name in PEERS}
    for change in chosen.set:
        peer, _, value = change.partition(".")
        name, _, value = value.partition("=")
        if peer not in PEERS or not value:
            parser.error(f"--set {change}: give PEER.NAME=VALUE, with a peer of {', '.join(PEERS)}.")
        settings[peer][name] = json.loads(value)
    chosen.set = settings
    return chosen


def run_slide(
    folder: Path, elongation: float, seed: int, chosen: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Run the chosen peers on one slide, print its table and yield the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = prepare(folder, chosen.cells, elongation, seed)
    print(f"\nelongation {elongation:g}, seed {seed}: {chosen.cells:,} cells, {len(truth):,} transcripts")
    print(f"{'peer':<24}{'version':>9}" + "".join(f"{name:>11}" for name in COLUMNS), flush=True)
    for name in chosen.peers:
        for row in rows_of(name, folder, truth, chosen.set[name]):
            print(line(row), flush=True)
            yield {"elongation": elongation, "seed": seed, "cells": chosen.cells, **row}


def main() -> None:
    chosen = arguments()
    rows: list[dict[str, Any]] = []
    for elongation, seed in product(chosen.elongation, chosen.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            folder = (chosen.keep or Path(scratch)) / f"elongation{elongation:g}-seed{seed}"
            rows += run_slide(folder, elongation, seed, chosen)
    if chosen.out:
        chosen.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
