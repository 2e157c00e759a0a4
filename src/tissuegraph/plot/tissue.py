"""Cells where they lie in the tissue, coloured by a label."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.spatial import KDTree

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.graph.sections import SectionKey, section_codes, section_columns, section_members

if TYPE_CHECKING:
    from anndata import AnnData

# Okabe and Ito's colours, told apart with any kind of colour vision, then Tol's light ones
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000",
    "#882255", "#44BB99", "#FFAABB", "#332288", "#BBCC33", "#AA4499", "#99DDFF", "#999933",
)  # fmt: skip
UNLABELLED = "#d9d9d9"
INCHES = 4.0
"""Width of the picture of one section."""
MOST_COLUMNS = 4
LARGEST_DOT, SMALLEST_DOT = 60.0, 0.2
"""Area in points squared."""
SAMPLE = 2_000
SCALE_SHARE = 0.2
"""Length of a scale bar, at most, as a share of the width."""


def domains(
    adata: AnnData,
    key: str = "domain",
    *,
    section_key: SectionKey = "auto",
    spatial_key: str = keys.OBSM_SPATIAL,
) -> Figure:
    """Draw every section with its cells coloured by `obs[key]`; cells without a label are grey.

    The same label has the same colour on every section. A bar tells the scale, in um where `tg.read_section`
    knows the unit. Positions count from the top, as in images.

    Raises
    ------
    InputError
        Where the labels or the positions are missing.
    """
    labels, positions = _labels(adata, key), _positions(adata, spatial_key)
    columns = section_columns(adata, section_key)
    members = section_members(section_codes(adata, columns))
    across = min(len(members), MOST_COLUMNS)
    down = ceil(len(members) / across)
    figure, axes = plt.subplots(
        down, across, figsize=(INCHES * across + 1, INCHES * down), squeeze=False, layout="constrained"
    )
    colours = colours_of(labels)
    unit = adata.uns.get(keys.UNS_RUN, {}).get(keys.UNS_SECTION, {}).get("unit")
    for ax in axes.flat[len(members) :]:
        ax.set_axis_off()
    for ax, cells in zip(axes.flat, members, strict=False):
        _section(ax, positions[cells], labels[cells], colours)
        _scale_bar(ax, "um" if unit == "um" else "")
        if len(members) > 1:
            ax.set_title(", ".join(str(adata.obs[name].iloc[cells[0]]) for name in columns), fontsize=9)
    dots = [_dot(name, colour) for name, colour in colours.items()]
    if labels.isna().any():
        dots.append(_dot("none", UNLABELLED))
    figure.legend(handles=dots, title=key, loc="outside right center", frameon=False)
    return figure


def colours_of(labels: pd.Series) -> dict[str, str]:
    """A colour for each category, in their order; beyond the palette from a wheel of hues."""
    names = list(map(str, labels.cat.categories))
    wheel = plt.get_cmap("turbo")(np.linspace(0.05, 0.95, len(names)))
    enough = len(names) <= len(PALETTE)
    return {
        name: PALETTE[i] if enough else plt.matplotlib.colors.to_hex(wheel[i]) for i, name in enumerate(names)
    }


def bar_length(width: float) -> float:
    """The longest of 1, 2 or 5 times a power of ten that is no more than a fifth of the width."""
    most = width * SCALE_SHARE
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9))


def _labels(adata: AnnData, key: str) -> pd.Series:
    if key not in adata.obs:
        found = ", ".join(map(str, adata.obs.columns)) or "none"
        raise InputError(f"no column '{key}' in obs; found: {found}; tg.cluster_domains writes 'domain'")
    return adata.obs[key].astype("category").reset_index(drop=True)


def _positions(adata: AnnData, spatial_key: str) -> npt.NDArray[np.float64]:
    if spatial_key not in adata.obsm:
        found = ", ".join(adata.obsm.keys()) or "nothing"
        raise InputError(f"no positions in obsm['{spatial_key}']; found: {found}")
    return np.asarray(adata.obsm[spatial_key], np.float64)[:, :2]


def _section(
    ax: Axes, positions: npt.NDArray[np.float64], labels: pd.Series, colours: dict[str, str]
) -> None:
    """Draw the cells of one section, as large as their distance allows."""
    shown = [colours.get(str(name), UNLABELLED) for name in labels]
    low, high = positions.min(0), positions.max(0)
    extent = max(float((high - low).max()), 1e-9)
    gap = _typical_gap(positions)
    # a gap of the data in points: the axes are about INCHES wide
    points = gap / extent * INCHES * 72 * 0.85
    size = float(np.clip(points**2, SMALLEST_DOT, LARGEST_DOT))
    ax.scatter(positions[:, 0], positions[:, 1], s=size, c=shown, linewidths=0, rasterized=True)
    ax.set_aspect("equal")
    ax.invert_yaxis()
    ax.set_axis_off()


def _typical_gap(positions: npt.NDArray[np.float64]) -> float:
    if len(positions) < 2:
        return 1.0
    some = positions[:: max(1, len(positions) // SAMPLE)]
    distance = np.asarray(KDTree(positions).query(some, 2)[0])[:, 1]
    return float(np.median(distance))


def _scale_bar(ax: Axes, unit: str) -> None:
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    length = bar_length(abs(right - left))
    y = bottom + 0.03 * (bottom - top)
    ax.plot([left, left + length], [y, y], color="black", linewidth=2, clip_on=False, solid_capstyle="butt")
    text: Any = f"{length:g} {unit}".strip()
    ax.text(left + length / 2, y + 0.015 * (bottom - top), text, ha="center", va="top", fontsize=8)


def _dot(name: str, colour: str) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", color=colour, label=name)
