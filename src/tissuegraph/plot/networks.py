"""A graph of cells: who is joined to whom, and whether they are of one label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from scipy import sparse

from tissuegraph import keys
from tissuegraph.domains.labels import domain_labels
from tissuegraph.errors import InputError
from tissuegraph.graph.stored import adjacency
from tissuegraph.plot.canvas import (
    UNLABELLED,
    colours_of,
    figure_of,
    frame,
    legend,
    points_a_unit,
    scale_bar,
    typical_gap,
    unit_of,
)
from tissuegraph.plot.spring import part_around, spring_layout
from tissuegraph.plot.tissue import mutual_edges

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

SPRING = "spring"
KINDS = "same label", "two labels", "no label"
KIND_COLOURS = "#a6a6a6", "#1a1a1a", "#dcdcdc"
"""Of edges that join cells of one label, of two, or one without. Colours are for the cells."""
DRAWN_FIRST = 2, 0, 1
STRONGEST = 95
"""Percentile of the weights from which an edge is drawn in full."""
WIDTH, WIDTHS = 0.16, (0.25, 2.0)
"""Of an edge, as a share of the distance between cells, and its limits in points."""
FAINTEST = 0.25
"""Width and opacity of an edge without weight, as a share of those of the strongest."""
OPACITY = 0.75
NODE, NODES = 0.6, (1.0, 110.0)
"""Width of a cell as a share of the distance to others, and the limits of its area in points squared."""


def graph(
    adata: AnnData,
    graph: str = "spatial",
    key: str = keys.CELL_TYPE,
    ax: Axes | None = None,
    *,
    layout: str = SPRING,
    max_nodes: int = 3_000,
    max_edges: int = 50_000,
    seed: int = 0,
) -> Axes:
    """Draw a graph: cells coloured by `obs[key]`, edges by whether they join cells of the same label.

    Wider edges have a larger weight, the mean of both directions. The legend has the share of each kind
    among all edges of the graph, drawn or not, and, as chance, the share of pairs of cells with one label.
    Cells without a label are grey.

    Parameters
    ----------
    graph
        The graph is `obsp["<graph>_connectivities"]`, or `obsp["<graph>"]`.
    layout
        "spring": cells that are joined lie close (Fruchterman and Reingold 1991). Otherwise a key of `obsm`,
        whose first two columns are places; "spatial" counts from the top, as in images, and has a scale bar.
    max_nodes
        "spring" shows no more cells than these: all that are within a few steps of one. The title says so.
    max_edges
        Of more edges a part is drawn, chosen at random. The title says so.
    seed
        Of the layout, and of what is chosen.

    Raises
    ------
    InputError
        Where the graph, the labels or the places are missing, or no two cells are joined.
    """
    if min(max_nodes, max_edges) < 2:
        raise InputError(f"max_nodes is {max_nodes} and max_edges {max_edges}; give 2 or more")
    labels, edges = domain_labels(adata, key), _edges(adata, graph)
    codes = labels.codes.astype(np.int64)
    shares = np.bincount(_kinds(edges.tocoo(), codes), minlength=3) / edges.nnz
    chosen = np.arange(adata.n_obs)
    if layout == SPRING and adata.n_obs > max_nodes:
        chosen = part_around(edges, max_nodes, seed)
    shown, codes_shown = edges[chosen][:, chosen], codes[chosen]
    at = spring_layout(shown, seed) if layout == SPRING else _places(adata, layout)
    own = ax is None
    ax = plt.subplots(figsize=(8, 5.5), layout="constrained")[1] if ax is None else ax
    _frame(ax, at, layout, unit_of(adata))
    drawn = _draw_edges(ax, at, shown.tocoo(), codes_shown, max_edges, seed)
    colours = colours_of(list(labels.categories))
    _draw_nodes(ax, at, np.array([*colours.values(), UNLABELLED])[codes_shown], codes_shown)
    handles = _edge_handles(shares, _by_chance(codes))
    beside = figure_of(ax) if own else ax
    legend(beside, colours, key, unlabelled=bool((codes < 0).any()), more=handles)
    parts = _part(len(chosen), adata.n_obs, "cells"), _part(drawn, edges.nnz, "edges")
    ax.set_title(f"{graph}: {', '.join(parts)}", fontsize=9)
    return ax


def _edges(adata: AnnData, graph: str) -> sparse.csr_matrix:
    weights = adjacency(adata, graph).copy()  # the arrays are those of the user
    weights.eliminate_zeros()
    edges = mutual_edges(weights)
    if not edges.nnz:
        raise InputError(f"the graph '{graph}' joins no two cells; build one with tg.spatial_neighbors first")
    return edges


def _frame(ax: Axes, at: Floats, layout: str, unit: str) -> None:
    frame(ax, at)
    if layout == keys.OBSM_SPATIAL:
        scale_bar(ax, "um" if unit == "um" else "")
    elif layout != SPRING:
        ax.invert_yaxis()


def _kinds(edges: sparse.coo_matrix, codes: Numbers) -> Numbers:
    """Which of `KINDS` each edge is, [E]."""
    one, other = codes[edges.row], codes[edges.col]
    return np.where((one < 0) | (other < 0), 2, (one != other).astype(np.int64))


def _places(adata: AnnData, layout: str) -> Floats:
    if layout not in adata.obsm:
        found = ", ".join(adata.obsm.keys()) or "nothing"
        raise InputError(f"layout is {layout!r}; expected '{SPRING}' or a key of obsm, which has: {found}")
    at = np.asarray(adata.obsm[layout], np.float64)
    if at.shape[1] < 2:
        raise InputError(f"obsm['{layout}'] has one column; places have two")
    if not np.isfinite(at[:, :2]).all():
        raise InputError(f"obsm['{layout}'] has places that are NaN or infinite; drop those cells")
    return at[:, :2]


def _draw_edges(
    ax: Axes, at: Floats, edges: sparse.coo_matrix, codes: Numbers, max_edges: int, seed: int
) -> int:
    """Draw edges, those of two labels on top; return how many."""
    kinds, order = _kinds(edges, codes), np.arange(edges.nnz)
    if len(order) > max_edges:
        order = np.random.default_rng(seed).choice(len(order), max_edges, replace=False)
    order = order[np.argsort(np.argsort(DRAWN_FIRST)[kinds[order]], kind="stable")]
    full = np.percentile(edges.data, STRONGEST)
    strength = FAINTEST + (1 - FAINTEST) * np.minimum(edges.data[order] / full, 1)
    width = float(np.clip(WIDTH * typical_gap(at) * points_a_unit(ax), *WIDTHS))
    colours = np.array([to_rgb(colour) for colour in KIND_COLOURS])[kinds[order]]
    ends = np.stack([at[edges.row[order]], at[edges.col[order]]], 1)
    lines = LineCollection(
        list(ends), linewidths=width * strength, colors=np.c_[colours, OPACITY * strength], capstyle="round",
        rasterized=True, zorder=1,
    )  # fmt: skip
    ax.add_collection(lines, autolim=False)
    return len(order)


def _draw_nodes(ax: Axes, at: Floats, colours: npt.NDArray[np.str_], codes: Numbers) -> None:
    """Draw cells in an order that no label has a part in, those without one below."""
    size = float(np.clip((NODE * typical_gap(at) * points_a_unit(ax)) ** 2, *NODES))
    order = np.random.default_rng(0).permutation(len(at))
    order = order[np.argsort(codes[order] >= 0, kind="stable")]
    rim = 0.5 if size > 20 else 0
    x, y = at[order].T
    ax.scatter(x, y, s=size, c=colours[order], edgecolors="white", linewidths=rim, rasterized=True, zorder=2)


def _by_chance(codes: Numbers) -> float:
    """The share of all pairs of cells that have the same label: of edges, where labels are shuffled."""
    sizes = np.bincount(codes[codes >= 0]).astype(np.float64)
    return float((sizes * (sizes - 1)).sum() / (len(codes) * (len(codes) - 1)))


def _edge_handles(shares: Floats, chance: float) -> list[Line2D]:
    headings = [Line2D([], [], linestyle="", label=text) for text in ("", "edges")]
    notes = [f"{kind}: {share:.1%}" for kind, share in zip(KINDS, shares, strict=True)]
    notes[0] += f" (chance: {chance:.1%})"
    return headings + [
        Line2D([], [], color=colour, linewidth=2, label=note)
        for note, colour, share in zip(notes, KIND_COLOURS, shares, strict=True)
        if share > 0
    ]


def _part(shown: int, number: int, what: str) -> str:
    return f"{number:,} {what}" if shown == number else f"{shown:,} of {number:,} {what}"
