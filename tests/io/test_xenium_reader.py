from __future__ import annotations

import pickle

import polars as pl
import pytest
import shapely
from bundles import CELLS, SHARED, SUFFIXES, square, transcripts, vertex_table, write_bundle
from polars.testing import assert_frame_equal

from tissuegraph.io import read_xenium

REAL = [("xenium_breast", 186_146, 1_055, None), ("xenium_lung", 10_000, 135, None)]
REAL += [("xenium_toy", 5_260, 526, 526)]

SCHEMA = {
    "row": pl.UInt64,
    "transcript_id": pl.UInt64,
    "gene": pl.String,
    "x": pl.Float32,
    "y": pl.Float32,
    "z": pl.Float32,
    "qv": pl.Float32,
    "cell_id": pl.String,
    "overlaps_nucleus": pl.Boolean,
    "is_control": pl.Boolean,
}


def scanned(folder):
    return read_xenium(folder).scan().collect()


def read_with(tmp_path, *expressions, drop=()):
    tx = transcripts().with_columns(*expressions).drop(drop)
    return scanned(write_bundle(tmp_path / "bundle", tx=tx))


def real(name):
    if not (SHARED / name).is_dir():
        pytest.skip(f"shared/data/{name} is not beside the checkout")
    return SHARED / name


@pytest.mark.parametrize(("name", "n_transcripts", "n_nuclei", "n_cells"), REAL)
def test_real_bundles(name, n_transcripts, n_nuclei, n_cells):
    sample = read_xenium(real(name))
    table = sample.scan().collect()
    assert table.height == n_transcripts
    assert table["row"].to_list() == list(range(n_transcripts))
    assert len(sample.nuclei) == n_nuclei
    assert (sample.cells is None) if n_cells is None else len(sample.cells) == n_cells
    assert sample.nuclei.index.is_unique
    assert sample.nuclei.is_valid.all()
    assert not sample.repairs
    assert not table["cell_id"].is_in(["UNASSIGNED"]).any()
    assert_frame_equal(pickle.loads(pickle.dumps(sample)).scan().collect(), table)


def test_controls_of_the_real_lung_bundle_are_found_by_name():
    table = scanned(real("xenium_lung"))
    controls = table.filter("is_control")["gene"].unique().to_list()
    assert all(name.startswith(("BLANK_", "NegControl")) for name in controls)
    assert len(controls) == 22


def test_real_transcripts_flagged_nuclear_lie_in_the_nuclei():
    sample = read_xenium(real("xenium_toy"))
    nuclear = sample.scan().filter("overlaps_nucleus").collect()
    inside = sample.nuclei.union_all().buffer(0.5)
    points = nuclear.select("x", "y").to_numpy()
    assert shapely.contains_xy(inside, points).mean() > 0.95


def test_a_bundle_in_canonical_columns(tmp_path):
    sample = read_xenium(write_bundle(tmp_path / "slide 1"))
    table = sample.scan().collect()
    assert dict(table.schema) == SCHEMA
    assert table["transcript_id"][0] == 2**60
    assert table["cell_id"].to_list() == [cell for cell in CELLS for _ in range(4)] + [None, None]
    assert table["is_control"].to_list() == [False, False, True, False] * 5 + [True, False]
    assert table["overlaps_nucleus"].to_list() == [True, False] * 11
    assert sample.name == "slide 1"
    assert sample.platform == "xenium"
    assert list(sample.nuclei.index) == list(sample.cells.index) == CELLS
    assert sample.nuclei.index.name == "cell_id"
    assert sample.nuclei.area.tolist() == [16.0] * 5
    assert sample.cells.area.tolist() == [100.0] * 5


@pytest.mark.parametrize("suffix", SUFFIXES[1:])
def test_csv_reads_as_parquet_does(tmp_path, suffix):
    parquet = read_xenium(write_bundle(tmp_path / "parquet"))
    csv = read_xenium(write_bundle(tmp_path / "csv", suffix=suffix))
    assert_frame_equal(csv.scan().collect(), parquet.scan().collect())
    assert csv.nuclei.equals(parquet.nuclei)
    assert csv.cells.equals(parquet.cells)


