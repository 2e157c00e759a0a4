"""The functions that learn from slides: dataset, train."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from tissuegraph import keys
from tissuegraph.graph.params import GraphParams
from tissuegraph.nn.params import SeggerParams
from tissuegraph.output import refuse_existing, whole_folder
from tissuegraph.sample import Sample
from tissuegraph.segmentation.params import (
    MIN_QV,
    AssignParams,
    DatasetParams,
    PredictParams,
    TrainParams,
)
from tissuegraph.segmentation.stages import Stages
from tissuegraph.trace import tracing
from tissuegraph.training.params import check_seed

log = logging.getLogger(__name__)

DATASET_CARD = "train/dataset.json"


def dataset(
    bundle: Path | str | Sample,
    out: Path | str,
    *,
    graph: GraphParams | None = None,
    data: DatasetParams | None = None,
    min_qv: float = MIN_QV,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Cut training tiles out of a slide.

    Writes `out/train`, `out/val` and `out/test`, each with `raw/` (transcripts and outlines of each
    tile) and `processed/` (the graphs, as safetensors), for `SpatialTranscriptomicsDataset`.

    Parameters
    ----------
    bundle
        Folder of a Xenium run, or a Sample.
    out
        Folder to write.
    graph
        How a tile becomes a graph.
    data
        Which tiles are taken, and how many.
    min_qv
        Transcripts of lower quality are left out.
    seed
        Of the choice of tiles.
    overwrite
        Replace training data that is there.

    Returns
    -------
    The folder.

    Raises
    ------
    InputError
        If the slide is missing, broken or too small.
    OutputError
        If `out` exists or cannot be written.
    """
    from tissuegraph.segmentation import steps
    from tissuegraph.segmentation.dataset import write_dataset

    check_seed(seed)
    out = Path(out).absolute()
    graph, data = graph or GraphParams(), data or DatasetParams()
    sample = steps.as_sample(bundle)
    with (
        whole_folder(out, overwrite=overwrite, marker=DATASET_CARD, kind="training data") as folder,
        steps.work_folder(folder) as work,
    ):
        slide = steps.open_slide(
            sample, work, min_qv=min_qv, transcripts_per_tile=PredictParams().transcripts_per_tile
        )
        write_dataset(slide.survey, slide.store, folder, graph=graph, params=data, seed=seed)
    log.info("training data: %s", out)
    return out


def train(
    train_dir: Path | str,
    val_dir: Path | str,
    default_root_dir: Path | str,
    *,
    segger: SeggerParams | None = None,
    training: TrainParams | None = None,
    assign: AssignParams | None = None,
    num_tx_tokens: int | None = None,
    seed: int = 0,
    profile: bool = False,
) -> Path:
    """Train a model on tiles that `dataset` cut.

    Parameters
    ----------
    train_dir, val_dir
        `DIR/train` and `DIR/val` of `tissuegraph dataset`.
    default_root_dir
        Where `model/` goes, `training.json` (what was done, why it stopped, and how long it took), and
        Lightning's `checkpoints/` and `metrics.csv`.
    segger
        The network.
    training
        How it is trained, and on what.
    assign
        How its scores become assignments.
    num_tx_tokens
        Rows of the gene table; by default the panel's size, never less.
    seed
        Of weights and order; on the CPU the same seed gives the same bits.
    profile
        Write `trace.json`, too: when what ran, for ui.perfetto.dev or chrome://tracing.

    Returns
    -------
    The folder `default_root_dir/model`.

    Raises
    ------
    InputError
        If the tiles are missing or broken.
    ModelError
        If the panel does not fit the network.
    MachineError
        If the machine lacks the accelerator or the devices.
    """
    stages = Stages(profile=profile)
    from tissuegraph.segmentation import steps
    from tissuegraph.training.machine import is_first_process

    check_seed(seed)
    root = Path(default_root_dir).absolute()
    folder = root / keys.MODEL_DIR
    refuse_existing(folder, overwrite=True, marker=keys.MODEL_CARD_FILE, kind="model")
    segger, training, assign = segger or SeggerParams(), training or TrainParams(), assign or AssignParams()
    with tracing(stages.trace), stages("training"):
        model = steps.train_model(
            Path(train_dir),
            Path(val_dir),
            root,
            segger=segger,
            training=training,
            assign=assign,
            num_tx_tokens=num_tx_tokens,
            seed=seed,
        )
    if is_first_process():
        with whole_folder(folder, overwrite=True, marker=keys.MODEL_CARD_FILE, kind="model") as unfinished:
            model.save(unfinished)
        parameters = {type(one).__name__: asdict(one) for one in (segger, training, assign)}
        steps.write_training(root, model, stages, {"seed": seed, "parameters": parameters})
        log.info("model: %s (%s)", folder, model.training["stopped_because"])
    return folder
