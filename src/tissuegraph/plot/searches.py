"""What a search over parameters found."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from tissuegraph.errors import InputError
from tissuegraph.metrics.searches import is_number
from tissuegraph.plot.canvas import MOST_COLUMNS, PALETTE, as_list, figure_of
from tissuegraph.plot.graphs import GREY, tidy

BLUE, ORANGE, GREEN = PALETTE[0], PALETTE[1], PALETTE[2]
NEEDED = ("importance", "scale", "metric", "best_trial")
WIDTH, HEIGHT = 3.4, 3.2
"""Inches of a panel."""
SHIFT = 0.18
"""How far dots of one value are spread, as a share of the distance to the next value."""


def sweep(table: pd.DataFrame, axes: Axes | Sequence[Axes] | None = None) -> Figure:
    """Draw the score of every trial against each parameter; the defaults are a diamond, the best a ring.

    Panels stand by importance, the largest first: the share of the variance of scores that lies between the
    values of a parameter, or between bins of its range (up to four, of as many trials), corrected for their
    number, so that a parameter without effect has about 0. Shares of parameters that work together overlap.
    The defaults count where all of them lie in the space. Bars are standard deviations over folds. The
    broken line is the score of the defaults.

    Parameters
    ----------
    table
        What `tg.sweep` returned, with its `attrs`.
    axes
        One for each parameter; new ones by default.

    Raises
    ------
    InputError
        If the table is another one, or axes are not as many as parameters.
    """
    missing = [name for name in NEEDED if name not in table.attrs]
    if missing:
        raise InputError(f"attrs of the table lack {missing[0]!r}; give the table that tg.sweep returned")
    importance = table.attrs["importance"]
    names = sorted(importance, key=lambda name: -importance[name])
    panels = _new_axes(len(names)) if axes is None else as_list(axes)
    if len(panels) != len(names):
        raise InputError(f"{len(panels)} axes are given for {len(names)} parameters; give one for each")
    for number, (ax, name) in enumerate(zip(panels, names, strict=True)):
        _panel(ax, table, name)
        tidy(ax, name, table.attrs["metric"] if axes is not None or not number % MOST_COLUMNS else "")
        ax.set_title(f"{importance[name]:.0%} of the variance", fontsize=10, loc="left")
    # beside the title, where it hides no trial
    panels[-1].legend(
        frameon=False, fontsize=8, ncols=2, loc="lower right", bbox_to_anchor=(1.02, 0.98), columnspacing=1,
        handletextpad=0.3, markerscale=0.7,
    )  # fmt: skip
    return figure_of(panels[0])


def _new_axes(count: int) -> list[Axes]:
    across = min(count, MOST_COLUMNS)
    down = ceil(count / across)
    made = plt.subplots(
        down,
        across,
        figsize=(WIDTH * across, HEIGHT * down),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )[1]
    for ax in made.flat[count:]:
        ax.set_axis_off()
    return list(made.flat[:count])


def _panel(ax: Axes, table: pd.DataFrame, name: str) -> None:
    """Draw one parameter."""
    scored = table[np.isfinite(table["score"])]
    scale = table.attrs["scale"][name]
    x = _listed(ax, scored[name]) if scale == "values" else _ranged(ax, scored[name], log=scale == "log")
    y, trials = scored["score"].to_numpy(np.float64), scored.index.to_numpy()
    spread = scored["sd"].fillna(0).to_numpy(np.float64)
    default, best = trials == 0, trials == table.attrs["best_trial"]
    ax.axhline(y[default][0], color=GREY, linewidth=1, linestyle="--", zorder=0)
    ax.errorbar(x, y, spread, color=BLUE, linestyle="", elinewidth=0.8, alpha=0.3, zorder=1)
    ax.plot(x[~default], y[~default], ".", color=BLUE, markersize=7, zorder=2)
    ax.plot(x[default], y[default], "D", color=ORANGE, markersize=7, label="defaults", zorder=3)
    ring = ax.plot(x[best], y[best], "o", color=GREEN, markersize=13, label="best", zorder=4)[0]
    ring.set(markerfacecolor="none", markeredgewidth=1.5)


def _listed(ax: Axes, values: pd.Series[Any]) -> Any:
    """Places of listed values, side by side in their order; dots of one value are spread a little."""
    given = list(values)
    known = {repr(_plain(value)): _plain(value) for value in given}
    order = sorted(known, key=lambda text: (not is_number(known[text]), _rank(known[text]), text))
    ax.set_xticks(range(len(order)), [_label(known[text]) for text in order])
    ax.set_xlim(-0.5, len(order) - 0.5)
    places = np.array([order.index(repr(_plain(value))) for value in given], np.float64)
    for place in np.unique(places):
        here = np.flatnonzero(places == place)
        places[here] += np.linspace(-SHIFT, SHIFT, len(here)) if len(here) > 1 else 0
    return places


def _ranged(ax: Axes, values: pd.Series[Any], *, log: bool) -> Any:
    """Places of numbers; a default that is none, such as "auto", stands left of all."""
    numbers = np.array([value if is_number(value) else np.nan for value in values], np.float64)
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
    other = np.isnan(numbers)
    if other.all() or not other.any():
        if not log and (numbers == np.rint(numbers)).all():
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        return np.nan_to_num(numbers, nan=1.0)
    low, high = np.nanmin(numbers), np.nanmax(numbers)
    left = low / (max(high / low, 1.5) ** 0.15) if log else low - 0.15 * max(high - low, 1e-9)
    words = {_label(value) for value, none in zip(values, other, strict=True) if none}
    text = ", ".join(sorted(words))
    place = ax.annotate(text, (left, 0.02), xycoords=("data", "axes fraction"), ha="center", fontsize=8)
    place.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    ax.axvline(left, color=GREY, linewidth=0.5, zorder=0)
    ax.margins(x=0.1)
    return np.where(other, left, numbers)


def _plain(value: Any) -> Any:
    """A number that pandas made a float, as the whole number that it is."""
    if isinstance(value, float | np.floating) and np.isfinite(value) and value == int(value):
        return int(value)
    return value.item() if isinstance(value, np.generic) else value


def _rank(value: Any) -> float:
    if isinstance(value, tuple | list) and len(value):
        return _rank(value[0])
    return float(value) if is_number(value) and np.isfinite(value) else 0.0


def _label(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return f"{value:g}" if is_number(value) else str(value)
