"""Apply a model to the slide of a run: what the tiles say, what of it stands, and the run's tables."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from tissuegraph import keys
from tissuegraph.io.profiles import ReferenceProfiles, read_profiles
from tissuegraph.parallel import in_order
from tissuegraph.segmentation.axes import LocalAxes, find_axes
from tissuegraph.segmentation.cell_tables import write_cells
from tissuegraph.segmentation.model import SegmentationModel
from tissuegraph.segmentation.outputs import (
    account_by_gene,
    compare_with_nearest,
    on_disk,
    write_transcripts,
)
from tissuegraph.segmentation.panel import for_panel
from tissuegraph.segmentation.params import PredictParams, ReferenceFile
from tissuegraph.segmentation.predict import predict_tile, unknown_genes
from tissuegraph.segmentation.pretrained import rounds
from tissuegraph.segmentation.pretrained.cell_profiles import find_profiles
from tissuegraph.segmentation.pretrained.model import PairModel
from tissuegraph.segmentation.pretrained.start import nuclear_counts, start
from tissuegraph.segmentation.results import write_results
from tissuegraph.segmentation.score import in_panel
from tissuegraph.segmentation.settle import Legend, settle
from tissuegraph.segmentation.stages import with_progress
from tissuegraph.segmentation.steps import Run, versions

log = logging.getLogger(__name__)

WHATEVER = 0.0
"""The threshold of the tiles' results, which hold the likeliest cell of every transcript until `settle`."""


def apply_model(
    run: Run, model: SegmentationModel, *, params: PredictParams, min_qv: float, axes: LocalAxes | None
) -> dict[str, Any]:
    """Assign every transcript of a slide and write the run's tables; returns what `run.json` says of it."""
    slide, stages = run.slide, run.stages
    unknown = unknown_genes(slide.survey, model, params.genes)
    tiles, seed = slide.store.tiles, model.training.get("seed", 0)
    with stages("profiles"):
        counts = nuclear_counts(slide.store, slide.survey, tiles, with_progress)
        if unknown and params.genes == "borrow":
            model, unknown = for_panel(model, slide.survey.genes, counts), ()
        profiles = find_profiles(in_panel(counts, slide.survey.genes, model.genes), seed=seed)
    if axes is None:
        with stages("axes"):
            axes = find_axes(slide.store, slide.survey, model.genes, model.gene_vectors, with_progress)
    with stages("predict"):
        tables = in_order(
            lambda tile: predict_tile(slide.store, slide.survey, model, axes, profiles, tile, WHATEVER), tiles
        )
        shown = with_progress(tables, "assigning transcripts", len(tiles))
        write_results(shown, len(tiles), run.results)
    parameters = {type(one).__name__: asdict(one) for one in (model.graph, model.segger, model.assign)}
    uns = {"seed": seed, "parameters": parameters | {"min_qv": min_qv}}
    legend = Legend(slide.survey, len(slide.survey.outlines), model.genes, unknown)
    return write_result(run, legend, params, min_qv=min_qv, uns=uns)


def apply_pair_model(
    run: Run,
    model: PairModel,
    *,
    params: PredictParams,
    min_qv: float,
    seed: int,
    reference: ReferenceFile | None = None,
) -> dict[str, Any]:
    """Do as `apply_model` does, with the pretrained model, which knows every gene."""
    genes = run.slide.survey.genes
    profiles = None if reference is None else read_profiles(reference.path, genes, reference.label)
    legend = _two_rounds(run, model, seed, profiles)
    said = _what_it_told(reference, profiles)
    uns = {"seed": seed, "parameters": {"min_qv": min_qv, "pretrained": model.card, **said}}
    return {**said, **write_result(run, legend, params, min_qv=min_qv, uns=uns)}


def _two_rounds(run: Run, model: PairModel, seed: int, reference: ReferenceProfiles | None) -> Legend:
    """Write what the tiles say; what is known of the slide's cells for it takes memory until then only."""
    before, tiles = _first_round(run, model, seed, reference), run.slide.store.tiles
    with run.stages("second round"):
        tables = in_order(
            lambda tile: rounds.assign_tile(model, run.slide.store, before, tile, WHATEVER), tiles
        )
        shown = with_progress(tables, "assigning transcripts, second round", len(tiles))
        write_results(shown, len(tiles), run.results)
    return Legend(before.survey, before.n_nuclei, run.slide.survey.genes)


def _first_round(
    run: Run, model: PairModel, seed: int, reference: ReferenceProfiles | None
) -> rounds.FirstRound:
    """Do all that comes before the second round, which keeps nothing of what only this needs."""
    store, survey, stages = run.slide.store, run.slide.survey, run.stages
    with stages("profiles"):
        begin = start(store, survey, progress=with_progress, seed=seed, reference=reference)
    with stages("first round"):
        owner = on_disk(run.work / "owner.tmp", np.int32(-1), sum(survey.counts.values()))
        return rounds.first_round(
            model.first,
            store,
            begin,
            store.tiles,
            owner,
            progress=with_progress,
            seed=seed,
            reference=reference,
        )


def _what_it_told(reference: ReferenceFile | None, profiles: ReferenceProfiles | None) -> dict[str, Any]:
    """Return what a run says of its reference, nothing without one."""
    if reference is None or profiles is None:
        return {}
    told = {
        "path": str(reference.path.absolute()),
        "label": reference.label,
        "types": list(profiles.types),
        "genes": int(np.isfinite(profiles.profiles).any(0).sum()),
    }
    return {"reference": told}


def write_result(
    run: Run, legend: Legend, params: PredictParams, *, min_qv: float, uns: dict[str, Any]
) -> dict[str, Any]:
    """Settle what the tiles found and write a run's tables; returns what `run.json` says of it."""
    sample, out, stages, kept = run.slide.sample, run.folder, run.stages, run.slide.survey.counts["kept"]
    settled = run.work / "settled"
    settled.mkdir()
    with stages("settle"):
        choice = asdict(settle(sorted(run.results.iterdir()), settled, params, legend.is_fragment))
    table = pl.scan_parquet(sorted(settled.iterdir()), glob=False)
    with stages("write transcripts"):
        account = write_transcripts(sample, legend, table, min_qv, out / keys.TRANSCRIPTS_FILE)
    choice["share_assigned"] = account["assigned"] / kept
    _say(choice)
    parameters = {**uns["parameters"], type(params).__name__: _known(asdict(params))}
    uns = {"versions": versions(), **uns, "parameters": parameters, "assignment": _known(choice)}
    with stages("write cells"):
        cells = write_cells(legend, table, out, uns)
    by_gene = account_by_gene(out / keys.TRANSCRIPTS_FILE, sample)
    return {
        "account": account,
        "account_by_gene": by_gene.to_dict(as_series=False),
        "assignment": choice,
        "cells": cells,
        "genes_unknown_to_the_model": list(legend.unknown),
        "beside_the_baseline": compare_with_nearest(table, kept),
        "tiles": len(run.slide.store.tiles),
    }


def _say(choice: dict[str, Any]) -> None:
    if choice["expected_precision"] is not None:
        log.info(
            "%.1f%% assigned, at a probability of %g or more; expected precision %.3f",
            100 * choice["share_assigned"],
            choice["threshold"],
            choice["expected_precision"],
        )


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Return them without None, which older versions of anndata neither write nor read."""
    return {name: value for name, value in values.items() if value is not None}
