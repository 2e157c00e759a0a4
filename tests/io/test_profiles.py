"""Profiles of cell types, read from tables and from annotated cells."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from tissuegraph.errors import InputError
from tissuegraph.io.profiles import read_profiles

GENES = ["CD3E", "EPCAM", "KRT8", "PTPRC"]  # as slides have them: sorted
TABLE = pl.DataFrame(
    {
        "EPCAM": [8.0, 10.0, 0.0],
        "KRT8": [1, 1, 1],
        "cell_type": ["epithelial", "epithelial", "T"],
        "MUC1": [500.0, 0.0, 0.0],  # not on the slide
        "CD3E": [0.0, 2.0, 9.0],
    }
)
MEANS = np.array([[9, 0, 1, np.nan], [1, 9, 1, np.nan]])  # no PTPRC
WRITE = {
    "profiles.csv": lambda table, path: table.write_csv(path),
    "profiles.tsv": lambda table, path: table.write_csv(path, separator="\t"),
    "profiles.parquet": lambda table, path: table.write_parquet(path),
}


@pytest.mark.parametrize("name", WRITE)
def test_a_table_of_profiles(tmp_path, name):
    WRITE[name](TABLE, tmp_path / name)
    found = read_profiles(tmp_path / name, GENES)
    assert found.types == ("T", "epithelial")
    assert found.profiles == pytest.approx(MEANS, nan_ok=True)


def test_a_compressed_table(tmp_path):
    TABLE.to_pandas().to_csv(tmp_path / "profiles.csv.gz", index=False)
    assert read_profiles(tmp_path / "profiles.csv.gz", GENES).profiles == pytest.approx(MEANS, nan_ok=True)


def test_rows_without_a_type_are_left_out(tmp_path):
    more = TABLE[:1].with_columns(cell_type=pl.lit(None, pl.String), KRT8=pl.lit(10**6, pl.Int64))
    pl.concat([TABLE, more]).write_parquet(tmp_path / "profiles.parquet")
    assert read_profiles(tmp_path / "profiles.parquet", GENES).types == ("T", "epithelial")


def test_a_value_that_is_missing_is_not_known(tmp_path):
    missing = TABLE.with_columns(KRT8=pl.Series([1, None, None]), CD3E=pl.Series([None, 2.0, float("nan")]))
    missing.write_parquet(tmp_path / "profiles.parquet")
    found = read_profiles(tmp_path / "profiles.parquet", GENES).profiles
    assert found == pytest.approx(np.array([[np.nan, 0, np.nan, np.nan], [2, 9, 1, np.nan]]), nan_ok=True)


def cells(matrix=None, **more):
    """Two T cells of unlike depth, two epithelial ones, one of no type."""
    if matrix is None:
        matrix = np.array([[9, 0, 1, 90], [90, 0, 10, 0], [0, 9, 1, 0], [0, 9, 1, 0], [5, 5, 5, 5]])
    types = pd.Categorical(["T", "T", "E", "E", None], categories=["E", "T", "B"])
    obs = pd.DataFrame({"cell_type": types, "number": [3, 3, 1, 1, 1]}, index=list("abcde"))
    var = pd.DataFrame(index=["CD3E", "EPCAM", "KRT8", "MUC1"])
    return anndata.AnnData(matrix, obs=obs, var=var, **more)


# each cell is scaled to one sum over all its genes, those that the slide lacks too
WANTED = np.array([[0, 0.9, 0.1, np.nan], [(0.09 + 0.9) / 2, 0, (0.01 + 0.1) / 2, np.nan]])


@pytest.mark.parametrize("matrix", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_annotated_cells(tmp_path, matrix):
    data = cells()
    data.X = matrix(data.X)
    data.write_h5ad(tmp_path / "cells.h5ad")
    found = read_profiles(tmp_path / "cells.h5ad", GENES)
    assert found.types == ("E", "T")
    assert found.profiles == pytest.approx(WANTED, nan_ok=True)


def test_the_layer_of_counts_comes_before_x(tmp_path):
    data = cells(np.ones((5, 4)), layers={"counts": cells().X})
    data.write_h5ad(tmp_path / "cells.h5ad")
    assert read_profiles(tmp_path / "cells.h5ad", GENES).profiles == pytest.approx(WANTED, nan_ok=True)


def test_the_order_of_cells_and_genes_plays_no_role(tmp_path):
    cells()[[4, 2, 0, 3, 1], [2, 3, 0, 1]].copy().write_h5ad(tmp_path / "cells.h5ad")
    found = read_profiles(tmp_path / "cells.h5ad", GENES)
    assert found.types == ("E", "T")
    assert found.profiles == pytest.approx(WANTED, nan_ok=True)


def test_another_label(tmp_path):
    cells().write_h5ad(tmp_path / "cells.h5ad")
    assert read_profiles(tmp_path / "cells.h5ad", GENES, "number").types == ("1", "3")


def test_of_genes_with_one_name_the_first_counts(tmp_path):
    data = cells()
    data.var_names = ["CD3E", "EPCAM", "KRT8", "EPCAM"]
    data.write_h5ad(tmp_path / "cells.h5ad")
    assert read_profiles(tmp_path / "cells.h5ad", GENES).profiles == pytest.approx(WANTED, nan_ok=True)


def not_table(path):
    (path / "reference.txt").write_text("x")
    return path / "reference.txt"


def no_parquet(path):
    (path / "reference.parquet").write_bytes(b"PAR1")
    return path / "reference.parquet"


def no_h5ad(path):
    (path / "reference.h5ad").write_bytes(b"no HDF5")
    return path / "reference.h5ad"


def h5ad_of(data):
    def write(path):
        data.write_h5ad(path / "reference.h5ad")
        return path / "reference.h5ad"

    return write


def csv_of(table):
    def write(path):
        table.write_csv(path / "reference.csv")
        return path / "reference.csv"

    return write


def without_x():
    data = cells()
    data.X = None
    return data


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path / "nowhere.csv", "there is no .*nowhere.csv"),
        (lambda path: path, "there is no"),
        (not_table, "neither an h5ad nor one of .csv"),
        (no_parquet, "cannot be read as a table"),
        (no_h5ad, "cannot be read as h5ad"),
        (
            csv_of(TABLE.rename({"cell_type": "kind"})),
            "no column 'cell_type' .*found: EPCAM, KRT8, kind.*--label",
        ),
        (h5ad_of(cells()[:, :0].copy()), "has 0 of the slide's 4 genes"),
        (
            csv_of(TABLE.rename({"EPCAM": "Epcam", "KRT8": "Krt8", "CD3E": "Cd3e"})),
            "0 of the slide's 4 genes.*CD3E",
        ),
        (csv_of(TABLE.with_columns(KRT8=pl.lit("much"))), "text where numbers belong"),
        (csv_of(TABLE.with_columns(EPCAM=-pl.col("EPCAM"))), "negative"),
        (csv_of(TABLE.with_columns(EPCAM=pl.lit(float("inf")))), "infinite"),
        (h5ad_of(without_x()), "neither layers"),
    ],
)
def test_refuses_in_one_sentence(tmp_path, write, message):
    with pytest.raises(InputError, match=message) as refusal:
        read_profiles(write(tmp_path), GENES)
    assert "\n" not in str(refusal.value)


def test_an_h5ad_without_the_label(tmp_path):
    cells().write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match=r"no column 'kind' .*found: cell_type, number.*--label"):
        read_profiles(tmp_path / "cells.h5ad", GENES, "kind")
