"""What the tiles found, on disk until it is settled: one file a tile, or a few tiles where they are many."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import ceil
from pathlib import Path

import polars as pl

MOST_FILES = 400
"""Files with results, at most, so that a run with all its tiles has fewer than 2,000."""


def write_results(tables: Iterable[pl.DataFrame], n_tiles: int, folder: Path) -> None:
    """Write the tiles' results in their order; each file appears whole, by rename, or not at all."""
    a_file, waiting = ceil(n_tiles / MOST_FILES), iter(tables)
    number = 0
    while together := list(islice(waiting, a_file)):
        unfinished = folder / "unfinished"
        pl.concat(together).write_parquet(unfinished)
        unfinished.rename(folder / f"results_{number:04}.parquet")
        number += 1
