"""Segmentations in the formats of every tool, by hand, on one slide of eight transcripts.

      row    0   1   2 | 3   4 |     5   6 |  7
      x      0   1   2 | 3  10 |    11  12 | 20
      cell   A   A   A     B   B     B         -      (row 3: left out by the tools' filters, row 7: noise)

The columns are those that the tools' sources write, named in `tissuegraph.evaluation.formats`.
"""

from __future__ import annotations

import gzip
import json

import geopandas as gpd
import numpy as np
import polars as pl
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tissuegraph.errors import InputError
from tissuegraph.evaluation.assignments import read_assignment

FIRST_ID = 2**48
X = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 20.0]
N = len(X)
ROWS = [0, 1, 2, 4, 5, 6, 7]  # what the tools kept
A, B, NO = "A", "B", None
SURE = [0.9, 0.8, 0.7, 0.6, 0.5, 1.0, 0.3]
SQUARE, OTHER = [[0, -1], [2.5, -1], [2.5, 1], [0, 1], [0, -1]], [[9, -1], [13, -1], [13, 1], [9, 1], [9, -1]]


def slide(transcript_id=None):
    ids = pl.Series(np.arange(N, dtype=np.uint64) + FIRST_ID) if transcript_id is None else transcript_id
    return pl.DataFrame(
        {
            "row": np.arange(N, dtype=np.uint64),
            "transcript_id": ids,
            "gene": ["ACTB"] * N,
            "x": np.float32(X),
            "y": np.zeros(N, np.float32),
        }
    )


def expected(first=A, second=B):
    return [first, first, first, NO, second, second, second, NO]


def cells(a, b, noise):
    return [a, a, a, b, b, b, noise]


def baysor_table(cell):
    """The columns of Baysor 0.7 on a Xenium table, a few of the vendor's among them."""
    rows = np.array(ROWS)
    return pl.DataFrame(
        {
            "transcript_id": FIRST_ID + rows.astype(np.uint64),
            "cell_id": ["vendor-1"] * 7,
            "overlaps_nucleus": [0] * 7,
            "gene": ["ACTB"] * 7,
            "x": np.array(X)[rows],
            "y": np.zeros(7),
            "qv": [40.0] * 7,
            "molecule_id": rows + 1,
            "prior_segmentation": [0] * 7,
            "confidence": [0.99] * 7,
            "cluster": [1] * 7,
            "cell": cell,
            "assignment_confidence": SURE,
            "is_noise": [c in ("", 0) for c in cell],
            "ncv_color": ["#A1B2C3"] * 7,
        }
    )


def proseg_table(version):
    rows = np.array(ROWS)
    table = {
        "transcript_id": FIRST_ID + rows.astype(np.uint64),
        "x": np.float32(X)[rows] + 3,  # proseg moves transcripts
        "y": np.ones(7, np.float32),
        "z": np.zeros(7, np.float32),
        "observed_x": np.float32(X)[rows],
        "observed_y": np.zeros(7, np.float32),
        "observed_z": np.zeros(7, np.float32),
        "gene": ["ACTB"] * 7,
    }
    if version < 3:
        table |= {
            "qv": np.full(7, 40, np.float32),
            "fov": ["0"] * 7,
            "assignment": np.array(cells(0, 1, 2**32 - 1), np.uint32),
            "probability": np.float32(SURE),
            "background": np.uint8([1, 0, 0, 0, 0, 0, 1]),  # of the last sample only: says nothing here
            "confusion": np.zeros(7, np.uint8),
        }
    else:
        table |= {
            "assignment": pl.Series(cells(0, 1, 1), dtype=pl.UInt32),
            "background": [False] * 6 + [True],  # within the second cell, but not counted to it
        }
    return pl.DataFrame(table)


def write_csv_gz(table, path):
    with gzip.open(path, "wb") as file:
        table.write_csv(file)


def ours(rows=range(N), **columns):
    rows = list(rows)
    assigned = [expected()[row] for row in rows]
    return pl.DataFrame(
        {
            "transcript_id": FIRST_ID + np.array(rows, np.uint64),
            "cell_id": ["vendor-1"] * len(rows),
            "row": np.array(rows, np.uint64),
            "assigned_cell_id": assigned,
            "assignment_probability": np.float32([0.5 if cell else np.nan for cell in assigned]),
            "dropped_because": [None] * len(rows),
        }
    ).with_columns(**columns)


