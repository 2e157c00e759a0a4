"""What the pictures of cells share: axes for sections, colours, dots, a scale bar, a legend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.spatial import KDTree

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.graph.sections import SectionKey, section_codes, section_columns, section_members

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int64]

# Okabe and Ito's colours, told apart with any kind of colour vision, then Tol's light ones
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000",
    "#882255", "#44BB99", "#FFAABB", "#332288", "#BBCC33", "#AA4499", "#99DDFF", "#999933",
)  # fmt: skip
UNLABELLED = "#d9d9d9"
VALUES = "viridis"
INCHES = 4.0
"""Width of the picture of one section."""
RATIOS = 0.4, 1.5
"""Height by width of a panel, at least and at most."""
TITLE_AND_BAR = 0.8
"""Inches for them, above and below a panel."""
MOST_COLUMNS = 4
LARGEST_DOT, SMALLEST_DOT = 60.0, 0.2
"""Area in points squared."""
SAMPLE = 2_000
SCALE_SHARE = 0.2
"""Length of a scale bar, at most, as a share of the width."""
LEGEND_ROWS = 20


@dataclass(frozen=True)
class Panel:
    """One section and the axes that it is drawn on: its cells by number, [n], and where they lie, [n, 2]."""

    ax: Axes
    cells: Cells
    positions: Floats
    title: str


@dataclass(frozen=True)
class Canvas:
    """A figure with a panel for each section."""

    figure: Figure
    panels: list[Panel]
    unit: str
    own: bool
    """Whether the figure was made here, so that a legend may stand beside all of it."""

    def __iter__(self) -> Iterator[Panel]:
        return iter(self.panels)

    def finish(self) -> Figure:
        """Give every panel its frame, scale bar and title."""
        for panel in self.panels:
            scale_bar(panel.ax, self.unit)
            if panel.title:
                panel.ax.set_title(panel.title, fontsize=9)
        return self.figure


def canvas(
    adata: AnnData,
    axes: Axes | Sequence[Axes] | None,
    section_key: SectionKey = "auto",
    spatial_key: str = keys.OBSM_SPATIAL,
) -> Canvas:
    """Lay out the sections of `adata`, on new axes or on those that are given, one for each.

    Raises
    ------
    InputError
        Where positions are missing, or the axes are not as many as the sections.
    """
    positions = positions_of(adata, spatial_key)
    sections = sections_of(adata, section_key)
    given = _new_axes([positions[cells] for _, cells in sections]) if axes is None else as_list(axes)
    if len(given) != len(sections):
        raise InputError(
            f"{len(given)} axes are given for {len(sections)} sections; give one for each, or none"
        )
    panels = []
    for ax, (title, cells) in zip(given, sections, strict=True):
        frame(ax, positions[cells])
        panels.append(Panel(ax, cells, positions[cells], title))
    return Canvas(figure_of(given[0]), panels, "um" if unit_of(adata) == "um" else "", axes is None)


def sections_of(adata: AnnData, section_key: SectionKey = "auto") -> list[tuple[str, Cells]]:
    """Name and cells of each section; the name is empty where there is only one."""
    columns = section_columns(adata, section_key)
    members = section_members(section_codes(adata, columns))
    names = [", ".join(str(adata.obs[name].iloc[cells[0]]) for name in columns) for cells in members]
    return [(name if len(members) > 1 else "", cells) for name, cells in zip(names, members, strict=True)]


def _new_axes(places: Sequence[Floats]) -> list[Axes]:
    """Axes for the positions of each section, as high as those need."""
    across = min(len(places), MOST_COLUMNS)
    down = ceil(len(places) / across)
    height = max(height_for(here) for here in places)
    axes = plt.subplots(
        down, across, figsize=(INCHES * across + 1, height * down), squeeze=False, layout="constrained"
    )[1]
    for ax in axes.flat[len(places) :]:
        ax.set_axis_off()
    return list(axes.flat[: len(places)])


def height_for(positions: Floats) -> float:
    """Inches that a panel of these positions, [n, 2], needs, with its title and scale bar."""
    width, height = np.maximum(np.ptp(positions, axis=0), 1e-9)
    return INCHES * float(np.clip(height / width, *RATIOS)) + TITLE_AND_BAR


def as_list(axes: Axes | Sequence[Axes]) -> list[Axes]:
    """The axes that were given, also where they are one."""
    return [axes] if isinstance(axes, Axes) else list(axes)


def figure_of(ax: Axes) -> Figure:
    """The figure on which axes lie."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise InputError("the axes lie on no figure; make them with matplotlib.pyplot.subplots()")
    return figure


def positions_of(adata: AnnData, spatial_key: str = keys.OBSM_SPATIAL) -> Floats:
    """Positions in the plane, [N, 2]."""
    if spatial_key not in adata.obsm:
        found = ", ".join(adata.obsm.keys()) or "nothing"
        raise InputError(f"no positions in obsm['{spatial_key}']; found: {found}")
    return np.asarray(adata.obsm[spatial_key], np.float64)[:, :2]


