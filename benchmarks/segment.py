"""Throughput and peak memory of `tissuegraph segment` and `predict` on simulated slides, as whole processes.

Usage: python benchmarks/segment.py [--series transcripts densities genes] [--commands segment predict segger]
       [--transcripts 0.2 1 5 20] [--densities 0.3 1 3 10] [--genes 300 5000 18000] [--model FOLDER]
       [--work FOLDER] [--out segment.json]

Three series, in each of which one thing changes: transcripts in millions, transcripts per um2, genes. What
does not change has the value of `--base`: a million transcripts, one per um2, 300 genes. A row that stands in
several series is measured once.

A slide is a patch of tissue (`tg.simulate.tissue`, half a million transcripts at most) that is laid side by
side as often as it takes, with ids of its own for each copy: copies differ in nothing that costs time, and
drawing 20 million transcripts would take longer than segmenting them. Transcripts come patch by patch, as a
microscope writes them field by field, in no order within a patch.

Seconds are the wall time of the process, with its start and imports; every file of the contract is written.
What numba compiles once a machine is compiled before, on a tiny slide. Memory is the larger of what the run
tells and of the PSS of its process tree, sampled every quarter of a second (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from measure import run_measured

import tissuegraph as tg
from tissuegraph.parallel import cores
from tissuegraph.simulate.cells import ROOM

MILLION = 1_000_000
WEIGHTS = Path(tg.__file__).parent / "segmentation/pretrained/weights"
COMMANDS = {"segment": (), "predict": ("--model",), "segger": ("--model", "segger")}
BOUNDARIES = ("nucleus_boundaries.parquet", "cell_boundaries.parquet")
GROUP_ROWS = 100_000
HEADINGS = ("command", "transcripts", "per um2", "genes", "seconds", "tx/s", "CPU s", "peak GB")


@dataclass(frozen=True)
class Spec:
    """What a slide is to be: transcripts, transcripts per um2, genes."""

    transcripts: int
    density: float
    genes: int


def specs_of(chosen: argparse.Namespace) -> dict[Spec, list[str]]:
    """Return the slides to measure, and the series in which each stands."""
    millions, density, genes = chosen.base
    base = Spec(round(millions * MILLION), density, round(genes))
    changed = {
        "transcripts": [replace(base, transcripts=round(n * MILLION)) for n in chosen.transcripts],
        "densities": [replace(base, density=density) for density in chosen.densities],
        "genes": [replace(base, genes=genes) for genes in chosen.genes],
    }
    series: dict[Spec, list[str]] = {}
    for name in chosen.series:
        for spec in changed[name]:
            series.setdefault(spec, []).append(name)
    return series


def patch_of(spec: Spec, most: int, work: Path, seed: int) -> tuple[Path, int]:
    """Simulate the patch that a slide is made of, unless it is there; returns how often it is laid."""
    copies = max(round(spec.transcripts / most), 1)
    wanted = spec.transcripts / copies
    folder = work / f"patch_{wanted:.0f}_{spec.density:g}_{spec.genes}_{seed}"
    params = tg.simulate.TissueParams(genes=spec.genes)
    rows_per_cell = spec.density * params.cell_area * ROOM
    if not folder.exists():
        tg.simulate.tissue(
            folder,
            replace(
                params,
                cells=max(round(wanted / rows_per_cell), 1),
                counts_per_cell=rows_per_cell * (1 - params.background - params.controls),
            ),
            seed=seed,
        )
    return folder, copies


def lay(patch: Path, copies: int, folder: Path) -> int:
    """Write a slide of copies of a patch, side by side, each with its own ids; returns its transcripts."""
    folder.mkdir()
    transcripts = pq.read_table(patch / "transcripts.parquet")
    outlines = {name: pq.read_table(patch / name) for name in BOUNDARIES}
    x, y = (transcripts[f"{axis}_location"].to_numpy() for axis in "xy")
    pitch = float(max(x.max(), y.max())) + 10.0  # cells at the rim reach a little beyond
    columns = int(np.ceil(np.sqrt(copies)))
    places = [(n, pitch * (n % columns), pitch * (n // columns)) for n in range(copies)]
    for name, table in {"transcripts.parquet": transcripts, **outlines}.items():
        with pq.ParquetWriter(folder / name, table.schema, compression="zstd") as writer:
            for place in places:
                writer.write_table(moved(table, *place), row_group_size=GROUP_ROWS)
    return len(transcripts) * copies


def moved(table: pa.Table, number: int, dx: float, dy: float) -> pa.Table:
    """Return one copy of a patch: moved, and with ids that no other copy has."""
    result = table
    for name, by in (("x_location", dx), ("vertex_x", dx), ("y_location", dy), ("vertex_y", dy)):
        if name in table.column_names:
            result = exchanged(result, name, pc.add(table[name], pa.scalar(by, table[name].type)))
    if "transcript_id" in table.column_names:
        first = pa.scalar(number * len(table), pa.uint64())
        result = exchanged(result, "transcript_id", pc.add(table["transcript_id"], first))
    own = pc.binary_join_element_wise(f"{number}", table["cell_id"], "-")
    nobody = pc.equal(table["cell_id"], "UNASSIGNED")
    return exchanged(result, "cell_id", pc.if_else(nobody, table["cell_id"], own))


def exchanged(table: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), values)


def measure(command: str, slide: Path, model: Path, out: Path, log: Path) -> dict[str, Any]:
    """Run one command on a slide; returns time, memory and the run's own account of them."""
    words = [*COMMANDS[command], *([str(model)] if command == "predict" else [])]
    verb = "predict" if command == "predict" else "segment"
    line = [sys.executable, "-m", "tissuegraph.cli", verb, str(slide), "-o", str(out), *words]
    figures = run_measured(line, log)
    said = json.loads((out / "run.json").read_text())
    shutil.rmtree(out)
    own = max(stage["peak_memory_mb"] for stage in said["stages"].values()) * 2**20 / 1e9
    return {**figures, "GB": max(figures["GB"], own), "tiles": said["tiles"], "stages": said["stages"]}


