"""The steps that the commands share: open a slide, train a model, write a run."""

from __future__ import annotations

import logging
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tissuegraph import keys
from tissuegraph.graph.params import GraphParams
from tissuegraph.io import read_xenium
from tissuegraph.io.files import reading
from tissuegraph.nn.params import SeggerParams
from tissuegraph.output import whole_folder, write_json
from tissuegraph.sample import Sample
from tissuegraph.segmentation.axes import LocalAxes
from tissuegraph.segmentation.dataset import SpatialTranscriptomicsDataset, nuclear_counts, write_dataset
from tissuegraph.segmentation.fit_assign import fit_on_tiles
from tissuegraph.segmentation.model import SegmentationModel
from tissuegraph.segmentation.params import AssignParams, DatasetParams, PredictParams, TrainParams
from tissuegraph.segmentation.stages import Stages
from tissuegraph.tiles.manifest import write_manifest
from tissuegraph.tiles.plan import plan_tiles
from tissuegraph.tiles.store import MAX_TILES, TileStore, write_store
from tissuegraph.tiles.survey import Survey, kept_transcripts
from tissuegraph.tiles.survey import survey as look
from tissuegraph.trace import tracing
from tissuegraph.training.machine import check_training

log = logging.getLogger(__name__)

VERSIONS = ("tissuegraph", "torch", "torch_geometric", "lightning", "polars", "numpy", "shapely")
MIN_TILE_SIDE = 100.0
"""um: below it the halo outweighs the tile, so it is not cut further."""


@dataclass(frozen=True)
class Slide:
    """A sample that was looked at and cut."""

    sample: Sample
    survey: Survey
    store: TileStore
    fingerprint: str


@dataclass(frozen=True)
class Run:
    """A run on its way: its slide, the folder that becomes OUT, one for scratch, and its stages."""

    slide: Slide
    folder: Path
    work: Path
    stages: Stages

    @property
    def results(self) -> Path:
        """Where the tiles' results go, one file a tile."""
        return self.work / "results"


@contextmanager
def new_run(
    bundle: Path | str | Sample,
    out: Path,
    prediction: PredictParams,
    stages: Stages,
    *,
    min_qv: float,
    overwrite: bool,
    keep_work: bool,
) -> Iterator[Run]:
    """Open a slide and cut it; what is written to the run's folder becomes `out` at the end."""
    with stages("reading"):
        sample = as_sample(bundle)
        fingerprint = sample.fingerprint()
        sample = replace(sample, cells=None)  # nothing reads the vendor's cells, which take much memory
    with (
        tracing(stages.trace),
        whole_folder(out, overwrite=overwrite, marker=keys.RUN_FILE, kind="run") as folder,
        work_folder(folder, keep=keep_work) as work,
    ):
        with stages("tiles"):
            per_tile = prediction.transcripts_per_tile
            slide = open_slide(
                sample, work, min_qv=min_qv, transcripts_per_tile=per_tile, fingerprint=fingerprint
            )
        del sample  # the slide's own has no outlines, which take much memory; its survey has them packed
        stages.transcripts = sum(slide.survey.counts.values())
        run = Run(slide, folder, work, stages)
        run.results.mkdir()
        yield run
    stages.show()
    log.info("run: %s", out)


def as_sample(bundle: Path | str | Sample) -> Sample:
    """Read a bundle, unless it is read already."""
    return bundle if isinstance(bundle, Sample) else read_xenium(Path(bundle))


