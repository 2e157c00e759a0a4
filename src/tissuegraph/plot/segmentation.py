"""Pictures that compare segmentations."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

# Okabe & Ito: told apart by colour-blind readers, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442")
ORANGE = "#E69F00"
GREY = "#8c8c8c"
BLACK = "#222222"
KIND_COLOURS = ("#009E73", "#56B4E9", "#CC79A7", "#D55E00")
FEWEST_IN_A_DOT = 50
"""Transcripts below which the share that is right is noise, in a line without dots that would tell."""
LABEL_WIDTH = 28
"""Characters of a name before it is broken, so that labels leave room for the picture."""


@dataclass(frozen=True)
class Style:
    """How a segmentation looks in every picture: colour, marker and size of the marker."""

    colour: str
    marker: str = "o"
    size: float = 45


def against_share(
    points: Mapping[str, tuple[float, float]],
    styles: Mapping[str, Style],
    ax: Axes,
    *,
    line: Sequence[str] = (),
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    title: str,
) -> Axes:
    """Draw a measure against the share of transcripts assigned, one point a segmentation.

    Parameters
    ----------
    points
        Share assigned and value, by name.
    styles
        By name.
    line
        Names of segmentations that differ in one setting, such as a distance: joined by a line.
    curves
        By name, shares and values where a segmentation gives up its least sure transcripts first.
    title
        What is measured.
    """
    joined = [points[name] for name in line if name in points]
    if joined:
        ax.plot(*zip(*sorted(joined), strict=True), color=GREY, linewidth=1, zorder=1)
    for name, (shares, values) in (curves or {}).items():
        ax.plot(shares, values, color=styles[name].colour, linewidth=1.5, linestyle="--", zorder=2)
    for name, (share, value) in points.items():
        _dot(ax, name, share, value, styles[name])
    ax.set_xlabel("share of transcripts assigned")
    ax.set_title(title, fontsize=10, loc="left")
    return _tidy(ax)


def precision_recall(
    points: Mapping[str, tuple[float, float]],
    styles: Mapping[str, Style],
    ax: Axes,
    *,
    line: Sequence[str] = (),
) -> Axes:
    """Draw precision against recall, one point a segmentation; `points` are (recall, precision)."""
    against_share(points, styles, ax, line=line, title="precision against recall")
    ax.set_xlabel("recall")
    ax.set_ylabel("precision")
    return ax


def score_bars(values: Mapping[str, float], styles: Mapping[str, Style], ax: Axes, *, title: str) -> Axes:
    """Draw one horizontal bar a segmentation, the first on top, with its value beside it."""
    names = list(values)
    rows = range(len(names), 0, -1)
    ax.barh(rows, [values[name] for name in names], color=[styles[name].colour for name in names], height=0.7)
    for row, name in zip(rows, names, strict=True):
        ax.text(values[name], row, f" {values[name]:.3f}", va="center", fontsize=8)
    ax.set_yticks(list(rows), [textwrap.fill(name, LABEL_WIDTH) for name in names], fontsize=8)
    ax.set_xlim(0, 1.15 * (max(values.values(), default=0) or 1))
    ax.set_title(title, fontsize=10, loc="left")
    return _tidy(ax)


def reliability_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[int]]],
    styles: Mapping[str, Style],
    ax: Axes,
    *,
    kinds: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[int]]] | None = None,
) -> Axes:
    """Draw the share that came true against the probability promised; on the diagonal, both agree.

    Parameters
    ----------
    curves
        By name: promised, true, and the number of transcripts, which sets the size of the dots.
    kinds
        The same for kinds of transcripts: thin lines under the others, named in a legend of their own.
    """
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    thin = []
    for number, (promised, true, items) in enumerate((kinds or {}).values()):
        many = [i for i, item in enumerate(items) if item >= FEWEST_IN_A_DOT]
        x, y = [promised[i] for i in many], [true[i] for i in many]
        thin += ax.plot(x, y, color=KIND_COLOURS[number % len(KIND_COLOURS)], linewidth=1)
    if kinds:
        ax.legend(thin, list(kinds), fontsize=7, frameon=False, loc="lower right")
    for name, (promised, true, items) in curves.items():
        colour, most = styles[name].colour, max(items)
        ax.plot(promised, true, color=colour, linewidth=1.2)
        ax.scatter(promised, true, s=[8 + 60 * item / most for item in items], color=colour, zorder=3)
    ax.set_xlabel("probability promised")
    ax.set_ylabel("share that is right")
    ax.set_title("reliability of the probabilities", fontsize=10, loc="left")
    return _tidy(ax)


def _dot(ax: Axes, name: str, x: float, y: float, style: Style) -> None:
    ax.scatter(
        x, y, s=style.size, color=style.colour, marker=style.marker, label=name, zorder=3, linewidths=0.5,
        edgecolors="white",
    )  # fmt: skip


def _tidy(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.xaxis.label.set_fontsize(9)
    ax.yaxis.label.set_fontsize(9)
    return ax