def check(found, *, name, cell=None, confidence=None, is_probability=True):
    assert found.name == name
    assert found.cell.dtype == pl.String
    assert found.cell.to_list() == (cell or expected())
    assert found.is_probability == (is_probability and confidence is not None)
    if confidence is None:
        assert found.confidence is None
        return
    full = np.full(N, np.nan)
    full[ROWS[:-1]] = confidence[:-1]
    np.testing.assert_allclose(found.confidence, full, rtol=1e-6)


# Our own


def test_own_run_is_read_from_its_folder_with_outlines(tmp_path):
    ours().write_parquet(tmp_path / "transcripts.parquet")
    frame = gpd.GeoDataFrame({"cell_id": [B, A]}, geometry=[shapely.Polygon(OTHER), shapely.Polygon(SQUARE)])
    frame.to_parquet(tmp_path / "cell_boundaries.parquet")
    found = read_assignment(tmp_path, slide())
    check(found, name="tissuegraph", confidence=[0.5] * 7)
    assert list(found.outlines.index) == [B, A]
    assert found.outlines.geometry[A].equals(shapely.Polygon(SQUARE))
    same = read_assignment(tmp_path / "transcripts.parquet", slide(), name="run 2")
    assert same.name == "run 2"
    assert same.cell.equals(found.cell)


def test_own_run_of_another_slide_is_told_by_ids(tmp_path):
    path = tmp_path / "transcripts.parquet"
    ours(transcript_id=pl.Series(np.arange(N, dtype=np.uint64))).write_parquet(path)
    with pytest.raises(
        InputError, match=r"8 transcripts of transcripts.parquet are in the slide.*another slide"
    ):
        read_assignment(path, slide())
    ours(transcript_id=pl.lit("x")).drop("transcript_id").write_parquet(path)
    check(read_assignment(path, slide()), name="tissuegraph", confidence=[0.5] * 7)
    with pytest.raises(InputError, match=r"row 3 of .* is no row of the slide, which has 3 transcripts"):
        read_assignment(path, slide()[:3])


def test_vendors_cells_can_be_asked_of_our_table_without_our_probability(tmp_path):
    ours().write_parquet(tmp_path / "transcripts.parquet")
    found = read_assignment(tmp_path / "transcripts.parquet", slide(), cell_column="cell_id")
    check(found, name="transcripts", cell=["vendor-1"] * N)


# Baysor


@pytest.mark.parametrize("noise", [0, ""])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_baysor_old_and_new(tmp_path, noise, suffix):
    names = cells(1, 2, 0) if noise == 0 else cells("CRab1-1", "CRab1-2", "")
    table, path = baysor_table(names), tmp_path / f"segmentation{suffix}"
    if suffix == ".csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)
    found = read_assignment(path, slide())
    check(found, name="baysor", cell=expected(str(names[0]), str(names[3])), confidence=SURE)
    assert found.outlines is None


def test_baysor_noise_is_no_cell_without_is_noise(tmp_path):
    baysor_table(cells(1, 2, 0)).drop("is_noise").write_csv(tmp_path / "segmentation.csv")
    check(read_assignment(tmp_path, slide()), name="baysor", cell=expected("1", "2"), confidence=SURE)


@pytest.mark.parametrize("ids", ["absent", "not the slide's", "repeated in the slide"])
def test_baysor_falls_back_on_molecule_id_where_coordinates_agree(tmp_path, ids):
    table, path = baysor_table(cells("C-1", "C-2", "")), tmp_path / "segmentation.csv"
    there = slide(pl.Series(["ENST1"] * N)) if ids == "repeated in the slide" else slide()
    if ids == "absent":
        table = table.drop("transcript_id")
    if ids == "not the slide's":
        table = table.with_columns(transcript_id=pl.lit(7) + pl.col("molecule_id"))
    table.write_csv(path)
    check(read_assignment(path, there), name="baysor", cell=expected("C-1", "C-2"), confidence=SURE)


def test_baysor_on_a_filtered_table_is_refused_by_molecule_id(tmp_path):
    table = baysor_table(cells("C-1", "C-2", "")).drop("transcript_id")
    table.with_columns(molecule_id=pl.int_range(1, 8)).write_csv(tmp_path / "segmentation.csv")
    with pytest.raises(InputError, match="only 3 of its 7 rows lie where the slide has them"):
        read_assignment(tmp_path, slide())
    table.drop("x").write_csv(tmp_path / "segmentation.csv")
    with pytest.raises(InputError, match="only 0 of its 7 rows"):
        read_assignment(tmp_path, slide())


