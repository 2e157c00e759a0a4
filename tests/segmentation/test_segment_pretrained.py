"""`segment` with the pretrained model: the contract of a run's folder, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import geopandas as gpd
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import shapely
from drawn_pairs import random_model

import tissuegraph as tg
from tissuegraph.cli import main
from tissuegraph.errors import InputError, ModelError
from tissuegraph.segmentation import steps
from tissuegraph.segmentation.params import FEWEST_IN_FRAGMENT
from tissuegraph.segmentation.pretrained import model as module
from tissuegraph.segmentation.pretrained.fragments import NAME

FILES = {"transcripts.parquet", "cells.h5ad", "cell_boundaries.parquet", "run.json"}
MODEL_FILES = {"model/model.safetensors", "model/model.json"}
ADDED = ["row", "assigned_cell_id", "assignment_probability", "dropped_because"]
PREDICTION = tg.PredictParams(min_probability=0.4, transcripts_per_tile=1500)


@pytest.fixture(scope="module", autouse=True)
def weights():
    """Random weights instead of the ones that are shipped, so that no test hangs on them."""
    patch = pytest.MonkeyPatch()
    load = module.load_pair_model
    patch.setattr(module, "load_pair_model", lambda *folder: load(*folder) if folder else random_model(7))
    patch.setattr(steps, "MIN_TILE_SIDE", 20.0)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "slide"
    return tg.simulate.tissue(folder, cells=110, genes=40, counts_per_cell=40, seed=11)


@pytest.fixture(scope="module")
def out(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained_run") / "out"
    return tg.segment(source, folder, model="pretrained", prediction=PREDICTION)


@pytest.fixture(scope="module")
def transcripts(out) -> pl.DataFrame:
    return pl.read_parquet(out / "transcripts.parquet")


def bundle(folder: Path, transcripts: pl.DataFrame, nuclei: pl.DataFrame) -> Path:
    folder.mkdir()
    transcripts.write_parquet(folder / "transcripts.parquet")
    nuclei.write_parquet(folder / "nucleus_boundaries.parquet")
    return folder


def read(source: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    files = ("transcripts.parquet", "nucleus_boundaries.parquet")
    return tuple(pl.read_parquet(source / name) for name in files)


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def check_run(folder: Path, n: int) -> pl.DataFrame:
    table = pl.read_parquet(folder / "transcripts.parquet")
    assert files_in(folder) == FILES | MODEL_FILES
    assert table["row"].to_list() == list(range(n))
    card = json.loads((folder / "run.json").read_text())
    account = dict(card["account"])
    assert account.pop("transcripts") == sum(account.values()) == n
    cells = ad.read_h5ad(folder / "cells.h5ad")
    assert cells.X.sum() == account["assigned"] == table["assigned_cell_id"].count()
    assert (
        gpd.read_parquet(folder / "cell_boundaries.parquet")["cell_id"].to_list() == cells.obs_names.to_list()
    )
    return table


def test_the_folder_holds_what_is_promised_and_nothing_else(out, transcripts):
    check_run(out, len(transcripts))


def test_every_row_of_the_source_is_there_once_as_it_was(source, out):
    given, ours = pq.read_table(source / "transcripts.parquet"), pq.read_table(out / "transcripts.parquet")
    assert ours.column_names == [*given.column_names, *ADDED]
    assert ours.select(given.column_names).equals(given)


def test_probabilities_belong_to_assignments(transcripts):
    assigned = transcripts["assigned_cell_id"].is_not_null()
    assert (transcripts["assignment_probability"].is_not_null() == assigned).all()
    assert transcripts["assignment_probability"].is_between(0.4, 1).drop_nulls().all()
    assert transcripts.filter(assigned)["dropped_because"].is_null().all()
    assert set(transcripts["dropped_because"].unique()) == {None, "control", "low quality"}
    assert 0.1 < assigned.mean() < 0.95


def test_the_cells_are_those_of_the_assigned_transcripts(source, out, transcripts):
    cells = ad.read_h5ad(out / "cells.h5ad")
    assigned = transcripts.filter(pl.col("assigned_cell_id").is_not_null())
    table = assigned.group_by("assigned_cell_id", "feature_name").len()
    expected = np.zeros(cells.shape, np.int64)
    row = cells.obs_names.get_indexer(table["assigned_cell_id"].to_list())
    column = cells.var_names.get_indexer(table["feature_name"].to_list())
    assert row.min() >= 0
    assert column.min() >= 0
    expected[row, column] = table["len"].to_numpy()
    assert (cells.X.toarray() == expected).all()
    assert (cells.layers["counts"] != cells.X).nnz == 0
    nuclei = tg.read_xenium(source).nuclei
    has_nucleus = cells.obs["has_nucleus"].to_numpy()
    assert has_nucleus.tolist() == cells.obs_names.isin(nuclei.index).tolist()
    assert cells.obs_names[~has_nucleus].str.fullmatch(r"fragment-\d+").all()
    assert has_nucleus.sum() > 60
    assert (~has_nucleus).sum() > 5
    assert (cells.obs["n_transcripts"][~has_nucleus] >= FEWEST_IN_FRAGMENT).all()
    assert (cells.obs["is_small"] == (cells.obs["n_transcripts"] < 10)).all()
    area = cells.obs["nucleus_area_um2"].to_numpy()
    assert (np.isnan(area) == ~has_nucleus).all()
    np.testing.assert_allclose(area[has_nucleus], nuclei.loc[cells.obs_names[has_nucleus]].area)


def test_boundaries_are_valid_and_share_no_ground(out):
    outlines = gpd.read_parquet(out / "cell_boundaries.parquet")
    assert (outlines.geom_type == "Polygon").all()
    assert outlines.is_valid.all()
    assert shapely.area(outlines.union_all()) == pytest.approx(outlines.area.sum(), rel=1e-6)


def test_run_json_says_what_was_done(source, out):
    card = json.loads((out / "run.json").read_text())
    assert (card["command"], card["model"], card["seed"]) == ("segment", "pretrained", 0)
    assert card["source"] == str(source)
    assert card["training"] == {"seed": 7}
    assert card["parameters"]["PredictParams"]["min_probability"] == 0.4
    assert card["tiles"] >= 3
    assert card["genes_unknown_to_the_model"] == []
    assert {"profiles", "first round", "second round"} <= set(card["stages"])
    assert card["assignment"]["threshold"] == 0.4
    assert card["cells"]["fragments_found"] >= card["cells"]["cells_without_nucleus"] > 5
    with_nucleus = card["cells"]["cells"] - card["cells"]["cells_without_nucleus"]
    nuclei = len(tg.read_xenium(source).nuclei)
    assert card["cells"]["nuclei_without_transcripts"] == nuclei - with_nucleus
    assert "nearest nucleus, 5 um" in card["beside_the_baseline"]["share_assigned"]
    uns = ad.read_h5ad(out / "cells.h5ad").uns["tissuegraph"]
    assert uns["parameters"]["pretrained"] == {"seed": 7}
    assert uns["parameters"]["PredictParams"]["min_probability"] == 0.4
    assert uns["assignment"] == card["assignment"]
    assert uns["versions"]["torch"] == card["versions"]["torch"]
    assert uns["parameters"]["PredictParams"]["transcripts_per_tile"] == 1500


def test_the_same_command_twice_gives_the_same_bytes(source, out, tmp_path):
    again = tg.segment(str(source), tmp_path / "again", model="pretrained", prediction=PREDICTION)
    for name in sorted((FILES | MODEL_FILES) - {"run.json"}):
        assert (out / name).read_bytes() == (again / name).read_bytes(), name
    one, other = (json.loads((folder / "run.json").read_text()) for folder in (out, again))
    assert {**one, "stages": list(one["stages"])} == {**other, "stages": list(other["stages"])}


def test_without_training_parameters_it_is_the_default(source, out, tmp_path):
    folder = tg.segment(source, tmp_path / "out", prediction=PREDICTION)
    assert json.loads((folder / "run.json").read_text())["model"] == "pretrained"
    assert (folder / "transcripts.parquet").read_bytes() == (out / "transcripts.parquet").read_bytes()


@pytest.mark.parametrize("name", ["model", "."])
def test_the_model_in_one_tile_gives_the_same_assignments(source, out, transcripts, tmp_path, name):
    prediction = tg.PredictParams(min_probability=0.4)
    folder = tg.predict(source, out / name, tmp_path / "one", prediction=prediction)
    card = json.loads((folder / "run.json").read_text())
    assert (card["command"], card["model"], card["tiles"]) == ("predict", "pretrained", 1)
    assert files_in(folder) == FILES
    other = pl.read_parquet(folder / "transcripts.parquet")
    assert other.drop("assignment_probability").equals(transcripts.drop("assignment_probability"))
    difference = other["assignment_probability"] - transcripts["assignment_probability"]
    assert difference.abs().max() <= 1e-5


def test_the_command_line_gives_what_the_function_gives(source, out, tmp_path):
    words = ["--model", "pretrained", "--min-probability", "0.4", "--transcripts-per-tile", "1500"]
    assert main(["segment", str(source), "-o", str(tmp_path / "out"), *words]) == 0
    for name in sorted((FILES | MODEL_FILES) - {"run.json"}):
        assert (out / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


@pytest.mark.skipif(not module.SHIPPED.exists(), reason="no weights are shipped")
def test_the_weights_that_are_shipped_are_better_than_the_nearest_nucleus(source, tmp_path):
    ours = tg.predict(source, module.SHIPPED, tmp_path / "out")
    truth = pl.read_parquet(source / "truth.parquet")
    table = pl.read_parquet(ours / "transcripts.parquet").join(truth, on="transcript_id", how="left")
    table = table.filter(pl.col("dropped_because").is_null())
    nuclei = tg.read_xenium(source).nuclei
    points = shapely.points(*(table[f"{axis}_location"].to_numpy().astype(float) for axis in "xy"))
    distance = shapely.distance(points[:, None], nuclei.geometry.to_numpy()[None])
    nearest = pl.Series(nuclei.index.to_numpy().astype(str)[distance.argmin(1)])

    def f1(assigned: pl.Series) -> float:
        right = (assigned == table["true_cell_id"]).fill_null(False).sum()
        return 2 * right / (assigned.count() + table["true_cell_id"].is_in(nuclei.index.to_list()).sum())

    best = max(
        f1(pl.select(pl.when(pl.Series(distance.min(1) <= most)).then(nearest)).to_series())
        for most in range(1, 9)
    )
    assert f1(table["assigned_cell_id"]) > best + 0.02


def test_a_precision_sets_the_threshold(source, out, transcripts, tmp_path):
    words = ["--min-precision", "0.9", "--transcripts-per-tile", "1500"]
    assert main(["segment", str(source), "-o", str(tmp_path / "out"), *words]) == 0
    table = check_run(tmp_path / "out", len(transcripts))
    card = json.loads((tmp_path / "out" / "run.json").read_text())
    threshold, probability = card["assignment"]["threshold"], table["assignment_probability"].drop_nulls()
    assert 0.4 < threshold < 1
    assert threshold <= probability.min()
    assert probability.cast(pl.Float64).mean() == pytest.approx(card["assignment"]["expected_precision"])
    assert 0.9 <= card["assignment"]["expected_precision"] < 0.901
    assert card["assignment"]["share_assigned"] == len(probability) / table["dropped_because"].null_count()
    stays = (transcripts["assignment_probability"].cast(pl.Float64) >= threshold) & ~pl.Series(
        transcripts["assigned_cell_id"].is_in(in_few(transcripts, threshold))
    )
    expected = pl.select(pl.when(stays).then(transcripts["assigned_cell_id"])).to_series()
    assert table["assigned_cell_id"].equals(expected)


def in_few(table: pl.DataFrame, threshold: float) -> list[str]:
    """Cells without a nucleus that have too few transcripts of such a probability."""
    likely = table.filter(pl.col("assignment_probability").cast(pl.Float64) >= threshold)
    size = likely.filter(pl.col("assigned_cell_id").str.starts_with(NAME)).group_by("assigned_cell_id").len()
    return size.filter(pl.col("len") < FEWEST_IN_FRAGMENT)["assigned_cell_id"].to_list()


def test_a_precision_that_cannot_be_reached_leaves_no_cells(source, tmp_path, capsys):
    prediction = tg.PredictParams(min_precision=1.0)
    folder = tg.segment(source, tmp_path / "out", prediction=prediction)
    card = json.loads((folder / "run.json").read_text())
    assert card["assignment"]["threshold"] is None
    assert card["assignment"]["expected_precision"] is None
    assert card["account"]["assigned"] == card["cells"]["cells"] == 0
    assert (
        ad.read_h5ad(folder / "cells.h5ad").n_obs
        == len(gpd.read_parquet(folder / "cell_boundaries.parquet"))
        == 0
    )


def test_cells_with_too_few_transcripts_are_removed_everywhere(source, out, transcripts, tmp_path):
    prediction = tg.PredictParams(min_probability=0.4, min_transcripts=15, transcripts_per_tile=1500)
    folder = tg.segment(source, tmp_path / "out", prediction=prediction)
    table = check_run(folder, len(transcripts))
    before = ad.read_h5ad(out / "cells.h5ad")
    small = before.obs_names[before.obs["n_transcripts"] < 15].to_list()
    assert 5 < len(small) < len(before) - 20
    removed = transcripts["assigned_cell_id"].is_in(small).fill_null(False)
    expected = transcripts.with_columns(
        pl.when(~removed).then(pl.col(name)).alias(name)
        for name in ("assigned_cell_id", "assignment_probability")
    )
    assert table.equals(expected)
    cells = ad.read_h5ad(folder / "cells.h5ad")
    assert cells.obs_names.to_list() == before.obs_names[before.obs["n_transcripts"] >= 15].to_list()
    card = json.loads((folder / "run.json").read_text())
    assert card["assignment"]["cells_removed"] == len(small)
    assert card["assignment"]["transcripts_of_removed_cells"] == removed.sum()
    of_gene = pl.DataFrame(card["account_by_gene"])
    assert (of_gene["assigned"] + of_gene["unassigned"] + of_gene["dropped"]).equals(
        of_gene["transcripts"], check_names=False
    )


def test_cells_without_a_nucleus_are_judged_as_such(tmp_path):
    # large enough that a few such cells do not decide
    slide = tg.simulate.tissue(
        tmp_path / "slide", cells=150, genes=60, counts_per_cell=80, missing_nuclei=0.1, seed=4
    )
    out = tg.segment(slide, tmp_path / "out")
    judged = tg.evaluate(out, slide / "truth.parquet")["tissuegraph"]
    assert judged.unseen > 0.3
    cells = ad.read_h5ad(out / "cells.h5ad")
    assert judged.n_cells == len(cells)


@pytest.fixture(scope="module")
def reference(source, tmp_path_factory) -> Path:
    """Mean counts of the true types of cells, without two of the genes."""
    truth = pl.read_parquet(source / "truth.parquet").join(
        pl.read_parquet(source / "truth_cells.parquet", columns=["cell_id", "cell_type"]),
        left_on="true_cell_id",
        right_on="cell_id",
    )
    table = pl.read_parquet(source / "transcripts.parquet").join(truth, on="transcript_id")
    table = table.filter(pl.col("feature_name").str.starts_with("GENE"))
    profiles = table.group_by("cell_type", "feature_name").len().sort("feature_name")
    wide = profiles.pivot("feature_name", index="cell_type", values="len").fill_null(0).sort("cell_type")
    path = tmp_path_factory.mktemp("reference") / "types.csv"
    wide.select(wide.columns[:-2]).rename({"cell_type": "kind"}).write_csv(path)
    return path


def test_a_reference_is_heard_and_named(source, out, transcripts, reference, tmp_path):
    folder = tg.segment(source, tmp_path / "out", reference=reference, label="kind", prediction=PREDICTION)
    table = check_run(folder, len(transcripts))
    assert not table["assignment_probability"].equals(transcripts["assignment_probability"])
    said = json.loads((folder / "run.json").read_text())["reference"]
    wide = pl.read_csv(reference)
    assert said["path"] == str(reference)
    assert said["types"] == wide["kind"].cast(pl.String).to_list()
    assert (said["label"], said["genes"]) == ("kind", wide.width - 1)
    words = ["--reference", str(reference), "--label", "kind", "--min-probability", "0.4"]
    words += ["--model", str(out), "--transcripts-per-tile", "1500"]
    assert main(["predict", str(source), "-o", str(tmp_path / "again"), *words]) == 0
    assert (tmp_path / "again/transcripts.parquet").read_bytes() == (
        folder / "transcripts.parquet"
    ).read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "kind", "--model", "segger"], "a segger model"),
        (["--label", "kind", "--epochs", "2"], "a segger model"),
        ([], "no column 'cell_type'"),
    ],
)
def test_a_reference_that_cannot_be_used_is_refused(source, reference, tmp_path, capsys, words, said):
    words = ["segment", str(source), "-o", str(tmp_path / "out"), "--reference", str(reference), *words]
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_reference_is_looked_at_before_the_slide_is_cut(source, out, reference, tmp_path, monkeypatch):
    monkeypatch.setattr("tissuegraph.segmentation.steps.new_run", lambda *_, **__: pytest.fail("cut"))
    missing = tmp_path / "missing.csv"
    for given, label, said in ((missing, "kind", "missing.csv"), (reference, "colour", "no column 'colour'")):
        with pytest.raises(InputError, match=said):
            tg.segment(source, tmp_path / "out", reference=given, label=label)
        with pytest.raises(InputError, match=said):
            tg.predict(source, out, tmp_path / "out", reference=given, label=label)


def test_an_unknown_model_is_refused(source, tmp_path, capsys):
    with pytest.raises(InputError, match=r"'magic'.*segger or pretrained"):
        tg.segment(source, tmp_path / "out", model="magic")
    assert main(["segment", str(source), "-o", str(tmp_path / "out"), "--model", "magic"]) == 2
    assert capsys.readouterr().err.count("tissuegraph: error:") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training", tg.TrainParams()),
        ("segger", tg.SeggerParams()),
        ("graph", tg.GraphParams()),
        ("data", tg.DatasetParams()),
        ("assign", tg.AssignParams()),
    ],
)
def test_parameters_that_it_does_not_read_are_refused(source, tmp_path, name, value):
    with pytest.raises(InputError, match=f"reads no {name} parameters") as caught:
        tg.segment(source, tmp_path / "out", model="pretrained", **{name: value})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_options_that_it_does_not_read_are_refused(source, tmp_path, capsys):
    words = ["--model", "pretrained", "--epochs", "3"]
    assert main(["segment", str(source), "-o", str(tmp_path / "out"), *words]) == 2
    assert "reads no training parameters" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_overwritten_unasked(source, out, tmp_path):
    before = (out / "run.json").read_bytes()
    assert main(["segment", str(source), "-o", str(out), "--model", "pretrained"]) == 2
    assert (out / "run.json").read_bytes() == before


def test_weights_that_cannot_be_read_are_said_so(source, tmp_path, monkeypatch, capsys):
    def broken():
        message = "the pretrained model cannot be read"
        raise ModelError(message)

    monkeypatch.setattr(module, "load_pair_model", broken)
    assert main(["segment", str(source), "-o", str(tmp_path / "out"), "--model", "pretrained"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_slide_of_which_half_has_no_nuclei(source, tmp_path):
    transcripts, nuclei = read(source)
    left = pl.col("vertex_x").mean().over("cell_id") < transcripts["x_location"].max() / 3
    folder = bundle(tmp_path / "in", transcripts, nuclei.filter(left))
    found = tg.segment(folder, tmp_path / "out", model="pretrained", prediction=PREDICTION)
    table = check_run(found, len(transcripts))
    near = transcripts["x_location"].max() / 3 + 35
    of_nuclei = table.filter(~pl.col("assigned_cell_id").str.starts_with(NAME))
    assert 0 < of_nuclei["x_location"].max() < near
    of_fragments = table.filter(pl.col("assigned_cell_id").str.starts_with(NAME))
    assert of_fragments["x_location"].max() > near


@pytest.mark.parametrize("n", [1, 3])
def test_a_slide_with_few_nuclei(source, tmp_path, n):
    transcripts, nuclei = read(source)
    chosen = nuclei["cell_id"].unique(maintain_order=True)[5 : 5 + n]
    folder = bundle(tmp_path / "in", transcripts, nuclei.filter(pl.col("cell_id").is_in(chosen.implode())))
    found = tg.segment(folder, tmp_path / "out", model="pretrained", prediction=PREDICTION)
    table = check_run(found, len(transcripts))
    assert set(table["assigned_cell_id"].drop_nulls().str.replace(rf"{NAME}\d+", NAME)) <= {*chosen, NAME}


def test_a_slide_with_one_gene(source, tmp_path):
    transcripts, nuclei = read(source)
    folder = bundle(tmp_path / "in", transcripts.with_columns(feature_name=pl.lit("ONLY")), nuclei)
    found = tg.segment(folder, tmp_path / "out", model="pretrained", prediction=PREDICTION)
    check_run(found, len(transcripts))
    assert ad.read_h5ad(found / "cells.h5ad").shape[1] == 1


def test_a_slide_with_a_handful_of_transcripts(source, tmp_path):
    transcripts, nuclei = read(source)
    folder = bundle(tmp_path / "in", transcripts[:7], nuclei)
    found = tg.segment(folder, tmp_path / "out", model="pretrained", prediction=PREDICTION)
    check_run(found, 7)
