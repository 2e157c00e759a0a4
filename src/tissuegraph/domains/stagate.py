"""STAGATE on AnnData: fit an embedding of cells by expression and neighbours, apply it to other sections."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track

from tissuegraph import keys
from tissuegraph.domains.cell_types import cell_types
from tissuegraph.domains.denoise import denoise
from tissuegraph.domains.params import Z_SCORE_GENES, StagateParams, stagate_params
from tissuegraph.domains.stagate_model import StagateModel, load_stagate, new_network, restored
from tissuegraph.errors import InputError, ModelError
from tissuegraph.features.components import Codes, Components, Moments, fit_components, mean_squared_length
from tissuegraph.features.expression import Matrix, expression, modelled_genes
from tissuegraph.graph.sections import section_codes, section_columns
from tissuegraph.graph.stored import adjacency, positions
from tissuegraph.nn.stagate_batches import Tissue, apply
from tissuegraph.nn.stagate_fit import Descent, fit
from tissuegraph.nn.stagate_graph import CellGraph
from tissuegraph.training.machine import torch_device
from tissuegraph.training.model_files import model_of_record

if TYPE_CHECKING:
    from anndata import AnnData

WHOLE_CELLS = 20_000
"""Cells up to which automatic batches are the whole."""
BATCH_CELLS = 10_000
"""Cells of an automatic batch beyond that."""
MIN_PASSES = 2
DENOISED_AT_A_TIME = 10_000
TYPE_COMPONENTS = 50
"""Components that are clustered into cell types where the network is given genes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Given:
    """What the network is given of some cells."""

    expression: Matrix
    matrix: Matrix
    """Expression itself, or its components."""
    sections: Codes
    moments: Moments | None


def stagate(
    adata: AnnData,
    params: StagateParams | None = None,
    preset: str | None = None,
    *,
    layer: str | None = None,
    key_added: str = "X_stagate",
    save_attention: bool = False,
    save_denoised: bool = False,
    device: str = "auto",
    seed: int = 0,
    normalize: bool = False,
) -> StagateModel:
    """Embed cells by their expression and that of their neighbours (STAGATE).

    Parameters
    ----------
    adata
        Cells with expression, normalised and log-transformed, and a graph in
        `obsp["spatial_connectivities"]` (`tg.spatial_neighbors`). Where `var["highly_variable"]` is there,
        only those genes are modelled. `X` stays as it is. Written are
        `obsm[key_added]` (f32 [N, latent]), and in `uns["tissuegraph"][key_added]` the parameters, versions,
        seed, what the network was given (`input`), the loss of every pass and the fitted model.
    params
        Hyper-parameters; see also `preset`.
    preset
        "paper-tf" or "paper-pyg", what the two public ports do; instead of `params`.
    layer
        Expression other than `X`.
    key_added
        Name of the embedding. The names below follow it: without "X_", here "stagate".
    save_attention
        Write `obsp["stagate_attention"]`, row i the attention of cell i to its neighbours and itself, and
        with `alpha` also `obsp["stagate_attention_pruned"]`, that within cell types.
    save_denoised
        Write `layers["stagate_denoised"]`, in the scale of the input and clipped at 0: the reconstruction,
        with components as input weighed against the cell's own (`tissuegraph.domains.denoise`). NaN for genes
        that were not modelled. Dense.
    device
        "auto", "cpu", "cuda" or another name that torch knows. Bit-equal for a seed on the CPU.
    seed
        Of the initial weights, the order of batches and the clustering for `alpha`.
    normalize
        The expression is raw counts: scale each cell to 10,000 and take `log(1 + x)` first, on a copy.

    Returns
    -------
    The fitted model, for `stagate_transform` and `save`.

    Raises
    ------
    InputError
        For raw counts without `normalize`, a missing graph, numbers that are none.
    MachineError
        If the device is not there.

    References
    ----------
    Dong and Zhang 2022, Nature Communications 13:1739.
    """
    if params is not None and preset is not None:
        raise InputError("both params and preset are given; give one of them")
    params, on = params or stagate_params(preset), torch_device(device)
    genes = modelled_genes(adata)
    matrix = expression(adata, genes, layer, normalize=normalize)
    edges = adjacency(adata)
    sections = section_codes(adata, section_columns(adata, params.section_key))
    components, given = _fit_input(matrix, sections, params)
    generator = torch.Generator().manual_seed(seed)
    network = new_network(params, given.matrix.shape[1], generator).to(on)
    types = _types(adata, matrix, given, params, components, seed)
    graph = CellGraph(edges, types)
    tissue = Tissue(given.matrix, graph, positions(adata), on, params.target_rounds, params.alpha)
    batch_cells, epochs = _batches(params, len(tissue))
    passes = tissue.passes(epochs, batch_cells, generator)
    history = fit(network, _shown(passes, epochs), _descent(params))
    if not math.isfinite(history[-1]):
        raise ModelError("training ran into numbers that are not finite; lower learning_rate")
    model = StagateModel(network.cpu(), params, tuple(genes), components, seed, tuple(history))
    log.info(
        "fitted to %s of %d cells in %d passes; loss %.4g", model.input, len(tissue), epochs, history[-1]
    )
    _write(adata, model, tissue, given, key_added, attention=save_attention, denoised=save_denoised)
    return model