def test_parquet_is_preferred_to_csv(tmp_path):
    folder = write_bundle(tmp_path / "bundle", suffix=".csv")
    write_bundle(folder)
    assert read_xenium(folder).transcripts_path == folder / "transcripts.parquet"


@pytest.mark.parametrize("file", ["", "experiment.xenium", "transcripts.parquet"])
def test_the_folder_or_one_of_its_files_may_be_given(tmp_path, file, monkeypatch):
    folder = write_bundle(tmp_path / "odd [1] name=2")
    (folder / "experiment.xenium").write_text("{}")
    monkeypatch.chdir(tmp_path)
    sample = read_xenium(f"{folder.name}/{file}")
    assert sample.source == folder
    assert sample.scan().collect().height == 22


IDS = {
    "text": (CELLS, pl.String),
    "bytes": ([cell.encode() for cell in CELLS], pl.Binary),
    "integers": ([1, 2, 3, 4, 5], pl.Int32),
    "wide integers": ([2**63 - 1 - i for i in range(5)], pl.Int64),
    "unsigned": ([2**64 - 1 - i for i in range(5)], pl.UInt64),
    "categories": (CELLS, pl.Categorical),
}


@pytest.mark.parametrize("kind", IDS)
def test_every_type_of_cell_id_comes_back_as_text(tmp_path, kind):
    ids, dtype = IDS[kind]
    expected = [cell.decode() if isinstance(cell, bytes) else str(cell) for cell in ids]
    column = pl.Series("cell_id", [cell for cell in ids for _ in range(4)] + [None, None], dtype=dtype)
    nuclei = vertex_table([(cell, square(20 * i, 0, 5)) for i, cell in enumerate(expected)])
    nuclei = nuclei.with_columns(pl.Series("cell_id", [cell for cell in ids for _ in range(5)], dtype=dtype))
    folder = write_bundle(tmp_path / "bundle", tx=transcripts().with_columns(column), nuclei=nuclei)
    sample = read_xenium(folder)
    assert list(sample.nuclei.index) == expected
    read = sample.scan().collect()["cell_id"].to_list()
    assert read == [cell for cell in expected for _ in range(4)] + [None, None]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_minus_one_is_no_cell_and_zero_only_where_an_outline_bears_it(tmp_path, suffix):
    tx = transcripts([0, 1, 2, 3, 4])
    outlines = vertex_table([(i, square(20 * i, 0, 5)) for i in range(1, 5)])
    known_zero = vertex_table([(i, square(20 * i, 0, 5)) for i in range(5)])
    without = scanned(write_bundle(tmp_path / "a", tx=tx, nuclei=outlines, cells=outlines, suffix=suffix))
    assert without["cell_id"].null_count() == 6
    bearing = scanned(write_bundle(tmp_path / "b", tx=tx, nuclei=outlines, cells=known_zero, suffix=suffix))
    assert bearing["cell_id"].null_count() == 2
    assert bearing["cell_id"][0] == "0"


def test_integer_ids_that_pandas_made_floats(tmp_path):
    column = pl.Series("cell_id", [1.0] * 20 + [-1.0, float("nan")])
    assert read_with(tmp_path, column)["cell_id"].to_list() == ["1"] * 20 + [None, None]


@pytest.mark.parametrize("dtype", [pl.Binary, pl.Categorical])
def test_feature_names_as_bytes_or_categories(tmp_path, dtype):
    names = pl.col("feature_name").cast(dtype)
    assert_frame_equal(read_with(tmp_path, names), scanned(write_bundle(tmp_path / "text")))


FLAGS = {
    "bool": pl.col("overlaps_nucleus").cast(pl.Boolean),
    "int32": pl.col("overlaps_nucleus").cast(pl.Int32),
    "float": pl.col("overlaps_nucleus").cast(pl.Float64),
    "text": pl.col("overlaps_nucleus").cast(pl.Boolean).cast(pl.String).str.to_titlecase(),
}


@pytest.mark.parametrize("kind", FLAGS)
def test_flags_of_every_type(tmp_path, kind):
    assert read_with(tmp_path, FLAGS[kind])["overlaps_nucleus"].to_list() == [True, False] * 11


