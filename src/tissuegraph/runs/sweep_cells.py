"""`tissuegraph sweep`: cells in, what parameters of a model are worth out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.runs.sweep_models import PARAMS

RANGE, LOG_ENDING = "..", ":log"
WORDS = {"true": True, "false": False, "none": None}

log = logging.getLogger(__name__)


def sweep_cells(
    cells: Path | str,
    out: Path | str,
    *,
    space: str,
    model: str = "annotate",
    labels: str = keys.CELL_TYPE,
    no_labels: bool = False,
    search: str = "random",
    n_trials: int = 20,
    n_folds: int = 5,
    seed: int = 0,
) -> Path:
    """Try parameters of a model, and judge the best on cells that no trial saw.

    Writes `table.csv` (a row a trial, the defaults first), `sweep.png` and `sweep.json` (the best parameters,
    their scores and the defaults'). Given again, a command that was stopped goes on where it was.

    Parameters
    ----------
    cells
        What `tg.read_section` takes, or an h5ad without positions; some or all cells bear a label.
    out
        Folder to write to.
    space
        Fields of the model's parameters and their values, such as
        "hidden=16,64;learning_rate=1e-4..1e-2:log": lists with commas, ranges with two dots.
    model
        "annotate", "node2vec", "infomax", "stagate" or "cluster".
    labels
        Column of `obs`.
    no_labels
        Score "cluster" by how far halves of the cells agree beyond chance, instead of by labels.
    search
        "grid" (every combination), "random" or "tpe".
    n_trials
        Trials, that of the defaults among them.
    n_folds
        Parts of the labelled cells on which a trial is scored.
    seed
        Of parts, draws and fits.

    Returns
    -------
    The folder.

    Raises
    ------
    InputError
        If cells, space or an option are not what they should be, or the folder holds another sweep.
    OutputError
        If the folder is another one, or cannot be written.
    """
    points = read_words(space)
    if model not in PARAMS:
        raise InputError(f"model is {model!r}; choose one of {', '.join(PARAMS)}")
    from tissuegraph.io.sections.read import read_counts_and_positions
    from tissuegraph.runs.sweep import sweep

    adata = read_counts_and_positions(Path(cells), needs_positions=model == "stagate")
    sweep(
        adata,
        points,
        model=model,
        labels=None if no_labels else labels,
        search=search,
        n_trials=n_trials,
        n_folds=n_folds,
        out=Path(out),
        seed=seed,
    )
    log.info("sweep: %s", out)
    return Path(out)


def read_words(text: str) -> dict[str, Any]:
    """Read a space that was typed: "a=1,2;b=0.1..1;c=1e-4..1e-2:log".

    Raises
    ------
    InputError
        If a part is not of that form, or a field is named twice.
    """
    space: dict[str, Any] = {}
    for part in filter(None, (one.strip() for one in text.split(";"))):
        name, sign, values = (one.strip() for one in part.partition("="))
        if not (name and sign and values):
            raise InputError(f"space has {part!r}; write name=1,2,3 or name=low..high, with ; between fields")
        if name in space:
            raise InputError(f"space names {name!r} twice; give all its values at once")
        space[name] = _values(values)
    return space


def _values(text: str) -> Any:
    if RANGE not in text:
        return [_value(one) for one in text.split(",")]
    ends = text.removesuffix(LOG_ENDING).split(RANGE)
    return (*map(_value, ends), *(["log"] if text.endswith(LOG_ENDING) else []))


def _value(text: str) -> Any:
    """A number, a truth value, nothing, or a word."""
    word = text.strip()
    if word.lower() in WORDS:
        return WORDS[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
