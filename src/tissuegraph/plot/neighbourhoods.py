"""One cell and those it is joined to: who they are, how much each counts, what they express."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from scipy import sparse

from tissuegraph import keys
from tissuegraph.domains.labels import domain_labels
from tissuegraph.errors import InputError
from tissuegraph.features.expression import log_expression
from tissuegraph.graph.stored import adjacency
from tissuegraph.plot.canvas import UNLABELLED, VALUES, colours_of, figure_of, legend

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int64]

MOST = 20
"""Neighbours that are drawn: those with the largest weights."""
ONLY = 12
"""Neighbours up to which every edge has its number."""
NODES = 420.0, 170.0
"""Area in points squared of a neighbour, where there are few and many; the cell itself is larger."""
MIDDLE = 1.8
EDGES, EVEN = (0.5, 5.0), 2.0
"""Width in points of an edge without weight and of the strongest, and of edges that do not differ."""
EDGE_COLOUR = "#8c8c8c"
BRIGHT = 0.5
"""Luminance from which a number on a colour is black."""
LUMINANCE = 0.299, 0.587, 0.114


@dataclass(frozen=True)
class Star:
    """A cell and its neighbours, the strongest first: their numbers, [k], how much each counts, and colours.

    Attributes
    ----------
    weights
        (k,), of the edges.
    colours
        (1 + k,), of the cell and its neighbours.
    """

    cell: int
    neighbours: Cells
    weights: Floats
    colours: list[str]


def neighbours(
    adata: AnnData,
    cell: str | int,
    graph: str = "spatial",
    key: str = keys.CELL_TYPE,
    axes: Sequence[Axes] | None = None,
    *,
    genes: str | Sequence[str] | None = None,
    n_genes: int = 15,
    attention_key: str | None = None,
    layer: str | None = None,
) -> list[Axes]:
    """Draw a cell with its neighbours in a graph, and beside it what they express.

    The cell is number 0, its neighbours follow by weight, clockwise; of more than 20 the strongest are drawn.
    Wider edges have a larger weight.

    Parameters
    ----------
    cell
        Its name in `obs_names`, or its number.
    graph
        The graph is `obsp["<graph>_connectivities"]`, or `obsp["<graph>"]`; row i has those of cell i.
    axes
        Two, to draw on; by default a new figure is made.
    genes
        To show, in this order. By default `n_genes` that vary most among these cells; those come first that
        the cell expresses more than its neighbours do.
    attention_key
        Weights are `obsp[attention_key]` instead, row i what cell i listens to; the title says how much of
        itself it keeps.
    layer
        Expression other than `X`. Raw counts are normalised and log-transformed on a copy.

    Raises
    ------
    InputError
        Where the cell, the graph, the labels, a gene or the attention is missing, or the cell stands alone.
    """
    labels, number = domain_labels(adata, key), _number(adata, cell)
    weights = _weights(adata, graph, number, attention_key)
    order = sorted(weights.keys() - {number}, key=lambda other: (-weights[other], other))
    if not order:
        name = adata.obs_names[number]
        raise InputError(f"cell {name} has no neighbour in the graph '{graph}'; take another cell")
    shown = np.array(order[:MOST])
    colours = colours_of(list(labels.categories))
    own = [*colours.values(), UNLABELLED]
    cells = np.array([number, *shown])
    counts = np.array([weights[other] for other in order[:MOST]])
    star = Star(number, shown, counts, [own[code] for code in labels.codes[cells]])
    values, names = _expression(adata, cells, genes, n_genes, layer)
    given = _new_axes(len(names), len(cells)) if axes is None else list(axes)
    if len(given) != 2:
        raise InputError(f"{len(given)} axes are given; give two, for the cells and for their expression")
    _draw_star(given[0], star)
    there = {name: colours[name] for name in labels.categories if name in set(labels[cells])}
    legend(given[0], there, key, unlabelled=bool((labels.codes[cells] < 0).any()), left=True)
    given[0].set_title(_title(adata, star, len(order), weights if attention_key else {}), fontsize=10)
    _draw_values(given[1], values, names, star)
    title = "genes that vary most among them" if genes is None else "their expression"
    given[1].set_title(title, fontsize=10, pad=10)
    figure_of(given[1]).colorbar(given[1].images[0], ax=given[1], label=layer or "expression", shrink=0.6)
    return given


def _number(adata: AnnData, cell: str | int) -> int:
    if isinstance(cell, str):
        found = adata.obs_names.get_indexer([cell])[0]
        if found < 0 or not adata.obs_names.is_unique:
            raise InputError(f"no cell '{cell}' among the {adata.n_obs:,} of obs_names, or several; check it")
        return int(found)
    if not 0 <= cell < adata.n_obs:
        raise InputError(f"cell is {cell}; give a number from 0 to {adata.n_obs - 1}, or a name")
    return int(cell)


def _weights(adata: AnnData, graph: str, cell: int, attention_key: str | None) -> dict[int, float]:
    """How much each neighbour of a cell counts, and, of attention, the cell itself."""
    edges = _row(adjacency(adata, graph), cell)
    joined = {other: weight for other, weight in edges.items() if weight > 0}
    if attention_key is None:
        return joined
    if attention_key not in adata.obsp:
        found = ", ".join(adata.obsp.keys()) or "nothing"
        raise InputError(f"no obsp['{attention_key}']; found: {found}; name one of those")
    attention = _row(sparse.csr_matrix(adata.obsp[attention_key]), cell)
    return {other: attention.get(other, 0.0) for other in {*joined, cell}}


def _row(matrix: sparse.csr_matrix, row: int) -> dict[int, float]:
    part = slice(*matrix.indptr[row : row + 2])
    return dict(zip(matrix.indices[part].tolist(), matrix.data[part].astype(float).tolist(), strict=True))


def _expression(
    adata: AnnData, cells: Cells, genes: str | Sequence[str] | None, n_genes: int, layer: str | None
) -> tuple[Floats, list[str]]:
    """Expression, [genes, cells], of the cell and then its neighbours, and the names of the genes."""
    matrix: Any = log_expression(adata[cells], layer)
    values = np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray(), np.float64).T
    if genes is not None:
        names = [genes] if isinstance(genes, str) else list(genes)
        missing = [name for name in names if name not in adata.var_names]
        if missing or not names:
            raise InputError(f"no gene {(missing or ['given'])[0]!r} among the {adata.n_vars:,} of var_names")
        return values[adata.var_names.get_indexer(names)], names
    if n_genes < 1:
        raise InputError(f"n_genes is {n_genes}; give 1 or more")
    chosen = np.argsort(-values.var(axis=1), kind="stable")[:n_genes]
    above = values[chosen, 0] - values[chosen, 1:].mean(axis=1)
    chosen = chosen[np.argsort(-above, kind="stable")]
    return values[chosen], [str(name) for name in adata.var_names[chosen]]


def _new_axes(genes: int, cells: int) -> list[Axes]:
    widths = 4.6, 1.6 + 0.27 * cells
    height = max(4.2, 1.2 + 0.2 * genes)
    grid = plt.subplots(1, 2, figsize=(sum(widths) + 1.2, height), width_ratios=widths, layout="constrained")[
        1
    ]
    return list(grid)


def _draw_star(ax: Axes, star: Star) -> None:
    number = len(star.neighbours)
    angles = np.pi / 2 - 2 * np.pi * np.arange(number) / number
    places = np.stack([np.cos(angles), np.sin(angles)], 1)
    differ = np.ptp(star.weights) > 0
    widths = np.interp(star.weights, (0, star.weights.max()), EDGES) if differ else np.full(number, EVEN)
    for (x, y), weight, width in zip(places, star.weights, widths, strict=True):
        ax.plot([0, x], [0, y], color=EDGE_COLOUR, linewidth=width, zorder=1, solid_capstyle="butt")
        if differ and number <= ONLY:
            box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
            ax.text(0.55 * x, 0.55 * y, f"{weight:.2g}", fontsize=8, ha="center", va="center", bbox=box)
    area = float(np.interp(number, (6, MOST), NODES))
    for i, ((x, y), colour) in enumerate(zip([(0, 0), *places], star.colours, strict=True)):
        size = area if i else MIDDLE * area
        ax.scatter(x, y, s=size, color=colour, edgecolors="white", linewidths=1.5, zorder=2)
        ax.text(x, y, str(i), color=_ink(colour), fontsize=9 if i else 11, ha="center", va="center", zorder=3)
    ax.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    ax.set_axis_off()


def _ink(colour: str) -> str:
    return "black" if np.dot(to_rgb(colour), LUMINANCE) > BRIGHT else "white"


def _title(adata: AnnData, star: Star, number: int, attention: dict[int, float]) -> str:
    drawn = len(star.neighbours)
    count = f"{number} neighbours" if drawn == number else f"{drawn} strongest of {number} neighbours"
    kept = f", keeps {attention[star.cell]:.2g} of itself" if attention else ""
    return f"{adata.obs_names[star.cell]}: {count}{kept}"


def _draw_values(ax: Axes, values: Floats, genes: list[str], star: Star) -> None:
    """Draw a row for each gene and a column for each cell, with its colour and number above."""
    cells = np.arange(values.shape[1])
    ax.imshow(values, cmap=VALUES, aspect="auto", interpolation="nearest")
    ax.axvline(0.5, color="white", linewidth=2)
    ax.set_yticks(range(len(genes)), genes, fontsize=8)
    ax.set_xticks(cells, list(map(str, cells)), fontsize=8)
    ax.xaxis.tick_top()
    ax.tick_params(length=0, pad=4)
    for tick, colour in zip(ax.get_xticklabels(), star.colours, strict=True):
        tick.set_color(_ink(colour))
        tick.set_bbox({"boxstyle": "circle,pad=0.25", "facecolor": colour, "edgecolor": "none"})
    ax.spines[:].set_visible(False)