def collection(first, second, **extra):
    shapes = [(first, SQUARE), (second, OTHER), ("unknown", OTHER)]
    geometries = [{"type": "Polygon", "coordinates": [ring], "cell": cell} for cell, ring in shapes]
    return {"type": "GeometryCollection", "geometries": geometries, **extra}


def features(first, second):
    shapes = [(first, SQUARE), (second, OTHER)]
    found = [
        {"type": "Feature", "id": cell, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for cell, ring in shapes
    ]
    return {"type": "FeatureCollection", "features": found}


BAYSOR_POLYGONS = {
    "0.7": ("_polygons_2d.json", features("CR1-1", "CR1-2")),
    "0.7 geometry collection": ("_polygons_2d.json", collection("CR1-1", "CR1-2")),
    "0.7 legacy, 0.6": ("_polygons.json", collection(1, 2)),
    "0.6 in 3-D": ("_polygons.json", [collection(2, 1, z="1.0"), collection(1, 2, z="joint")]),
}


@pytest.mark.parametrize("version", BAYSOR_POLYGONS)
def test_baysor_polygons(tmp_path, version):
    suffix, content = BAYSOR_POLYGONS[version]
    baysor_table(cells("CR1-1", "CR1-2", "")).write_csv(tmp_path / "out.csv")
    (tmp_path / f"out{suffix}").write_text(json.dumps(content))
    outlines = read_assignment(tmp_path / "out.csv", slide()).outlines
    assert list(outlines.index) == ["CR1-1", "CR1-2"]
    assert outlines.geometry["CR1-2"].equals(shapely.Polygon(OTHER))


@pytest.mark.parametrize("content", ["", json.dumps({"type": "GeometryCollection", "geometries": []})])
def test_polygons_that_are_none(tmp_path, content):
    baysor_table(cells("CR1-1", "CR1-2", "")).write_csv(tmp_path / "out.csv")
    (tmp_path / "out_polygons.json").write_text(content)
    assert read_assignment(tmp_path / "out.csv", slide()).outlines is None


@pytest.mark.parametrize("content", ["{", "[1]", '{"type": "Topology"}', '{"a": 1}', '{"type": "Feat'])
def test_broken_polygons_are_refused(tmp_path, content):
    baysor_table(cells("CR1-1", "CR1-2", "")).write_csv(tmp_path / "out.csv")
    (tmp_path / "out_polygons.json").write_text(content)
    with pytest.raises(InputError, match=r"out_polygons\.json is not the GeoJSON of Baysor or proseg"):
        read_assignment(tmp_path / "out.csv", slide())


def test_rings_that_are_no_polygons_are_left_out_and_crossed_ones_mended(tmp_path):
    baysor_table(cells("CR1-1", "CR1-2", "")).write_csv(tmp_path / "out.csv")
    content = features("CR1-1", "CR1-2")
    content["features"][0]["geometry"]["coordinates"] = [[[0, 0], [1, 1], [0, 0]]]
    content["features"][1]["geometry"]["coordinates"] = [[[9, 0], [11, 2], [11, 0], [9, 2], [9, 0]]]
    (tmp_path / "out_polygons_2d.json").write_text(json.dumps(content))
    outlines = read_assignment(tmp_path / "out.csv", slide()).outlines
    assert list(outlines.index) == ["CR1-2"]
    assert outlines.is_valid.all()
    assert outlines.area.sum() == pytest.approx(2)


# proseg


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("suffix", [".csv.gz", ".csv", ".parquet"])
def test_proseg(tmp_path, version, suffix):
    path = tmp_path / f"transcript-metadata{suffix}"
    write = {".csv.gz": write_csv_gz, ".csv": pl.DataFrame.write_csv, ".parquet": pl.DataFrame.write_parquet}
    write[suffix](proseg_table(version), path)
    found = read_assignment(tmp_path, slide())
    check(found, name="proseg", cell=expected("0", "1"), confidence=SURE if version == 2 else None)


def test_proseg_outside_all_cells_is_null_since_version_3(tmp_path):
    outside = pl.when(pl.col("transcript_id") == FIRST_ID + 7).then(None).otherwise(pl.col("assignment"))
    proseg_table(3).with_columns(assignment=outside).write_csv(tmp_path / "transcript-metadata.csv")
    check(read_assignment(tmp_path, slide()), name="proseg", cell=expected("0", "1"))


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_proseg_polygons_of_several_parts(tmp_path, suffix):
    proseg_table(2).write_csv(tmp_path / "transcript-metadata.csv")
    parts = [[[SQUARE], [OTHER]], []]
    content = {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"cell": cell},
                "geometry": {"type": "MultiPolygon", "coordinates": part},
            }
            for cell, part in enumerate(parts)
        ],
    }
    data = json.dumps(content).encode()
    (tmp_path / f"cell-polygons.geojson{suffix}").write_bytes(gzip.compress(data) if suffix else data)
    outlines = read_assignment(tmp_path, slide()).outlines
    assert list(outlines.index) == ["0"]
    assert outlines.area["0"] == pytest.approx(5 + 8)


