"""Each picture draws on the axes that it is given, what it is given."""

from __future__ import annotations

import math
import warnings

import pytest
from matplotlib.figure import Figure

from tissuegraph.plot.segmentation import (
    COLOURS,
    GREY,
    ORANGE,
    Style,
    against_share,
    precision_recall,
    reliability_curves,
    score_bars,
)

STYLES = {"a": Style("#0072B2"), "b": Style(GREY, "s", 20), "c": Style(GREY, "o", 10)}
POINTS = {"a": (0.9, 0.1), "b": (0.5, 0.3), "c": (0.2, 0.05)}


@pytest.fixture
def ax():
    return Figure().subplots()


def places(ax):
    return {one.get_label(): tuple(one.get_offsets()[0]) for one in ax.collections}


def test_against_share(ax):
    curves = {"a": ([0.3, 0.6, 0.9], [0.2, math.nan, 0.1])}
    assert against_share(POINTS, STYLES, ax, line=["b", "c", "absent"], curves=curves, title="purity") is ax
    assert places(ax) == POINTS
    joined, dashed = ax.lines
    assert joined.get_xdata().tolist() == [0.2, 0.5]  # from the least to the most assigned
    assert joined.get_ydata().tolist() == [0.05, 0.3]
    assert (dashed.get_linestyle(), dashed.get_color()) == ("--", "#0072B2")
    assert ax.get_title(loc="left") == "purity"
    assert ax.get_xlabel() == "share of transcripts assigned"


def test_precision_recall(ax):
    assert precision_recall(POINTS, STYLES, ax) is ax
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("recall", "precision")
    assert places(ax) == POINTS
    assert list(ax.lines) == []


def test_score_bars(ax):
    long = "a name that is far too long for one line"
    values = {"a": 0.25, long: 0.5, "c": 0.0}
    assert score_bars(values, STYLES | {long: STYLES["b"]}, ax, title="F1") is ax
    assert [bar.get_width() for bar in ax.patches] == [0.25, 0.5, 0]
    heights = [bar.get_y() for bar in ax.patches]
    assert heights == sorted(heights, reverse=True)  # the first on top
    assert [text.get_text().strip() for text in ax.texts] == ["0.250", "0.500", "0.000"]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["a", "a name that is far too long\nfor one line", "c"]
    assert ax.get_xlim() == (0, pytest.approx(0.575))


@pytest.mark.parametrize("values", [{}, {"a": 0.0, "b": 0.0}])
def test_bars_of_nothing(ax, values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_bars(values, STYLES, ax, title="F1")
    assert ax.get_xlim()[1] > 0


def test_reliability_curves(ax):
    curves = {"a": ([0.2, 0.9], [0.1, 0.8], [10, 40]), "b": ([0.5], [0.5], [7])}
    assert reliability_curves(curves, STYLES, ax) is ax
    diagonal, first, second = ax.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([0.2, 0.9], [0.1, 0.8])
    assert list(second.get_xdata()) == [0.5]
    assert ax.collections[0].get_sizes().tolist() == [8 + 15, 8 + 60]


def test_kinds_are_thin_lines_with_a_legend_of_their_own(ax):
    curves = {"a": ([0.2, 0.9], [0.1, 0.8], [10, 40])}
    kinds = {"nuclear": ([0.1, 0.5, 0.9], [0.9, 0.4, 1.0], [3, 60, 70]), "rare": ([0.6], [0.5], [80])}
    reliability_curves(curves, STYLES, ax, kinds=kinds)
    _, nuclear, rare, own = ax.lines
    assert (list(nuclear.get_xdata()), list(nuclear.get_ydata())) == ([0.5, 0.9], [0.4, 1])  # 3 are noise
    assert list(rare.get_xdata()) == [0.6]
    assert nuclear.get_color() != rare.get_color()
    assert nuclear.get_linewidth() < own.get_linewidth()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["nuclear", "rare"]
    assert ax.get_legend_handles_labels()[1] == []  # no entries of a legend that is shared


def test_no_two_colours_are_alike():
    assert len({*COLOURS, ORANGE, GREY}) == len(COLOURS) + 2
