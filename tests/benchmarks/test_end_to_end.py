"""From molecules to cells to types to domains: every step is near what the true cells give."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def end_to_end():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import end_to_end

        yield end_to_end
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_types_are_nearer_to_those_of_the_true_cells_than_the_vendors(end_to_end, tmp_path):
    table = end_to_end.run(tmp_path, cells=900, elongation=2.5, seed=4)
    assert list(table.index) == list(end_to_end.METHODS)
    assert end_to_end.gap_closed(table) >= 0.5
    ours, vendor, true = (table.loc[name] for name in end_to_end.METHODS)
    assert ours["transcripts F1"] > vendor["transcripts F1"] + 0.05
    assert ours["cells found"] > 0.97
    assert true["types macro-F1"] > 0.97
    assert ours["domains ARI"] > min(vendor["domains ARI"], true["domains ARI"]) - 0.05
    assert (tmp_path / "tissuegraph.domains.png").is_file()
