"""annotate(): name the type of each cell, from cells or profiles whose types are known."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from tissuegraph.cells.annotate_params import AnnotateParams
from tissuegraph.cells.annotation.calibration import calibrate, calibrated_apart
from tissuegraph.cells.annotation.crossfit import Fitted, crossfit
from tissuegraph.cells.annotation.genes import find_genes, share_genes
from tissuegraph.cells.annotation.graphs import joint_graph, resolve_graph
from tissuegraph.cells.annotation.model import AnnotateModel, Guess, features_of, load_annotator
from tissuegraph.cells.annotation.numbers import Scale, common_scale, read_numbers, thinned
from tissuegraph.cells.annotation.profiles import cells_from_profiles
from tissuegraph.cells.annotation.reference import read_reference, type_codes
from tissuegraph.cells.annotation.scores import score_table, type_table
from tissuegraph.cells.annotation.shares import adapted
from tissuegraph.cells.annotation.unknown import fit_familiar
from tissuegraph.cells.annotation.writing import label_column, write_types
from tissuegraph.errors import InputError
from tissuegraph.features.components import fit_components
from tissuegraph.features.expression import Matrix
from tissuegraph.training.machine import check_training
from tissuegraph.training.params import check_seed

if TYPE_CHECKING:
    from anndata import AnnData

METHODS = ("gat", "gcn", "logistic")
Z_SCORE_GENES = 1_000
"""Genes up to which they are z-scored: on a panel every gene was chosen, among thousands many are noise."""
LOGISTIC = "logistic regression"

Codes = npt.NDArray[np.int64]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Cells:
    """All cells side by side: those of the reference, if there is one, and then those of the query."""

    matrix: Matrix
    """[N, G] expression on one scale."""
    y: Codes
    """[N] number of the type, -1 where it is not known."""
    query: slice
    genes: tuple[str, ...]
    types: tuple[str, ...]


def annotate(
    query: AnnData,
    reference: AnnData | pd.DataFrame | Path | str | None = None,
    labels: str = "cell_type",
    method: str = "gat",
    *,
    graph: str = "auto",
    unknown: bool = True,
    params: AnnotateParams | None = None,
    layer: str | None = None,
    key_added: str = "cell_type",
    seed: int = 0,
) -> AnnotateModel:
    """Name the type of each cell, by its expression and what its neighbours express.

    Parameters
    ----------
    query
        Cells; counts (`layers["counts"]` or `X`), logged values, or any real numbers. Written are
        `obs["<key>"]` (types, and "unknown"), `obs["<key>_probability"]` (calibrated), `obs["<key>_unlike"]`
        (how unlike any labelled cell it is; above 1: unknown), `obsm["<key>_probabilities"]` (a column a
        type), and `uns["tissuegraph"]["<key>"]`: parameters, held-out scores, the fitted model's card.
    reference
        Cells whose types are known, or average profiles [types, genes] as a DataFrame, csv or h5ad; None
        where some cells of the query bear their type. Genes are matched by name or Ensembl id.
    labels
        Column of `obs` with the types; cells without one (NaN) are not labelled. Without a reference, cells
        of the query that are labelled keep their label; where `key_added` has the same name, the column is
        filled. A column of that name that was there before is kept as `obs["<key>_given"]`.
    method
        "gat": networks of graph attention upon a logistic regression, "gcn": with fixed weights instead of
        attention, "logistic": the regression alone.
    graph
        Whom a cell listens to: "spatial" (`tg.spatial_neighbors`), "expression" (the most alike, of query and
        reference together), or a key of `obsp`; "auto": spatial where all cells have that graph and labels
        come from the query, else expression.
    unknown
        Whether cells unlike any labelled one are called "unknown".
    params
        Hyper-parameters.
    layer
        Layer with the expression.
    key_added
        Name of the result.
    seed
        Of folds, weights and drawn cells; on the CPU the same seed gives the same bits.

    Returns
    -------
    The fitted model: its `scores` are of labelled cells that were held out, beside a logistic regression on
    the same folds; `annotate_transform` applies it, `save` writes it.

    Raises
    ------
    InputError
        If labels, genes, graph or numbers are not what they should be.
    MachineError
        If the accelerator is not there.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
    check_seed(seed)
    params = check_training(params or AnnotateParams())
    if reference is None:
        labels = label_column(query, labels, key_added)
    known = read_reference(reference, labels, query)
    if isinstance(known, pd.DataFrame):
        known = cells_from_profiles(query, known, labels, layer, seed)
        log.info("%d cells are drawn from the profiles", known.n_obs)
    cells, scale = _gather(query, known, labels, layer, seed)
    matrix = cells.matrix
    z_score = len(cells.genes) <= Z_SCORE_GENES
    nothing = np.zeros(matrix.shape[0], np.int64)
    components, scores = fit_components(matrix, params.n_components, nothing, z_score=z_score)
    length = float(np.sqrt((scores.astype(np.float64) ** 2).mean())) or 1.0
    x = features_of(matrix, components, length)
    along = resolve_graph(graph, query, known, method)
    edges = None if along is None else joint_graph(along, x, query, known, params.n_neighbors, seed)
    labelled = np.flatnonzero(cells.y >= 0)
    y = cells.y[labelled]
    fitted = crossfit(x, edges, labelled, y, len(cells.types), method, params, seed)
    calibration = calibrate(fitted.held_out, y)
    held_out = calibrated_apart(fitted.held_out, y, fitted.fold)
    table, by_type = _judged(fitted, held_out, y, cells.types, method)
    familiar = fit_familiar(x[labelled], y, params.unknown_share, seed)
    model = AnnotateModel(
        types=cells.types,
        genes=cells.genes,
        method=method,
        graph=along or "none",
        params=params,
        seed=seed,
        scale=scale,
        components=components,
        length=length,
        networks=fitted.networks,
        logistic=fitted.logistic,
        calibration=calibration,
        familiar=familiar,
        scores=table,
        by_type=by_type,
        history=fitted.history,
        held_out=_held_out(held_out, fitted, y, cells.types),
    )
    log.info("held out:\n%s", table.round(3).to_string())
    ours = np.arange(matrix.shape[0])[cells.query]
    guess = model.guess(x, edges, ours)
    given = None
    if known is None:
        # a labelled cell keeps its label; its probability is that of networks that have not seen it
        given = cells.y
        guess.probability[labelled] = held_out
    else:
        guess = _among_others(guess, np.bincount(y, minlength=len(cells.types)) / len(y))
    write_types(query, guess, model, given, key_added, unknown=unknown)
    return model


