"""What `segment` and `predict` write: the contract of a run's folder, on a simulated slide."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
from pathlib import Path

import anndata as ad
import geopandas as gpd
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

import tissuegraph as tg
from tissuegraph.cli import main
from tissuegraph.errors import InputError, ModelError
from tissuegraph.segmentation import steps
from tissuegraph.tiles.manifest import read_manifest

FILES = {"transcripts.parquet", "cells.h5ad", "cell_boundaries.parquet", "run.json"}
MODEL_FILES = {"model/model.safetensors", "model/model.json"}
ADDED = ["row", "assigned_cell_id", "assignment_probability", "dropped_because"]
REAL = Path(__file__).resolve().parents[3] / "shared/data"


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def without_measurements(card: dict) -> dict:
    """`run.json` but for what is measured anew in every run."""
    training = {name: value for name, value in card.get("training", {}).items() if name != "seconds"}
    return {**card, "training": training, "stages": list(card["stages"])}


def peak_memory_mb(out: Path) -> float:
    stages = json.loads((out / "run.json").read_text())["stages"]
    return max(stage["peak_memory_mb"] for stage in stages.values())


def bundle(folder: Path, transcripts: pl.DataFrame | pa.Table, nuclei: pl.DataFrame) -> Path:
    folder.mkdir(parents=True)
    table = transcripts.to_arrow() if isinstance(transcripts, pl.DataFrame) else transcripts
    pq.write_table(table, folder / "transcripts.parquet", row_group_size=1000)
    nuclei.write_parquet(folder / "nucleus_boundaries.parquet")
    return folder


def assignments(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "transcripts.parquet").select(ADDED)


@pytest.fixture(scope="module")
def transcripts(run) -> pl.DataFrame:
    return pl.read_parquet(run / "transcripts.parquet")


@pytest.fixture(scope="module")
def cells(run) -> ad.AnnData:
    return ad.read_h5ad(run / "cells.h5ad")


@pytest.fixture(scope="module")
def card(run) -> dict:
    return json.loads((run / "run.json").read_text())


def test_the_folder_holds_what_is_promised_and_nothing_else(run):
    assert files_in(run) == FILES | MODEL_FILES
    assert {path.name for path in run.iterdir()} == FILES | {"model"}
    assert [path.name for path in run.parent.iterdir()] == ["out"]


def test_every_file_may_be_read_by_whom_the_umask_lets(run):
    mask = os.umask(0)
    os.umask(mask)
    assert {stat.S_IMODE((run / name).stat().st_mode) for name in files_in(run)} == {0o666 & ~mask}


def test_every_row_of_the_source_is_there_once_as_it_was(slide, run):
    source, ours = pq.read_table(slide / "transcripts.parquet"), pq.read_table(run / "transcripts.parquet")
    assert ours.column_names == [*source.column_names, *ADDED]
    assert ours.select(source.column_names).equals(source)
    assert ours["row"].to_pylist() == list(range(len(source)))
    kinds = [ours.schema.field(name).type for name in ADDED]
    assert kinds == [pa.uint64(), pa.string(), pa.float32(), pa.string()]


def test_probabilities_belong_to_assignments(transcripts):
    assigned = transcripts["assigned_cell_id"].is_not_null()
    assert (transcripts["assignment_probability"].is_not_null() == assigned).all()
    assert transcripts["assignment_probability"].is_between(0.5, 1).drop_nulls().all()
    assert transcripts.filter(assigned)["dropped_because"].is_null().all()
    assert 0.5 < assigned.mean() < 1


def test_what_was_dropped_says_why(transcripts):
    control = pl.col("feature_name").str.contains("^(NegControl|BLANK|Unassigned|antisense|Deprecated)")
    low = pl.col("qv") < 20
    why = pl.when(control).then(pl.lit("control")).when(low).then(pl.lit("low quality")).otherwise(None)
    expected = transcripts.select(why.alias("dropped_because"))["dropped_because"]
    assert transcripts["dropped_because"].equals(expected)
    assert set(expected.unique()) == {None, "control", "low quality"}


def test_gene_by_gene_the_account_adds_up(transcripts, card):
    of_gene = pl.DataFrame(card["account_by_gene"])
    parts = of_gene["assigned"] + of_gene["unassigned"] + of_gene["dropped"]
    assert parts.equals(of_gene["transcripts"], check_names=False)
    counts = transcripts.group_by(gene="feature_name").agg(
        transcripts=pl.len(),
        assigned=pl.col("assigned_cell_id").count(),
        dropped=pl.col("dropped_because").count(),
    )
    names = counts.columns
    assert of_gene.select(names).cast(counts.schema).sort("gene").equals(counts.sort("gene"))
    account = dict(card["account"])
    assert account.pop("transcripts") == sum(account.values()) == len(transcripts)
    assert account["assigned"] == transcripts["assigned_cell_id"].count()


def test_the_counts_are_those_of_the_assigned_transcripts(transcripts, cells):
    assert cells.X.format == "csr"
    assert np.issubdtype(cells.X.dtype, np.integer)
    assert (cells.layers["counts"] != cells.X).nnz == 0
    assigned = transcripts.filter(pl.col("assigned_cell_id").is_not_null())
    table = assigned.group_by("assigned_cell_id", "feature_name").len()
    expected = np.zeros(cells.shape, np.int64)
    row = cells.obs_names.get_indexer(table["assigned_cell_id"].to_list())
    column = cells.var_names.get_indexer(table["feature_name"].to_list())
    assert row.min() >= 0
    assert column.min() >= 0
    expected[row, column] = table["len"].to_numpy()
    assert (cells.X.toarray() == expected).all()


def test_what_is_said_of_a_cell_is_true(slide, transcripts, cells, run):
    assigned = transcripts.filter(pl.col("assigned_cell_id").is_not_null())
    said = assigned.group_by("assigned_cell_id").agg(
        pl.len(),
        pl.col("feature_name").n_unique(),
        pl.col("x_location", "y_location").cast(pl.Float64).mean(),
        pl.col("assignment_probability").mean(),
    )
    said = said.to_pandas().set_index("assigned_cell_id").loc[cells.obs_names]
    assert (cells.obs["cell_id"] == cells.obs_names).all()
    assert (cells.obs["n_transcripts"] == said["len"]).all()
    assert (cells.obs["n_genes"] == said["feature_name"]).all()
    np.testing.assert_allclose(cells.obsm["spatial"], said[["x_location", "y_location"]], atol=1e-3)
    np.testing.assert_allclose(cells.obs["mean_probability"], said["assignment_probability"], rtol=1e-5)
    outlines = gpd.read_parquet(run / "cell_boundaries.parquet").set_index("cell_id").loc[cells.obs_names]
    np.testing.assert_allclose(cells.obs["area_um2"], outlines.area)
    nuclei = tg.read_xenium(slide).nuclei.loc[cells.obs_names]
    np.testing.assert_allclose(cells.obs["nucleus_area_um2"], nuclei.area)


def test_every_gene_of_the_panel_is_in_var(transcripts, cells):
    genes = transcripts["feature_name"].unique().sort()
    assert cells.var_names.to_list() == genes.filter(genes.str.starts_with("GENE")).to_list()


def test_every_cell_has_one_valid_polygon_that_shares_no_ground(transcripts, cells, run):
    outlines = gpd.read_parquet(run / "cell_boundaries.parquet")
    assert outlines["cell_id"].to_list() == cells.obs_names.to_list()
    assert (outlines.geom_type == "Polygon").all()
    assert outlines.is_valid.all()
    of_cell = outlines.set_index("cell_id").geometry
    assigned = transcripts.filter(pl.col("assigned_cell_id").is_not_null())
    x, y = (assigned[f"{axis}_location"].to_numpy() for axis in "xy")
    owner = of_cell.loc[assigned["assigned_cell_id"].to_list()].to_numpy()
    held = pl.DataFrame({"cell": assigned["assigned_cell_id"], "held": shapely.intersects_xy(owner, x, y)})
    shares = held.group_by("cell").agg(pl.col("held").mean())["held"]
    assert shares.quantile(0.05) >= 0.9  # cells whose transcripts interleave share the ground
    assert shapely.area(outlines.union_all()) == pytest.approx(outlines.area.sum(), rel=1e-6)


def test_run_json_says_what_was_done(slide, run, card):
    assert card["command"] == "segment"
    assert card["source"] == str(slide)
    assert card["seed"] == 0
    assert card["parameters"]["TrainParams"]["epochs"] == 2
    assert card["versions"]["tissuegraph"] == tg.__version__
    for stage in card["stages"].values():
        assert stage["seconds"] >= 0
        assert stage["peak_memory_mb"] > 0
    assert "nearest nucleus, 5 um" in card["beside_the_baseline"]["share_assigned"]
    uns = ad.read_h5ad(run / "cells.h5ad").uns["tissuegraph"]
    assert uns["versions"]["torch"] == card["versions"]["torch"]
    assert uns["seed"] == 0
    assert uns["parameters"]["SeggerParams"] == card["parameters"]["SeggerParams"]


def test_run_json_says_where_the_time_went(card):
    names = ["start-up", "reading", "tiles", "training data", "training", "profiles", "predict", "settle"]
    assert list(card["stages"]) == [*names, "write transcripts", "write cells", "other", "whole"]
    whole = card["stages"]["whole"]
    for stage in card["stages"].values():
        assert stage.keys() == {"seconds", "peak_memory_mb", "transcripts_per_second"}
        assert stage["seconds"] <= whole["seconds"]
        assert stage["peak_memory_mb"] <= whole["peak_memory_mb"]
    rate = card["account"]["transcripts"] / whole["seconds"]
    assert whole["transcripts_per_second"] == pytest.approx(rate, rel=0.01)


def test_run_json_says_why_training_stopped_and_on_how_much(card):
    training = card["training"]
    assert training["stopped_because"] in ("all epochs done", "validation loss is flat")
    assert training["tiles"]["train"] + training["tiles"]["val"] < 6
    assert training["epochs"] <= card["parameters"]["TrainParams"]["epochs"]


def test_work_is_kept_and_a_trace_written_on_request(corner, run, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "MIN_TILE_SIDE", 10.0)
    source = bundle(tmp_path / "in", corner["transcripts"], corner["nuclei"])
    words = ["--model", str(run), "--transcripts-per-tile", "500", "--profile", "--keep-work"]
    assert main(["predict", str(source), "-o", str(tmp_path / "out"), *words]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES | {"trace.json", "work"}
    manifest = read_manifest(tmp_path / "out/work/tiles")
    card = json.loads((tmp_path / "out/run.json").read_text())
    assert manifest is not None
    assert manifest.fingerprint == card["fingerprint"]
    assert manifest.parameters["transcripts_per_tile"] == 500
    assert len(manifest.tiles) == card["tiles"] > 3
    dropped = sum(n for name, n in card["account"].items() if name.startswith("dropped"))
    assert sum(manifest.transcripts) == card["account"]["transcripts"] - dropped
    events = json.loads((tmp_path / "out/trace.json").read_text())["traceEvents"]
    names = {event["name"] for event in events if event["ph"] == "X"}
    assert set(card["stages"]) - {"other", "whole"} <= names
    assert {f"tile {tile.index}" for tile in manifest.tiles} <= names
    plain = tg.predict(source, run, tmp_path / "plain")
    assert files_in(plain) == FILES
    assert assignments(plain).equals(assignments(tmp_path / "out"))
    again = tg.predict(source, run, tmp_path / "out", overwrite=True)
    assert files_in(again) == FILES


def test_run_json_is_json_that_any_program_reads(run):
    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads((run / "run.json").read_text(), parse_constant=refuse)
    json.loads((run / "model/model.json").read_text(), parse_constant=refuse)


def test_the_same_command_twice_gives_the_same_bytes(slide, run, few, tmp_path):
    again = tg.segment(str(slide), tmp_path / "again", **few)
    for name in sorted(files_in(run) - {"run.json"}):
        assert (run / name).read_bytes() == (again / name).read_bytes(), name
    one, other = (json.loads((out / "run.json").read_text()) for out in (run, again))
    assert without_measurements(one) == without_measurements(other)


def compare_cuts(source: Path, model: Path, out: Path, sizes: dict[int, int]) -> list[pl.DataFrame]:
    """Predict in tiles of several sizes (with at least so many tiles each) and see that nothing changes."""
    results = []
    for size, least in sizes.items():
        prediction = tg.PredictParams(transcripts_per_tile=size)
        folder = tg.predict(source, model, out / str(size), prediction=prediction)
        assert json.loads((folder / "run.json").read_text())["tiles"] >= least
        assert files_in(folder) == FILES
        results.append(assignments(folder))
    for other in results[1:]:
        assert results[0].drop("assignment_probability").equals(other.drop("assignment_probability"))
        difference = results[0]["assignment_probability"] - other["assignment_probability"]
        assert difference.abs().max() <= 1e-5
    return results


def test_a_model_gives_again_what_the_run_that_trained_it_gave(slide, run, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "MIN_TILE_SIDE", 30.0)
    result = compare_cuts(slide, run / "model", tmp_path, {10**9: 1, 2000: 8})[0]
    assert result.equals(assignments(run))


def test_one_tile_or_thirty_give_the_same_assignments(slide, run, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "MIN_TILE_SIDE", 10.0)
    compare_cuts(slide, run, tmp_path / "out", {10**9: 1, 500: 30})


def test_ties_between_positions_do_not_make_it_depend_on_the_cut(corner, run, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "MIN_TILE_SIDE", 10.0)
    rounded = corner["transcripts"].with_columns(pl.col("x_location", "y_location").round(0))
    source = bundle(tmp_path / "in", rounded, corner["nuclei"])
    compare_cuts(source, run, tmp_path / "out", {10**9: 1, 200: 10})


def test_a_source_with_odd_columns_keeps_them(corner, run, tmp_path):
    table = corner["transcripts"].to_arrow()
    n = len(table)
    names = table["feature_name"].cast(pa.string())
    table = table.set_column(0, "transcript_id", pa.array([b"\xfftx%d" % (i % 7) for i in range(n)]))
    at = table.column_names.index("feature_name")
    table = table.set_column(at, "feature_name", names.cast(pa.binary()))
    table = table.append_column("row", pa.array([f"r{i}" for i in range(n)]))
    table = table.append_column("fov", pa.array(["a", "b", None] * (n // 3 + 1))[:n].dictionary_encode())
    table = table.append_column("list", pa.array([[i, i + 1] for i in range(n)]))
    source = bundle(tmp_path / "odd", table, corner["nuclei"])
    plain = bundle(tmp_path / "plain", corner["transcripts"], corner["nuclei"])
    ours = pq.read_table(tg.predict(source, run, tmp_path / "out") / "transcripts.parquet")
    for name in table.column_names:
        kept = ours["row_in_source" if name == "row" else name]
        assert kept.equals(table[name]), name
    assert ours["row"].to_pylist() == list(range(n))
    expected = assignments(tg.predict(plain, run, tmp_path / "out_plain"))
    assert pl.DataFrame(ours.select(ADDED)).equals(expected)


def test_a_csv_gz_gives_what_its_parquet_gives(corner, run, tmp_path):
    parquet = bundle(tmp_path / "parquet", corner["transcripts"], corner["nuclei"])
    csv = tmp_path / "csv"
    csv.mkdir()
    for name, table in (("transcripts", corner["transcripts"]), ("nucleus_boundaries", corner["nuclei"])):
        (csv / f"{name}.csv.gz").write_bytes(gzip.compress(table.write_csv().encode()))
    outs = [tg.predict(folder, run, tmp_path / f"out_{folder.name}") for folder in (parquet, csv)]
    one, other = (assignments(out) for out in outs)
    assert one["assigned_cell_id"].equals(other["assigned_cell_id"])
    ids = pl.read_parquet(outs[1] / "transcripts.parquet")["transcript_id"]
    assert ids.to_list() == corner["transcripts"]["transcript_id"].to_list()


def test_a_gene_seen_only_in_bad_reads_has_a_column_of_zeros(corner, tmp_path, run):
    faint = pl.col("feature_name") == corner["transcripts"]["feature_name"].mode()[0]
    quality = pl.when(faint).then(5.0).otherwise(pl.col("qv")).cast(pl.Float32).alias("qv")
    source = bundle(tmp_path / "faint", corner["transcripts"].with_columns(quality), corner["nuclei"])
    cells = ad.read_h5ad(tg.predict(source, run, tmp_path / "out") / "cells.h5ad")
    gene = corner["transcripts"]["feature_name"].mode()[0]
    assert cells[:, gene].X.sum() == 0
    assert cells.X.sum() > 0


def test_a_precision_sets_the_threshold_and_small_cells_are_removed(slide, run, tmp_path):
    words = ["--model", str(run), "--min-precision", "0.9", "--min-transcripts", "20"]
    assert main(["predict", str(slide), "-o", str(tmp_path / "out"), *words]) == 0
    said = json.loads((tmp_path / "out" / "run.json").read_text())["assignment"]
    assert 0.5 < said["threshold"] < 1
    assert 0.9 <= said["expected_precision"] < 0.902
    prediction = tg.PredictParams(min_probability=said["threshold"], min_transcripts=20)
    same = tg.predict(slide, run, tmp_path / "same", prediction=prediction)
    assert assignments(same).equals(assignments(tmp_path / "out"))
    assert json.loads((same / "run.json").read_text())["assignment"] == said
    cells = ad.read_h5ad(same / "cells.h5ad")
    assert cells.obs["n_transcripts"].min() >= 20
    assert cells.obs["has_nucleus"].all()
    assert not cells.obs["is_small"].any()


def test_a_model_of_the_slide_reads_no_reference(slide, run, tmp_path):
    with pytest.raises(InputError, match=r"segger model.*types\.csv.*pretrained"):
        tg.predict(slide, run, tmp_path / "out", reference="types.csv")
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_is_likely_enough_there_are_no_cells(corner, run, tmp_path):
    source = bundle(tmp_path / "in", corner["transcripts"], corner["nuclei"])
    out = tg.predict(source, run, tmp_path / "out", prediction=tg.PredictParams(min_probability=1.0))
    assert assignments(out)["assigned_cell_id"].null_count() == len(corner["transcripts"])
    assert ad.read_h5ad(out / "cells.h5ad").n_obs == 0
    assert len(gpd.read_parquet(out / "cell_boundaries.parquet")) == 0


def test_transcripts_without_any_nucleus_near_stay_unassigned(corner, run, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "MIN_TILE_SIDE", 10.0)
    left = pl.col("vertex_x").mean().over("cell_id") < 20
    source = bundle(tmp_path / "in", corner["transcripts"], corner["nuclei"].filter(left))
    out = tg.predict(source, run, tmp_path / "out", prediction=tg.PredictParams(transcripts_per_tile=100))
    far = pl.read_parquet(out / "transcripts.parquet").filter(pl.col("x_location") > 50)
    assert far["assigned_cell_id"].null_count() == len(far)


def test_a_slide_of_which_a_part_has_no_nuclei_is_segmented(slide, tmp_path):
    nuclei = pl.read_parquet(slide / "nucleus_boundaries.parquet")
    left = pl.col("vertex_x").mean().over("cell_id") < 60
    source = bundle(tmp_path / "in", pl.read_parquet(slide / "transcripts.parquet"), nuclei.filter(left))
    out = tg.segment(source, tmp_path / "out", training=tg.TrainParams(epochs=1, batch_size_train=1))
    assert assignments(out)["assigned_cell_id"].count() > 0


def test_a_nucleus_far_away_does_not_cost_memory(corner, run, tmp_path):
    first = pl.col("cell_id") == corner["nuclei"]["cell_id"][0]
    moved = pl.when(first).then(pl.col("vertex_x", "vertex_y") + 30_000)
    moved = moved.otherwise(pl.col("vertex_x", "vertex_y"))
    source = bundle(tmp_path / "in", corner["transcripts"], corner["nuclei"].with_columns(moved))
    out = tg.predict(source, run, tmp_path / "out")
    assert peak_memory_mb(out) < 2500


def test_paths_may_hold_what_looks_like_a_pattern(corner, run, tmp_path):
    source = bundle(tmp_path / "slide[1]*", corner["transcripts"], corner["nuclei"])
    assert files_in(tg.predict(source, run, tmp_path / "out[?]")) == FILES


def test_unknown_genes_are_named_and_left_out_on_request(corner, run, tmp_path, capsys):
    genes = corner["transcripts"]["feature_name"].unique().sort()
    known = genes.filter(genes.str.starts_with("GENE"))
    renamed = {known[0]: "NEW1", known[1]: "NEW2"}
    table = corner["transcripts"].with_columns(pl.col("feature_name").replace(renamed))
    source = bundle(tmp_path / "in", table, corner["nuclei"])
    words = ["predict", str(source), "--model", str(run / "model"), "-o", str(tmp_path / "out")]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "NEW1, NEW2" in said
    assert "--genes borrow" in said
    assert "--genes intersect" in said
    assert not (tmp_path / "out").exists()
    assert main([*words, "--genes", "intersect"]) == 0
    ours = pl.read_parquet(tmp_path / "out/transcripts.parquet")
    new = ours["feature_name"].is_in(["NEW1", "NEW2"])
    dropped = ours.filter(new & (ours["qv"] >= 20))
    assert dropped["dropped_because"].unique().to_list() == ["unknown gene"]
    assert not ours.filter(~new)["dropped_because"].eq("unknown gene").any()
    cells = ad.read_h5ad(tmp_path / "out/cells.h5ad")
    assert cells[:, ["NEW1", "NEW2"]].X.sum() == 0
    said = json.loads((tmp_path / "out/run.json").read_text())
    assert said["genes_unknown_to_the_model"] == ["NEW1", "NEW2"]
    of_gene = pl.DataFrame(said["account_by_gene"])
    parts = of_gene["assigned"] + of_gene["unassigned"] + of_gene["dropped"]
    assert parts.equals(of_gene["transcripts"], check_names=False)


def test_unknown_genes_borrow_on_request(corner, run, tmp_path):
    genes = corner["transcripts"]["feature_name"].unique().sort()
    known = genes.filter(genes.str.starts_with("GENE"))
    table = corner["transcripts"].with_columns(pl.col("feature_name").replace({known[0]: "NEW"}))
    source = bundle(tmp_path / "in", table, corner["nuclei"])
    out = tg.predict(source, run, tmp_path / "out", prediction=tg.PredictParams(genes="borrow"))
    ours = pl.read_parquet(out / "transcripts.parquet").filter(pl.col("qv") >= 20)
    assert "unknown gene" not in ours["dropped_because"].to_list()
    assigned = ours.filter(pl.col("feature_name") == "NEW")["assigned_cell_id"].is_not_null()
    assert assigned.sum() > 0
    cells = ad.read_h5ad(out / "cells.h5ad")
    assert cells[:, "NEW"].X.sum() == assigned.sum()
    assert known[0] not in cells.var_names
    assert json.loads((out / "run.json").read_text())["genes_unknown_to_the_model"] == []


def test_a_model_of_another_panel_is_refused(corner, run, tmp_path):
    table = corner["transcripts"].with_columns(("X_" + pl.col("feature_name")).alias("feature_name"))
    source = bundle(tmp_path / "in", table, corner["nuclei"])
    with pytest.raises(ModelError, match="none of the slide's"):
        tg.predict(source, run, tmp_path / "out", prediction=tg.PredictParams(genes="intersect"))


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def forget_genes(path: Path) -> None:
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "genes": card["genes"][1:]}))


def make_newer(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("model.safetensors", Path.unlink),
        ("model.safetensors", shorten),
        ("model.json", Path.unlink),
        ("model.json", shorten),
        ("model.json", lambda path: path.write_text("[]")),
        ("model.json", lambda path: path.write_text("{}")),
        ("model.json", forget_genes),
        ("model.json", make_newer),
    ],
)
def test_a_broken_model_is_refused_in_one_sentence(slide, run, tmp_path, name, harm):
    shutil.copytree(run / "model", tmp_path / "model")
    harm(tmp_path / "model" / name)
    with pytest.raises(ModelError) as caught:
        tg.predict(slide, tmp_path / "model", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_without_a_model_is_refused(slide, tmp_path):
    with pytest.raises(ModelError, match="holds no model"):
        tg.predict(slide, tmp_path / "nothing", tmp_path / "out")


def test_the_quality_that_is_asked_for_is_kept(corner, run, tmp_path):
    source = bundle(tmp_path / "in", corner["transcripts"], corner["nuclei"])
    out = tg.predict(source, run, tmp_path / "out", min_qv=0)
    assert "dropped: low quality" not in json.loads((out / "run.json").read_text())["account"]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(slide, tmp_path, seed):
    with pytest.raises(InputError, match="seed"):
        tg.segment(slide, tmp_path / "out", seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["xenium_breast", "xenium_lung", "xenium_toy"])
def test_real_slides_are_segmented(tmp_path, name):
    if not (REAL / name).is_dir():
        pytest.skip(f"no {REAL / name}")
    out = tg.segment(REAL / name, tmp_path / "out")
    card = json.loads((out / "run.json").read_text())
    account = dict(card["account"])
    assert account.pop("transcripts") == sum(account.values())
    assert peak_memory_mb(out) < 3000
    prediction = tg.PredictParams(transcripts_per_tile=2000)
    again = tg.predict(REAL / name, out, tmp_path / "forty", prediction=prediction)
    one, other = assignments(out), assignments(again)
    assert one["assigned_cell_id"].equals(other["assigned_cell_id"])
    assert ((one["assignment_probability"] - other["assignment_probability"]).abs().max() or 0) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("genes", [5_000, 18_000])
def test_panels_of_the_whole_transcriptome_fit_in_memory(tmp_path, genes):
    slide = tg.simulate.tissue(tmp_path / "slide", cells=1000, genes=genes, counts_per_cell=300, seed=1)
    out = tg.segment(slide, tmp_path / "out", training=tg.TrainParams(epochs=2))
    card = json.loads((out / "run.json").read_text())
    assert peak_memory_mb(out) < 4000
    assert ad.read_h5ad(out / "cells.h5ad").n_vars == len(
        {gene for gene in card["account_by_gene"]["gene"] if gene.startswith("GENE")}
    )
