"""Deep Graph Infomax on AnnData: fit an embedding of cells by their features and neighbours, apply it."""

from __future__ import annotations

import logging
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tissuegraph.cells.embed_params import InfomaxParams, cells_a_step
from tissuegraph.cells.infomax_model import KEY, InfomaxModel, load_infomax, model_in, new_network
from tissuegraph.cells.inputs import fit_features, graph_of
from tissuegraph.errors import ModelError
from tissuegraph.nn.hop_graph import HopGraph
from tissuegraph.nn.infomax import LitInfomax
from tissuegraph.nn.infomax_batches import Batches, View, loaders
from tissuegraph.nn.row_chunks import own_threads
from tissuegraph.training import trainer
from tissuegraph.training.machine import check_in_one_command, check_training
from tissuegraph.training.params import check_seed

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)


def infomax(
    adata: AnnData,
    params: InfomaxParams | None = None,
    *,
    graph: str = "spatial",
    features: str | None = None,
    layer: str | None = None,
    key_added: str = KEY,
    seed: int = 0,
) -> InfomaxModel:
    """Embed cells by their features and those of their neighbours (Deep Graph Infomax).

    Parameters
    ----------
    adata
        Cells with expression and a graph. `X` stays as it is. Written are `obsm[key_added]`
        (f32 [N, dimensions]) and in `uns["tissuegraph"][key_added]` the parameters, graph, versions, seed,
        what the network was given (`input`), how training went and the fitted model.
    params
        The network, its training and the machine that it runs on.
    graph
        "spatial": `obsp["spatial_connectivities"]` (`tg.spatial_neighbors`). "expression": the nearest in the
        features; it is built where `obsp["expression_connectivities"]` is not there, and written as by
        `tg.expression_neighbors`. Or any other graph in `obsp`, with or without "_connectivities".
    features
        A table of `obsm` that is taken as it is; None for the leading principal components of the expression.
    layer
        Expression other than `X`. Raw counts are normalised on a copy.
    key_added
        Name of the embedding.
    seed
        Of the first weights, the corruptions and the batches. On the CPU the same seed gives the same bits,
        on any number of threads.

    Returns
    -------
    The fitted model, for `infomax_transform`, `embed` and `save`.

    Raises
    ------
    InputError
        If there is no such graph or table, or the expression is not what it should be.
    MachineError
        If the accelerator is not there.

    References
    ----------
    Velickovic et al. 2019, Deep Graph Infomax.
    """
    params = params or InfomaxParams()
    check_seed(seed)
    check_in_one_command(params)
    with own_threads():
        how, rows = fit_features(adata, features, layer, params.n_components, params.section_key)
    edges = HopGraph(graph_of(adata, graph, rows, params.n_neighbors, seed))
    network = LitInfomax(new_network(params, rows.shape[1], seed), params.learning_rate)
    batches = Batches(params.layers, cells_a_step(params.batch_cells, len(edges)))
    train, val = loaders([View(torch.tensor(rows), edges)], batches, seed)
    with tempfile.TemporaryDirectory() as root, own_threads():
        history = trainer.fit(network, train, val, Path(root), check_training(params))
    if history["best_val_loss"] is None or not math.isfinite(history["best_val_loss"]):
        raise ModelError("training ran into numbers that are not finite; lower learning_rate")
    model = InfomaxModel(network.network, params, how, graph, seed, history)
    log.info(
        "infomax: %s of %s cells, %d epochs (%s), loss %.3g",
        how.in_words,
        f"{len(edges):,}",
        history["epochs"],
        history["stopped_because"],
        history["best_val_loss"],
    )
    model.write(adata, rows, edges, key_added)
    return model


def infomax_transform(
    model: InfomaxModel | AnnData | str | Path,
    adata: AnnData,
    *,
    layer: str | None = None,
    key_added: str = KEY,
) -> None:
    """Embed other cells with a fitted model.

    Parameters
    ----------
    model
        What `infomax` returned, the AnnData that it wrote to, or the folder of a saved model.
    adata
        Cells of the same genes, or with the same table in `obsm`, and a graph built in the same way. Where
        the model was fitted to several sections, the new ones are centred by themselves too. Written are the
        same names as by `infomax`.
    layer, key_added
        As in `infomax`; `key_added` is also the name under which an AnnData holds the model.

    Raises
    ------
    InputError
        As `infomax`, or if genes of the model are missing.
    ModelError
        If there is no model, or it takes other features.
    """
    fitted = model if isinstance(model, InfomaxModel) else None
    if fitted is None:
        fitted = load_infomax(model) if isinstance(model, str | Path) else model_in(model, key_added)
    fitted.embed(adata, layer=layer, key_added=key_added)