def test_a_flag_that_is_neither_yes_nor_no_is_null(tmp_path):
    words = pl.Series("overlaps_nucleus", ["", "?"] + ["True"] * (transcripts().height - 2))
    assert read_with(tmp_path, words)["overlaps_nucleus"].to_list()[:3] == [None, None, True]


def test_only_name_and_position_are_needed(tmp_path):
    optional = ["transcript_id", "cell_id", "overlaps_nucleus", "z_location", "qv", "fov_name"]
    table = read_with(tmp_path, drop=optional)
    assert dict(table.schema) == SCHEMA
    empty = ["transcript_id", "cell_id", "overlaps_nucleus", "z", "qv"]
    assert table.select(pl.col(empty).is_null().all()).row(0) == (True,) * 5


def test_controls_by_is_gene_then_category_then_name(tmp_path):
    n = transcripts().height
    is_gene = pl.Series("is_gene", [True, False, None, None, None, None] + [True] * (n - 6))
    category = ["x", "x", "predesigned_gene", "genomic_control_probe", None, None] + ["x"] * (n - 6)
    names = ["Intergenic_1", "EPCAM", "BLANK_1", "EPCAM", "antisense_X", "INTS1"] + ["EPCAM"] * (n - 6)
    table = read_with(
        tmp_path, is_gene, pl.Series("codeword_category", category), pl.Series("feature_name", names)
    )
    assert table["is_control"].to_list()[:6] == [False, True, False, True, True, False]
    assert not table["is_control"].to_list()[6:].count(True)


PREFIXED = ["NegControlProbe_1", "NegControlCodeword_1", "antisense_A", "BLANK_1", "Blank-1"]
PREFIXED += ["UnassignedCodeword_1", "Unassigned_1", "DeprecatedCodeword_1", "Intergenic_Region_1"]


def test_controls_by_name(tmp_path):
    genes = ["NEGR1", "BLNK", "DEPP1", "INTS6", "UNC5B", "antxr1", "ANTISENSE"]
    names = PREFIXED + genes + ["ACTB"] * (transcripts().height - len(PREFIXED) - len(genes))
    table = read_with(tmp_path, pl.Series("feature_name", names))
    assert table["is_control"].to_list() == [name in PREFIXED for name in names]


def test_a_transcript_without_a_name_is_no_gene(tmp_path):
    names = pl.Series("feature_name", [None, *transcripts()["feature_name"].to_list()[1:]])
    assert read_with(tmp_path, names)["is_control"][0] is True


def test_positions_that_are_not_finite_are_null_and_keep_their_row(tmp_path):
    values = [float("nan"), float("inf"), None, *transcripts()["x_location"].to_list()[3:]]
    table = read_with(tmp_path, pl.Series("x_location", values))
    assert table["x"].to_list()[:3] == [None] * 3
    assert table["row"].to_list() == list(range(22))


def test_repeated_transcript_ids_are_fine(tmp_path):
    assert read_with(tmp_path, pl.lit(7).alias("transcript_id")).height == 22


def test_missing_and_empty_boundaries(tmp_path):
    folder = write_bundle(tmp_path / "bundle", nuclei=vertex_table([]))
    (folder / "cell_boundaries.parquet").unlink()
    sample = read_xenium(folder)
    assert len(sample.nuclei) == 0
    assert sample.nuclei.index.name == "cell_id"
    assert sample.cells is None
    (folder / "nucleus_boundaries.parquet").unlink()
    assert read_xenium(folder).nuclei is None


def test_the_fingerprint_follows_the_content_not_the_place(tmp_path):
    one = read_xenium(write_bundle(tmp_path / "one")).fingerprint()
    assert read_xenium(write_bundle(tmp_path / "two")).fingerprint() == one
    moved = transcripts().with_columns(pl.col("x_location") + 1)
    assert read_xenium(write_bundle(tmp_path / "three", tx=moved)).fingerprint() != one
    fewer = vertex_table([(cell, square(20 * i, 0, 5)) for i, cell in enumerate(CELLS[:4])])
    assert read_xenium(write_bundle(tmp_path / "four", nuclei=fewer)).fingerprint() != one
