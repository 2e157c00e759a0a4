"""The journal of a search: what was tried, kept by optuna, so that a search that was stopped can go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tissuegraph.errors import InputError, OutputError
from tissuegraph.runs.sweep_space import Axis, Point

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

JOURNAL_FILE = "journal.log"
STUDY, ARGUMENTS, RECORD = "sweep", "arguments", "tissuegraph"
STARTUP = 10
"""Trials that TPE draws at random before it learns from them."""


@dataclass(frozen=True)
class Trial:
    """One point of the space, and what came of it."""

    number: int
    point: Point
    scores: tuple[float, ...]
    """One a fold; none where it failed."""
    failed: str = ""
    """Why there are no scores."""

    @property
    def score(self) -> float:
        """The mean over the folds, NaN where it failed."""
        return float(np.mean(self.scores)) if self.scores else float("nan")


class Journal:
    """Trials by number, in memory and, with a folder, in its journal.

    A trial enters when it is done and in one line, so a search that is killed leaves none half done.
    """

    def __init__(self, out: Path | None, axes: Sequence[Axis], arguments: dict[str, Any]) -> None:
        self._axes = axes
        self._study = _new_study() if out is None else _stored_study(out, arguments)
        self.trials: dict[int, Trial] = {}
        for stored in self._study.get_trials(deepcopy=False):
            trial = self._read(json.loads(stored.user_attrs[RECORD]))
            self.trials.setdefault(trial.number, trial)

    def add(self, trial: Trial) -> None:
        """Keep a trial."""
        self._study.add_trial(self._stored(trial))
        self.trials[trial.number] = trial

    def propose(self, number: int, seed: int) -> Point:
        """Where TPE looks next, given the trials before `number`; the same trials give the same point."""
        from optuna.samplers import TPESampler

        drawn = int(np.random.default_rng([seed, 12, number]).integers(2**31))
        # one parameter at a time: the defaults may lie outside of some ranges, and teach what they can
        sampler = TPESampler(seed=drawn, n_startup_trials=STARTUP, multivariate=False)
        study = _new_study(sampler)
        for before in range(number):
            study.add_trial(self._stored(self.trials[before]))
        asked = study.ask({axis.name: axis.distribution() for axis in self._axes})
        return {axis.name: self._given(axis, asked.params[axis.name]) for axis in self._axes}

    def _given(self, axis: Axis, value: Any) -> Any:
        return axis.read(value) if axis.choices else value

    def _stored(self, trial: Trial) -> FrozenTrial:
        from optuna.trial import TrialState, create_trial

        inside = [axis for axis in self._axes if axis.holds(trial.point[axis.name])]
        record = {"number": trial.number, "scores": trial.scores, "failed": trial.failed}
        record["point"] = {name: json.dumps(value) for name, value in trial.point.items()}
        return create_trial(
            state=TrialState.COMPLETE if trial.scores else TrialState.FAIL,
            value=trial.score if trial.scores else None,
            params={axis.name: axis.for_optuna(trial.point[axis.name]) for axis in inside},
            distributions={axis.name: axis.distribution() for axis in inside},
            user_attrs={RECORD: json.dumps(record)},
        )

    def _read(self, record: dict[str, Any]) -> Trial:
        point = {axis.name: axis.read(record["point"][axis.name]) for axis in self._axes}
        return Trial(record["number"], point, tuple(record["scores"]), record["failed"])


def _new_study(sampler: Any = None, storage: Any = None) -> Study:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            study_name=STUDY, direction="maximize", storage=storage, sampler=sampler, load_if_exists=True
        )
    finally:
        optuna.logging.set_verbosity(before)


def _stored_study(out: Path, arguments: dict[str, Any]) -> Study:
    """Open the journal of a folder, or begin one.

    Raises
    ------
    InputError
        If it was begun with other arguments.
    OutputError
        If the folder is none of ours, or cannot be written.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    file = out / JOURNAL_FILE
    if out.exists() and not file.is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} exists and is no folder of a sweep; choose another")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            _drop_torn_line(file)
        study = _new_study(storage=JournalStorage(JournalFileBackend(str(file))))
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}; choose another folder") from error
    before = study.user_attrs.get(ARGUMENTS)
    if before is None:
        study.set_user_attr(ARGUMENTS, arguments)
        return study
    given = json.loads(json.dumps(arguments))
    for name in given:
        if before.get(name) != given[name]:
            raise InputError(
                f"{out} holds a sweep with another {name}: {_short(before.get(name))}, now "
                f"{_short(given[name])}; give the same, or choose another folder"
            )
    return study


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _drop_torn_line(file: Path) -> None:
    """Cut what a killed process left of its last line, which optuna would refuse."""
    content = file.read_bytes()
    if content and not content.endswith(b"\n"):
        with file.open("r+b") as opened:
            opened.truncate(content.rfind(b"\n") + 1)