def open_slide(
    sample: Sample, work: Path, *, min_qv: float, transcripts_per_tile: int, fingerprint: str | None = None
) -> Slide:
    """Look at a slide and cut it into tiles under `work`; `fingerprint` as of the sample with all it had."""
    fingerprint = fingerprint or sample.fingerprint()
    with reading(sample.transcripts_path):
        survey = look(sample, min_qv, work)
        tiles = plan_tiles(
            survey.histogram,
            max_transcripts=transcripts_per_tile,
            min_side=MIN_TILE_SIDE,
            max_tiles=MAX_TILES,
        )
        store = write_store(kept_transcripts(sample, min_qv), tiles, work / "tiles")
    parameters = {"min_qv": min_qv, "transcripts_per_tile": transcripts_per_tile, "min_side": MIN_TILE_SIDE}
    write_manifest(store, fingerprint=fingerprint, parameters=parameters, versions=versions())
    return Slide(replace(sample, nuclei=None), survey, store, fingerprint)


def train_model(
    train_dir: Path,
    val_dir: Path,
    root: Path,
    *,
    segger: SeggerParams,
    training: TrainParams,
    assign: AssignParams,
    num_tx_tokens: int | None,
    seed: int,
) -> SegmentationModel:
    """Fit the network on the training tiles, then the assignment on tiles that it was not trained on."""
    from tissuegraph.segmentation.train import fit  # Lightning takes seconds; only training needs it

    training = check_training(training)
    network, vectors, history = fit(
        train_dir, val_dir, root, segger=segger, params=training, num_tx_tokens=num_tx_tokens, seed=seed
    )
    tiles = SpatialTranscriptomicsDataset(val_dir)
    others = nuclear_counts(SpatialTranscriptomicsDataset(train_dir))
    fitted = fit_on_tiles(tiles, network, others, assign, seed)
    history.pop("seconds", None)  # they stand in run.json; two equal runs give two equal models
    card = {**history, "seed": seed, "parameters": asdict(training), "versions": versions()}
    tokens = network.hparams["num_tx_tokens"]
    return SegmentationModel(
        network, tiles.genes, segger, tiles.graph_params, assign, fitted, vectors, tokens, card
    )


def train_on_slide(
    run: Run,
    *,
    graph: GraphParams,
    data: DatasetParams,
    segger: SeggerParams,
    training: TrainParams,
    assign: AssignParams,
    seed: int,
) -> tuple[SegmentationModel, LocalAxes]:
    """Cut training data out of the run's slide and train on it; returns the tissue's axes, too."""
    folder = run.work / "data"
    with run.stages("training data"):
        survey, store = run.slide.survey, run.slide.store
        axes = write_dataset(survey, store, folder, graph=graph, params=data, seed=seed)
    with run.stages("training"):
        model = train_model(
            folder / "train",
            folder / "val",
            run.work / "training",
            segger=segger,
            training=training,
            assign=assign,
            num_tx_tokens=None,
            seed=seed,
        )
    return model, axes


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in VERSIONS}


def write_run(run: Run, content: dict[str, Any]) -> None:
    """Write `run.json`: the last file of a run, and the sign that it is finished."""
    sample, records = run.slide.sample, run.stages.finish()
    run.stages.write_trace(run.folder)
    head = {
        "source": str(Path(sample.source).absolute()),
        "platform": sample.platform,
        "name": sample.name,
        "fingerprint": run.slide.fingerprint,
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "repairs": dict(sample.repairs),
    }
    write_json(run.folder / keys.RUN_FILE, {**head, **content, "stages": records})


def write_training(root: Path, model: SegmentationModel, stages: Stages, content: dict[str, Any]) -> None:
    """Write `training.json`, what `train` did and how long it took, and show the latter."""
    stages.transcripts = model.training["transcripts"]
    records = stages.finish()
    stages.write_trace(root)
    head = {"command": "train", "versions": versions(), "threads": torch.get_num_threads()}
    write_json(root / keys.TRAINING_FILE, {**head, **content, "training": model.training, "stages": records})
    stages.show()


@contextmanager
def work_folder(staging: Path, *, keep: bool = False) -> Iterator[Path]:
    """A folder for what only the run needs, inside the one that becomes OUT; it stays on request."""
    work = staging / keys.WORK_DIR
    work.mkdir()
    yield work
    if not keep:
        shutil.rmtree(work)
