"""The simulated slide as a bundle: its files, its facts, its refusals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from shapely import Polygon

from tissuegraph import simulate
from tissuegraph.errors import InputError, OutputError
from tissuegraph.simulate import TissueParams, bundle

CONTROLS = "^(NegControl|BLANK)"


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate.tissue(tmp_path_factory.mktemp("slide") / "out", cells=400, seed=3)


def transcripts(slide: Path) -> pl.DataFrame:
    return pl.read_parquet(slide / "transcripts.parquet").join(
        pl.read_parquet(slide / "truth.parquet"), on="transcript_id", validate="1:1"
    )


def digests(slide: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(slide.iterdir())}


def test_bundle_has_the_columns_of_the_platform(slide: Path) -> None:
    assert dict(pl.read_parquet_schema(slide / "transcripts.parquet")) == {
        "transcript_id": pl.UInt64,
        "cell_id": pl.String,
        "overlaps_nucleus": pl.UInt8,
        "feature_name": pl.String,
        "x_location": pl.Float32,
        "y_location": pl.Float32,
        "z_location": pl.Float32,
        "qv": pl.Float32,
    }
    rings = {"cell_id": pl.String, "vertex_x": pl.Float32, "vertex_y": pl.Float32}
    assert dict(pl.read_parquet_schema(slide / "nucleus_boundaries.parquet")) == rings
    assert dict(pl.read_parquet_schema(slide / "cell_boundaries.parquet")) == rings
    facts = json.loads((slide / "experiment.xenium").read_text())
    assert facts["pixel_size"] == 0.2125
    assert facts["num_transcripts"] == pl.read_parquet(slide / "transcripts.parquet").height
    assert facts["simulation"]["cells"] == 400


def test_truth_has_every_cell_once_and_valid_outlines(slide: Path) -> None:
    truth = gpd.read_parquet(slide / "truth_cells.parquet")
    assert list(truth.columns) == ["cell_id", "geometry", "cell_type", "domain", "has_nucleus"]
    assert len(truth) == truth.cell_id.nunique() == 400
    assert truth.is_valid.all()
    assert truth.total_bounds[:2].min() > 0
    assert truth.cell_type.nunique() == 9
    assert truth.domain.value_counts().to_list() == [100] * 4
    assert (~truth.has_nucleus).sum() == 32
    assert truth.union_all().area == pytest.approx(truth.area.sum(), rel=1e-3)  # no overlaps
    assert truth.area.mean() == pytest.approx(100, rel=0.1)
    assert truth.area.std() > 0.3 * truth.area.mean()


def test_vendor_knows_only_the_cells_with_a_seen_nucleus(slide: Path) -> None:
    truth = gpd.read_parquet(slide / "truth_cells.parquet")
    seen = set(truth.cell_id[truth.has_nucleus])
    for name in ("nucleus_boundaries", "cell_boundaries", "cells"):
        assert set(pl.read_parquet(slide / f"{name}.parquet")["cell_id"]) == seen
    assert set(pl.read_parquet(slide / "transcripts.parquet")["cell_id"]) == seen | {"UNASSIGNED"}


def test_cells_table_agrees_with_outlines_and_transcripts(slide: Path) -> None:
    rows = transcripts(slide).filter(
        (pl.col("qv") >= 20)
        & (pl.col("cell_id") != "UNASSIGNED")
        & ~pl.col("feature_name").str.contains(CONTROLS)
    )
    table = pl.read_parquet(slide / "cells.parquet")
    counted = table.select("cell_id").join(rows.group_by("cell_id").len(), on="cell_id", how="left")
    assert table["transcript_counts"].to_list() == counted["len"].fill_null(0).to_list()
    shapes = polygons(slide / "cell_boundaries.parquet")
    assert np.allclose(table["cell_area"], shapes.area.loc[table["cell_id"]], rtol=1e-4)
    assert np.allclose(table["x_centroid"], shapes.centroid.x.loc[table["cell_id"]], atol=1e-2)


def polygons(path: Path) -> gpd.GeoSeries:
    """Return the polygons of a boundary file by cell, after checking that the rings are closed."""
    shapes = {}
    for (cell,), ring in pl.read_parquet(path).group_by("cell_id", maintain_order=True):
        points = ring.select("vertex_x", "vertex_y").to_numpy()
        assert (points[0] == points[-1]).all()
        shapes[cell] = Polygon(points)
    return gpd.GeoSeries(shapes)


def test_vendors_columns_follow_its_outlines(slide: Path) -> None:
    rows = transcripts(slide).head(5000)
    points = gpd.points_from_xy(rows["x_location"], rows["y_location"])
    for name, column in (("cell", "cell_id"), ("nucleus", "overlaps_nucleus")):
        shapes = polygons(slide / f"{name}_boundaries.parquet")
        hit = shapes.sindex.query(points, predicate="intersects")
        inside = np.zeros(len(points), dtype=bool)
        inside[hit[0]] = True
        told = (rows[column] != "UNASSIGNED") if name == "cell" else (rows[column] == 1)
        assert (inside == told.to_numpy()).mean() > 0.999  # float32 at the very border


def test_nuclei_lie_in_their_cells_and_the_vendor_grows_them_by_five(slide: Path) -> None:
    truth = gpd.read_parquet(slide / "truth_cells.parquet").set_index("cell_id").geometry
    nuclei = polygons(slide / "nucleus_boundaries.parquet")
    cells = polygons(slide / "cell_boundaries.parquet")
    own, grown = truth.loc[nuclei.index], cells.loc[nuclei.index]
    # straight edges between vertices cut corners, no more
    assert (nuclei.difference(own.buffer(0.1)).area / nuclei.area).max() < 0.02
    assert (nuclei.difference(grown.buffer(0.1)).area / nuclei.area).max() < 0.02
    assert (cells.difference(nuclei.buffer(5.1)).area / cells.area).max() < 0.02
    assert cells.union_all().area == pytest.approx(cells.area.sum(), rel=5e-3)


def test_shares_are_what_was_asked(slide: Path) -> None:
    rows = transcripts(slide)
    control = rows["feature_name"].str.contains(CONTROLS)
    assert rows["transcript_id"].is_unique().all()
    assert control.mean() == pytest.approx(0.005, abs=0.001)
    assert rows.filter(control)["true_cell_id"].null_count() == control.sum()
    assert rows.filter(~control)["true_cell_id"].is_null().mean() == pytest.approx(0.02, abs=0.003)
    assert (rows["qv"] < 20).mean() == pytest.approx(0.1, abs=0.005)
    assert rows["true_cell_id"].is_not_null().sum() / 400 == pytest.approx(180, rel=0.1)
    assert rows["z_location"].is_between(0, 8).all()


def test_order_of_rows_does_not_tell_the_cell(slide: Path) -> None:
    owner = transcripts(slide)["true_cell_id"]
    assert (owner == owner.shift(1)).mean() < 0.02


def test_same_seed_same_bytes_other_seed_other_tissue(tmp_path: Path) -> None:
    one, two, other = (
        simulate.tissue(tmp_path / name, cells=60, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert digests(one) == digests(two)
    assert all(digests(one)[name] != digest for name, digest in digests(other).items())


@pytest.mark.parametrize(
    "settings",
    [
        {"cells": 1},
        {"cells": 1, "missing_nuclei": 0.9, "types": 1, "domains": 1},
        {"cells": 2, "elongation": 5.0},
        {"cells": 40, "missing_nuclei": 0.9},
        {"cells": 40, "missing_nuclei": 1.0},
        {"cells": 30, "genes": 20_000, "counts_per_cell": 50},
        {"cells": 30, "genes": 20, "counts_per_cell": 2000},
        {"cells": 30, "counts_per_cell": 5},
        {"cells": 30, "genes": 1, "counts_per_cell": 0.01, "background": 0, "controls": 0},
        {
            "cells": 30,
            "spill": 0,
            "low_quality": 1,
            "cell_dispersion": 0,
            "gene_dispersion": 0,
            "thickness": 0,
        },
    ],
)
def test_extremes_give_a_whole_slide(tmp_path: Path, settings: dict[str, float]) -> None:
    slide = simulate.tissue(tmp_path / "out", **settings)
    truth = gpd.read_parquet(slide / "truth_cells.parquet")
    assert len(truth) == settings["cells"]
    assert truth.is_valid.all()
    seen = set(truth.cell_id[truth.has_nucleus])
    assert bool(seen) == (settings.get("missing_nuclei") != 1)
    assert set(pl.read_parquet(slide / "cells.parquet")["cell_id"]) == seen
    rows = transcripts(slide)
    assert set(rows["true_cell_id"].drop_nulls()) <= set(truth.cell_id)
    assert np.isfinite(rows.select("x_location", "y_location", "z_location", "qv").to_numpy()).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cells": 0}, "cells is 0"),
        ({"cells": 2.5}, "whole number"),
        ({"cells": "many"}, "cells is 'many'"),
        ({"elongation": 0.5}, "elongation is 0.5"),
        ({"missing_nuclei": 1.2}, "from 0 to 1"),
        ({"spill": -0.1}, "spill is -0.1"),
        ({"background": float("nan")}, "background is nan"),
        ({"background": 0.6, "controls": 0.5}, "together"),
        ({"cell": 10}, "there are: cells, genes"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(
    tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        simulate.tissue(tmp_path / "out", **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_settings_change_the_given_parameters(tmp_path: Path) -> None:
    slide = simulate.tissue(tmp_path / "out", TissueParams(cells=9, genes=30), genes=40, types=2)
    said = json.loads((slide / "experiment.xenium").read_text())["simulation"]
    assert (said["cells"], said["genes"], said["types"]) == (9, 40, 2)


def test_an_existing_folder_is_refused_and_only_a_slide_replaced(tmp_path: Path) -> None:
    slide = simulate.tissue(tmp_path / "out", cells=5)
    before = digests(slide)
    with pytest.raises(OutputError, match="exists already"):
        simulate.tissue(slide, cells=6)
    assert digests(slide) == before
    simulate.tissue(slide, cells=6, overwrite=True)
    assert len(pl.read_parquet(slide / "truth_cells.parquet")) == 6
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("...")
    with pytest.raises(OutputError, match="no simulated slide"):
        simulate.tissue(tmp_path / "mine", overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "mine"}


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    old = simulate.tissue(tmp_path / "out", cells=5)
    before = digests(old)
    monkeypatch.setattr(bundle, "write_json", full)
    for name, overwrite in (("new", False), ("out", True)):
        with pytest.raises(OutputError, match="No space left"):
            simulate.tissue(tmp_path / name, cells=5, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert digests(old) == before


def test_transcripts_are_held_a_bounded_number_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tissuegraph.simulate.slide.TRANSCRIPTS_AT_A_TIME", 2000)
    slide = simulate.tissue(tmp_path / "out", cells=100)
    groups = pq.read_metadata(slide / "transcripts.parquet")
    assert groups.num_row_groups == 10
    assert max(groups.row_group(number).num_rows for number in range(10)) < 4000
