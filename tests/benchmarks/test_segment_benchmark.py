"""The slides that benchmarks/segment.py lays: as many transcripts as asked, every id once."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest

import tissuegraph as tg

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import segment

        yield segment
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def laid(benchmark, tmp_path_factory):
    """A patch, and a slide of five copies of it."""
    work = tmp_path_factory.mktemp("work")
    patch, copies = benchmark.patch_of(benchmark.Spec(60_000, 2.0, 30), 12_000, work, 1)
    slide = work / "slide"
    return patch, slide, copies, benchmark.lay(patch, copies, slide)


def test_a_slide_has_as_many_transcripts_and_is_as_dense_as_asked(laid):
    patch, slide, copies, transcripts = laid
    assert copies == 5
    assert len(pl.read_parquet(slide / "transcripts.parquet")) == transcripts
    assert transcripts == pytest.approx(60_000, rel=0.2)
    points = pl.read_parquet(patch / "transcripts.parquet").select("x_location", "y_location").to_numpy()
    low, high = points.min(0) + 15, points.max(0) - 15  # the rim is thinner
    inside = ((points > low) & (points < high)).all(1).sum()
    assert inside / (high - low).prod() == pytest.approx(2.0, rel=0.25)


def test_every_id_is_there_once(laid):
    patch, slide, copies, _ = laid
    assert pl.read_parquet(slide / "transcripts.parquet")["transcript_id"].is_unique().all()
    for name in ("nucleus_boundaries.parquet", "cell_boundaries.parquet"):
        one, all_of_them = (pl.read_parquet(folder / name)["cell_id"].n_unique() for folder in (patch, slide))
        assert all_of_them == copies * one
    owners = [set(pl.read_parquet(folder / "transcripts.parquet")["cell_id"]) for folder in (patch, slide)]
    assert len(owners[1] - {"UNASSIGNED"}) == copies * len(owners[0] - {"UNASSIGNED"})


def test_copies_do_not_overlap_and_stay_whole(laid):
    patch, slide, copies, _ = laid
    sample = tg.read_xenium(slide)
    assert sample.repairs == {}
    assert sample.nuclei is not None
    shapes = sample.nuclei.geometry
    by_copy = shapes.groupby(shapes.index.str.split("-").str[0]).apply(lambda part: part.union_all().envelope)
    assert len(by_copy) == copies
    assert by_copy.union_all().area == pytest.approx(by_copy.area.sum())
    assert shapes.area.sum() == pytest.approx(copies * tg.read_xenium(patch).nuclei.area.sum(), rel=1e-3)


def test_a_row_of_several_series_is_measured_once(benchmark):
    chosen = benchmark.parse([])
    specs = benchmark.specs_of(chosen)
    assert len(specs) == 4 + 4 + 3 - 2
    assert specs[benchmark.Spec(1_000_000, 1.0, 300)] == ["transcripts", "densities", "genes"]
    few = benchmark.parse(["--series", "genes", "--genes", "5", "--base", "0.1", "3", "7"])
    assert benchmark.specs_of(few) == {benchmark.Spec(100_000, 3.0, 5): ["genes"]}


def test_growth_is_that_of_the_series(benchmark, capsys):
    row = {"command": "segment", "series": ["transcripts"]}
    done = [
        {**row, "transcripts": n, "GB": gb} for n, gb in ((200_000, 1.0), (1_000_000, 2.0), (20_000_000, 2.2))
    ]
    benchmark.print_growth(done)
    assert "from 1,000,000 to 20,000,000 transcripts peak memory grows by 10%" in capsys.readouterr().out
