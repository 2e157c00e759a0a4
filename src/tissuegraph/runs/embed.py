"""`tissuegraph embed`: cells in, an embedding of them out."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tissuegraph import keys
from tissuegraph.cells.embed_params import InfomaxParams, Node2VecParams
from tissuegraph.errors import InputError
from tissuegraph.output import refuse_existing, refuse_existing_file, whole_file
from tissuegraph.training.params import check_seed

if TYPE_CHECKING:
    from anndata import AnnData

    from tissuegraph.cells.infomax_model import InfomaxModel
    from tissuegraph.graph.sections import SectionKey

METHODS = ("infomax", "node2vec")
ENDING = ".h5ad"
SPATIAL, EXPRESSION = "spatial", "expression"

log = logging.getLogger(__name__)


def embed_cells(
    section: Path | str,
    out: Path | str,
    *,
    method: str = "infomax",
    graph: str | None = None,
    node2vec: Node2VecParams | None = None,
    infomax: InfomaxParams | None = None,
    features: str | None = None,
    model: Path | str | None = None,
    save_model: Path | str | None = None,
    layer: str | None = None,
    platform: str | None = None,
    bin_size: str | None = None,
    table: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Embed cells along a graph of neighbours in the tissue, or of cells that are alike.

    Writes what `section` holds with the embedding in `obsm["X_infomax"]` or `obsm["X_node2vec"]`, the graph,
    and in `uns["tissuegraph"]` the parameters and, of "infomax", the fitted model.

    Parameters
    ----------
    section
        What `tg.read_section` takes: a Space Ranger folder, .h5ad, .zarr, .gem, Slide-seq tables; along
        another graph than "spatial" also an .h5ad without positions.
    out
        File to write, `.h5ad`.
    method
        "infomax" (Deep Graph Infomax: features of a cell and its neighbours) or "node2vec" (random walks: the
        graph alone).
    graph
        "spatial" (the default), "expression", or another graph in `obsp`. The first two are built where they
        are not there: as by `tg.spatial_neighbors`, and among what the network is given, or, for "node2vec",
        as by `tg.expression_neighbors`. A fitted model has a graph of its own.
    node2vec, infomax
        Hyper-parameters of either.
    features
        Of "infomax": a table of `obsm` instead of principal components of the expression.
    model
        Of "infomax": the folder of a fitted model, or a file that this command wrote; it is applied, and
        nothing is fitted.
    save_model
        Of "infomax": folder to write the fitted model to.
    layer
        Where the expression stands; by default the counts of `layers["counts"]`, else `X`. Raw counts are
        normalised to 10,000 a cell and log-transformed, anything else is taken as it is.
    platform, bin_size, table
        As `tg.read_section` takes them, where the path does not tell.
    seed
        Of walks or training; on the CPU the same seed gives the same bits.
    overwrite
        Replace a file, and a model, that are there.

    Returns
    -------
    The file.

    Raises
    ------
    InputError
        If the section or an option is not what it should be.
    ModelError
        If the model does not fit.
    OutputError
        If the file exists or cannot be written.
    """
    source, out = Path(section), Path(out).absolute()
    _check(source, out, method, seed)
    _check_read(method, node2vec, (infomax, features, save_model), model, graph)
    refuse_existing_file(out, overwrite=overwrite)
    if save_model is not None:
        refuse_existing(Path(save_model), overwrite=overwrite, marker=keys.MODEL_CARD_FILE, kind="model")
    from tissuegraph.io.sections.read import read_counts_and_positions

    along = SPATIAL if graph is None else graph
    size = int(bin_size) if bin_size and bin_size.isdigit() else bin_size
    adata = read_counts_and_positions(
        source,
        platform=platform,
        bin_size=size,
        table=table,
        needs_positions=along == SPATIAL and model is None,
    )
    if layer is None and keys.LAYER_COUNTS in adata.layers:
        layer = keys.LAYER_COUNTS
    if method == "node2vec":
        _walk(adata, along, node2vec, seed)
    elif model is None:
        fitted = _fit(adata, along, infomax, features, layer, seed)
        if save_model is not None:
            fitted.save(save_model, overwrite=overwrite)
    else:
        _apply(adata, Path(model), layer)
    record = {"section": str(source), "method": method, "model": "" if model is None else str(model)}
    record |= {"layer": layer or "", "version": version("tissuegraph")}
    adata.uns[keys.UNS_RUN] = {**adata.uns[keys.UNS_RUN], "embed": record}
    with whole_file(out) as staging:
        adata.write_h5ad(staging, compression="gzip")
    log.info("embedding of %s cells: %s", f"{adata.n_obs:,}", out)
    return out


def _check(source: Path, out: Path, method: str, seed: int) -> None:
    """Refuse what can be told from the options alone, before anything is read."""
    if out.suffix != ENDING:
        raise InputError(f"out is {out.name}; give a name that ends with {ENDING}")
    if out == source.absolute():
        raise InputError(f"out is the section itself, {out}; choose another name")
    if method not in METHODS:
        raise InputError(f"method is {method!r}; expected one of: {', '.join(METHODS)}")
    check_seed(seed)


def _check_read(
    method: str, node2vec: object, of_infomax: tuple[object, ...], model: object, graph: str | None
) -> None:
    """Refuse options that nothing would read."""
    fitted_with = any(one is not None for one in of_infomax)
    unread = fitted_with or model is not None if method == "node2vec" else node2vec is not None
    if unread:
        raise InputError(
            f"options of another method are given, which {method!r} does not read; leave them out"
        )
    if model is not None and (fitted_with or graph is not None):
        raise InputError("a model and what it is to be fitted with are given; give one of them")


def _walk(adata: AnnData, graph: str, params: Node2VecParams | None, seed: int) -> None:
    from tissuegraph.cells.neighbours import expression_neighbors
    from tissuegraph.cells.node2vec import node2vec

    _build_spatial(adata, graph)
    if graph == EXPRESSION and _missing(adata, graph):
        expression_neighbors(adata, seed=seed)
    node2vec(adata, params, graph=graph, seed=seed)


def _fit(
    adata: AnnData,
    graph: str,
    params: InfomaxParams | None,
    features: str | None,
    layer: str | None,
    seed: int,
) -> InfomaxModel:
    from tissuegraph.cells.infomax import infomax

    _build_spatial(adata, graph, InfomaxParams.section_key if params is None else params.section_key)
    return infomax(adata, params, graph=graph, features=features, layer=layer, seed=seed)


def _apply(adata: AnnData, source: Path, layer: str | None) -> None:
    """Embed with a model from a folder, or from a file that holds one."""
    from tissuegraph.cells.infomax_model import KEY, load_infomax, model_in
    from tissuegraph.io.sections.tables import read_h5ad

    if source.suffix == ENDING:
        fitted = model_in(read_h5ad(source, needs_positions=False)[0], KEY)
    else:
        fitted = load_infomax(source)
    _build_spatial(adata, fitted.graph, fitted.params.section_key)
    fitted.embed(adata, layer=layer)


def _missing(adata: AnnData, graph: str) -> bool:
    return not {graph, f"{graph}_connectivities"} & set(adata.obsp)


def _build_spatial(adata: AnnData, graph: str, section_key: SectionKey = "auto") -> None:
    """Build the graph of the tissue, if that is asked for and not there."""
    from tissuegraph.graph.spatial import spatial_neighbors

    if graph == SPATIAL and _missing(adata, graph):
        spatial_neighbors(adata, section_key=section_key)
