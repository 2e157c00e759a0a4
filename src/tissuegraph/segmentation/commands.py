"""The functions that find the cells of a slide: predict, segment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.graph.params import GraphParams
from tissuegraph.nn.params import SeggerParams
from tissuegraph.output import refuse_existing
from tissuegraph.sample import Sample
from tissuegraph.segmentation.params import (
    MIN_QV,
    AssignParams,
    DatasetParams,
    PredictParams,
    ReferenceFile,
    TrainParams,
)
from tissuegraph.segmentation.stages import Stages
from tissuegraph.training.params import check_seed

if TYPE_CHECKING:
    from tissuegraph.segmentation.pretrained.model import PairModel
    from tissuegraph.segmentation.steps import Run

log = logging.getLogger(__name__)

SEGGER, PRETRAINED = "segger", "pretrained"
MODELS = (SEGGER, PRETRAINED)
TYPES_SEED = "types_seed"
"""Where the card of a pretrained model in OUT keeps the seed of the run."""


def predict(
    bundle: Path | str | Sample,
    model: Path | str,
    out: Path | str,
    *,
    reference: Path | str | None = None,
    label: str = keys.CELL_TYPE,
    prediction: PredictParams | None = None,
    min_qv: float = MIN_QV,
    overwrite: bool = False,
    profile: bool = False,
    keep_work: bool = False,
) -> Path:
    """Find the cells of a slide with a trained model.

    Writes the same files as `segment`, without `model/`.

    Parameters
    ----------
    bundle
        Folder of a Xenium run, or a Sample.
    model
        The folder `model/` of `tissuegraph train` or `tissuegraph segment`.
    out
        Folder to write.
    reference
        What cell types express, as for `segment`; only for the pretrained model, which does not keep it.
    label
        The reference's column that names the type.
    prediction
        How the model is applied.
    min_qv
        Transcripts of lower quality are dropped.
    overwrite
        Replace a run that is there.
    profile
        Write `trace.json`, too: when what ran, for ui.perfetto.dev or chrome://tracing.
    keep_work
        Keep what is else only there during the run, in `work/`: the slide cut into tiles, with its manifest.

    Returns
    -------
    The folder.

    Raises
    ------
    InputError
        If the slide or the reference is missing or broken, or the model takes no reference.
    ModelError
        If the model is missing, or does not know the slide's genes.
    OutputError
        If `out` exists or cannot be written.
    """
    stages = Stages(profile=profile)
    from tissuegraph.segmentation import steps
    from tissuegraph.segmentation.apply import apply_model
    from tissuegraph.segmentation.model import load_model
    from tissuegraph.segmentation.pretrained.model import is_pair_model, load_pair_model

    out = Path(out).absolute()
    prediction = prediction or PredictParams()
    new_run = _opening(
        bundle, out, prediction, stages, min_qv=min_qv, overwrite=overwrite, keep_work=keep_work
    )
    if is_pair_model(Path(model)):
        pretrained = load_pair_model(Path(model))
        types, seed = _reference_file(reference, label), pretrained.card.get(TYPES_SEED, 0)
        with new_run() as run:
            _assign_pretrained(run, pretrained, "predict", prediction, types, min_qv=min_qv, seed=seed)
        return out
    _refuse_reference(reference)
    trained = load_model(model)
    with new_run() as run:
        said = apply_model(run, trained, params=prediction, min_qv=min_qv, axes=None)
        parameters = {"prediction": asdict(prediction), "min_qv": min_qv}
        steps.write_run(run, {"command": "predict", "parameters": parameters, **said})
    return out


def segment(
    bundle: Path | str | Sample,
    out: Path | str,
    *,
    model: str | None = None,
    reference: Path | str | None = None,
    label: str = keys.CELL_TYPE,
    prediction: PredictParams | None = None,
    graph: GraphParams | None = None,
    data: DatasetParams | None = None,
    segger: SeggerParams | None = None,
    training: TrainParams | None = None,
    assign: AssignParams | None = None,
    min_qv: float = MIN_QV,
    seed: int = 0,
    overwrite: bool = False,
    profile: bool = False,
    keep_work: bool = False,
) -> Path:
    """Find the cells of a slide.

    Writes into `out`: `transcripts.parquet` (every row of the input with `assigned_cell_id`,
    `assignment_probability` and `dropped_because`), `cells.h5ad`, `cell_boundaries.parquet`, `run.json`
    and `model/`.

    Parameters
    ----------
    bundle
        Folder of a Xenium run, or a Sample.
    out
        Folder to write.
    model
        pretrained: networks that were trained on simulated tissue and know no gene, so that they serve any
        panel at once. segger: a network of graph attention, trained on the slide itself. By default
        pretrained, or segger where a parameter of its training is given.
    reference
        What cell types express: a csv, tsv or parquet with a profile a row, or an h5ad of annotated cells
        and their counts. The slide's types start from it. Only for the pretrained model.
    label
        The reference's column that names the type; of an h5ad in `obs`.
    prediction, graph, data, segger, training, assign
        Parameters of the steps; None means their defaults. pretrained takes only the first.
    min_qv
        Transcripts of lower quality are dropped.
    seed
        Of everything; on the CPU the same seed gives the same bits.
    overwrite
        Replace a run that is there.
    profile
        Write `trace.json`, too: when what ran, for ui.perfetto.dev or chrome://tracing.
    keep_work
        Keep what is else only there during the run, in `work/`: the slide cut into tiles, with its manifest.

    Returns
    -------
    The folder.

    Raises
    ------
    InputError
        If the slide is missing, broken or too small, the reference is, or the model takes none.
    OutputError
        If `out` exists or cannot be written.
    MachineError
        If the machine lacks the accelerator or the devices.
    """
    stages = Stages(profile=profile)
    from tissuegraph.segmentation import steps
    from tissuegraph.segmentation.apply import apply_model
    from tissuegraph.segmentation.pretrained.model import load_pair_model
    from tissuegraph.training.machine import check_in_one_command

    check_seed(seed)
    by_hand = {"graph": graph, "data": data, "segger": segger, "training": training, "assign": assign}
    chosen = _choose_model(model, by_hand)
    out = Path(out).absolute()
    prediction = prediction or PredictParams()
    new_run = _opening(
        bundle, out, prediction, stages, min_qv=min_qv, overwrite=overwrite, keep_work=keep_work
    )
    if chosen == PRETRAINED:
        pretrained, types = load_pair_model(), _reference_file(reference, label)
        with new_run() as run:
            _assign_pretrained(run, pretrained, "segment", prediction, types, min_qv=min_qv, seed=seed)
        return out
    _refuse_reference(reference)
    graph, data = graph or GraphParams(), data or DatasetParams()
    segger, training, assign = segger or SeggerParams(), training or TrainParams(), assign or AssignParams()
    data = replace(data, hops=max(data.hops, segger.hops))
    check_in_one_command(training)
    with new_run() as run:
        trained, axes = steps.train_on_slide(
            run, graph=graph, data=data, segger=segger, training=training, assign=assign, seed=seed
        )
        trained.save(run.folder / keys.MODEL_DIR)
        said = apply_model(run, trained, params=prediction, min_qv=min_qv, axes=axes)
        used = (prediction, graph, data, segger, training, assign)
        parameters = {type(one).__name__: asdict(one) for one in used} | {"min_qv": min_qv}
        head = {"command": "segment", "model": SEGGER, "seed": seed, "parameters": parameters}
        steps.write_run(run, {**head, "training": trained.training, **said})
    return out


def _opening(
    bundle: Path | str | Sample,
    out: Path,
    prediction: PredictParams,
    stages: Stages,
    *,
    min_qv: float,
    overwrite: bool,
    keep_work: bool,
) -> Callable[[], AbstractContextManager[Run]]:
    """Refuse an `out` that may not be written, and return what opens the run once all else is checked."""
    from tissuegraph.segmentation import steps

    refuse_existing(out, overwrite=overwrite, marker=keys.RUN_FILE, kind="run")
    return partial(
        steps.new_run,
        bundle,
        out,
        prediction,
        stages,
        min_qv=min_qv,
        overwrite=overwrite,
        keep_work=keep_work,
    )


def _assign_pretrained(
    run: Run,
    model: PairModel,
    command: str,
    prediction: PredictParams,
    reference: ReferenceFile | None,
    *,
    min_qv: float,
    seed: int,
) -> None:
    """Do as `segment` and `predict` do, with a model that needs no training; `segment` leaves it in OUT."""
    from tissuegraph.segmentation import steps
    from tissuegraph.segmentation.apply import apply_pair_model

    if command == "segment":  # with the seed, so that `predict` with it gives the same cells
        replace(model, card={**model.card, TYPES_SEED: seed}).save(run.folder / keys.MODEL_DIR)
    said = apply_pair_model(run, model, params=prediction, min_qv=min_qv, seed=seed, reference=reference)
    parameters = {type(prediction).__name__: asdict(prediction), "min_qv": min_qv}
    head = {"command": command, "model": PRETRAINED, "seed": seed, "parameters": parameters}
    steps.write_run(run, {**head, "training": model.card, **said})


def _reference_file(reference: Path | str | None, label: str) -> ReferenceFile | None:
    """Return what to read once the slide is cut, after a look that it can be read: cutting takes long."""
    from tissuegraph.io.profiles import check_profiles

    if reference is None:
        return None
    check_profiles(Path(reference), label)
    return ReferenceFile(Path(reference), label)


def _refuse_reference(reference: Path | str | None) -> None:
    if reference is not None:
        message = (
            f"a {SEGGER} model learns its genes from the slide and reads no reference ({reference}); "
            f"leave it out, or take model {PRETRAINED}"
        )
        raise InputError(message)


def _choose_model(model: str | None, by_hand: Mapping[str, object]) -> str:
    """Return the model to segment with; whoever sets how one is trained wants one that is trained."""
    given = [name for name, one in by_hand.items() if one is not None]
    chosen = model or (SEGGER if given else PRETRAINED)
    if chosen not in MODELS:
        message = f"model is {chosen!r}; choose {' or '.join(MODELS)}"
        raise InputError(message)
    if chosen == PRETRAINED and given:
        message = (
            f"the pretrained model reads no {', '.join(given)} parameters; leave them out, "
            f"or take model {SEGGER}"
        )
        raise InputError(message)
    return chosen
