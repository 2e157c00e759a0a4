"""Run proseg or Baysor, where it is installed, on what `segment_peers.py` prepares.

Usage: python benchmarks/run_proseg_baysor.py {proseg,baysor} FOLDER RESULT.parquet [SETTINGS]

FOLDER, RESULT and SETTINGS are those of peers/exchange.py; `segment_peers.py --keep` leaves such folders.
The program is looked for on PATH. The options were taken from the sources of these two versions; this script
was not run with either, as neither could be installed where it was written.

- proseg 3.1.0 (Jones et al. 2025, doi:10.1038/s41592-025-02697-0). To get it: `cargo install proseg` (Rust
  1.88 or later), or `rust-proseg` from bioconda. Two runs of it differ a little.
- Baysor 0.7.1 (Petukhov et al. 2022, doi:10.1038/s41587-021-01044-w). To get it: the Linux binary of its
  release page (`bin/baysor`), or with Julia 1.10 (not 1.11)
  `julia -e 'using Pkg; Pkg.add(url="https://github.com/kharchenkolab/Baysor.git"); Pkg.build()'`, which
  leaves `~/.julia/bin/baysor`. `JULIA_NUM_THREADS` sets its threads.

Both get the transcripts as csv, with the number of the nucleus that holds each as the prior. Their settings
are not tuned: proseg's are its defaults, Baysor's say what is known of the simulated tissue.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

SETTINGS: dict[str, dict[str, Any]] = {
    "proseg": {},
    "baysor": {
        "scale": 5.0,  # um: radius of a cell
        "min-molecules-per-cell": 20,
        "n-clusters": 9,
        "prior-segmentation-confidence": 0.5,
    },
}


def proseg_command(spots: Path, result: Path, settings: dict[str, Any]) -> list[str]:
    """Proseg on its general table: without a column of compartments the prior counts as nuclei."""
    columns = {
        "gene-column": "gene",
        "transcript-id-column": "row",
        "x-column": "x",
        "y-column": "y",
        "z-column": "z",
        "cell-id-column": "nucleus",
        "cell-id-unassigned": "0",
    }
    outputs = {"output-spatialdata": spots.with_name("proseg.zarr"), "output-transcript-metadata": result}
    return ["proseg", *options(columns | outputs | settings), str(spots)]


def baysor_command(spots: Path, result: Path, settings: dict[str, Any]) -> list[str]:
    """`baysor run`, with the column `nucleus` (0 = none) as the prior segmentation."""
    columns = {"x-column": "x", "y-column": "y", "z-column": "z", "gene-column": "gene", "output": result}
    formats = {"polygon-format": "none", "count-matrix-format": "tsv"}
    return ["baysor", "run", *options(columns | formats | settings), str(spots), ":nucleus"]


def options(values: dict[str, Any]) -> list[str]:
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in values.items()]


def read_proseg(result: Path) -> pl.DataFrame:
    """Rows of proseg's transcript metadata; `assignment` is null for background."""
    table = pl.read_csv(result, columns=["transcript_id", "assignment"])
    return table.select(pl.col("transcript_id").alias("row"), cell_id=pl.col("assignment").cast(pl.String))


def read_baysor(result: Path) -> pl.DataFrame:
    """Rows of Baysor's segmentation.csv, which keeps the columns it was given; `cell` is empty for noise."""
    table = pl.read_csv(result, columns=["row", "cell"], schema_overrides={"cell": pl.String})
    return table.select("row", cell_id=pl.when(pl.col("cell") != "").then("cell"))


RUNS = {"proseg": (proseg_command, read_proseg), "baysor": (baysor_command, read_baysor)}


def main() -> None:
    name, folder, result, *changes = sys.argv[1:]
    command, read = RUNS[name]
    settings = SETTINGS[name] | (json.loads(changes[0]) if changes else {})
    with tempfile.TemporaryDirectory() as scratch:
        spots, found = Path(scratch) / "spots.csv", Path(scratch) / "segmentation.csv"
        pl.read_parquet(Path(folder) / "transcripts.parquet").write_csv(spots)
        subprocess.run(command(spots, found, settings), check=True, cwd=scratch)
        read(found).write_parquet(result)


if __name__ == "__main__":
    main()
