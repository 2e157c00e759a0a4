"""sweep(): try parameters of a model, and say what they are worth on cells that no trial saw."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from tissuegraph import keys
from tissuegraph.errors import InputError, ModelError
from tissuegraph.metrics.searches import variance_share
from tissuegraph.output import whole_file, write_json
from tissuegraph.runs.sweep_models import PARAMS, Judge, judge_of, split_cells
from tissuegraph.runs.sweep_space import Axis, Point, as_text, defaults_of, grid, random_points, read_space
from tissuegraph.runs.sweep_study import Journal, Trial
from tissuegraph.training.params import check_seed

if TYPE_CHECKING:
    from anndata import AnnData

Model = Literal["annotate", "node2vec", "infomax", "stagate", "cluster"]
Search = Literal["grid", "random", "tpe"]
SEARCHES = ("grid", "random", "tpe")
TRIAL, SCORE, SPREAD, FAILED = "trial", "score", "sd", "failed"
TABLE_FILE, PICTURE_FILE, RECORD_FILE = "table.csv", "sweep.png", "sweep.json"
PACKAGES = ("tissuegraph", "optuna", "numpy", "scikit-learn", "torch")
DOTS_PER_INCH = 150

log = logging.getLogger(__name__)


def sweep(
    adata: AnnData,
    space: Mapping[str, Any],
    *,
    model: Model | str = "annotate",
    labels: str | None = keys.CELL_TYPE,
    search: Search | str = "random",
    n_trials: int = 20,
    n_folds: int = 5,
    out: Path | str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Try parameters of a model, and judge the best on cells that no trial saw.

    A fifth of the cells of every label is set aside. Of the others, trials are scored on folds whose labels
    are hidden; the first trial is that of the defaults. At the end the best trial and the defaults are judged
    on the cells that were set aside, after learning from all the others.

    Parameters
    ----------
    adata
        Cells, some or all with a label. They stay as they are.
    space
        Fields of the model's parameters (`tg.AnnotateParams`, `Node2VecParams`, `InfomaxParams`,
        `StagateParams`, `ClusterParams`), each with a list of values, or a range `(low, high)` or
        `(low, high, "log")`; whole numbers stay whole. Fields that are not named keep their defaults.
    model
        "annotate": macro-F1 of the types that `tg.annotate` gives to a fold. "node2vec", "infomax",
        "stagate": macro-F1 of a logistic regression upon the embedding, which is made of all cells without
        labels. "cluster": adjusted Rand index of clusters of all cells against the labels; nothing is learnt
        from labels, so there are no folds.
    labels
        Column of `obs`; cells without a label (NaN) are not scored. None, for "cluster" alone: the score is
        how far halves of the cells agree beyond chance (`tg.cluster_cells`), and no cells are set aside.
    search
        "grid": every combination of listed values. "random": draws, none twice. "tpe": ten draws, and then
        where the trials so far promise most (optuna's tree-structured Parzen estimator).
    n_trials
        Trials, that of the defaults among them. A grid that is larger is refused.
    n_folds
        Folds.
    out
        Folder for the journal of trials, `table.csv`, `sweep.png` and `sweep.json`. Where it holds a sweep of
        the same cells and arguments, only trials that are missing are run, and the table is that of a run
        that was never stopped; `n_trials` may be larger than before.
    seed
        Of the parts, the draws and every fit. Points of "grid" and "random" depend on it alone, those of
        "tpe" also on the scores before them: the same scores and version of optuna give the same points.

    Returns
    -------
    A row a trial: the fields of the space, `score` (mean over folds), `sd` (over folds) and `failed` (why
    there is no score: the parameters make no model). `attrs` has the `best` and `default` parameters, their
    `test` scores (of labels), the `metric`, and the `importance` of each field (`tg.plot.sweep`).

    Raises
    ------
    InputError
        If the space, the labels or an argument are not what they should be, the model cannot be fitted with
        its defaults, or `out` holds a sweep with other arguments.
    OutputError
        If `out` is another folder, or cannot be written.
    """
    _check(model, search, n_trials, n_folds, seed)
    axes = read_space(space, PARAMS[model](), search)
    planned = _planned(axes, search, n_trials, seed)
    judge = judge_of(model, adata, labels, split_cells(adata, labels, n_folds, seed), seed)
    arguments: dict[str, Any] = {
        "model": model,
        "labels": labels,
        "search": search,
        "n_folds": n_folds,
        "seed": seed,
    }
    arguments |= {"space": {axis.name: axis.described() for axis in axes}}
    folder = None if out is None else Path(out)
    journal = Journal(folder, axes, arguments | {"cells": _fingerprint(adata, labels)})
    count = n_trials if search == "tpe" else len(planned)
    for number in _shown(range(count)):
        if number not in journal.trials:
            point = planned[number] if number < len(planned) else journal.propose(number, seed)
            journal.add(_tried(judge, model, number, point, list(journal.trials.values())))
            _say_trial(journal.trials[number], count, judge.metric)
    trials = [journal.trials[number] for number in range(count)]
    table = _table(trials, axes)
    table.attrs = arguments | _judged(trials, axes, judge, model)
    if folder is not None:
        _write(table, folder)
    return table


