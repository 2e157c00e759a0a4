"""Segment simulated slides that nothing was tuned on, and score each beside its baselines.

Usage: python benchmarks/segment_simulated.py [--cells 2000] [--seeds 101] [--out scores.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import tissuegraph as tg

SETTINGS: dict[str, dict[str, Any]] = {
    "round": {"elongation": 1.0},
    "elongated": {"elongation": 3.0},
    "few counts": {"elongation": 2.0, "counts_per_cell": 60},
    "large panel": {"elongation": 2.0, "genes": 2000},
    "unseen nuclei": {"elongation": 2.0, "missing_nuclei": 0.3},
    "more spill": {"elongation": 2.0, "spill": 0.15, "background": 0.05},
}


def scores_of(settings: dict[str, Any], cells: int, seed: int, folder: Path) -> dict[str, Any]:
    slide = tg.simulate.tissue(folder / "slide", cells=cells, seed=seed, **settings)
    started = time.perf_counter()
    out = tg.segment(slide, folder / "out", seed=0)
    seconds = time.perf_counter() - started
    scores = tg.evaluate(out, slide / "truth.parquet")
    oracle = next(name for name in scores if "oracle" in name)
    ours = scores["tissuegraph"]
    return {
        "f1": ours.f1,
        "nearest_at_best_distance": scores[oracle].f1,
        "vendor": scores["vendor"].f1,
        "true_outlines": scores["true outlines (upper bound)"].f1,
        "gain": ours.f1 - scores[oracle].f1,
        "ece": ours.calibration_error,
        "transcripts": ours.n_transcripts,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101])
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    rows = []
    print(f"{'tissue':<16}{'seed':>5}{'F1':>8}{'nearest':>9}{'vendor':>8}{'outlines':>10}{'ECE':>7}{'s':>6}")
    for name in chosen.only:
        for seed in chosen.seeds:
            with tempfile.TemporaryDirectory() as folder:
                row = scores_of(SETTINGS[name], chosen.cells, seed, Path(folder))
            rows.append({"tissue": name, "seed": seed, **row})
            ece = "-" if row["ece"] is None else f"{row['ece']:.3f}"
            print(
                f"{name:<16}{seed:>5}{row['f1']:>8.3f}{row['nearest_at_best_distance']:>9.3f}"
                f"{row['vendor']:>8.3f}{row['true_outlines']:>10.3f}{ece:>7}{row['seconds']:>6.0f}",
                flush=True,
            )
    if chosen.out:
        chosen.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
