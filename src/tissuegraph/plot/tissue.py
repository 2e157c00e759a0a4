"""Cells where they lie in the tissue: their domains, their pseudotime, whom they listen to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy import sparse

from tissuegraph import keys
from tissuegraph.domains.labels import domain_labels
from tissuegraph.errors import InputError
from tissuegraph.graph.sections import SectionKey
from tissuegraph.plot.canvas import (
    UNLABELLED,
    VALUES,
    canvas,
    colours_of,
    dots,
    legend,
    points_a_unit,
    typical_gap,
    value_dots,
)

if TYPE_CHECKING:
    from anndata import AnnData

EDGE_WIDTH = 0.22
"""As a share of the distance between cells."""
EXTREMES = 2, 98
"""Percentiles at which the colours end."""


def domains(
    adata: AnnData,
    key: str = keys.DOMAIN,
    axes: Axes | Sequence[Axes] | None = None,
    *,
    section_key: SectionKey = "auto",
    spatial_key: str = keys.OBSM_SPATIAL,
) -> Figure:
    """Draw every section with its cells coloured by `obs[key]`; cells without a label are grey.

    The same label has the same colour on every section. A bar tells the scale, in um where `tg.read_section`
    knows the unit. Positions count from the top, as in images.

    Parameters
    ----------
    axes
        To draw on, one for each section; by default a new figure is made.
    section_key, spatial_key
        Column(s) of `obs` that tell sections, and where the positions stand in `obsm`.

    Raises
    ------
    InputError
        Where the labels or the positions are missing.
    """
    labels = domain_labels(adata, key)
    colours = colours_of(list(labels.categories))
    palette = np.array([*colours.values(), UNLABELLED])
    drawn = canvas(adata, axes, section_key, spatial_key)
    for panel in drawn:
        dots(panel, c=palette[labels.codes[panel.cells]])
    missing = bool((labels.codes < 0).any())
    legend(drawn.figure if drawn.own else drawn.panels[-1].ax, colours, key, unlabelled=missing)
    return drawn.finish()


def pseudotime(
    adata: AnnData,
    key: str = keys.OBS_PSEUDOTIME,
    axes: Axes | Sequence[Axes] | None = None,
    *,
    section_key: SectionKey = "auto",
    spatial_key: str = keys.OBSM_SPATIAL,
) -> Figure:
    """Draw every section with its cells coloured by the numbers in `obs[key]`; NaN is grey.

    Parameters and the rest as in `domains`.

    Raises
    ------
    InputError
        Where the column is missing or holds no numbers.
    """
    if key not in adata.obs or adata.obs[key].dtype.kind not in "fiu":
        raise InputError(f"no column of numbers '{key}' in obs; tg.pseudotime(adata, root) writes one")
    values = adata.obs[key].to_numpy(np.float64)
    if not np.isfinite(values).any():
        raise InputError(f"obs['{key}'] is NaN for all cells; run tg.pseudotime from another root")
    low, high = np.nanmin(values), np.nanmax(values)
    drawn = canvas(adata, axes, section_key, spatial_key)
    for panel in drawn:
        shown = value_dots(panel, values[panel.cells], low, high)
    drawn.figure.colorbar(shown, ax=[panel.ax for panel in drawn], label=key, shrink=0.6, pad=0.02)
    return drawn.finish()


def attention(
    adata: AnnData,
    key: str = "stagate_attention",
    axes: Axes | Sequence[Axes] | None = None,
    *,
    section_key: SectionKey = "auto",
    spatial_key: str = keys.OBSM_SPATIAL,
) -> Figure:
    """Draw the graph with its edges coloured by how much the two cells listen to each other, `obsp[key]`.

    An edge shows the mean of both directions; the strongest lie on top. What a cell keeps of itself is not
    drawn. Parameters and the rest as in `domains`.

    Raises
    ------
    InputError
        Where there is no attention, or no edge within a section.
    """
    if key not in adata.obsp:
        found = ", ".join(adata.obsp.keys()) or "nothing"
        raise InputError(f"no obsp['{key}']; found: {found}; tg.stagate(save_attention=True) writes it")
    edges = mutual_edges(sparse.csr_matrix(adata.obsp[key]))
    if not edges.nnz:
        raise InputError(f"obsp['{key}'] joins no two cells; build a graph with tg.spatial_neighbors first")
    low, high = np.percentile(edges.data, EXTREMES)
    drawn = canvas(adata, axes, section_key, spatial_key)
    for panel in drawn:
        inside = edges[panel.cells][:, panel.cells].tocoo()
        order = np.argsort(inside.data, kind="stable")
        ends = np.stack([panel.positions[inside.row[order]], panel.positions[inside.col[order]]], 1)
        width = EDGE_WIDTH * typical_gap(panel.positions) * points_a_unit(panel.ax)
        lines = LineCollection(list(ends), linewidths=width, cmap=VALUES, capstyle="round", rasterized=True)
        lines.set_array(inside.data[order])
        lines.set_clim(low, high)
        panel.ax.add_collection(lines, autolim=False)
    axes_shown = [panel.ax for panel in drawn]
    drawn.figure.colorbar(lines, ax=axes_shown, label="attention", shrink=0.6, pad=0.02, extend="both")
    return drawn.finish()


def mutual_edges(attention: sparse.csr_matrix) -> sparse.csr_matrix:
    """Each pair of cells once, above the diagonal, with the mean of the directions that are there."""
    there = attention.astype(bool).astype(np.float64)
    total, number = (sparse.triu(part + part.T, 1, "csr") for part in (attention, there))
    number.data = 1 / number.data
    return sparse.csr_matrix(total.multiply(number))
