"""integrate(): one embedding of cells of which two omics were measured."""

from __future__ import annotations

import logging
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from tissuegraph.cells.embed_params import IntegrateParams, cells_a_step
from tissuegraph.cells.inputs import Floats, fit_features
from tissuegraph.cells.integration.judging import clusters, compare, labels_of
from tissuegraph.cells.records import keep_record
from tissuegraph.clustering.naming import as_categories, rank_by_size
from tissuegraph.errors import InputError, ModelError
from tissuegraph.graph.expression import nearest_in_features
from tissuegraph.graph.stored import adjacency
from tissuegraph.nn.hop_graph import HopGraph
from tissuegraph.nn.infomax_batches import Batches, View, loaders
from tissuegraph.nn.joint import LAYERS, Joint, LitJoint
from tissuegraph.nn.row_chunks import own_threads
from tissuegraph.training import trainer
from tissuegraph.training.machine import check_in_one_command, check_training
from tissuegraph.training.model_files import versions
from tissuegraph.training.params import check_seed

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

JOINT, OWN = "joint", "own"
CLUSTERS = "integrated_cluster"
CONCATENATED, INTEGRATED = "concatenated", "integrated"
PACKAGES = ("tissuegraph", "torch", "lightning", "numpy", "scipy", "anndata", "scikit-learn")

log = logging.getLogger(__name__)


def integrate(
    adata_rna: AnnData,
    adata_other: AnnData,
    *,
    names: tuple[str, str] = ("rna", "other"),
    labels: str | None = None,
    graph: str = JOINT,
    layers: tuple[str | None, str | None] = (None, None),
    params: IntegrateParams | None = None,
    key_added: str = "X_integrated",
    seed: int = 0,
) -> pd.DataFrame:
    """Embed cells of which two omics were measured, and say what that is worth.

    An encoder for each omics averages over neighbours. They are trained together: each must tell the cells
    from shuffled ones (Deep Graph Infomax), and a cell's embedding in one omics must recognise the cell in
    the other. They begin as the leading components of each omics, averaged over neighbours.

    Parameters
    ----------
    adata_rna, adata_other
        The same cells, by `obs_names`, in any order; counts, which are normalised on a copy, or any real
        numbers. Written to both are `obsm[key_added]` (f32 [N, 2 dimensions]: the first omics, then the
        second), `obs["integrated_cluster"]`, and in `uns["tissuegraph"][key_added]` parameters, seed,
        versions, how training went and the table (`scores`).
    names
        What the omics are called in the table.
    labels
        Column of `obs` of `adata_rna`, else of `adata_other`, with labels that the embeddings are judged by;
        nothing is trained on them. Cells without one (NaN) are not judged.
    graph
        Whom a cell hears: "joint", the nearest in both omics together; "own", in each omics the nearest in
        that omics; or a graph in `obsp` of `adata_rna`, such as "spatial", for both.
    layers
        Expression other than `X` in either.
    params
        Hyper-parameters.
    key_added
        Name of the embedding.
    seed
        Of weights, corruptions, clusters and folds. On the CPU the same seed gives the same bits.

    Returns
    -------
    A row for each omics alone, for both side by side (their components, "concatenated") and for the joint
    embedding ("integrated"), with `dimensions`; `clusters`, their number, and `agreement` of these with
    those of the joint embedding (adjusted Rand index); and where there are labels `accuracy` and
    `accuracy_sd` of a logistic regression on held-out cells, in stratified folds that are the same for all
    rows, and `ari` of clusters and labels.

    Raises
    ------
    InputError
        If the cells are not the same, or labels, graph or numbers are not what they should be.
    MachineError
        If the accelerator is not there.

    References
    ----------
    Velickovic et al. 2019, Deep Graph Infomax.
    """
    params = params or IntegrateParams()
    check_seed(seed)
    check_in_one_command(params)
    order = _same_cells(adata_rna, adata_other, names)
    truth = None if labels is None else labels_of(adata_rna, adata_other, order, labels)
    with own_threads():
        pairs = zip((adata_rna, adata_other), layers, strict=True)
        rows = [
            fit_features(one, None, layer, params.n_components, params.section_key)[1] for one, layer in pairs
        ]
    rows[1] = rows[1][order]
    embedding, history = _embed(rows, _graphs(adata_rna, rows, graph, params, seed), params, seed)
    compared = dict(zip(names, rows, strict=True))
    compared |= {CONCATENATED: np.concatenate(rows, axis=1), INTEGRATED: embedding}
    found = {name: clusters(points, params.n_clusters, truth, seed) for name, points in compared.items()}
    table = compare(compared, found, truth, seed)
    log.info("omics side by side:\n%s", table.round(3).to_string())
    rank = rank_by_size(found[INTEGRATED], adata_rna.obs_names.to_numpy())
    types = as_categories(rank[found[INTEGRATED]], len(np.unique(found[INTEGRATED])))
    back = np.argsort(order)
    for adata, place in ((adata_rna, slice(None)), (adata_other, back)):
        adata.obsm[key_added] = embedding[place]
        adata.obs[CLUSTERS] = types[place]
        more: dict[str, Any] = {"graph": graph, "labels": labels or "", "history": history, "scores": table}
        keep_record(adata, key_added, params, seed, versions=versions(*PACKAGES), **more)
    return table