def test_proseg_spatialdata_folder(tmp_path):
    points = tmp_path / "out.zarr/points/transcripts/points.parquet"
    shapes = tmp_path / "out.zarr/shapes/cell_boundaries"
    points.mkdir(parents=True)
    shapes.mkdir(parents=True)
    proseg_table(3).write_parquet(points / "part.0.parquet")
    wkb = shapely.to_wkb([shapely.Polygon(SQUARE), shapely.Polygon(OTHER)])
    outlines = pl.DataFrame({"cell": pl.Series([0, 1], dtype=pl.UInt32), "geometry": list(wkb)})
    outlines.write_parquet(shapes / "shapes.parquet")
    found = read_assignment(tmp_path / "out.zarr", slide())
    check(found, name="proseg", cell=expected("0", "1"))
    assert list(found.outlines.index) == ["0", "1"]


@pytest.mark.parametrize("data", [b"\x1f\x8b\x08\x00 damaged", gzip.compress(b"{" * 1000)[:-12], b"no gzip"])
def test_damaged_polygons_are_refused(tmp_path, data):
    proseg_table(2).write_csv(tmp_path / "transcript-metadata.csv")
    (tmp_path / "cell-polygons.geojson.gz").write_bytes(data)
    with pytest.raises(InputError, match=r"cell-polygons\.geojson\.gz"):
        read_assignment(tmp_path, slide())


def test_outlines_of_one_cell_are_merged(tmp_path):
    ours().write_parquet(tmp_path / "transcripts.parquet")
    parts = [shapely.Polygon(SQUARE), shapely.Polygon(OTHER)]
    gpd.GeoDataFrame({"cell_id": [A, A]}, geometry=parts).to_parquet(tmp_path / "cell_boundaries.parquet")
    outlines = read_assignment(tmp_path, slide()).outlines
    assert list(outlines.index) == [A]
    assert outlines.area[A] == pytest.approx(5 + 8)


def test_proseg_to_baysor_is_not_called_baysor(tmp_path):
    table = pl.DataFrame(
        {
            "transcript_id": FIRST_ID + np.array(ROWS, np.uint64),
            "cell": cells("cell-5", "cell-6", "cell-6"),
            "is_noise": [False] * 6 + [True],
            "x": np.zeros(7, np.float32),
        }
    )
    table.write_csv(tmp_path / "proseg-to-baysor-transcript-metadata.csv")
    polygons = tmp_path / "proseg-to-baysor-cell-polygons.geojson"
    polygons.write_text(json.dumps(collection(5, 6)))
    found = read_assignment(tmp_path / "proseg-to-baysor-transcript-metadata.csv", slide())
    check(found, name="proseg-to-baysor-transcript-metadata", cell=expected("cell-5", "cell-6"))
    assert list(found.outlines.index) == ["cell-5", "cell-6"]


# segger


def test_segger_counts_what_reaches_the_genes_threshold(tmp_path):
    table = pl.DataFrame(
        {
            "row_index": np.array(ROWS, np.int64),
            "segger_similarity": np.float32(SURE),
            "segger_cell_id": cells("A", "B", "B"),
            "similarity_threshold": [0.5] * 7,
            "converged": [True] * 7,
        }
    )
    table.write_parquet(tmp_path / "segger_segmentation.parquet")
    found = read_assignment(tmp_path, slide())
    check(found, name="segger", confidence=SURE, is_probability=False)
    export = table.filter(pl.col("segger_similarity") >= 0.5).select("row_index", "segger_cell_id")
    export.write_parquet(tmp_path / "transcripts.parquet")
    check(read_assignment(tmp_path / "transcripts.parquet", slide()), name="segger")
    with pytest.raises(InputError, match="found several"):
        read_assignment(tmp_path, slide())