def _check(model: str, search: str, n_trials: int, n_folds: int, seed: int) -> None:
    check_seed(seed)
    if model not in PARAMS:
        raise InputError(f"model is {model!r}; choose one of {', '.join(PARAMS)}")
    if search not in SEARCHES:
        raise InputError(f"search is {search!r}; choose one of {', '.join(SEARCHES)}")
    if n_trials < 1:
        raise InputError(f"n_trials is {n_trials}; give 1 or more")
    if n_folds < 2:
        raise InputError(f"n_folds is {n_folds}; give 2 or more")


def _planned(axes: Sequence[Axis], search: str, n_trials: int, seed: int) -> list[Point]:
    """Points that are known from the start: of TPE only the defaults, else all."""
    if search == "tpe":
        return [defaults_of(axes)]
    if search == "random":
        points = list(itertools.islice(random_points(axes, seed), n_trials))
        if len(points) < n_trials:
            log.info("the space has no more than %d points, so there are as many trials", len(points))
        return points
    points = grid(axes)
    if len(points) > n_trials:
        raise InputError(
            f"the grid has {len(points)} points, the defaults among them, but n_trials is {n_trials}; "
            f"give n_trials={len(points)}, list fewer values, or search='random'"
        )
    return points


def _fingerprint(adata: AnnData, labels: str | None) -> str:
    """What tells these cells from others: names, labels, expression and the graph of the tissue."""
    digest = hashlib.blake2b(digest_size=16)
    columns = [] if labels is None else [adata.obs[labels].astype(object).astype(str)]
    for names in (adata.obs_names, adata.var_names, *columns):
        digest.update("\n".join(map(str, names)).encode())
    tables: list[Any] = [adata.X, adata.layers.get(keys.LAYER_COUNTS), adata.obsm.get(keys.OBSM_SPATIAL)]
    tables.append(adata.obsp.get("spatial_connectivities"))
    for table in tables:
        if sparse.issparse(table):
            parts: Any = sparse.csr_matrix(table)  # type: ignore[call-overload]
            for part in (parts.indptr, parts.indices, parts.data):
                digest.update(np.ascontiguousarray(part).tobytes())
        elif table is not None:
            digest.update(np.ascontiguousarray(table).tobytes())
    return digest.hexdigest()


def _params(model: str, point: Point) -> Any:
    try:
        return replace(PARAMS[model](), **point)
    except TypeError as error:  # a text where a number is compared
        raise InputError(f"{_words(point)} makes no {PARAMS[model].__name__}: {error}") from error


def _tried(judge: Judge, model: str, number: int, point: Point, before: list[Trial]) -> Trial:
    """Score a point; one that makes no model is kept as failed, but for the defaults."""
    twin = next((trial for trial in before if as_text(trial.point) == as_text(point)), None)
    if twin is not None:
        return Trial(number, point, twin.scores, twin.failed)
    try:
        return Trial(number, point, judge.scores(_params(model, point)))
    except (InputError, ModelError) as error:
        if number == 0:
            raise
        return Trial(number, point, (), str(error))


