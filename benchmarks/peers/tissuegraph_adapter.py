"""tissuegraph itself, with its defaults, from the bundle: its time includes reading and cutting the slide."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
from exchange import arguments, write_result

import tissuegraph as tg

SETTINGS = {"seed": 0, "model": "pretrained"}


def main() -> None:
    folder, result, settings = arguments(SETTINGS)
    with tempfile.TemporaryDirectory() as scratch:
        out = tg.segment(folder / "slide", Path(scratch) / "out", **settings)
        table = pd.read_parquet(out / "transcripts.parquet", columns=["row", "assigned_cell_id"])
    write_result(result, table["row"], table["assigned_cell_id"])


if __name__ == "__main__":
    main()