def rows(chosen: argparse.Namespace, work: Path) -> Iterator[dict[str, Any]]:
    log = work / "log.txt"
    if not chosen.cold:
        patch, _ = patch_of(Spec(20_000, 1.0, 50), chosen.patch, work, chosen.seed)
        for command in chosen.commands:
            measure(command, patch, chosen.model, work / "out", log)
    for spec, series in specs_of(chosen).items():
        patch, copies = patch_of(spec, chosen.patch, work, chosen.seed)
        slide = work / "slide"
        shutil.rmtree(slide, ignore_errors=True)
        transcripts = lay(patch, copies, slide)
        for command in chosen.commands:
            figures = measure(command, slide, chosen.model, work / "out", log)
            rate = transcripts / figures["seconds"]
            wanted = {"series": series, **asdict(spec), "transcripts": transcripts, "copies": copies}
            yield {"command": command, **wanted, "transcripts_per_second": round(rate), **figures}
        shutil.rmtree(slide)


def print_row(row: dict[str, Any]) -> None:
    cells = (
        row["command"],
        f"{row['transcripts']:,}",
        f"{row['density']:g}",
        f"{row['genes']:,}",
        f"{row['seconds']:.1f}",
        f"{row['transcripts_per_second']:,}",
        f"{row['CPU s']:.0f}",
        f"{row['GB']:.2f}",
    )
    print("| " + " | ".join(cells) + " |", flush=True)


def print_growth(done: list[dict[str, Any]]) -> None:
    """Say how memory grows from a million transcripts, or the fewest above, to the most."""
    for command in dict.fromkeys(row["command"] for row in done):
        series = [row for row in done if row["command"] == command and "transcripts" in row["series"]]
        series = sorted((row["transcripts"], row["GB"]) for row in series)
        large = [one for one in series if one[0] > 0.9 * MILLION] or series
        if len(large) > 1:
            (few, before), (many, after) = large[0], large[-1]
            growth = 100 * (after / before - 1)
            print(f"{command}: from {few:,} to {many:,} transcripts peak memory grows by {growth:.0f}%")


@contextmanager
def work_folder(given: Path | None) -> Iterator[Path]:
    if given is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    given.mkdir(parents=True, exist_ok=True)
    yield given


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    series = ("transcripts", "densities", "genes")
    parser.add_argument("--series", nargs="+", choices=series, default=list(series), help="which to measure")
    parser.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=["segment", "predict"])
    parser.add_argument("--transcripts", nargs="+", type=float, default=[0.2, 1, 5, 20], help="millions")
    parser.add_argument("--densities", nargs="+", type=float, default=[0.3, 1, 3, 10], help="per um2")
    parser.add_argument("--genes", nargs="+", type=int, default=[300, 5_000, 18_000])
    parser.add_argument(
        "--base", nargs=3, type=float, default=[1, 1, 300], metavar=("TX", "DENSITY", "GENES")
    )
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="for predict; by default the pretrained")
    parser.add_argument("--patch", type=int, default=500_000, help="transcripts of a patch, at most")
    parser.add_argument("--cold", action="store_true", help="measure the first compilation, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work", type=Path, help="folder with room for slides and runs (2 GB); keeps patches"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write, anew after every row")
    return parser.parse_args(words)


def main() -> None:
    chosen = parse()
    done: list[dict[str, Any]] = []
    machine = {"cores": cores(), "processors": os.cpu_count(), "tissuegraph": tg.__version__}
    print(f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}", flush=True)
    with work_folder(chosen.work) as work:
        for row in rows(chosen, work):
            done.append(row)
            print_row(row)
            if chosen.out:
                chosen.out.write_text(json.dumps({"machine": machine, "rows": done}, indent=2) + "\n")
    print_growth(done)


if __name__ == "__main__":
    main()
