"""Cells in other spaces than their section: embeddings, UMAP, and sections stacked in three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d import Axes3D

from tissuegraph import keys
from tissuegraph.domains.labels import domain_labels
from tissuegraph.domains.neighbourhood import FEWEST_CELLS
from tissuegraph.domains.neighbourhood import umap as lay_out
from tissuegraph.errors import InputError
from tissuegraph.features.embeddings import embedding as points_of
from tissuegraph.graph.sections import section_codes, section_members
from tissuegraph.plot.canvas import UNLABELLED, VALUES, colours_of, figure_of, legend, positions_of

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]

LAYER_GAP = 0.35
"""Distance of stacked sections, as a share of their width, where their own is not known."""
INK = 60_000.0
"""Area in points squared that all dots of a picture take together."""
SMALLEST, LARGEST = 0.3, 25.0
MOST_NUMBERS = 40
"""Whole numbers with more different values than this are measurements, no labels."""

Method = Literal["pca", "tsne", "umap"]
PERPLEXITY = 30
"""Neighbours that t-SNE keeps, about; of few cells a third of them."""


def umap(
    adata: AnnData,
    key: str = keys.DOMAIN,
    ax: Axes | None = None,
    *,
    use_rep: str = keys.OBSM_UMAP,
) -> Axes:
    """Draw the layout `obsm[use_rep]`, coloured by `obs[key]`: a label, or numbers such as a pseudotime.

    Cells are drawn in an order that no label has a part in, those without a label grey and below.

    Raises
    ------
    InputError
        Where the layout or the column is missing.
    """
    if use_rep not in adata.obsm:
        found = ", ".join(adata.obsm.keys()) or "nothing"
        raise InputError(f"no layout in obsm['{use_rep}']; found: {found}; tg.umap(adata) makes one")
    at = np.asarray(adata.obsm[use_rep], np.float64)[:, :2]
    return _drawn(adata, at, key, ax, ("UMAP 1", "UMAP 2"))


def embedding(
    adata: AnnData,
    use_rep: str = "X_infomax",
    key: str = keys.CELL_TYPE,
    ax: Axes | None = None,
    *,
    method: Method = "pca",
    seed: int = 0,
) -> Axes:
    """Draw an embedding `obsm[use_rep]`, [N, d], in two dimensions, coloured by `obs[key]`.

    Colours and the order of cells are as in `umap`. Nothing is written to `adata`.

    Parameters
    ----------
    key
        Column of labels or of numbers.
    method
        "pca": the two directions in which the embedding varies most, with their shares of the variance; what
        is apart there is apart in the embedding. "tsne" (van der Maaten and Hinton 2008) and "umap" (McInnes
        et al. 2018) keep neighbours together; distances between groups, and their sizes, tell nothing.
    seed
        Of the layout.

    Raises
    ------
    InputError
        Where the embedding is missing, not finite, constant or of one dimension, or the column is missing.
    """
    if method not in get_args(Method):
        raise InputError(f"method is {method!r}; expected one of {', '.join(get_args(Method))}")
    points = points_of(adata, use_rep)
    cells, dimensions = points.shape
    if cells < FEWEST_CELLS or dimensions < 2:
        raise InputError(
            f"obsm['{use_rep}'] has {cells} cells in {dimensions} dimensions; give {FEWEST_CELLS} or more in "
            "2 or more"
        )
    if (points == points[0]).all():
        raise InputError(f"obsm['{use_rep}'] is the same in all cells; make it again")
    at, names = _flat(points, method, seed)
    ax = _drawn(adata, at, key, ax, names)
    ax.set_title(use_rep, fontsize=10, loc="left")
    return ax


def sections_3d(
    adata: AnnData,
    section_key: str,
    key: str = keys.DOMAIN,
    ax: Axes3D | None = None,
    *,
    order: Sequence[Any] | None = None,
    gap: float | None = None,
    spatial_key: str = keys.OBSM_SPATIAL,
) -> Axes3D:
    """Draw aligned sections above each other in three dimensions, their cells coloured by `obs[key]`.

    Parameters
    ----------
    section_key
        Column of `obs` that names the section.
    ax
        Axes with `projection="3d"`; by default new ones are made.
    order
        Sections from bottom to top; by default as they come in the column's categories, or sorted.
    gap
        Distance of one from the next, in the unit of the positions; by default the third column of the
        positions is taken where there is one, else a third of the width.

    Raises
    ------
    InputError
        Where labels, positions or sections are missing, or `order` names none.
    """
    labels, at = domain_labels(adata, key), positions_of(adata, spatial_key)
    heights = _heights(adata, section_key, order, gap, spatial_key, float(np.ptp(at, axis=0).max()))
    ax = plt.figure(figsize=(8, 6)).add_subplot(projection="3d") if ax is None else ax
    colours = colours_of(list(labels.categories))
    palette = np.array([*colours.values(), UNLABELLED])
    shown = np.flatnonzero(np.isfinite(heights))
    size = float(np.clip(INK / 4 / len(shown), SMALLEST, LARGEST))
    # one collection, so that matplotlib sorts all cells by their depth
    ax.scatter(
        at[shown, 0], at[shown, 1], heights[shown], c=palette[labels.codes[shown]], s=size, linewidths=0,
        depthshade=False, rasterized=True,
    )  # fmt: skip
    low, high = at[shown].min(0), at[shown].max(0)
    depth = float(np.ptp(heights[shown])) or 1.0
    ax.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), xticks=[], yticks=[])
    ax.set_box_aspect((*(high - low), depth), zoom=1.1)
    _name_sections(ax, adata, section_key, heights)
    legend(ax, colours, key, unlabelled=bool((labels.codes[shown] < 0).any()), left=True)
    return ax


def _flat(points: Floats, method: Method, seed: int) -> tuple[Floats, tuple[str, str]]:
    """Lay points [N, d] out in the plane, [N, 2], and name its axes."""
    if method == "pca":
        from sklearn.decomposition import PCA

        model = PCA(2, random_state=seed)
        at = model.fit_transform(points)
        first, second = model.explained_variance_ratio_
        return at, (f"PC 1 ({first:.0%} of the variance)", f"PC 2 ({second:.0%})")
    if method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
        model = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
        return model.fit_transform(points), ("t-SNE 1", "t-SNE 2")
    work = ad.AnnData(obsm={"X": points})
    lay_out(work, "X", seed=seed)
    return work.obsm[keys.OBSM_UMAP], ("UMAP 1", "UMAP 2")


def _drawn(adata: AnnData, at: Floats, key: str, ax: Axes | None, names: tuple[str, str]) -> Axes:
    """Draw cells at these places [N, 2] by label or by number, on axes of these names."""
    ax = plt.subplots(figsize=(6, 4.5), layout="constrained")[1] if ax is None else ax
    size = float(np.clip(INK / len(at), SMALLEST, LARGEST))
    if key in adata.obs and _measures(adata.obs[key]):
        _values(ax, at, adata.obs[key].to_numpy(np.float64), size, key)
    else:
        _labels(ax, at, adata, key, size)
    ax.set(xticks=[], yticks=[], xlabel=names[0], ylabel=names[1])
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _measures(column: pd.Series) -> bool:
    """Whether a column holds measurements; few different whole numbers are labels, such as clusters."""
    kind = column.dtype.kind
    return kind == "f" or (kind in "iu" and column.nunique() > MOST_NUMBERS)


def _labels(ax: Axes, at: Floats, adata: AnnData, key: str, size: float) -> None:
    labels = domain_labels(adata, key)
    colours = colours_of(list(labels.categories))
    palette = np.array([*colours.values(), UNLABELLED])
    order = np.random.default_rng(0).permutation(len(at))
    order = order[np.argsort(labels.codes[order] >= 0, kind="stable")]
    ax.scatter(
        at[order, 0], at[order, 1], c=palette[labels.codes[order]], s=size, linewidths=0, rasterized=True
    )
    legend(ax, colours, key, unlabelled=bool((labels.codes < 0).any()))


def _values(ax: Axes, at: Floats, values: Floats, size: float, key: str) -> None:
    known = np.isfinite(values)
    ax.scatter(at[~known, 0], at[~known, 1], c=UNLABELLED, s=size, linewidths=0, rasterized=True)
    x, y = at[known].T
    shades = ax.scatter(x, y, c=values[known], cmap=VALUES, s=size, linewidths=0, rasterized=True)
    figure_of(ax).colorbar(shades, ax=ax, label=key, shrink=0.6)


def _heights(
    adata: AnnData,
    section_key: str,
    order: Sequence[Any] | None,
    gap: float | None,
    spatial_key: str,
    width: float,
) -> Floats:
    """The height of each cell, [N]; NaN in a section that `order` leaves out."""
    members = section_members(section_codes(adata, [section_key]))
    by_name = {adata.obs[section_key].iloc[cells[0]]: cells for cells in members}
    categories = adata.obs[section_key].astype("category").cat.categories
    names = list(order) if order is not None else [name for name in categories if name in by_name]
    unknown = [str(name) for name in names if name not in by_name]
    if unknown or not names:
        raise InputError(f"order names {unknown}; obs['{section_key}'] has: {', '.join(map(str, by_name))}")
    heights = np.full(adata.n_obs, np.nan)
    positions = np.asarray(adata.obsm[spatial_key], np.float64)
    for number, name in enumerate(names):
        cells = by_name[name]
        own = gap is None and order is None and positions.shape[1] > 2
        heights[cells] = positions[cells, 2] if own else number * (LAYER_GAP * width if gap is None else gap)
    return heights


def _name_sections(ax: Axes3D, adata: AnnData, section_key: str, heights: Floats) -> None:
    middle = {
        str(adata.obs[section_key].iloc[cells[0]]): float(heights[cells].mean())
        for cells in section_members(section_codes(adata, [section_key]))
    }
    there = {name: height for name, height in middle.items() if np.isfinite(height)}
    ax.set_zticks(list(there.values()), list(there), fontsize=8, ha="left")
    ax.tick_params(axis="z", pad=0)
