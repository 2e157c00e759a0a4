"""Judge segmentations of a slide side by side, beside simple rules, with or without a truth."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.evaluation.assignments import Assignment
from tissuegraph.evaluation.cells import CellNames, judged_part, method_of
from tissuegraph.evaluation.figures import Figures
from tissuegraph.evaluation.inputs import open_inputs
from tissuegraph.evaluation.measure import (
    Ground,
    Method,
    curve,
    measure,
    reliability,
    reliability_by_kind,
)
from tissuegraph.evaluation.reference import read_reference
from tissuegraph.evaluation.result import TRUE_OUTLINES, VENDOR, Evaluation
from tissuegraph.evaluation.rules import best_distance, simple_rules
from tissuegraph.evaluation.slide import Slide, centres, nearest_nuclei, read_slide
from tissuegraph.evaluation.truth import Truth, read_truth
from tissuegraph.evaluation.writing import EVALUATION_FILE, write_evaluation
from tissuegraph.metrics.segmentation import (
    Codes,
    Markers,
    count_matrix,
    markers_of_nuclei,
    share_assigned_by_gene,
    types_by_profiles,
)
from tissuegraph.output import refuse_existing
from tissuegraph.sample import Sample

OWN_NUCLEI = "the slide's own nuclei"

Found = TypeVar("Found")

_log = logging.getLogger(__name__)


def evaluate(
    segmentations: str | Path | Sequence[str | Path] | Mapping[str, str | Path] = (),
    truth: str | Path | None = None,
    *,
    bundle: str | Path | None = None,
    reference: str | Path | None = None,
    label: str = keys.CELL_TYPE,
    out: str | Path | None = None,
    overwrite: bool = False,
    transcript_column: str | None = None,
    cell_column: str | None = None,
    equal_share: float | None = None,
    seed: int = 0,
) -> Evaluation:
    """Judge segmentations of a slide side by side, beside the vendor's cells and simple rules.

    Transcripts with a quality of 20 or more that are no controls are judged, whatever a segmentation itself
    kept. Without a truth, purity is judged by marker genes, which come from the reference or from the
    slide's own nuclei, never from a segmentation.

    Parameters
    ----------
    segmentations
        Output folders of tissuegraph; Baysor's segmentation.csv, proseg's transcript-metadata.csv.gz,
        segger's parquet; any csv or parquet that names a transcript and its cell. `NAME=PATH` gives a name.
        A bundle among them is taken as `bundle`; with nothing else, its own cells are judged.
    truth
        `truth.parquet` of a simulated slide (`transcript_id`, `true_cell_id`), beside it
        `truth_cells.parquet` (`cell_id`, `has_nucleus` and, where known, `geometry`).
    bundle
        The slide; by default the one that the first run of ours read.
    reference
        Profiles of cell types: a table with one profile a row, or an h5ad of annotated cells.
    label
        The column of the reference that names the cell type.
    out
        A folder for `evaluation.json` and `evaluation.png`; nothing is written without.
    overwrite
        Replace an evaluation that is there already.
    transcript_column
        The column of another tool's table that names the transcript, where it is not recognised.
    cell_column
        The column that names its cell, likewise.
    equal_share
        Share of the transcripts at which purity is compared; by default the smallest of the segmentations
        that were given and the vendor's, if it is not 0. What assigns less is not compared there.
    seed
        Of the grouping of nuclei.

    Returns
    -------
    The figures of each segmentation, by name, and what they rest on.

    Raises
    ------
    InputError
        If a file is missing, broken or of another slide, or the slide has no nuclei.
    OutputError
        If `out` exists or cannot be written.
    """
    if equal_share is not None and not 0 < equal_share <= 1:
        raise InputError(f"equal_share is {equal_share}; give a share above 0 and up to 1.")
    if out is not None:
        refuse_existing(Path(out), overwrite=overwrite, marker=EVALUATION_FILE, kind="evaluation")
    inputs = open_inputs(segmentations, bundle)
    slide = read_slide(inputs.sample)
    _log.info("judging %s transcripts of %s", f"{len(slide.judged):,}", inputs.sample.source)
    known = None if truth is None else read_truth(Path(truth), slide.everything[slide.judged])
    given = inputs.read_assignments(slide.everything, transcript_column, cell_column)
    given = [judged_part(one, slide) for one in [*given, *_vendor(slide, inputs.sample)]]
    markers, types, source = _markers(slide, reference, label, seed)
    methods, ground = _in_numbers(slide, given, known, markers, types)
    judged = [methods[one.name] for one in given] or list(methods.values())
    if equal_share is None:
        shares = [float((method.cell >= 0).mean()) for method in judged]
        equal_share = min((share for share in shares if share > 0), default=1.0)  # none has no purity at all
    result = Evaluation(
        figures={name: _measured(name, method, ground, equal_share) for name, method in methods.items()},
        equal_share=equal_share,
        markers=markers,
        marker_source=source,
        share_by_gene={name: _by_gene(method, slide) for name, method in methods.items()},
        curves=_where_known({name: curve(method, ground) for name, method in methods.items()}),
        reliability=_where_known({name: reliability(method, ground) for name, method in methods.items()}),
        reliability_by_kind={
            name: found for name, method in methods.items() if (found := reliability_by_kind(method, ground))
        },
        genes=slide.genes,
        provenance={
            "version": version("tissuegraph"),
            "slide": str(inputs.sample.source),
            "truth": None if truth is None else str(truth),
            "paths": inputs.paths(given),
            "seed": seed,
        },
    )
    if out is not None:
        write_evaluation(result, Path(out), overwrite=overwrite)
    return result


def _measured(name: str, method: Method, ground: Ground, equal_share: float) -> Figures:
    _log.info("measuring %s", name)
    return measure(method, ground, equal_share)


def _where_known(measured: dict[str, Found | None]) -> dict[str, Found]:
    return {name: one for name, one in measured.items() if one is not None}


def _markers(
    slide: Slide, reference: str | Path | None, label: str, seed: int
) -> tuple[Markers | None, Codes | None, str]:
    """Return the markers, the type of each nucleus and where they come from."""
    nuclear = _nuclear_counts(slide)
    if reference is not None:
        markers = read_reference(Path(reference), slide.genes, label)
        return markers, types_by_profiles(nuclear, markers), str(reference)
    try:
        return *markers_of_nuclei(nuclear, seed=seed), OWN_NUCLEI
    except InputError as error:
        _log.warning("no purity is measured: %s", error)
        return None, None, "none"


def _nuclear_counts(slide: Slide) -> sparse.csr_matrix:
    return count_matrix(slide.inside, slide.gene, len(slide.nucleus_ids), len(slide.genes))


def _by_gene(method: Method, slide: Slide) -> dict[str, float]:
    shares = share_assigned_by_gene(method.cell, slide.gene, len(slide.genes))
    return dict(zip(slide.genes, shares.tolist(), strict=True))


def _in_numbers(
    slide: Slide, given: list[Assignment], known: Truth | None, markers: Markers | None, types: Codes | None
) -> tuple[dict[str, Method], Ground]:
    """Return the methods to compare, in the order of the table, and what they are measured against."""
    names = CellNames.of(slide.nucleus_ids, _all_names(given, known))
    methods = {one.name: method_of(one, names) for one in given}
    true_cell = is_seen = None
    if known is not None:
        true_cell, is_seen = names.codes(known.cell), np.zeros(len(names), bool)
        seen = names.codes(known.seen_cells)
        is_seen[seen[seen >= 0]] = True
    vendor = methods.get(VENDOR)
    ground = Ground(
        gene=slide.gene,
        positions=slide.positions,
        inside=slide.inside,
        n_genes=len(slide.genes),
        n_cells=len(names),
        centres=_padded(centres(slide), len(names), np.nan),
        markers=markers,
        cell_type=None if types is None else _padded(types, len(names), -1),
        true_cell=true_cell,
        is_seen=is_seen,
        vendor=None if vendor is None else vendor.cell,
        true_outlines=None if known is None or known.outlines is None else names.by_code(known.outlines),
    )
    methods |= {name: Method(cell) for name, cell in simple_rules(slide).items()}
    methods |= _oracles(slide, known, names, ground)
    return methods, ground


def _all_names(given: list[Assignment], known: Truth | None) -> list[pl.Series]:
    names = [one.cell for one in given]
    if known is None:
        return names
    of_outlines = (
        [] if known.outlines is None else [pl.Series(known.outlines.index.tolist(), dtype=pl.String)]
    )
    return [known.seen_cells, known.cell, *of_outlines, *names]


def _oracles(slide: Slide, known: Truth | None, names: CellNames, ground: Ground) -> dict[str, Method]:
    """Return what only the truth could assign: the best distance, and the true outlines."""
    if known is None or ground.true_cell is None or ground.is_seen is None:
        return {}
    name, cell = best_distance(slide, ground.true_cell, ground.is_seen)
    oracles = {name: Method(cell)}
    if known.outlines is not None:
        code = names.codes_of_index(known.outlines)
        holder, _ = nearest_nuclei(slide.positions, known.outlines.geometry.to_numpy(), farthest=0.0)
        cell = np.where(holder >= 0, code[holder], -1)
        oracles[TRUE_OUTLINES] = Method(cell, outlines=names.by_code(known.outlines))
    return oracles


def _padded(values: npt.NDArray, size: int, filling: float) -> npt.NDArray:
    """Return the nuclei's values for all cells, filled up."""
    padded = np.full((size, *values.shape[1:]), filling, values.dtype)
    padded[: len(values)] = values
    return padded


def _vendor(slide: Slide, sample: Sample) -> list[Assignment]:
    """Return the vendor's cells as one more segmentation, if there are any."""
    cell = slide.everything[keys.CELL_ID]
    if cell.null_count() == len(cell):
        return []
    return [Assignment(VENDOR, cell, None, sample.cells, is_probability=False)]
