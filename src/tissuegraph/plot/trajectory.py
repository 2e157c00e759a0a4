"""How strongly domains are connected, on the tissue or by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patheffects import AbstractPathEffect, withStroke
from scipy import sparse

from tissuegraph import keys
from tissuegraph.domains.labels import domain_labels
from tissuegraph.errors import InputError
from tissuegraph.graph.sections import SectionKey
from tissuegraph.plot.canvas import UNLABELLED, Panel, colours_of, dots, frame, positions_of, sections_of

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]

WIDEST = 8.0
"""Width in points of the strongest connection."""
SMALLEST_NODE, LARGEST_NODE = 220.0, 900.0
FAINT = 0.35


def paga(
    adata: AnnData,
    ax: Axes | None = None,
    *,
    key: str = keys.UNS_PAGA,
    layout: Literal["tissue", "abstract"] = "tissue",
    min_connectivity: float = 0.05,
    section_key: SectionKey = "auto",
    spatial_key: str = keys.OBSM_SPATIAL,
) -> Axes:
    """Draw the domains as nodes and the connectivity that `tg.paga` found as the width of lines between them.

    Parameters
    ----------
    layout
        "tissue": every node lies in the middle of its domain, on the largest section. "abstract": connected
        domains lie close to each other (Kamada and Kawai 1989).
    min_connectivity
        Weaker connections are not drawn.

    Raises
    ------
    InputError
        Where `uns[key]` is missing or of other labels than those in `obs`.
    """
    found = adata.uns.get(key)
    if not found or "connectivities" not in found:
        raise InputError(f"no uns['{key}']; tg.paga(adata) writes it")
    labels = domain_labels(adata, str(found["groups"]))
    strength = sparse.csr_matrix(found["connectivities"]).toarray()
    names = list(labels.categories)
    if len(strength) != len(names):
        raise InputError(
            f"uns['{key}'] has {len(strength)} domains, obs['{found['groups']}'] has {len(names)}; run "
            "tg.paga again"
        )
    if layout not in ("tissue", "abstract"):
        raise InputError(f"layout is {layout!r}; expected 'tissue' or 'abstract'")
    ax = plt.subplots(figsize=(5, 5), layout="constrained")[1] if ax is None else ax
    strength = np.where(strength >= min_connectivity, strength, 0)
    sizes = np.bincount(labels.codes[labels.codes >= 0], minlength=len(names))
    if layout == "tissue":
        cells = max((cells for _, cells in sections_of(adata, section_key)), key=len)
        places = _on_tissue(ax, positions_of(adata, spatial_key)[cells], labels.codes[cells], names)
    else:
        places = _apart(strength)
        frame(ax, places, margin=0.15)
    _draw(ax, places, strength, sizes, names)
    return ax


def _draw(ax: Axes, places: Floats, strength: Floats, sizes: npt.NDArray[np.int64], names: list[str]) -> None:
    colours = colours_of(names)
    shown = np.isfinite(places).all(1) & (sizes > 0)
    for i, j in np.argwhere(np.triu(strength, 1) > 0):
        if shown[i] and shown[j]:
            width = WIDEST * strength[i, j] / strength.max()
            ax.plot(*places[[i, j]].T, color="#444444", linewidth=width, zorder=2, solid_capstyle="round")
    area = SMALLEST_NODE + (LARGEST_NODE - SMALLEST_NODE) * sizes / sizes.max()
    rim: list[AbstractPathEffect] = [withStroke(linewidth=2.5, foreground="white")]
    for i in np.flatnonzero(shown):
        x, y = places[i]
        ax.scatter(x, y, s=area[i], color=colours[names[i]], edgecolors="white", linewidths=1.5, zorder=3)
        text = ax.annotate(names[i], (x, y), ha="center", va="center", fontsize=9, zorder=4)
        text.set_path_effects(rim)


def _on_tissue(ax: Axes, positions: Floats, codes: npt.NDArray[np.int64], names: list[str]) -> Floats:
    """Draw the cells faintly; return for each domain the place of its cell nearest to its median."""
    frame(ax, positions)
    palette = np.array([*colours_of(names).values(), UNLABELLED])
    dots(Panel(ax, np.arange(len(codes)), positions, ""), c=palette[codes], alpha=FAINT)
    places = np.full((len(names), 2), np.nan)
    for code in np.unique(codes[codes >= 0]):
        own = positions[codes == code]
        places[code] = own[((own - np.median(own, axis=0)) ** 2).sum(1).argmin()]
    return places


def _apart(strength: Floats) -> Floats:
    """Kamada and Kawai's layout, in which weak connections are long."""
    import igraph

    first, second = np.nonzero(np.triu(strength, 1))
    graph = igraph.Graph(len(strength), list(zip(first.tolist(), second.tolist(), strict=True)))
    lengths = (1 / np.sqrt(strength[first, second])).tolist()
    return np.array(graph.layout_kamada_kawai(weights=lengths or None).coords)
