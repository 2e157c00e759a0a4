"""Scores of an assignment, on hand-drawn cells and against a plain reference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plain
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.errors import InputError
from tissuegraph.metrics.segmentation import expected_calibration_error, is_right, score_assignment

#   +---------+---------+ - - - - +
#   | A       | B       | u       :   A and B have a nucleus that was seen, u has none;
#   | 0 1 2 3 | 4 5 6 7 | 8 9 10  :   transcripts 11 and 12 are background.
#   +---------+---------+ - - - - +
TRUE = ["A"] * 4 + ["B"] * 4 + ["u"] * 3 + [None] * 2
SEEN = ["A", "B"]


def shares(scores):
    return scores.precision, scores.recall, scores.f1, scores.unseen, scores.share_assigned


def test_the_truth_scores_one():
    scores = score_assignment(TRUE, TRUE, SEEN)
    assert shares(scores) == (1, 1, 1, 1, 11 / 13)
    assert scores.n_transcripts == 13
    assert scores.calibration_error is None


def test_hand_drawn():
    #        A A A B | B B B - | new new A | A -
    assigned = [*"AAAB", *"BBB", None, "new", "new", "A", "A", None]
    scores = score_assignment(TRUE, assigned, SEEN)
    assert scores.precision == pytest.approx(
        8 / 11
    )  # one A in B, one u in A and one background in A are wrong
    assert scores.recall == pytest.approx(6 / 8)
    assert scores.f1 == pytest.approx(2 * (8 / 11) * (6 / 8) / (8 / 11 + 6 / 8))
    assert scores.unseen == pytest.approx(2 / 3)
    assert is_right(TRUE, assigned, SEEN).tolist() == [i in (0, 1, 2, 4, 5, 6, 8, 9) for i in range(13)]


def test_nothing_assigned():
    assert shares(score_assignment(TRUE, [None] * 13, SEEN)) == (0, 0, 0, 0, 0)


def test_a_truth_without_unseen_cells():
    assert score_assignment(TRUE[:8], TRUE[:8], SEEN).unseen is None


def test_two_new_cells_match_one_unseen_cell_once():
    # n1 holds two of the three, n2 one: only n1 counts
    assigned = [*TRUE[:8], "n1", "n2", "n1", None, None]
    assert score_assignment(TRUE, assigned, SEEN).unseen == pytest.approx(2 / 3)


def test_the_id_of_an_unseen_cell_means_nothing_by_itself():
    # "u" is drawn where A lies, "n" where u lies
    assigned = ["u"] * 4 + ["B"] * 4 + ["n"] * 3 + [None] * 2
    scores = score_assignment(TRUE, assigned, SEEN)
    assert scores.unseen == 1
    assert scores.recall == 4 / 8


cells = st.lists(
    st.tuples(*[st.sampled_from([None, "a", "b", "c", "u", "v", "w", "x", "y"])] * 2), min_size=1, max_size=60
)


@settings(max_examples=150, deadline=None)
@given(cells)
def test_equals_the_plain_reference(rows):
    true, assigned = ["a", *(row[0] for row in rows)], ["a", *(row[1] for row in rows)]
    seen = {"a", "b", "c", "never met"}
    assert shares(score_assignment(true, assigned, seen)) == pytest.approx(
        plain.assignment(true, assigned, seen)
    )


@settings(max_examples=60, deadline=None)
@given(cells, st.permutations(["a", "b", "c", "u", "v", "w", "x", "y"]))
def test_other_names_change_nothing(rows, names):
    true, assigned = ["a", *(row[0] for row in rows)], ["b", *(row[1] for row in rows)]
    new_name = dict(zip("abcuvwxy", names, strict=True)) | {None: None}
    as_code = {name: 7 * i for i, name in enumerate(names)} | {None: -1}
    scores = score_assignment(true, assigned, ["a", "b", "c"])
    for table in (new_name, as_code):
        renamed = [[table[cell] for cell in column] for column in (true, assigned, "abc")]
        assert score_assignment(*renamed) == scores


@pytest.mark.parametrize(
    "container",
    [
        lambda cells: np.array(cells, dtype=object),
        lambda cells: np.array([np.nan if cell is None else cell for cell in cells], dtype=object),
        pa.array,
        lambda cells: pa.chunked_array([cells[:3], cells[3:]], type=pa.string()),
        lambda cells: pa.array(cells).dictionary_encode(),
        pl.Series,
        lambda cells: pl.Series(cells).cast(pl.Categorical),
        pd.Series,
        lambda cells: pd.Series(cells, dtype="string"),
        lambda cells: pd.Series(cells).astype("category"),
    ],
)
def test_any_container(container):
    assigned = [*"AAAB", *"BBB", None, "new", "new", "A", "A", None]
    wanted = score_assignment(TRUE, assigned, SEEN)
    assert score_assignment(container(TRUE), container(assigned), container(SEEN)) == wanted
    # a column that starts with nulls, as the next one does, must not pass for another type
    columns = TRUE[::-1], assigned[::-1], SEEN
    assert score_assignment(*map(container, columns)) == wanted


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([], [], ["A"]), "no transcripts"),
        ((["A", "B"], ["A"], ["A"]), "2 true cells and 1 assigned"),
        ((["A"], [3], ["A"]), "strings and some integers"),
        ((["A"], [0.5], ["A"]), "Float64"),
        ((["A", 3], ["A", "A"], ["A"]), "some are not"),
        ((np.array(["A", 3], dtype=object), ["A", "A"], ["A"]), "some are not"),
        ((["A", None], ["A", "A"], ["Z"]), "none of the 2 transcripts"),
        ((["A"], ["A"], []), "none of the 1 transcripts"),
        (([None], [None], []), "none of the 1 transcripts"),
    ],
)
def test_refuses(columns, message):
    with pytest.raises(InputError, match=message):
        score_assignment(*columns)


def test_calibration_error_by_hand():
    #        bin 0.0-0.5: promised 0.2, came true 0.5; bin 0.5-1.0: promised 0.9, came true 1
    probability, correct = [0.2, 0.2, 0.9, 0.9], [True, False, True, True]
    error = expected_calibration_error(probability, correct, bins=2, min_items=4)
    assert error == pytest.approx(0.5 * 0.3 + 0.5 * 0.1)


def test_calibration_error_of_honest_and_vain_promises():
    generator = np.random.default_rng(0)
    probability = generator.uniform(size=20_000)
    assert expected_calibration_error(probability, generator.uniform(size=20_000) < probability) < 0.02
    assert expected_calibration_error(np.ones(10_000), np.zeros(10_000, bool)) == 1
    assert expected_calibration_error(np.ones(10_000), np.ones(10_000, bool)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probability": [0.5] * 9_999, "correct": [True] * 9_999}, "at least 10,000 items, found 9,999"),
        ({"probability": [], "correct": [], "min_items": 0}, "at least 1 items, found 0"),
        ({"probability": [0.5, 0.5], "correct": [True], "min_items": 1}, "shape"),
        ({"probability": [1.5], "correct": [True], "min_items": 1}, "outside 0 to 1"),
        ({"probability": [np.nan], "correct": [True], "min_items": 1}, "outside 0 to 1"),
    ],
)
def test_calibration_error_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        expected_calibration_error(**arguments)