def _words(point: Point) -> str:
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in point.items()
    )


def _say_trial(trial: Trial, count: int, metric: str) -> None:
    became = f"{metric} {trial.score:.3f}" if trial.scores else f"failed: {trial.failed}"
    log.info("trial %d of %d: %s: %s", trial.number + 1, count, _words(trial.point), became)


def _table(trials: Sequence[Trial], axes: Sequence[Axis]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for axis in axes:
        values = [trial.point[axis.name] for trial in trials]
        # None among numbers would become NaN
        columns[axis.name] = pd.Series(values, dtype=object if None in values else None)
    columns[SCORE] = [trial.score for trial in trials]
    columns[SPREAD] = [np.std(trial.scores) if len(trial.scores) > 1 else np.nan for trial in trials]
    columns[FAILED] = [trial.failed for trial in trials]
    return pd.DataFrame(columns).rename_axis(TRIAL)


def _judged(trials: Sequence[Trial], axes: Sequence[Axis], judge: Judge, model: str) -> dict[Any, Any]:
    """Judge the best trial, of equals the first, and the defaults on the test part, and log it."""
    best = max((trial for trial in trials if trial.scores), key=lambda trial: (trial.score, -trial.number))
    first = defaults_of(axes)
    test = {}
    if len(judge.split.test):
        test = _on_test(best, first, judge, model)
    else:
        chosen = "the defaults" if best.number == 0 else _words(best.point)
        log.info("chosen: %s, %s %.3f; defaults: %.3f", chosen, judge.metric, best.score, trials[0].score)
    failed = sum(not trial.scores for trial in trials)
    if failed:
        log.warning("%d of %d trials failed; column 'failed' says why", failed, len(trials))
    importance = _importance(trials, axes)
    return {
        "metric": judge.metric,
        "best_trial": best.number,
        "best": best.point,
        "default": first,
        "score": {"best": best.score, "default": trials[0].score},
        "test": test,
        "importance": importance,
        "scale": {axis.name: axis.kind for axis in axes},
    }


def _on_test(best: Trial, first: Point, judge: Judge, model: str) -> dict[str, float]:
    """Judge the best trial and the defaults on the test part."""
    of_default = judge.test(_params(model, first))
    of_best = of_default if best.number == 0 else judge.test(_params(model, best.point))
    log.info(
        "chosen: %s, %s %.3f on %d cells that no trial saw; defaults: %.3f",
        *("the defaults" if best.number == 0 else _words(best.point), judge.metric, of_best),
        *(len(judge.split.test), of_default),
    )
    if best.number and of_best <= of_default:
        log.warning("on those cells the defaults are no worse than what was chosen; keep the defaults")
    return {"best": of_best, "default": of_default, "cells": len(judge.split.test)}


def _importance(trials: Sequence[Trial], axes: Sequence[Axis]) -> dict[str, float]:
    """Share of the variance that each parameter explains, among the points of the space."""
    inside = all(axis.holds(axis.default) for axis in axes)
    # defaults outside of the space differ from the other trials in several parameters at once
    counted = trials if inside else trials[1:]
    scores = [trial.score for trial in counted]
    return {
        axis.name: variance_share([one.point[axis.name] for one in counted], scores, ordered=not axis.choices)
        for axis in axes
    }


def _write(table: pd.DataFrame, folder: Path) -> None:
    import matplotlib.pyplot as plt

    from tissuegraph.plot.searches import sweep as draw

    with whole_file(folder / TABLE_FILE) as staging:
        table.to_csv(staging, lineterminator="\n")
    figure = draw(table)
    with whole_file(folder / PICTURE_FILE) as staging:
        figure.savefig(staging, dpi=DOTS_PER_INCH)
    plt.close(figure)
    with whole_file(folder / RECORD_FILE) as staging:
        content = {**table.attrs, "versions": {name: version(name) for name in PACKAGES}}
        write_json(staging, json.loads(json.dumps(content)))


def _shown(numbers: Iterable[int]) -> Iterable[int]:
    """Show a progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return numbers
    from rich.progress import track

    return track(numbers, "trials", transient=True)