def stagate_transform(
    model: StagateModel | AnnData | str | Path,
    adata: AnnData,
    *,
    layer: str | None = None,
    key_added: str = "X_stagate",
    save_attention: bool = False,
    save_denoised: bool = False,
    device: str = "auto",
    normalize: bool = False,
) -> None:
    """Embed cells of another section with a fitted model.

    Parameters
    ----------
    model
        What `stagate` returned, the AnnData that it wrote to, or the folder of a saved model.
    adata
        Cells of the same genes, normalised in the same way, with a graph built in the same way. Where the
        model was fitted to several sections, the new ones are centred by themselves too. Written are the same
        names as by `stagate`.
    layer, key_added, save_attention, save_denoised, device, normalize
        As in `stagate`; `key_added` is also the name under which an AnnData holds the model.

    Raises
    ------
    InputError
        As `stagate`, or if genes of the model are missing.
    ModelError
        If there is no model.
    """
    fitted, on = _model(model, key_added), torch_device(device)
    matrix = expression(adata, fitted.genes, layer, normalize=normalize)
    edges = adjacency(adata)
    sections = section_codes(adata, section_columns(adata, fitted.params.section_key))
    given = _given(matrix, sections, fitted.components)
    types = _types(adata, matrix, given, fitted.params, fitted.components, fitted.seed)
    tissue = Tissue(given.matrix, CellGraph(edges, types), positions(adata), on)
    _write(adata, fitted, tissue, given, key_added, attention=save_attention, denoised=save_denoised)


def _fit_input(matrix: Matrix, sections: Codes, params: StagateParams) -> tuple[Components | None, _Given]:
    """What the network will be given, and how it is found for other cells."""
    if params.n_components is None:
        return None, _Given(matrix, matrix, sections, None)
    z_score = matrix.shape[1] <= Z_SCORE_GENES if params.z_score == "auto" else bool(params.z_score)
    components, scores = fit_components(matrix, params.n_components, sections, z_score=z_score)
    return components, _Given(matrix, scores, sections, components.moments)


def _given(matrix: Matrix, sections: Codes, components: Components | None) -> _Given:
    if components is None:
        return _Given(matrix, matrix, sections, None)
    by = components.moments_of(matrix, sections)
    return _Given(matrix, components.project(matrix, sections, by), sections, by)


def _types(
    adata: AnnData,
    matrix: Matrix,
    given: _Given,
    params: StagateParams,
    components: Components | None,
    seed: int,
) -> npt.NDArray[np.int64] | None:
    """Types of the cells, where the attention asks for them."""
    if not params.alpha:
        return None
    scores: Any = given.matrix
    if components is None and params.pre_labels is None:
        scores = fit_components(matrix, TYPE_COMPONENTS, given.sections, z_score=False)[1]
    return cell_types(adata, params, scores, seed)