def annotate_transform(
    model: AnnotateModel | Path | str,
    adata: AnnData,
    *,
    unknown: bool = True,
    layer: str | None = None,
    key_added: str = "cell_type",
) -> None:
    """Name the types of other cells, be they one or many, with a fitted model.

    Parameters
    ----------
    model
        What `tg.annotate` returned, or the folder of a saved model.
    adata
        Cells of the same genes. A model that listens along "expression" joins them to each other and to the
        labelled cells that it keeps; one that listens along another graph reads it from `obsp`, and without
        that graph the logistic regression alone answers, which is said. Written are the names of `annotate`.
    unknown, layer, key_added
        As in `annotate`.

    Raises
    ------
    InputError
        If genes are missing or the numbers are of another kind.
    ModelError
        If the folder holds no model.
    """
    fitted = model if isinstance(model, AnnotateModel) else load_annotator(model)
    columns = find_genes(adata, fitted.genes)
    missing = int((columns < 0).sum())
    if missing:
        example = fitted.genes[int(np.argmin(columns))]
        raise InputError(
            f"{missing} of the {len(columns)} genes of the model are missing, such as {example}; give cells "
            "of the same panel"
        )
    x = fitted.features(read_numbers(adata, columns, layer, "the cells"))
    known = fitted.familiar.anchors
    edges: sparse.csr_matrix | None = None
    if fitted.networks and fitted.graph == "expression":
        x = np.concatenate([x, known])
        edges = joint_graph(fitted.graph, x, adata, None, fitted.params.n_neighbors, fitted.seed)
    elif fitted.networks:
        edges = _own_graph(fitted, adata)
    guess = fitted.guess(x, edges, np.arange(adata.n_obs))
    write_types(adata, guess, fitted, None, key_added, unknown=unknown)


