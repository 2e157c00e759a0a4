"""The picture of an evaluation: what was measured, segmentations and simple rules side by side."""

from __future__ import annotations

import math
from collections.abc import Callable

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tissuegraph.evaluation.figures import FIELD_OF_KIND, MEASURES
from tissuegraph.evaluation.result import TRUE_OUTLINES, VENDOR, Evaluation
from tissuegraph.evaluation.rules import BEST_DISTANCE, DISTANCES, NUCLEI_ONLY, VORONOI, nearest_name
from tissuegraph.metrics.segmentation import Reliability
from tissuegraph.plot.segmentation import (
    BLACK,
    COLOURS,
    GREY,
    ORANGE,
    Style,
    against_share,
    precision_recall,
    reliability_curves,
    score_bars,
)

AGAINST_SHARE = ("mecr", "contamination", "marker_purity")
COLUMNS = 3
CURVES_NOTE = "dashed: the transcripts that a segmentation is least sure of are given up first"
NEAREST = [nearest_name(distance) for distance in DISTANCES]

Panel = Callable[[Axes], Axes]
Points = tuple[list[float], list[float], list[int]]


def draw_evaluation(evaluation: Evaluation) -> Figure:
    """Draw what was measured: with a truth the scores, and purity against the share assigned."""
    styles = _styles(list(evaluation))
    panels = [*_with_truth(evaluation, styles), *_purity(evaluation, styles)]
    if not panels:  # neither truth nor markers: what is always there
        panels = [lambda ax: _bars("share_assigned", "share of transcripts assigned", evaluation, styles, ax)]
    rows = math.ceil(len(panels) / COLUMNS)
    columns = min(COLUMNS, len(panels))
    figure = Figure(figsize=(4.6 * columns, 3.9 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, ax in zip(panels, axes, strict=False):
        panel(ax)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    _legend(figure)
    if evaluation.curves and evaluation.markers is not None:
        figure.suptitle(CURVES_NOTE, x=0.01, ha="left", fontsize=8, color=GREY)
    return figure


def _with_truth(evaluation: Evaluation, styles: dict[str, Style]) -> list[Panel]:
    if not any(figures.f1 is not None for figures in evaluation.values()):
        return []
    points = {
        name: (figures.recall, figures.precision)
        for name, figures in evaluation.items()
        if figures.recall is not None and figures.precision is not None
    }
    panels: list[Panel] = [
        lambda ax: _bars("f1", "F1 against the truth", evaluation, styles, ax),
        lambda ax: precision_recall(points, styles, ax, line=[NUCLEI_ONLY, *NEAREST]),
    ]
    if evaluation.reliability:
        curves = {name: _points(one) for name, one in evaluation.reliability.items()}
        kinds = _kinds(evaluation)
        panels.append(lambda ax: reliability_curves(curves, styles, ax, kinds=kinds))
    return panels


def _kinds(evaluation: Evaluation) -> dict[str, Points]:
    """Return the reliability of each kind of transcripts, if one segmentation alone gives probabilities."""
    if len(evaluation.reliability) != 1:
        return {}
    (name,) = evaluation.reliability
    error = {kind: getattr(evaluation[name], field) for kind, field in FIELD_OF_KIND.items()}
    return {
        f"{kind}, ECE {error[kind]:.3f}": _points(one)
        for kind, one in evaluation.reliability_by_kind.get(name, {}).items()
    }


def _points(one: Reliability) -> Points:
    return one.promised.tolist(), one.true.tolist(), one.items.tolist()


def _purity(evaluation: Evaluation, styles: dict[str, Style]) -> list[Panel]:
    return [
        lambda ax, field=field: _against_share(field, evaluation, styles, ax)  # type: ignore[misc]
        for field in AGAINST_SHARE
        if any(getattr(figures, field) is not None for figures in evaluation.values())
    ]


def _against_share(field: str, evaluation: Evaluation, styles: dict[str, Style], ax: Axes) -> Axes:
    points = {
        name: (figures.share_assigned, getattr(figures, field))
        for name, figures in evaluation.items()
        if getattr(figures, field) is not None
    }
    curves = {
        name: ([*one.share], [math.nan if value is None else value for value in getattr(one, field)])
        for name, one in evaluation.curves.items()
        if hasattr(one, field)
    }
    measure = next(one for one in MEASURES if one.field == field)
    line = [NUCLEI_ONLY, *NEAREST]
    title = f"{measure.title} ({measure.better})"
    return against_share(points, styles, ax, line=line, curves=curves, title=title)


def _bars(field: str, title: str, evaluation: Evaluation, styles: dict[str, Style], ax: Axes) -> Axes:
    values = {name: getattr(figures, field) for name, figures in evaluation.items()}
    return score_bars(
        {name: value for name, value in values.items() if value is not None}, styles, ax, title=title
    )


def _styles(names: list[str]) -> dict[str, Style]:
    """Give what is judged a colour; simple rules are grey, bounds that only the truth gives black."""
    rules = {NUCLEI_ONLY: Style(GREY, "s"), VORONOI: Style(GREY, "X", 60)}
    rules |= {
        name: Style(GREY, "o", 12 + 7 * distance) for name, distance in zip(NEAREST, DISTANCES, strict=True)
    }
    styles: dict[str, Style] = {}
    used = 0
    for name in names:
        if name in rules:
            styles[name] = rules[name]
        elif name == TRUE_OUTLINES:
            styles[name] = Style(BLACK, "*", 110)
        elif name.startswith(BEST_DISTANCE):
            styles[name] = Style(BLACK, "D", 30)
        elif name == VENDOR:
            styles[name] = Style(ORANGE, "P", 70)
        else:
            styles[name] = Style(COLOURS[used % len(COLOURS)], "o", 80)
            used += 1
    return styles


def _legend(figure: Figure) -> None:
    """Put one legend under the panels."""
    entries: dict[str, Artist] = {}
    for ax in figure.axes:
        handles, names = ax.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    if entries:
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside lower center",
            ncols=4,
            fontsize=8,
            frameon=False,
        )
