"""Which assignments stand: the threshold that keeps a precision, and cells with too few transcripts."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tissuegraph as tg
from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.segmentation.params import FEWEST_IN_FRAGMENT
from tissuegraph.segmentation.predict import RESULT_SCHEMA
from tissuegraph.segmentation.settle import BINS, Settled, settle

CELLS, FRAGMENTS = 9, 3
IS_FRAGMENT = np.arange(CELLS) >= CELLS - FRAGMENTS


def drawn(seed: int, n: int = 120) -> pl.DataFrame:
    """Assignments of `n` transcripts at random, some to no cell, with probabilities of any shape."""
    generator = np.random.default_rng(seed)
    boundary = generator.choice(CELLS + 1, n, p=generator.dirichlet(np.full(CELLS + 1, 0.7))) - 1
    probability = generator.beta(*generator.uniform(0.3, 6, 2), n)
    probability[::17] = 1.0
    columns = {
        keys.ROW: generator.permutation(n),
        "gene": generator.integers(0, 5, n),
        keys.X: generator.uniform(0, 9, n),
        keys.Y: generator.uniform(0, 9, n),
        "boundary": boundary,
        "probability": np.where(boundary >= 0, probability, 0),
        "nearest": generator.integers(-1, 5, n),
    }
    return pl.DataFrame(columns).cast(RESULT_SCHEMA)


def settled(
    table: pl.DataFrame, folder: Path, params: tg.PredictParams, tiles: int = 3
) -> tuple[Settled, pl.DataFrame]:
    """What is decided, and the table after it; cut into tiles first."""
    before, after = folder / "before", folder / "after"
    before.mkdir(parents=True)
    after.mkdir()
    for tile, rows in enumerate(np.array_split(np.arange(len(table)), tiles)):
        table[rows].write_parquet(before / f"{tile}.parquet")
    said = settle(sorted(before.iterdir()), after, params, IS_FRAGMENT)
    assert list(before.iterdir()) == []
    return said, pl.concat([pl.read_parquet(file) for file in sorted(after.iterdir())])


def word_by_word(
    table: pl.DataFrame, threshold: float, min_transcripts: int
) -> tuple[list[int], set[int], float]:
    """The cells that stay, by a loop, those that are removed, and the mean probability (0 without any)."""
    of_all = list(zip(table["boundary"].to_list(), table["probability"].to_list(), strict=True))
    chosen = [cell if cell >= 0 and probability >= threshold else -1 for cell, probability in of_all]
    fewest = [max(min_transcripts, FEWEST_IN_FRAGMENT if one else 0) for one in IS_FRAGMENT]
    size = Counter(chosen)
    removed = {cell for cell in size if cell >= 0 and size[cell] < fewest[cell]}
    stays = [-1 if cell in removed else cell for cell in chosen]
    kept = [p for cell, (_, p) in zip(stays, of_all, strict=True) if cell >= 0]
    return stays, removed, sum(kept) / len(kept) if kept else 0.0


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    least=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    min_transcripts=st.sampled_from([0, 1, 4, 8, 30]),
)
def test_what_stands_is_likely_enough_and_in_a_cell_of_enough(seed, least, min_transcripts, tmp_path_factory):
    table = drawn(seed)
    params = tg.PredictParams(min_probability=least, min_transcripts=min_transcripts)
    said, after = settled(table, tmp_path_factory.mktemp("settle"), params)
    expected, removed, mean = word_by_word(table, least, min_transcripts)
    assert said.expected_precision == (pytest.approx(mean) if mean else None)
    assert after["boundary"].to_list() == expected
    stands = after["boundary"] >= 0
    assert after.filter(stands)["probability"].equals(table.filter(stands)["probability"])
    assert (after.filter(~stands)["probability"] == 0).all()
    others = [name for name in RESULT_SCHEMA if name not in ("boundary", "probability")]
    assert after.schema == RESULT_SCHEMA
    assert after.select(others).equals(table.select(others))
    lost = table.filter(~stands & pl.Series(table["boundary"].is_in(sorted(removed))))
    assert (said.threshold, said.cells_removed) == (least, len(removed))
    assert said.transcripts_of_removed_cells == (lost["probability"].cast(pl.Float64) >= least).sum()


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), precision=st.floats(0.5, 1), min_transcripts=st.sampled_from([0, 7, 20]))
def test_the_threshold_is_the_lowest_that_keeps_the_precision(
    seed, precision, min_transcripts, tmp_path_factory
):
    table = drawn(seed, n=60)
    params = tg.PredictParams(min_precision=precision, min_transcripts=min_transcripts)
    said, after = settled(table, tmp_path_factory.mktemp("settle"), params)
    bins = {0, *(int(probability * BINS) for probability in table["probability"])}
    means = {
        b / BINS: word_by_word(table, b / BINS, min_transcripts)[2]
        for b in {*bins, *(one + 1 for one in bins)}
    }
    surely, perhaps = (
        min((at for at, mean in means.items() if mean and mean >= precision + by), default=None)
        for by in (1e-12, -1e-12)  # sums in another order
    )
    assert said.threshold in (surely, perhaps)
    if said.threshold is not None:
        expected, _, mean = word_by_word(table, said.threshold, min_transcripts)
        assert after["boundary"].to_list() == expected
        assert said.expected_precision == pytest.approx(mean)
        assert after["probability"].filter(after["boundary"] >= 0).min() >= said.threshold
    else:
        assert (after["boundary"] == -1).all()


@pytest.mark.parametrize("seed", [2, 6, 7])
def test_a_precision_is_the_same_as_the_threshold_that_it_found(seed, tmp_path):
    params = tg.PredictParams(min_precision=0.7, min_transcripts=12)
    said, after = settled(drawn(seed), tmp_path / "a", params)
    again = tg.PredictParams(min_probability=said.threshold, min_transcripts=12)
    same, other = settled(drawn(seed), tmp_path / "b", again, tiles=7)
    assert other["boundary"].equals(after["boundary"])
    assert same == said


def test_a_cell_that_is_removed_does_not_vouch_for_the_others(tmp_path):
    table = drawn(0, 23).with_columns(
        boundary=pl.Series([0] * 3 + [1] * 20, dtype=pl.Int32),
        probability=pl.Series([1.0] * 3 + [0.9] * 10 + [0.7] * 10, dtype=pl.Float32),
    )
    alone, _ = settled(table, tmp_path / "a", tg.PredictParams(min_precision=0.82))
    assert (alone.threshold, alone.cells_removed) == (0.0, 0)
    # Without the three sure transcripts of cell 0, which are too few, only the surer half of cell 1 is left.
    said, after = settled(table, tmp_path / "b", tg.PredictParams(min_precision=0.82, min_transcripts=4))
    assert (said.cells_removed, said.transcripts_of_removed_cells) == (1, 3)
    assert said.expected_precision == pytest.approx(0.9)
    assert after["boundary"].to_list() == [-1] * 3 + [1] * 10 + [-1] * 10


def test_a_precision_out_of_reach_assigns_nothing_and_says_so(tmp_path, caplog):
    table = drawn(1).with_columns(pl.col("probability") * 0.9)
    with caplog.at_level(logging.WARNING):
        said, after = settled(table, tmp_path, tg.PredictParams(min_precision=0.95))
    assert said == Settled(None, None, 0, 0)
    assert (after["boundary"] == -1).all()
    assert len(caplog.messages) == 1
    assert "precision of 0.95" in caplog.text
    assert "0.9000" in caplog.text


def test_without_any_assignment_nothing_is_expected(tmp_path):
    table = drawn(1).with_columns(boundary=pl.lit(-1, pl.Int32), probability=pl.lit(0.0, pl.Float32))
    assert settled(table, tmp_path / "a", tg.PredictParams())[0] == Settled(0.5, None, 0, 0)
    assert settled(table, tmp_path / "b", tg.PredictParams(min_precision=0.9))[0] == Settled(None, None, 0, 0)


def test_one_threshold_is_asked_for_and_not_two():
    with pytest.raises(InputError, match=r"min_probability is 0.5 and min_precision 0.9.*give one"):
        tg.PredictParams(min_probability=0.5, min_precision=0.9)


@pytest.mark.parametrize("precision", [0.49, 1.01, float("nan"), -1])
def test_a_precision_is_between_a_half_and_one(precision):
    with pytest.raises(InputError, match="min_precision is"):
        tg.PredictParams(min_precision=precision)
