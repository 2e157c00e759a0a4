"""One simulated slide, one run on it and one set of training tiles, for all tests of the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tissuegraph as tg


@pytest.fixture(scope="session")
def few() -> dict[str, Any]:
    """Parameters with which a run is over in seconds."""
    return {"data": tg.DatasetParams(max_tiles=6), "training": tg.TrainParams(epochs=2)}


@pytest.fixture(scope="session")
def slide(tmp_path_factory) -> Path:
    """A bundle of 300 cells, about 18,000 transcripts, with its truth."""
    folder = tmp_path_factory.mktemp("slide") / "slide"
    return tg.simulate.tissue(folder, cells=300, genes=40, counts_per_cell=60, seed=3)


@pytest.fixture(scope="session")
def run(slide, few, tmp_path_factory) -> Path:
    """The folder of a finished run on `slide`."""
    return tg.segment(slide, tmp_path_factory.mktemp("run") / "out", **few)


@pytest.fixture(scope="session")
def training_tiles(slide, tmp_path_factory) -> Path:
    """Eight small training tiles: four to train on, three to validate, one to test."""
    folder = tmp_path_factory.mktemp("tiles") / "data"
    data = tg.DatasetParams(tile_transcripts=400, max_tiles=8, val_share=0.4)
    return tg.dataset(slide, folder, data=data, graph=tg.GraphParams(k_tx=5))


@pytest.fixture(scope="session")
def corner(slide, tmp_path_factory) -> dict[str, pl.DataFrame]:
    """Transcripts and nucleus outlines of a corner of the slide, to make other bundles of."""
    near = pl.col("x_location").is_between(0, 80) & pl.col("y_location").is_between(0, 80)
    nuclei = pl.read_parquet(slide / "nucleus_boundaries.parquet")
    inside = pl.all_horizontal(pl.col("vertex_x", "vertex_y").mean().over("cell_id") < 80)
    return {
        "transcripts": pl.read_parquet(slide / "transcripts.parquet").filter(near),
        "nuclei": nuclei.filter(inside),
    }
