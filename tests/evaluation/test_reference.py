"""Markers of cell types from a reference; how one is read stands in tests/io/test_profiles.py."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tissuegraph.errors import InputError
from tissuegraph.evaluation.reference import read_reference

GENES = ["CD3E", "EPCAM", "KRT8", "PTPRC"]  # as slides have them: sorted
TABLE = pl.DataFrame(
    {"cell_type": ["epithelial", "T"], "EPCAM": [9.0, 0.0], "KRT8": [1, 1], "CD3E": [1.0, 9.0]}
)


def test_markers_of_a_table(tmp_path):
    TABLE.write_csv(tmp_path / "profiles.csv")
    found = read_reference(tmp_path / "profiles.csv", GENES)
    assert found.types == ["T", "epithelial"]
    assert found.profiles == pytest.approx(np.array([[0.9, 0, 0.1, 0], [1 / 11, 9 / 11, 1 / 11, 0]]))
    assert found.type_of_gene.tolist() == [0, 1, -1, -1]


def test_another_label(tmp_path):
    TABLE.rename({"cell_type": "kind"}).write_csv(tmp_path / "profiles.csv")
    assert read_reference(tmp_path / "profiles.csv", GENES, "kind").types == ["T", "epithelial"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE[:1], "1 cell type"),
        (
            TABLE.with_columns(pl.lit(0).alias(gene) for gene in ("EPCAM", "KRT8", "CD3E")),
            "expresses none",
        ),
        (TABLE.drop("cell_type"), "no column 'cell_type'"),
        (TABLE.with_columns(EPCAM=-pl.col("EPCAM")), "negative"),
    ],
)
def test_refuses_in_one_sentence(tmp_path, table, message):
    table.write_csv(tmp_path / "profiles.csv")
    with pytest.raises(InputError, match=message) as refusal:
        read_reference(tmp_path / "profiles.csv", GENES)
    assert "\n" not in str(refusal.value)