def _batches(params: StagateParams, num_cells: int) -> tuple[int | None, int]:
    """Cells a batch (None for all) and passes."""
    if params.batch_cells != "auto":
        return params.batch_cells, params.rounds
    if num_cells <= WHOLE_CELLS:
        return None, params.rounds
    steps_a_pass = round(num_cells / BATCH_CELLS)
    return BATCH_CELLS, min(params.rounds, max(MIN_PASSES, math.ceil(params.rounds / steps_a_pass)))


def _descent(params: StagateParams) -> Descent:
    names = ("loss", "learning_rate", "weight_decay", "decay_last_only", "gradient_clipping", "two_updates")
    return Descent(**{name: getattr(params, name) for name in names})


def _model(model: StagateModel | AnnData | str | Path, key: str) -> StagateModel:
    if isinstance(model, StagateModel):
        return model
    if isinstance(model, str | Path):
        return load_stagate(model)
    return model_of_record(model, key, restored, "tg.stagate")


def _write(
    adata: AnnData,
    model: StagateModel,
    tissue: Tissue,
    given: _Given,
    key_added: str,
    *,
    attention: bool,
    denoised: bool,
) -> None:
    """Apply a model and write what it finds."""
    prefix = key_added.removeprefix("X_")
    batch_cells = _batches(model.params, len(tissue))[0]
    model.network.to(tissue.device)
    outcome = apply(model.network, tissue, batch_cells, attention=attention)
    if denoised:
        adata.layers[f"{prefix}_denoised"] = _denoised(adata, model, tissue, given, batch_cells)
    model.network.cpu()
    adata.obsm[key_added] = outcome.embedding
    for name, matrix in zip(("attention", "attention_pruned"), outcome.attention, strict=False):
        adata.obsp[f"{prefix}_{name}"] = matrix
    card = model.card()
    record = {
        "input": model.input,
        "params": json.dumps(card["params"]),
        "versions": card["versions"],
        "seed": model.seed,
        "loss": np.array(model.loss),
        "card": json.dumps(card),
        "weights": {name: value.numpy() for name, value in model.tensors().items()},
    }
    adata.uns[keys.UNS_RUN] = {**adata.uns.get(keys.UNS_RUN, {}), key_added: record}


def _denoised(
    adata: AnnData, model: StagateModel, tissue: Tissue, given: _Given, batch_cells: int | None
) -> npt.NDArray[np.float32]:
    """Denoised expression of the cells, [N, G]; NaN for genes that were not modelled."""

    def rebuild(rows: Any) -> npt.NDArray[np.float32]:
        out = np.empty(given.matrix.shape, np.float32)
        part = Tissue(rows, tissue.graph, tissue.positions, tissue.device)
        apply(model.network, part, batch_cells, guessed=out.__setitem__)
        return out

    layer = np.full(adata.shape, np.nan, np.float32)
    columns = adata.var_names.get_indexer(list(model.genes))
    if model.components is None or given.moments is None:
        layer[:, columns] = np.maximum(rebuild(given.matrix), 0)
        return layer
    total = mean_squared_length(given.expression, given.sections, given.moments)
    scores: Any = given.matrix
    scores = denoise(scores, rebuild, total, len(model.genes), model.seed)
    for start in range(0, len(scores), DENOISED_AT_A_TIME):
        part = slice(start, start + DENOISED_AT_A_TIME)
        guess = model.components.expand(scores[part], given.sections[part], given.moments)
        layer[part, columns] = np.maximum(guess, 0)
    return layer


def _shown(passes: Iterable[Any], total: int) -> Iterable[Any]:
    """Show a progress bar on a terminal, nothing elsewhere."""
    return track(passes, "training", total, transient=True) if sys.stderr.isatty() else passes