def _same_cells(rna: AnnData, other: AnnData, names: tuple[str, str]) -> npt.NDArray[np.int64]:
    """Where each cell of the first stands in the second."""
    if len(names) != 2 or names[0] == names[1] or {CONCATENATED, INTEGRATED} & set(names):
        raise InputError(f"names are {names!r}; give two different ones, such as ('rna', 'protein')")
    for adata, name in zip((rna, other), names, strict=True):
        twice = int(adata.obs_names.duplicated().sum())
        if twice:
            raise InputError(f"{twice:,} names of cells stand twice in {name}; call obs_names_make_unique()")
    order = other.obs_names.get_indexer(rna.obs_names)
    missing, spare = int((order < 0).sum()), int((~other.obs_names.isin(rna.obs_names)).sum())
    if missing or spare:
        raise InputError(
            f"{missing:,} of the {rna.n_obs:,} cells of {names[0]} are not in {names[1]}, which has "
            f"{spare:,} others; give the same cells in both, by obs_names"
        )
    return np.asarray(order, np.int64)


def _graphs(
    rna: AnnData, rows: list[Floats], graph: str, params: IntegrateParams, seed: int
) -> list[HopGraph]:
    """Whom a cell hears in each omics."""
    if graph == OWN:
        return [HopGraph(_nearest(one, params.n_neighbors, seed)) for one in rows]
    if graph == JOINT:
        shared = HopGraph(_nearest(np.concatenate(rows, axis=1), params.n_neighbors, seed))
    else:
        shared = HopGraph(adjacency(rna, graph))
    return [shared, shared]


def _nearest(points: Floats, n_neighbors: int, seed: int) -> sparse.csr_matrix:
    """The nearest of each cell, both ways."""
    from scipy import sparse

    edges = nearest_in_features(points, n_neighbors, seed=seed)
    ones = np.ones(edges.shape[1], np.float32)
    found = sparse.csr_matrix((ones, (edges[1], edges[0])), (len(points), len(points)))
    return sparse.csr_matrix(found.maximum(found.T))


def _embed(
    rows: list[Floats], graphs: list[HopGraph], params: IntegrateParams, seed: int
) -> tuple[Floats, dict[str, Any]]:
    """Train both encoders; the joint embedding [N, 2 D], and how training went."""
    tensors = [torch.tensor(one) for one in rows]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LitJoint(Joint([one.shape[1] for one in rows], params.dimensions), params.learning_rate)
    batches = Batches(LAYERS, cells_a_step(params.batch_cells, len(graphs[0])))
    train, val = loaders([View(*pair) for pair in zip(tensors, graphs, strict=True)], batches, seed)
    with tempfile.TemporaryDirectory() as root, own_threads():
        history = trainer.fit(network, train, val, Path(root), check_training(params))
        if history["best_val_loss"] is None or not math.isfinite(history["best_val_loss"]):
            raise ModelError("training ran into numbers that are not finite; lower learning_rate")
        with torch.no_grad():
            embedding = network.network.embed(tensors, [graph.whole(LAYERS) for graph in graphs]).numpy()
    log.info("integrate: %d epochs (%s)", history["epochs"], history["stopped_because"])
    return embedding, history