def _own_graph(model: AnnotateModel, adata: AnnData) -> sparse.csr_matrix | None:
    try:
        return joint_graph(model.graph, np.empty((0, 0), np.float32), adata, None, 0, 0)
    except InputError as error:
        log.warning("%s; without it the logistic regression answers alone", error)
        return None


def _gather(
    query: AnnData, known: AnnData | None, labels: str, layer: str | None, seed: int
) -> tuple[_Cells, Scale]:
    """Put the labelled cells and those to be named side by side, on one scale."""
    if known is None:
        y, types = type_codes(query, labels, "the query")
        columns = np.arange(query.n_vars)
        numbers = read_numbers(query, columns, layer, "the query")
        genes = tuple(query.var_names.astype(str))
        scale = common_scale(numbers, numbers)
        return _Cells(scale.apply(numbers), y, slice(0, query.n_obs), genes, types), scale
    codes, types = type_codes(known, labels, "the reference")
    shared = share_genes(query, known)
    theirs = read_numbers(known, shared.reference, None, "the reference")
    ours = read_numbers(query, shared.query, layer, "the query")
    scale = common_scale(ours, theirs)
    theirs = thinned(theirs, ours, np.random.default_rng([seed, 4]))
    parts = [scale.apply(theirs, "the reference"), scale.apply(ours, "the query")]
    y = np.concatenate([codes, np.full(query.n_obs, -1)])
    return _Cells(_stacked(parts), y, slice(len(codes), len(y)), shared.names, types), scale


def _stacked(parts: list[Matrix]) -> Matrix:
    if any(sparse.issparse(part) for part in parts):
        return sparse.vstack([sparse.csr_matrix(part) for part in parts], format="csr")
    return np.concatenate([np.asarray(part) for part in parts])


def _among_others(guess: Guess, learnt: npt.NDArray[np.float64]) -> Guess:
    """What is said where types may be more or less frequent than in the reference, or absent."""
    familiar = guess.unlike <= 1
    probability = guess.probability.copy()
    if familiar.any():
        probability[familiar] = adapted(probability[familiar], learnt)
    return replace(guess, probability=probability, said=probability.argmax(1))


def _held_out(
    probability: npt.NDArray[np.float64], fitted: Fitted, y: Codes, types: tuple[str, ...]
) -> pd.DataFrame:
    """What was said of each labelled cell by what had not seen it."""
    said, names = fitted.held_out.argmax(1), pd.Index(types)
    return pd.DataFrame(
        {
            "truth": pd.Categorical.from_codes(y, names),
            "said": pd.Categorical.from_codes(said, names),
            "probability": probability[np.arange(len(y)), said],
        }
    )


def _judged(
    fitted: Fitted, held_out: npt.NDArray[np.float64], y: Codes, types: tuple[str, ...], method: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of what was held out: of the networks, and of the logistic regression."""
    rows = np.arange(len(y))
    simple = fitted.logistic_held_out
    by_logistic = calibrated_apart(simple, y, fitted.fold)
    said, plain = fitted.held_out.argmax(1), simple.argmax(1)
    guesses: dict[str, Any] = {LOGISTIC: (plain, by_logistic[rows, plain])}
    if fitted.networks:
        guesses = {method: (said, held_out[rows, said]), **guesses}
    return score_table(y, guesses, len(types)), type_table(y, said, types)
