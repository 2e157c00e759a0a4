"""`tissuegraph annotate`: cells in, their types out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tissuegraph import keys
from tissuegraph.cells.annotate_params import AnnotateParams
from tissuegraph.errors import InputError
from tissuegraph.output import refuse_existing_file, whole_file
from tissuegraph.training.params import check_seed

if TYPE_CHECKING:
    from anndata import AnnData

    from tissuegraph.cells.annotation.model import AnnotateModel

ENDING, PICTURE_ENDING, SCORES_ENDING = ".h5ad", ".png", ".scores.csv"
DOTS_PER_INCH = 200

log = logging.getLogger(__name__)


def annotate_cells(
    cells: Path | str,
    out: Path | str,
    *,
    reference: Path | None = None,
    labels: str = keys.CELL_TYPE,
    model: Path | None = None,
    save_model: Path | None = None,
    method: str = "gat",
    graph: str = "auto",
    no_unknown: bool = False,
    params: AnnotateParams | None = None,
    layer: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Name the type of each cell.

    Writes what `cells` holds with `obs["cell_type"]`, its probability and how unlike any labelled cell it is;
    beside it, under the same name, a picture (`.png`: types on the tissue, or who was taken for whom) and the
    scores on held-out labelled cells (`.scores.csv`), which are logged too.

    Parameters
    ----------
    cells
        What `tg.read_section` takes: cells.h5ad of `segment`, any h5ad, .zarr.
    out
        File to write, `.h5ad`.
    reference
        Labelled cells (.h5ad) or average profiles (.csv, .tsv, .parquet); by default the labels are those of
        `cells` itself.
    labels
        Column with the types, in `obs` of the labelled cells or in the table.
    model
        Folder of a model that was saved; nothing is fitted.
    save_model
        Folder to write the fitted model to.
    method
        "gat", "gcn" or "logistic".
    graph
        "spatial", "expression", a key of `obsp`, or "auto"; a spatial graph that is missing is built where
        there are positions.
    no_unknown
        Give every cell one of the known types.
    params
        The classifier.
    layer
        Where the expression stands; by default the counts of `layers["counts"]`, else `X`.
    seed
        Of folds and weights; on the CPU the same seed gives the same bits.
    overwrite
        Replace files and model that are there.

    Returns
    -------
    The file.

    Raises
    ------
    InputError
        If cells, reference or an option are not what they should be.
    ModelError
        If the model cannot be read.
    OutputError
        If a file exists or cannot be written.
    """
    source, out = Path(cells), Path(out).absolute()
    check_seed(seed)
    if out.suffix != ENDING:
        raise InputError(f"out is {out.name}; give a name that ends with {ENDING}")
    if out == source.absolute():
        raise InputError(f"out is the file of the cells itself, {out}; choose another name")
    if model is not None and (reference is not None or save_model is not None):
        raise InputError("a model is given, so nothing is fitted; leave out --reference and --save-model")
    files = [out, out.with_suffix(PICTURE_ENDING), out.with_suffix(SCORES_ENDING)]
    for file in files:
        refuse_existing_file(file, overwrite=overwrite)
    from tissuegraph.cells.annotate import annotate, annotate_transform
    from tissuegraph.cells.annotation.model import load_annotator
    from tissuegraph.domains.sections import read_section

    adata = read_section(source)
    if graph in ("auto", "spatial") and keys.OBSM_SPATIAL in adata.obsm and reference is None:
        _build_graph(adata)
    if model is not None:
        fitted = load_annotator(model)
        annotate_transform(fitted, adata, unknown=not no_unknown, layer=layer)
    else:
        fitted = annotate(
            adata,
            reference,
            labels,
            method,
            graph=graph,
            unknown=not no_unknown,
            params=params,
            layer=layer,
            seed=seed,
        )
    if save_model is not None:
        fitted.save(save_model, overwrite=overwrite)
    _write(adata, fitted, files)
    log.info("cell types: %s", out)
    return out


def _build_graph(adata: AnnData) -> None:
    from tissuegraph.graph.spatial import spatial_neighbors

    if "spatial_connectivities" not in adata.obsp:
        spatial_neighbors(adata)


def _write(adata: AnnData, model: AnnotateModel, files: list[Path]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    from tissuegraph.plot.canvas import figure_of
    from tissuegraph.plot.classes import confusion
    from tissuegraph.plot.tissue import domains

    if keys.OBSM_SPATIAL in adata.obsm:
        figure = domains(adata, keys.CELL_TYPE)
    else:
        labels = adata.obs[keys.CELL_TYPE] if model.held_out.empty else model.held_out["said"]
        truth = adata.obs[keys.CELL_TYPE] if model.held_out.empty else model.held_out["truth"]
        figure = figure_of(confusion(truth, labels))
    with whole_file(files[0]) as staging:
        adata.write_h5ad(staging, compression="gzip")
    with whole_file(files[1]) as staging:
        figure.savefig(staging, dpi=DOTS_PER_INCH)
    pyplot.close(figure)
    with whole_file(files[2]) as staging:
        model.scores.to_csv(staging, index_label="method", lineterminator="\n")
