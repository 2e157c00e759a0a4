"""The grown slide as a bundle: its files, its facts, its refusals, and how it differs from the first."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import shapely

from tissuegraph import simulate
from tissuegraph.cli import main
from tissuegraph.errors import InputError, OutputError
from tissuegraph.simulate import GrownTissueParams, TissueParams

CELLS = 500
CONTROLS = "^(NegControl|BLANK)"


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate.grown_tissue(tmp_path_factory.mktemp("grown") / "out", cells=CELLS, seed=3)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate.tissue(tmp_path_factory.mktemp("first") / "out", cells=CELLS, seed=3)


def transcripts(slide: Path) -> pl.DataFrame:
    return pl.read_parquet(slide / "transcripts.parquet").join(
        pl.read_parquet(slide / "truth.parquet"), on="transcript_id", validate="1:1", maintain_order="left"
    )


def made(slide: Path) -> pl.DataFrame:
    return transcripts(slide).filter(pl.col("true_cell_id").is_not_null())


def truth_of(slide: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(slide / "truth_cells.parquet").set_index("cell_id")


def rings(path: Path) -> gpd.GeoSeries:
    table = pl.read_parquet(path)
    owner, vertices = table["cell_id"].rle_id().to_numpy(), table.select("vertex_x", "vertex_y").to_numpy()
    shapes = shapely.polygons(shapely.linearrings(vertices.astype(float), indices=owner))
    return gpd.GeoSeries(shapes, table["cell_id"].unique(maintain_order=True).to_list())


def points_of(rows: pl.DataFrame) -> np.ndarray:
    return shapely.points(rows.select("x_location", "y_location").to_numpy().astype(float))


def digests(slide: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(slide.iterdir())}


def test_files_and_columns_are_those_of_the_first_simulator(slide: Path, first: Path) -> None:
    assert {path.name for path in slide.iterdir()} == {path.name for path in first.iterdir()}
    for path in sorted(first.glob("*.parquet")):
        assert pq.read_schema(slide / path.name) == pq.read_schema(path)
    said, expected = (json.loads((one / "experiment.xenium").read_text()) for one in (slide, first))
    assert said.keys() == expected.keys()
    assert said["simulation"]["cells"] == CELLS
    assert said["simulation"]["roughness"] == GrownTissueParams().roughness
    assert said["num_transcripts"] == len(transcripts(slide))


def test_fields_of_both_simulators_have_one_default_but_for_spill() -> None:
    both = vars(TissueParams()).keys() & vars(GrownTissueParams()).keys()
    assert {"cells", "genes", "counts_per_cell", "elongation", "nucleus_size", "background"} <= both
    differ = {name for name in both if getattr(TissueParams(), name) != getattr(GrownTissueParams(), name)}
    assert differ == {"spill", "size_variation"}


def test_outlines_are_valid_and_do_not_overlap(slide: Path) -> None:
    truth = truth_of(slide)
    assert len(truth) == truth.index.nunique() == CELLS
    assert truth.is_valid.all()
    assert (truth.geom_type == "Polygon").all()
    assert truth.union_all().area == pytest.approx(truth.area.sum(), rel=1e-6)
    assert truth.area.mean() == pytest.approx(100, rel=0.1)
    assert truth.total_bounds[:2].min() > 0
    for name in ("nucleus_boundaries", "cell_boundaries"):
        drawn = rings(slide / f"{name}.parquet")
        assert drawn.is_valid.all()
        assert drawn.union_all().area == pytest.approx(drawn.area.sum(), rel=1e-4)


def sees_itself(shape: shapely.Polygon, rng: np.random.Generator) -> bool:
    """Whether all of a shape can be seen from some place in it."""
    places = rng.uniform(shape.bounds[:2], shape.bounds[2:], (60, 2))
    corners = shapely.get_coordinates(shape.exterior)
    wide = shape.buffer(0.05)
    shapely.prepare(wide)
    for place in places[shapely.contains_xy(shape, places)]:
        ways = np.stack([np.broadcast_to(place, corners.shape), corners], axis=1)
        if shapely.covers(wide, shapely.linestrings(ways)).all():
            return True
    return False


def test_many_cells_are_no_stars_and_sizes_are_mixed(slide: Path, first: Path) -> None:
    rng = np.random.default_rng(0)
    stars = {
        one: np.mean([sees_itself(shape, rng) for shape in truth_of(one).geometry[::8]])
        for one in (slide, first)
    }
    assert stars[first] > 0.95
    assert stars[slide] < 0.75
    areas = truth_of(slide).area
    assert np.quantile(areas, 0.1) < 45
    assert np.quantile(areas, 0.9) > 150


def test_empty_places_are_empty(tmp_path: Path) -> None:
    slide = simulate.grown_tissue(tmp_path / "out", cells=400, empty=0.3, counts_per_cell=5)
    truth = truth_of(slide)
    low, high = truth.total_bounds[:2] + 20, truth.total_bounds[2:] - 20
    places = shapely.points(np.random.default_rng(0).uniform(low, high, (3000, 2)))
    point, _ = truth.sindex.query(places, predicate="dwithin", distance=8)
    assert len(np.unique(point)) < 0.95 * len(places)  # no gap between cells, but a lumen
    point, _ = truth.sindex.query(places, predicate="intersects")
    assert len(np.unique(point)) / len(places) == pytest.approx(0.63, abs=0.12)


@pytest.mark.parametrize("elongation", [1.0, 2.0, 4.0])
def test_larger_cells_have_the_aspect_asked_for(tmp_path: Path, elongation: float) -> None:
    settings = {"elongation": elongation, "small_cells": 0.0, "empty": 0.0, "counts_per_cell": 5}
    shapes = truth_of(simulate.grown_tissue(tmp_path / "out", cells=300, **settings)).geometry
    aspects = []
    for shape in shapes:
        places = np.random.default_rng(0).uniform(shape.bounds[:2], shape.bounds[2:], (400, 2))
        size = np.linalg.eigvalsh(np.cov(places[shapely.contains_xy(shape, places)].T))
        aspects.append(np.sqrt(size[1] / size[0]))
    assert np.median(aspects) == pytest.approx(max(elongation, 1.3), rel=0.2)
    assert elongation == 1 or np.quantile(aspects, 0.9) > 1.6 * np.quantile(aspects, 0.1)


def test_shares_are_what_was_asked(slide: Path) -> None:
    rows = transcripts(slide)
    control = rows["feature_name"].str.contains(CONTROLS)
    assert rows["transcript_id"].is_unique().all()
    assert control.mean() == pytest.approx(0.005, abs=0.001)
    assert rows.filter(control)["true_cell_id"].null_count() == control.sum()
    assert rows.filter(~control)["true_cell_id"].is_null().mean() == pytest.approx(0.02, abs=0.003)
    assert (rows["qv"] < 20).mean() == pytest.approx(0.1, abs=0.015)
    assert rows["true_cell_id"].is_not_null().sum() / CELLS == pytest.approx(180, rel=0.05)
    assert rows["z_location"].is_between(0, 8).all()
    owner = rows["true_cell_id"]
    assert (owner == owner.shift(1)).mean() < 0.02


@pytest.mark.parametrize("spill", [0.0, 0.02, 0.1])
def test_spill_is_the_share_outside_the_own_cell(tmp_path: Path, spill: float) -> None:
    slide = simulate.grown_tissue(tmp_path / "out", cells=200, spill=spill, counts_per_cell=100)
    rows = made(slide)
    own = truth_of(slide).geometry.loc[rows["true_cell_id"].to_list()].to_numpy()
    outside = ~shapely.intersects(own, points_of(rows))
    # without diffusion every transcript lies in the outline that the truth shows
    assert outside.mean() == pytest.approx(spill, abs=1e-4 if spill == 0 else 0.15 * spill)
    if spill:
        way = shapely.distance(own, points_of(rows))[outside]
        assert np.quantile(way, 0.95) > 4 * np.median(way)  # a heavy tail


def test_nuclei_lie_mostly_in_their_cells_with_errors(slide: Path) -> None:
    truth, nuclei = truth_of(slide), rings(slide / "nucleus_boundaries.parquet")
    assert set(nuclei.index) == set(truth.index[truth.has_nucleus])
    own = truth.geometry.loc[nuclei.index]
    outside = nuclei.difference(own.buffer(0.1)).area / nuclei.area
    assert outside.median() < 0.02
    assert (outside > 0.2).mean() < 0.1
    assert np.corrcoef(nuclei.area, own.area)[0, 1] < 0.9
    cells = rings(slide / "cell_boundaries.parquet").loc[nuclei.index]
    assert (cells.difference(nuclei.buffer(5.5)).area / cells.area).max() < 0.02
    assert (nuclei.difference(cells.buffer(0.3)).area / nuclei.area).max() < 0.02


def test_a_merged_nucleus_covers_two_cells_of_which_one_is_unseen(tmp_path: Path) -> None:
    exact = {"missing_nuclei": 0.0, "nucleus_error": 0.0, "counts_per_cell": 5}
    slide = simulate.grown_tissue(tmp_path / "out", cells=300, merged_nuclei=0.05, **exact)
    truth, nuclei = truth_of(slide), rings(slide / "nucleus_boundaries.parquet")
    unseen = truth[~truth.has_nucleus]
    assert len(unseen) == 15
    covered = [nuclei.intersection(shape).area.max() for shape in unseen.geometry]
    assert np.mean(np.array(covered) > 5) > 0.8
    alone = simulate.grown_tissue(tmp_path / "alone", cells=300, merged_nuclei=0.0, **exact)
    assert truth_of(alone).has_nucleus.all()
    assert rings(alone / "nucleus_boundaries.parquet").area.max() < nuclei.area.max()


def test_the_missing_are_missing(slide: Path) -> None:
    truth = truth_of(slide)
    assert (~truth.has_nucleus).sum() == 40 + 10  # missed, and merged
    seen = set(truth.index[truth.has_nucleus])
    for name in ("nucleus_boundaries", "cell_boundaries", "cells"):
        assert set(pl.read_parquet(slide / f"{name}.parquet")["cell_id"]) == seen
    assert set(pl.read_parquet(slide / "transcripts.parquet")["cell_id"]) == seen | {"UNASSIGNED"}


def test_vendors_columns_follow_its_outlines(slide: Path) -> None:
    rows = transcripts(slide).head(5000)
    for name, column in (("cell", "cell_id"), ("nucleus", "overlaps_nucleus")):
        shapes = rings(slide / f"{name}_boundaries.parquet")
        inside = np.zeros(len(rows), dtype=bool)
        inside[shapes.sindex.query(points_of(rows), predicate="intersects")[0]] = True
        told = (rows[column] != "UNASSIGNED") if name == "cell" else (rows[column] == 1)
        assert (inside == told.to_numpy()).mean() > 0.999
    rows = transcripts(slide).filter(
        (pl.col("qv") >= 20)
        & (pl.col("cell_id") != "UNASSIGNED")
        & ~pl.col("feature_name").str.contains(CONTROLS)
    )
    table = pl.read_parquet(slide / "cells.parquet")
    counted = table.select("cell_id").join(rows.group_by("cell_id").len(), on="cell_id", how="left")
    assert table["transcript_counts"].to_list() == counted["len"].fill_null(0).to_list()


def test_place_in_the_cell_and_quality_depend_on_the_gene(slide: Path) -> None:
    genes = (
        made(slide)
        .group_by("feature_name")
        .agg(
            pl.len(),
            pl.col("overlaps_nucleus").mean().alias("nuclear"),
            (pl.col("qv") < 20).mean().alias("low"),
        )
    )
    genes = genes.filter(pl.col("len") > 150)
    assert np.quantile(genes["nuclear"], 0.97) > 1.8 * genes["nuclear"].median()
    chance = np.sqrt(0.1 * 0.9 / genes["len"].mean())
    assert genes["low"].std() > 1.5 * chance


def test_types_differ_by_degrees_and_domains_in_their_mixture(slide: Path) -> None:
    truth = truth_of(slide)
    assert truth.cell_type.nunique() == 9
    assert truth.domain.nunique() == 4
    mixture = truth.groupby(["domain", "cell_type"]).size().unstack(fill_value=0).to_numpy()
    expected = mixture.sum(axis=1, keepdims=True) * mixture.sum(axis=0) / CELLS
    assert (np.square(mixture - expected) / expected).sum() > 100  # chi-square with 24 degrees of freedom
    counts = made(slide).group_by("feature_name").len()["len"].sort(descending=True)
    assert counts.head(30).sum() > 0.4 * counts.sum()  # a tenth of the genes makes most of it


def test_same_seed_same_bytes_other_seed_other_tissue(tmp_path: Path) -> None:
    one, two, other = (
        simulate.grown_tissue(tmp_path / name, cells=60, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert digests(one) == digests(two)
    assert all(digests(one)[name] != digest for name, digest in digests(other).items())


@pytest.mark.parametrize(
    "settings",
    [
        {"cells": 1},
        {"cells": 1, "missing_nuclei": 0.9, "types": 1, "domains": 1},
        {"cells": 2, "elongation": 5.0},
        {"cells": 40, "missing_nuclei": 1.0},
        {"cells": 30, "genes": 20_000, "counts_per_cell": 50},
        {"cells": 30, "genes": 1, "counts_per_cell": 0.01, "background": 0, "controls": 0},
        {"cells": 30, "spill": 0, "low_quality": 1, "roughness": 0, "empty": 0, "nucleus_error": 0},
        {"cells": 30, "spill": 1, "elongation": 10, "roughness": 1, "empty": 0.8, "merged_nuclei": 0.5},
        {"cells": 30, "cell_area": 100_000, "nucleus_size": 0.05, "small_cells": 1, "nucleus_error": 5},
    ],
)
def test_extremes_give_a_whole_slide(tmp_path: Path, settings: dict[str, float]) -> None:
    slide = simulate.grown_tissue(tmp_path / "out", **settings)
    truth = truth_of(slide)
    assert len(truth) == settings["cells"]
    assert truth.is_valid.all()
    seen = set(truth.index[truth.has_nucleus])
    assert bool(seen) == (settings.get("missing_nuclei") != 1)
    assert set(pl.read_parquet(slide / "cells.parquet")["cell_id"]) == seen
    rows = transcripts(slide)
    assert set(rows["true_cell_id"].drop_nulls()) <= set(truth.index)
    assert np.isfinite(rows.select("x_location", "y_location", "z_location", "qv").to_numpy()).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cells": 0}, "cells is 0"),
        ({"genes": 2.5}, "whole number"),
        ({"elongation": 0.5}, "elongation is 0.5"),
        ({"empty": 0.95}, "empty is 0.95"),
        ({"background": 0.6, "controls": 0.5}, "together"),
        ({"marker_fold": 8}, "there are: cells, genes"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(
    tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        simulate.grown_tissue(tmp_path / "out", **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_parameters_are_taken_and_an_existing_folder_is_not(tmp_path: Path) -> None:
    slide = simulate.grown_tissue(tmp_path / "out", GrownTissueParams(cells=9, genes=30), genes=40)
    said = json.loads((slide / "experiment.xenium").read_text())["simulation"]
    assert (said["cells"], said["genes"]) == (9, 40)
    with pytest.raises(OutputError, match="exists already"):
        simulate.grown_tissue(slide, cells=5)
    simulate.grown_tissue(slide, cells=5, overwrite=True)
    assert len(truth_of(slide)) == 5


def test_transcripts_are_held_a_bounded_number_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tissuegraph.simulate.grown.slide.TRANSCRIPTS_AT_A_TIME", 2000)
    slide = simulate.grown_tissue(tmp_path / "out", cells=100)
    groups = pq.read_metadata(slide / "transcripts.parquet")
    assert groups.num_row_groups == 10
    assert max(groups.row_group(number).num_rows for number in range(10)) < 4000


def test_the_command_writes_what_the_function_does(tmp_path: Path) -> None:
    words = ["simulate", "grown-tissue", str(tmp_path / "typed"), "--cells", "20", "--seed", "4"]
    assert main([*words, "--roughness", "0.3"]) == 0
    called = simulate.grown_tissue(tmp_path / "called", cells=20, seed=4, roughness=0.3)
    assert digests(tmp_path / "typed") == digests(called)
