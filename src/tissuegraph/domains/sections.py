"""A section to work with: counts, positions and the graph that suits them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tissuegraph.graph.sections import SectionKey
from tissuegraph.graph.spatial import spatial_neighbors
from tissuegraph.io.sections.read import read_counts_and_positions

if TYPE_CHECKING:
    from anndata import AnnData


def read_section(
    path: str | Path,
    *,
    platform: str | None = None,
    bin_size: int | str | None = None,
    table: str | None = None,
    section_key: SectionKey = "auto",
    graph: bool = True,
) -> AnnData:
    """Read a section of spatial transcriptomics and build its default graph.

    Parameters
    ----------
    path
        A Space Ranger folder (Visium, Visium HD), a folder with Slide-seq tables, a .gem, .gem.gz or .gef
        file of Stereo-seq, an .h5ad with `obsm["spatial"]`, the folder or `cells.h5ad` that `tg.segment`
        wrote, or a .zarr of AnnData or SpatialData.
    platform
        "visium", "visium-hd", "slide-seq", "stereo-seq", "h5ad" or "zarr"; found from the path by default.
    bin_size
        Visium HD: um (8). Stereo-seq: spots of the chip a side (50, which is 25 um), or "cell".
    table
        Which table of SpatialData, if it has several.
    section_key
        Column(s) of `obs` across which there are no edges; as in `tg.spatial_neighbors_knn`.
    graph
        Whether to build the graph of `tg.spatial_neighbors`: 6 nearest neighbours on Visium.

    Returns
    -------
    AnnData with counts in `X` and `layers["counts"]` (an .h5ad or .zarr stays as it is), `obsm["spatial"]` in
    um where the files tell the scale, and in `uns["tissuegraph"]["section"]` what was read: `platform`,
    `unit`, ...

    Raises
    ------
    InputError
        Where files are missing, damaged or do not fit each other.
    MachineError
        Where SpatialData is not installed.
    """
    adata = read_counts_and_positions(path, platform=platform, bin_size=bin_size, table=table)
    if graph:
        spatial_neighbors(adata, section_key=section_key)
    return adata