def test_segger_dev_writes_ids_as_text_and_a_folder_of_parts(tmp_path):
    folder = tmp_path / "segger_transcripts.parquet"
    folder.mkdir()
    table = pl.DataFrame(
        {
            "transcript_id": [str(FIRST_ID + row) for row in ROWS],
            "cell_id": ["vendor-1"] * 7,
            "score": np.float32(SURE),
            "segger_cell_id": cells("A", "B", "None"),
            "bound": [1] * 6 + [0],
        }
    )
    table[:4].write_parquet(folder / "part.0.parquet")
    table[4:].write_parquet(folder / "part.1.parquet")
    check(read_assignment(folder, slide()), name="segger", confidence=SURE, is_probability=False)
    check(read_assignment(tmp_path, slide()), name="segger", confidence=SURE, is_probability=False)


# Any other table


@pytest.mark.parametrize("marker", [None, "", "UNASSIGNED", "-1", "nan", "NaN"])
@pytest.mark.parametrize("column", ["cell", "cell_id", "assignment", "true_cell_id"])
def test_any_table(tmp_path, marker, column):
    ids = FIRST_ID + np.array(ROWS, np.uint64)
    table = pl.DataFrame({"transcript_id": ids, column: cells(A, B, marker)})
    table.write_parquet(tmp_path / "by hand.parquet")
    check(read_assignment(tmp_path / "by hand.parquet", slide()), name="by hand")
    write_csv_gz(table, tmp_path / "by hand.csv.gz")
    check(read_assignment(tmp_path / "by hand.csv.gz", slide()), name="by hand")


def test_given_columns_and_a_probability(tmp_path):
    table = pl.DataFrame(
        {
            "spot": FIRST_ID + np.array(ROWS, np.uint64),
            "owner": cells(10, 11, -1),
            "cell": ["vendor"] * 7,
            "probability": SURE,
        }
    )
    table.write_csv(tmp_path / "a.csv")
    found = read_assignment(
        tmp_path / "a.csv", slide(), transcript_column="spot", cell_column="owner", name="mine"
    )
    check(found, name="mine", cell=expected("10", "11"), confidence=SURE)


def test_zero_is_a_cell_outside_baysors_format(tmp_path):
    pl.DataFrame({"row": ROWS, "cell": cells(0, 1, -1)}).write_parquet(tmp_path / "a.parquet")
    check(read_assignment(tmp_path / "a.parquet", slide()), name="a", cell=expected("0", "1"))


def test_percentages_are_no_probability(tmp_path):
    table = pl.DataFrame({"row": ROWS, "cell": cells(A, B, None), "probability": np.array(SURE) * 100})
    table.write_parquet(tmp_path / "a.parquet")
    found = read_assignment(tmp_path / "a.parquet", slide())
    assert not found.is_probability
    assert found.confidence[0] == 90


@pytest.mark.parametrize(
    "ids",
    [
        pl.Series(np.arange(N, dtype=np.uint64) + np.uint64(2**64 - N)),
        pl.Series(np.arange(N, dtype=np.uint64) + 2**53),
        pl.Series([f"AAAC-{i}" for i in range(N)]),
        pl.Series([f"{i:04}" for i in range(N)]),
    ],
    ids=["2^64", "2^53", "text", "zeros"],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ids_of_any_width_and_text_survive(tmp_path, ids, suffix):
    big = 2**64 - 3
    table = pl.DataFrame({"transcript_id": ids.gather(ROWS), "cell": cells(str(big), "00B", None)})
    path = tmp_path / f"a{suffix}"
    (table.write_csv if suffix == ".csv" else table.write_parquet)(path)
    check(read_assignment(path, slide(ids)), name="a", cell=expected(str(big), "00B"))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ids_that_pandas_wrote_as_floats(tmp_path, suffix):
    ids = FIRST_ID + np.array(ROWS, float)
    path = tmp_path / f"a{suffix}"
    frame = pl.DataFrame({"transcript_id": ids, "cell": [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, None]}).to_pandas()
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    check(read_assignment(path, slide()), name="a", cell=expected("1", "2"))
    as_text = slide(pl.Series([f"{FIRST_ID + i}.0" for i in range(N)]))
    check(read_assignment(path, as_text), name="a", cell=expected("1", "2"))


@pytest.mark.parametrize("column", ["transcript_id", "cell"])
@pytest.mark.parametrize("first", [2**53, 2**60])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ids_whose_digits_a_float_lost_are_refused(tmp_path, column, first, suffix):
    table = {"transcript_id": FIRST_ID + np.array(ROWS, np.uint64), "cell": cells(1, 2, 0)}
    table[column] = np.array(ROWS, float) * 1000 + first
    path = tmp_path / f"a{suffix}"
    frame = pl.DataFrame(table).to_pandas()
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    with pytest.raises(InputError, match=f"column '{column}' of a.* holds ids as decimal numbers"):
        read_assignment(path, slide())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(7)), by=st.sampled_from(["row", "transcript_id"]))
