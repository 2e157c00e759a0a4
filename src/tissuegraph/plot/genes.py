"""Expression of genes: denoised beside raw, and by domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tissuegraph import keys
from tissuegraph.domains.labels import domain_labels
from tissuegraph.errors import InputError
from tissuegraph.features.expression import log_expression
from tissuegraph.graph.sections import SectionKey
from tissuegraph.plot.canvas import (
    INCHES,
    as_list,
    canvas,
    colours_of,
    figure_of,
    height_for,
    positions_of,
    sections_of,
    value_dots,
)
from tissuegraph.plot.graphs import tidy

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]

HIGHEST = 99
"""Percentile at which the colours end, so that a few cells do not darken all others."""
MOST_CELLS = 5_000
"""Cells of a domain whose violin is drawn; more would not change it."""


def denoised(
    adata: AnnData,
    genes: str | Sequence[str],
    axes: Sequence[Axes] | None = None,
    *,
    layer: str = "stagate_denoised",
    raw_layer: str | None = None,
    section_key: SectionKey = "auto",
    spatial_key: str = keys.OBSM_SPATIAL,
) -> Figure:
    """Draw each gene before and after denoising, on every section: a row a gene, a pair of columns a section.

    Parameters
    ----------
    axes
        To draw on: for each gene all sections before, then all after; by default a new figure is made.
    layer
        Denoised expression, as `tg.stagate(save_denoised=True)` writes it.
    raw_layer
        What it is compared with; `X` by default. Raw counts are normalised and log-transformed on a copy.

    Raises
    ------
    InputError
        Where the layer or a gene is missing, or the gene was not modelled.
    """
    names = [genes] if isinstance(genes, str) else list(genes)
    if layer not in adata.layers:
        raise InputError(f"no layer '{layer}'; tg.stagate(adata, save_denoised=True) writes it")
    before, after = _values(adata, names, raw_layer), _columns(adata.layers[layer], adata.var_names, names)
    unknown = [name for name, values in zip(names, after.T, strict=True) if np.isnan(values).all()]
    if unknown:
        raise InputError(f"not modelled, so not denoised: {', '.join(unknown)}; take variable genes")
    places = [positions_of(adata, spatial_key)[cells] for _, cells in sections_of(adata, section_key)]
    sections, size = len(places), (INCHES, max(map(height_for, places)))
    grid = _grid(len(names), 2 * sections, size) if axes is None else np.reshape(list(axes), (len(names), -1))
    for i, (name, row) in enumerate(zip(names, grid, strict=True)):
        for values, shown, what in ((before, row[:sections], "raw"), (after, row[sections:], "denoised")):
            drawn = canvas(adata, list(shown), section_key, spatial_key)
            low, high = _limits(values[:, i])
            for panel in drawn:
                shades = value_dots(panel, values[panel.cells, i], low, high)
            figure = drawn.finish()
            for panel in drawn:
                panel.ax.set_title(" ".join(filter(None, (name, what, panel.title))), fontsize=9)
            figure.colorbar(shades, ax=list(shown), shrink=0.6, pad=0.02)
    return figure


def violins(
    adata: AnnData,
    genes: str | Sequence[str],
    key: str = keys.DOMAIN,
    axes: Axes | Sequence[Axes] | None = None,
    *,
    layer: str | None = None,
) -> Figure:
    """Draw how the expression of each gene is distributed in each domain, with its median.

    Domains have the colours of `domains`, cells without one are left out. Raw counts are normalised and
    log-transformed on a copy.

    Parameters
    ----------
    axes
        To draw on, one for each gene; by default a new figure is made.
    layer
        Expression other than `X`.

    Raises
    ------
    InputError
        Where a gene or the labels are missing.
    """
    names = [genes] if isinstance(genes, str) else list(genes)
    labels, values = domain_labels(adata, key), _values(adata, names, layer)
    colours = colours_of(list(labels.categories))
    there = list(labels.remove_unused_categories().categories)
    size = 1.5 + 0.5 * len(there), 1.9
    given = list(_grid(len(names), 1, size).flat) if axes is None else as_list(axes)
    for ax, name, column in zip(given, names, values.T, strict=True):
        groups = [_thinned(column[np.asarray(labels == domain)]) for domain in there]
        parts = ax.violinplot(groups, showextrema=False, showmedians=True, widths=0.85)
        bodies: Any = parts["bodies"]
        for body, domain in zip(bodies, there, strict=True):
            body.set(facecolor=colours[domain], edgecolor="none", alpha=0.9)
        parts["cmedians"].set(color="black", linewidth=1.5)
        ax.set_xticks(range(1, len(there) + 1), there)
        tidy(ax, "", "").set_title(name, fontsize=9, loc="left")
    given[-1].set_xlabel(key)
    return figure_of(given[0])


def _values(adata: AnnData, genes: list[str], layer: str | None) -> Floats:
    """Normalised expression of some genes, [N, len(genes)]."""
    return _columns(log_expression(adata, layer), adata.var_names, genes)


def _columns(matrix: Any, names: pd.Index, genes: list[str]) -> Floats:
    missing = [gene for gene in genes if gene not in names]
    if missing:
        raise InputError(f"no gene {missing[0]!r} among the {len(names)} of var_names; check the spelling")
    columns = matrix[:, names.get_indexer(pd.Index(genes))]
    return np.asarray(columns if isinstance(columns, np.ndarray) else columns.toarray(), np.float64)


def _limits(values: Floats) -> tuple[float, float]:
    high = float(np.nanpercentile(values, HIGHEST)) or float(np.nanmax(values))
    low = float(np.nanmin(values))
    return low, high if high > low else low + 1


def _thinned(values: Floats) -> Floats:
    return np.sort(values)[:: -(-len(values) // MOST_CELLS)]


def _grid(down: int, across: int, inches: tuple[float, float]) -> npt.NDArray[Any]:
    size = (inches[0] * across, inches[1] * down)
    return plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")[1]
