"""Pictures of spatial graphs, of the search for the number of clusters, and of how far these lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from tissuegraph import keys
from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8c8c8c"
MOST_STEPS = 1_000
"""Cells of a cluster that are drawn, about."""


def degrees(adata: AnnData, ax: Axes | None = None, *, key: str = "spatial") -> Axes:
    """Draw how many neighbours the cells have in `obsp["<key>_connectivities"]`; isolated cells stand out.

    Raises
    ------
    InputError
        Where there is no such graph.
    """
    name = f"{key}_connectivities"
    if name not in adata.obsp:
        found = ", ".join(adata.obsp.keys()) or "nothing"
        raise InputError(
            f"no graph in obsp['{name}']; found: {found}; build one with tg.spatial_neighbors(adata)"
        )
    neighbours = np.diff(adata.obsp[name].tocsr().indptr)
    cells = np.bincount(neighbours, minlength=1)
    ax = plt.subplots(figsize=(5, 3), layout="constrained")[1] if ax is None else ax
    ax.bar(np.arange(len(cells)), cells, width=0.9, color=np.where(np.arange(len(cells)) == 0, ORANGE, BLUE))
    ax.axvline(neighbours.mean(), color=GREY, linewidth=1, linestyle="--")
    ax.set_title(
        f"{neighbours.mean():.1f} neighbours a cell, {cells[0]:,} of {adata.n_obs:,} isolated",
        fontsize=10,
        loc="left",
    )
    return tidy(ax, "neighbours", "cells")


def stability(adata: AnnData, ax: Axes | None = None, *, key: str = "domain") -> Axes:
    """Draw how well halves of the cells agree by number of clusters.

    As `tg.cluster_domains` found it, or `tg.cluster_cells`, which also shows the agreement that a cloud
    without clusters has.

    Raises
    ------
    InputError
        Where the number was given, so that none was searched.
    """
    record = adata.uns.get(keys.UNS_RUN, {}).get(key, {})
    if "stability" not in record:
        raise InputError(
            f"no curve in uns['{keys.UNS_RUN}']['{key}']; tg.cluster_domains without n_domains makes it, or "
            "tg.cluster_cells without n_clusters"
        )
    curve, number = record["stability"], "n_domains" if "n_domains" in record else "n_clusters"
    kind, chosen = number.removeprefix("n_"), record[number]
    ax = plt.subplots(figsize=(5, 3), layout="constrained")[1] if ax is None else ax
    ax.errorbar(curve[number], curve["agreement"], yerr=curve["standard_error"], color=BLUE, marker="o")
    if "agreement_by_chance" in curve:
        ax.plot(curve[number], curve["agreement_by_chance"], color=GREY, marker=".", label="no clusters")
        ax.legend(frameon=False, fontsize=8)
    ax.axvline(chosen, color=ORANGE, linewidth=1, linestyle="--")
    found = f"{chosen} {kind} are found most reliably" if chosen > 1 else "no number is found reliably"
    ax.set_title(found, fontsize=10, loc="left")
    ax.set_xticks(curve[number])
    return tidy(ax, f"number of {kind}", "agreement of halves (ARI)")


def silhouettes(adata: AnnData, key: str = "cluster", ax: Axes | None = None) -> Axes:
    """Draw the silhouettes of the cells of each cluster, sorted, as `tg.cluster_cells` wrote them.

    A cluster is as high as its share of the cells. Cells left of 0 lie nearer to another cluster.

    Raises
    ------
    InputError
        Where there are none in `obs["<key>_silhouette"]`.
    """
    name = f"{key}_silhouette"
    if key not in adata.obs or name not in adata.obs:
        raise InputError(f"no silhouettes in obs['{name}']; tg.cluster_cells(adata) makes them")
    values, labels = adata.obs[name].to_numpy(float), adata.obs[key].astype("category").cat
    ax = plt.subplots(figsize=(5, 4), layout="constrained")[1] if ax is None else ax
    below, middles = 0, []
    for code in range(len(labels.categories)):
        own = np.sort(values[labels.codes == code])
        at = np.arange(len(own))[:: max(1, len(own) // MOST_STEPS)]
        ax.fill_betweenx(below + at, 0, own[at], color=BLUE if code % 2 else ORANGE, linewidth=0)
        middles.append(below + len(own) / 2)
        below += len(own)
    ax.set_yticks(middles, labels.categories)
    ax.invert_yaxis()
    ax.axvline(0, color=GREY, linewidth=1)
    known = values[np.isfinite(values)]
    title = f"mean silhouette {known.mean():.2f}" if len(known) else "one cluster has no silhouettes"
    ax.set_title(title, fontsize=10, loc="left")
    return tidy(ax, "silhouette", key)


def tidy(ax: Axes, x: str, y: str) -> Axes:
    """Name both axes and drop the spines that tell nothing."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