def test_order_of_the_table_plays_no_role(tmp_path, order, by):
    table = baysor_table(cells("CR1-1", "CR1-2", "")).with_columns(row=pl.Series(ROWS))
    table = table.drop("transcript_id" if by == "row" else "row")
    table[list(order)].write_parquet(tmp_path / "a.parquet")
    found = read_assignment(tmp_path / "a.parquet", slide())
    check(found, name="baysor", cell=expected("CR1-1", "CR1-2"), confidence=SURE)


# What cannot be read


def write(tmp_path, **columns):
    path = tmp_path / "a.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path


def test_missing_files_and_other_files(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_assignment(tmp_path / "none.parquet", slide())
    with pytest.raises(InputError, match=r"expected one segmentation in .*, found none"):
        read_assignment(tmp_path, slide())
    for name in ("cells.h5ad", "notes.txt"):
        (tmp_path / name).write_bytes(b"\x89HDF")
        with pytest.raises(InputError, match="is no table that can be read"):
            read_assignment(tmp_path / name, slide())
    (tmp_path / "a.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(InputError, match="cannot read"):
        read_assignment(tmp_path / "a.parquet", slide())


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        ({"row": [0], "z": [1]}, {}, "names the cell; found: row, z; .*--cell-column"),
        ({"row": [0], "cell": [1]}, {"cell_column": "own"}, "expected 'own': say which it is with --cell"),
        ({"spot": [0], "cell": [1]}, {}, "names the transcript; found: spot, cell; .*--transcript-column"),
        ({"row": [0], "cell": [1]}, {"transcript_column": "id"}, "expected 'id'.*--transcript-column"),
        ({"row": [0, 1, 1, 0], "cell": [1] * 4}, {}, "2 rows of a.parquet repeat a row, first 0"),
        ({"row": [0, None], "cell": [1] * 2}, {}, "1 rows of a.parquet have no row"),
        ({"row": [0, 8], "cell": [1] * 2}, {}, "row 8 of a.parquet is no row of the slide, which has 8"),
        ({"row": [-1], "cell": [1]}, {}, "row -1 of a.parquet is no row of the slide"),
        ({"row": ["x"], "cell": [1]}, {}, "row x of a.parquet is no row of the slide"),
        ({"transcript_id": [FIRST_ID, 1, 2], "cell": [1] * 3}, {}, "only 1 of the 3 .*another slide"),
        ({"transcript_id": ["a", "b"], "cell": [1] * 2}, {}, "only 0 of the 2 .*another slide"),
        ({"row": [0], "cell": ["A"], "probability": ["high"]}, {}, "'probability' .* holds String values"),
        ({"row": [], "cell": []}, {}, "holds no transcripts"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, columns, given, message):
    with pytest.raises(InputError, match=message):
        read_assignment(write(tmp_path, **columns), slide(), **given)


def test_half_of_the_transcripts_are_enough_for_a_slide(tmp_path):
    path = write(tmp_path, transcript_id=[FIRST_ID, 1], cell=[A, A])
    assert read_assignment(path, slide()).cell.to_list() == [A, *[None] * 7]


@pytest.mark.parametrize("ids", [[None] * N, ["ENST1"] * N, [*"abcdefg", None]])
def test_slides_without_ids_of_their_own_need_rows(tmp_path, ids):
    path = write(tmp_path, transcript_id=["a", "b"], cell=[A, A])
    with pytest.raises(InputError, match=r"slide's transcript_id is missing or repeated.*column 'row'"):
        read_assignment(path, slide(pl.Series(ids, dtype=pl.String)))
    path = write(tmp_path, row=[1, 0], cell=[A, B])
    there = read_assignment(path, slide(pl.Series(ids, dtype=pl.String)))
    assert there.cell.to_list()[:3] == [B, A, None]


def test_row_numbers_of_another_table_give_way_to_ids(tmp_path):
    ids = FIRST_ID + np.array(ROWS, np.uint64)
    path = write(tmp_path, row_index=np.arange(7), transcript_id=ids, cell=cells(A, B, None))
    check(read_assignment(path, slide()), name="a")
    with pytest.raises(InputError, match=r"4 of the 7 rows of a.parquet have another transcript_id"):
        read_assignment(path, slide(), transcript_column="row_index")
