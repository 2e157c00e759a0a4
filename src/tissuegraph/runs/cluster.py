"""`tissuegraph cluster`: cells in, clusters of them out."""

from __future__ import annotations

import logging
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tissuegraph import keys
from tissuegraph.cells.cluster_params import ClusterParams
from tissuegraph.errors import InputError
from tissuegraph.output import refuse_existing_file, whole_file
from tissuegraph.training.params import check_seed

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

ENDING, PICTURE_ENDING = ".h5ad", ".png"
KEY = "cluster"
SPATIAL = "spatial"
DOTS_PER_INCH = 200

log = logging.getLogger(__name__)


def cluster_cells_of(
    cells: Path | str,
    out: Path | str,
    *,
    params: ClusterParams | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    graph: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Find clusters of cells without labels, and say how far they can be trusted.

    Writes what `cells` holds with `obs["cluster"]`, `obs["cluster_silhouette"]` and the parameters, mean
    silhouette and stability in `uns`; beside it, under the same name, a picture (`.png`): how reliably each
    number of clusters is found where it was searched, else the silhouettes of the clusters.

    Parameters
    ----------
    cells
        What `tg.read_section` takes: cells.h5ad of `segment`, .zarr, any h5ad, also without positions.
    out
        File to write, `.h5ad`.
    params
        How cells are clustered.
    use_rep
        An embedding in `obsm`, such as "X_infomax"; by default components of the expression.
    layer
        Where the expression stands; by default the counts of `layers["counts"]`, else `X`.
    graph
        Of `smooth`: a graph in `obsp`; "spatial" by default, which is built where it is missing.
    seed
        The same seed gives the same clusters.
    overwrite
        Replace files that are there.

    Returns
    -------
    The file.

    Raises
    ------
    InputError
        If the cells or an option are not what they should be.
    MachineError
        If R with mclust is needed and missing.
    OutputError
        If a file exists or cannot be written.
    """
    source, out = Path(cells), Path(out).absolute()
    params = ClusterParams() if params is None else params
    check_seed(seed)
    if out.suffix != ENDING:
        raise InputError(f"out is {out.name}; give a name that ends with {ENDING}")
    if out == source.absolute():
        raise InputError(f"out is the file of the cells itself, {out}; choose another name")
    _refuse_unread(params, use_rep, layer, graph)
    for file in (out, out.with_suffix(PICTURE_ENDING)):
        refuse_existing_file(file, overwrite=overwrite)
    from tissuegraph.cells.cluster import cluster_cells
    from tissuegraph.io.sections.read import read_counts_and_positions

    along = SPATIAL if graph is None else graph
    spatial = params.smooth > 0 and along == SPATIAL
    adata = read_counts_and_positions(source, needs_positions=spatial)
    if layer is None and use_rep is None and keys.LAYER_COUNTS in adata.layers:
        layer = keys.LAYER_COUNTS
    if spatial:
        _build_graph(adata)
    cluster_cells(adata, **asdict(params), use_rep=use_rep, layer=layer, graph_key=along, seed=seed)
    adata.uns[keys.UNS_RUN][KEY] |= {"source": str(source), "version": version("tissuegraph")}
    _write(adata, out)
    log.info("clusters of %s cells: %s", f"{adata.n_obs:,}", out)
    return out


def _refuse_unread(params: ClusterParams, use_rep: str | None, layer: str | None, graph: str | None) -> None:
    """Refuse options that nothing would read."""
    if graph is not None and not params.smooth:
        raise InputError("a graph is given, which only --smooth reads; add --smooth 1, or leave it out")
    if layer is not None and use_rep is not None:
        raise InputError("both use_rep and layer are given; give one of them")


def _build_graph(adata: AnnData) -> None:
    from tissuegraph.graph.spatial import spatial_neighbors

    if f"{SPATIAL}_connectivities" not in adata.obsp:
        spatial_neighbors(adata)


def _write(adata: AnnData, out: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    from tissuegraph.plot.canvas import figure_of

    figure = figure_of(_picture(adata))
    with whole_file(out) as staging:
        adata.write_h5ad(staging, compression="gzip")
    with whole_file(out.with_suffix(PICTURE_ENDING)) as staging:
        figure.savefig(staging, dpi=DOTS_PER_INCH)
    pyplot.close(figure)


def _picture(adata: AnnData) -> Axes:
    """The curve of stability where the number was searched, else the silhouettes."""
    from tissuegraph.plot.graphs import silhouettes, stability

    if "stability" in adata.uns[keys.UNS_RUN][KEY]:
        return stability(adata, key=KEY)
    return silhouettes(adata, KEY)
