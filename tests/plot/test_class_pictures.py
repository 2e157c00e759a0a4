"""What is drawn of a classification and of a training: counts, recalls, curves, the best epoch."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

import tissuegraph as tg
from tissuegraph.errors import InputError
from tissuegraph.metrics.segmentation.calibration import expected_calibration_error
from tissuegraph.plot.classes import confusion_counts

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def names(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def pairs(number: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    true = generator.integers(0, classes, number)
    given = np.where(generator.random(number) < 0.7, true, generator.integers(0, classes, number))
    return true, given


# ---- confusion


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=60))
def test_the_counts_are_those_of_sklearn(given):
    true, predicted = (list(labels) for labels in zip(*given, strict=True))
    rows, columns, counts = confusion_counts(true, predicted)
    assert rows == sorted(set(true))
    assert columns == rows + sorted(set(predicted) - set(true))
    expected = confusion_matrix(true, predicted, labels=[*columns, "e"])
    assert np.array_equal(counts, expected[: len(rows), :-1])


def test_a_row_is_a_true_label_with_its_recall():
    true = ["b"] * 4 + ["a"] * 2 + ["c"]
    predicted = ["b", "b", "b", "a", "a", "unknown", None]
    ax = tg.plot.confusion(true, predicted)
    assert names(ax.yaxis) == ["a", "b", "c"]
    assert names(ax.xaxis) == ["a", "b", "c", "unknown", "none"]
    shares = [[0.5, 0, 0, 0.5, 0], [0.25, 0.75, 0, 0, 0], [0, 0, 0, 0, 1]]
    assert np.allclose(ax.images[0].get_array(), shares)
    texts = [text.get_text() for text in ax.texts]
    assert texts[:4] == ["50% of 2", "75% of 4", "0% of 1", "recall"]
    assert texts[4:] == ["1", "1", "1", "3", "1"]
    assert ax.get_title() == "57.1% of 7 cells right, mean recall 41.7%"
    own = plt.subplots()[1]
    assert tg.plot.confusion(true, predicted, own, normalize=False) is own
    assert own.images[0].get_array().tolist()[1] == [1, 3, 0, 0, 0]


def test_the_mean_recall_is_the_balanced_accuracy_of_sklearn():
    true, given = pairs(500, 6)
    title = tg.plot.confusion(true, given).get_title()
    assert title.endswith(f"mean recall {balanced_accuracy_score(true, given):.1%}")
    assert title.startswith(f"{np.mean(true == given):.1%} of 500 cells")


def test_categories_keep_their_order_and_numbers_are_sorted_as_numbers():
    true, given = pairs(400, 12)
    assert names(tg.plot.confusion(true, given).yaxis) == [str(i) for i in range(12)]
    layers = pd.Categorical.from_codes(true % 3, ["WM", "L1", "L2"])
    assert names(tg.plot.confusion(layers, layers).yaxis) == ["WM", "L1", "L2"]


def test_cells_without_a_truth_are_left_out_and_an_unknown_truth_is_a_row():
    true = pd.Categorical(["a", None, "unknown", "unknown", "b"], ["unknown", "a", "b", "c"])
    rows, columns, counts = confusion_counts(true, ["a", "a", "unknown", "b", "c"])
    assert (rows, columns) == (["a", "b", "unknown"], ["a", "b", "c", "unknown"])
    assert counts.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1]]


@pytest.mark.parametrize("classes", [2, 40])
def test_two_labels_and_forty_have_cells_that_can_be_seen(classes):
    true, given = pairs(4000, classes)
    ax = tg.plot.confusion([f"type {i}" for i in true], [f"type {i}" for i in given])
    ax.figure.draw_without_rendering()
    box = ax.get_window_extent()
    assert min(box.width, box.height) / ax.figure.dpi / classes > 0.15
    numbers = [text for text in ax.texts if text.get_text().replace(",", "").isdigit()]
    assert len(numbers) == np.count_nonzero(confusion_matrix(true, given))
    assert max(text.get_window_extent().width for text in numbers) < box.width / classes


def test_numbers_that_do_not_fit_are_left_out():
    true, given = pairs(4000, 40)
    ax = plt.subplots(figsize=(3, 3))[1]
    tg.plot.confusion(true, given, ax)
    assert not any(text.get_text().isdigit() for text in ax.texts)


# ---- reliability


def test_the_curve_and_the_strip_stand_for_the_bins():
    confidence = np.array([0.05, 0.55, 0.58, 0.95, 0.95])
    predicted, truth = np.array(list("aabba")), np.array(list("babba"))
    ax = tg.plot.reliability(truth, predicted, confidence, n_bins=10)
    line = ax.containers[0].lines[0]
    assert np.allclose(line.get_xdata(), [0.05, 0.565, 0.95])
    assert np.allclose(line.get_ydata(), [0, 1, 1])
    (strip,) = ax.child_axes
    assert [bar.get_height() for bar in strip.patches] == [1, 0, 0, 0, 0, 2, 0, 0, 0, 2]
    error = expected_calibration_error(confidence, predicted == truth, bins=10, min_items=1)
    assert ax.get_title() == f"ECE {error:.3f}, 80.0% of 5 cells right"
    own = plt.subplots()[1]
    assert tg.plot.reliability(truth, predicted, confidence, own) is own


def test_intervals_shrink_as_the_square_root_of_the_cells():
    def height(cells: int) -> float:
        ax = tg.plot.reliability(["a"] * cells, ["a", "b"] * (cells // 2), np.full(cells, 0.5))
        (segment,) = ax.containers[0].lines[2][0].get_segments()
        assert segment[:, 1].min() >= 0
        assert segment[:, 1].max() <= 1
        return float(np.ptp(segment[:, 1]))

    assert height(400) / height(40_000) == pytest.approx(10, rel=0.02)
    assert height(40_000) == pytest.approx(2 * 1.96 * 0.5 / 200, rel=0.01)


def test_a_table_of_probabilities_is_its_best_label_and_how_sure_that_is():
    generator = np.random.default_rng(0)
    table = generator.dirichlet(np.ones(3), 300)
    truth = np.array(list("xyz"))[generator.integers(0, 3, 300)]
    best = np.array(list("xyz"))[table.argmax(1)]
    expected = tg.plot.reliability(truth, best, table.max(1)).get_title()
    assert tg.plot.reliability(truth, table, classes=list("xyz")).get_title() == expected
    assert tg.plot.reliability(truth, pd.DataFrame(table, columns=list("xyz"))).get_title() == expected


def test_cells_that_promise_nothing_or_have_no_truth_are_left_out():
    truth = pd.Categorical(["a", "a", "a", None, "unknown"], ["a", "unknown"])
    ax = tg.plot.reliability(truth, ["a", "unknown", None, "a", "a"], [0.9, 0.3, np.nan, 0.9, 0.6])
    assert ax.get_title().endswith("50.0% of 2 cells right")


# ---- history


def test_losses_are_drawn_by_epoch_and_the_best_is_marked():
    history = {"train_loss": [5, 3, 2, 1], "val_loss": [6, np.nan, 2.5, 4], "val_f1": [0, 0, 1, 1]}
    ax = tg.plot.history(history)
    training, validation, best, dot = ax.lines
    assert training.get_ydata().tolist() == [5, 3, 2, 1]
    assert (validation.get_xdata().tolist(), validation.get_ydata().tolist()) == ([0, 2, 3], [6, 2.5, 4])
    assert list(best.get_xdata()) == [2, 2]
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([2], [2.5])
    assert ax.get_title(loc="left") == "val_loss is lowest in epoch 2: 2.5"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["train_loss", "val_loss"]
    own = plt.subplots()[1]
    assert tg.plot.history({"epoch": [7, 8], "val": [2, 1]}, own) is own
    assert own.get_title(loc="left") == "val is lowest in epoch 8: 1"


def test_training_alone_marks_no_epoch_and_a_wide_range_is_logarithmic():
    ax = tg.plot.history(1000.0 ** -np.arange(5))
    assert len(ax.lines) == 1
    assert (ax.get_title(loc="left"), ax.get_yscale()) == ("", "log")
    assert tg.plot.history([2.0, 1.0]).get_yscale() == "linear"
    assert tg.plot.history([2000.0, -1.0]).get_yscale() == "linear"


def test_the_table_of_lightning_is_averaged_by_epoch(tmp_path):
    rows = pd.DataFrame(
        {
            "epoch": [0, 0, 0, 0, 1, 1, 1, 1],
            "step": [0, 1, 1, 1, 2, 3, 3, 3],
            "train_loss_step": [4.0, 2.0, None, None, 2.0, 1.0, None, None],
            "train_loss_epoch": [None, None, None, 3.1, None, None, None, 1.6],
            "link_loss_step": [8.0, 6.0, None, None, 2.0, 4.0, None, None],
            "val_loss": [None, None, 5.0, None, None, None, 4.0, None],
            "val_f1": [None, None, 0.5, None, None, None, 0.6, None],
        }
    )
    rows.to_csv(tmp_path / "metrics.csv", index=False)
    for path in (tmp_path, tmp_path / "metrics.csv", str(tmp_path)):
        ax = tg.plot.history(path)
        drawn = {line.get_label(): line.get_ydata().tolist() for line in ax.lines[:3]}
        assert drawn == {"train_loss": [3.1, 1.6], "link_loss": [7, 3], "val_loss": [5, 4]}
        assert ax.get_title(loc="left") == "val_loss is lowest in epoch 1: 4"


def test_the_history_of_stagate_can_be_drawn():
    losses = tuple(np.linspace(3, 1, 8))
    assert tg.plot.history(losses).lines[0].get_ydata().tolist() == list(losses)


# ---- what is asked wrongly


@pytest.mark.parametrize(
    ("picture", "arguments", "message"),
    [
        ("confusion", (["a"], ["a", "b"]), r"1 true labels, but 2 predicted; give one of each"),
        ("confusion", ([None], ["a"]), r"no cell has a true label"),
        (
            "confusion",
            (pd.Series(["a", "b"], ["x", "y"]), pd.Series(["a", "b"], ["y", "x"])),
            r"have different indices; bring them into one order",
        ),
        ("reliability", (["a"], ["a"]), r"give labels with their confidence, or a table of probabilities"),
        ("reliability", (["a"], np.ones((1, 2)), [0.5]), r"give labels with their confidence, or a table"),
        ("reliability", (["a"], np.ones((1, 2))), r"probabilities of 2 labels, but 0 names; pass classes="),
        ("reliability", (["a", "b"], ["a", "b"], [0.5]), r"confidence has shape \(1,\) for 2 cells"),
        ("reliability", (["a"], ["a"], [1.5]), r"outside 0 to 1; give calibrated probabilities, not logits"),
        ("reliability", ([None], ["a"], [0.5]), r"no cell has both a true and a predicted label"),
        ("history", ({},), r"the history is empty; give losses by name"),
        ("history", ({"train_loss": [1, 2], "val_loss": [1]},), r"train_loss 2, val_loss 1; put NaN"),
        ("history", ({"val_loss": [np.nan]},), r"no epoch has a finite loss of val_loss; train first"),
        ("history", ("nowhere",), r"no file nowhere; give the metrics.csv that a training left"),
    ],
)
def test_what_is_wrong_is_said(picture, arguments, message):
    with pytest.raises(InputError, match=message):
        getattr(tg.plot, picture)(*arguments)


def test_bins_and_columns_are_checked(tmp_path):
    with pytest.raises(InputError, match=r"n_bins is 0; give 1 or more"):
        tg.plot.reliability(["a"], ["a"], [0.5], n_bins=0)
    (tmp_path / "metrics.csv").write_text("step,loss\n0,1\n")
    with pytest.raises(InputError, match=r"no column 'epoch' or none with 'loss' in .*; found: step, loss"):
        tg.plot.history(tmp_path)