def unit_of(adata: AnnData) -> str:
    """The unit of the positions, where `tg.read_section` knows it."""
    return str(adata.uns.get(keys.UNS_RUN, {}).get(keys.UNS_SECTION, {}).get("unit", ""))


def frame(ax: Axes, positions: Floats, margin: float = 0.03) -> None:
    """Show these positions, [n, 2], at one scale both ways, counted from the top as in images.

    Around them is a margin, as a share of the longer side.
    """
    low, high = positions.min(0), positions.max(0)
    around = margin * max(float((high - low).max()), 1e-9)
    ax.set_xlim(low[0] - around, high[0] + around)
    ax.set_ylim(high[1] + around, low[1] - around)
    ax.set_aspect("equal")
    ax.set_axis_off()


def points_a_unit(ax: Axes) -> float:
    """How many points of the page one unit of the data takes."""
    box = ax.get_window_extent()
    width, height = abs(np.diff(ax.get_xlim())[0]), abs(np.diff(ax.get_ylim())[0])
    return float(min(box.width / width, box.height / height) * 72 / figure_of(ax).dpi)


def typical_gap(positions: Floats) -> float:
    """The median distance of a cell to its third nearest: their spacing, on a lattice and about so off it."""
    if len(positions) < 4:
        return 1.0
    some = positions[:: max(1, len(positions) // SAMPLE)]
    distance = np.asarray(KDTree(positions).query(some, 4)[0])[:, 3]
    return float(np.median(distance))


def dots(panel: Panel, **colours: object) -> PathCollection:
    """Draw the cells of a panel, as large as their distance allows; `colours` are those of `Axes.scatter`."""
    gap = typical_gap(panel.positions) * points_a_unit(panel.ax)
    size = float(np.clip(gap**2, SMALLEST_DOT, LARGEST_DOT))
    x, y = panel.positions.T
    return panel.ax.scatter(x, y, s=size, linewidths=0, rasterized=True, **colours)  # type: ignore[arg-type]


def value_dots(panel: Panel, values: Floats, low: float, high: float) -> PathCollection:
    """Draw cells coloured by values [n] between two limits; NaN is grey and lies below."""
    known = np.isfinite(values)
    if not known.all():
        dots(Panel(panel.ax, panel.cells[~known], panel.positions[~known], ""), c=UNLABELLED)
    shown = Panel(panel.ax, panel.cells[known], panel.positions[known], "")
    return dots(shown, c=values[known], cmap=VALUES, vmin=low, vmax=high)


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name, in their order; beyond the palette from a wheel of hues; "unknown" is grey."""
    wheel = plt.get_cmap("turbo")(np.linspace(0.05, 0.95, len(names)))
    enough = len(names) <= len(PALETTE)
    colours = {name: PALETTE[i] if enough else to_hex(wheel[i]) for i, name in enumerate(names)}
    return colours | {name: UNLABELLED for name in names if name == keys.UNKNOWN}


def legend(
    target: Figure | Axes,
    colours: Mapping[str, str],
    title: str,
    *,
    unlabelled: bool,
    left: bool = False,
    more: Sequence[Line2D] = (),
) -> None:
    """Name the colours, and `more` under them, beside a figure, or beside axes, to their right or left."""
    shown = [*colours.items(), *([("none", UNLABELLED)] if unlabelled else [])]
    handles = [Line2D([], [], linestyle="", marker="o", color=colour, label=name) for name, colour in shown]
    handles += more
    columns = ceil(len(handles) / LEGEND_ROWS)
    if isinstance(target, Figure):
        target.legend(
            handles=handles,
            title=title,
            loc="outside right center",
            frameon=False,
            ncols=columns,
            fontsize=8 if columns > 1 else 10,
        )
        return
    target.legend(
        handles=handles,
        title=title,
        loc="center right" if left else "center left",
        bbox_to_anchor=(0 if left else 1, 0.5),
        frameon=False,
        ncols=columns,
        fontsize=8,
    )


def bar_length(width: float) -> float:
    """The longest of 1, 2 or 5 times a power of ten that is no more than a fifth of the width."""
    most = width * SCALE_SHARE
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9))


def scale_bar(ax: Axes, unit: str) -> None:
    """Draw a bar of a round length under the tissue."""
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    length = bar_length(abs(right - left))
    y = bottom + 0.03 * (bottom - top)
    ax.plot([left, left + length], [y, y], color="black", linewidth=2, clip_on=False, solid_capstyle="butt")
    text = f"{length:g} {unit}".strip()
    ax.text(left + length / 2, y + 0.015 * (bottom - top), text, ha="center", va="top", fontsize=8)
