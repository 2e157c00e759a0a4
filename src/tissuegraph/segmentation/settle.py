"""Which of the tiles' assignments stand: those that are sure enough, in cells that hold enough."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from tissuegraph.segmentation.params import FEWEST_IN_FRAGMENT, MIN_PROBABILITY, PredictParams
from tissuegraph.tiles.survey import Survey

log = logging.getLogger(__name__)

BINS = 10_000
"""Steps in which the threshold is looked for, from 0 to 1."""
UNREACHED = np.inf
"""The threshold where none keeps the precision."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Legend:
    """What the numbers in the tiles' results stand for.

    Attributes
    ----------
    survey
        Its outlines and ids are those of the cells: first the nuclei, then the cells without one.
    n_nuclei
        How many of them are nuclei.
    genes
        Names of the gene numbers.
    unknown
        Genes whose transcripts were left out.
    """

    survey: Survey
    n_nuclei: int
    genes: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @property
    def is_fragment(self) -> Mask:
        """Whether each cell was found without a nucleus, [M]."""
        return np.arange(len(self.survey.outlines)) >= self.n_nuclei


@dataclass(frozen=True)
class Settled:
    """What was decided on a slide, and how sure the assignments are.

    Attributes
    ----------
    threshold
        Least probability of an assignment; None where no threshold keeps the precision that was asked for.
    expected_precision
        Mean probability of the assignments; None without any.
    cells_removed, transcripts_of_removed_cells
        Cells with too few transcripts of at least that probability, and these transcripts.
    """

    threshold: float | None
    expected_precision: float | None
    cells_removed: int
    transcripts_of_removed_cells: int


def settle(files: Sequence[Path], folder: Path, params: PredictParams, is_fragment: Mask) -> Settled:
    """Move the tiles' results, with boundary -1 and probability 0 for what does not stand.

    A cell that keeps fewer than `min_transcripts`, or, without a nucleus, fewer than `FEWEST_IN_FRAGMENT`,
    is removed. With `min_precision` the threshold is the lowest one, in steps of 1 / `BINS`, at which the
    mean probability is at least that, in the cells that remain. If there is none, a promise of that
    precision leaves nothing to assign: all cells are empty, and a warning says what can be reached.

    Parameters
    ----------
    files
        The results of the tiles (`predict.RESULT_SCHEMA`), with the likeliest cell of every transcript.
    folder
        Where they are moved to, under the same names.
    is_fragment
        [M], of the cells that the results number.
    """
    fewest = _fewest(params, is_fragment)
    threshold = choose_threshold(files, params, fewest)
    counts = transcripts_per_cell(files, threshold, len(fewest))
    removed = counts < fewest
    total, n = 0.0, 0
    for file in files:
        probability = _write_settled(file, folder / file.name, threshold, removed)
        total, n = total + float(probability.sum(dtype=np.float64)), n + len(probability)
        file.unlink()
    return Settled(
        threshold=None if threshold == UNREACHED else threshold,
        expected_precision=total / n if n else None,
        cells_removed=int((removed & (counts > 0)).sum()),
        transcripts_of_removed_cells=int(counts[removed].sum()),
    )


def _fewest(params: PredictParams, is_fragment: Mask) -> Counts:
    """Transcripts that each cell needs, [M]."""
    own = np.where(is_fragment, FEWEST_IN_FRAGMENT, 1)
    return np.maximum(own, params.min_transcripts).astype(np.int64)


def choose_threshold(files: Sequence[Path], params: PredictParams, fewest: Counts) -> float:
    """Return the least probability of an assignment, `UNREACHED` where there is none; fewest [M]."""
    if params.min_precision is not None:
        counts, sums = histogram(files, last_bins(files, fewest))
        return lowest_threshold(counts, sums, params.min_precision)
    return MIN_PROBABILITY if params.min_probability is None else params.min_probability


def last_bins(files: Sequence[Path], fewest: Counts) -> Counts:
    """The last bin from which on each cell holds its `fewest` transcripts, -1 if it never does, [M].

    Bin b holds the probabilities from b / BINS up to the next one's; the last one, BINS, 1 alone.
    """
    low, high = np.full(len(fewest), -1), np.full(len(fewest), BINS)
    while (low < high).any():  # all cells halve their range at a time, so that nothing is kept but counts
        middle = (low + high + 1) // 2
        enough = np.zeros(len(fewest), np.int64)
        for boundary, probability in map(_assignments, files):
            counted = _bins(probability) >= middle[boundary]
            enough += np.bincount(boundary[counted], minlength=len(fewest))
        low = np.where(enough >= fewest, middle, low)
        high = np.where(enough >= fewest, high, middle - 1)
    return low


def histogram(files: Iterable[Path], last: Counts) -> tuple[Counts, Floats]:
    """Number of the assignments and sum of their probabilities by the last bin where they stand.

    An assignment stands at a threshold if it is likely enough and so are enough in its cell: up to its own
    bin and the cell's `last` one [M]. Returns [BINS + 1] each.
    """
    counts, sums = np.zeros(BINS + 1, np.int64), np.zeros(BINS + 1)
    for boundary, probability in map(_assignments, files):
        stands = np.minimum(_bins(probability), last[boundary])
        counts += np.bincount(stands[stands >= 0], minlength=BINS + 1)
        sums += np.bincount(stands[stands >= 0], probability[stands >= 0], minlength=BINS + 1)
    return counts, sums


def lowest_threshold(counts: Counts, sums: Floats, precision: float) -> float:
    """The lowest start of a bin from which on the mean is at least `precision`; warns if there is none."""
    n, total = np.cumsum(counts[::-1])[::-1], np.cumsum(sums[::-1])[::-1]
    kept = np.flatnonzero((n > 0) & (total >= precision * n))
    if len(kept):
        return float(kept[0] / BINS)
    best = (total / np.maximum(n, 1)).max()
    log.warning(
        "no threshold keeps a precision of %g, so nothing is assigned: at most %.4f can be expected",
        precision,
        best,
    )
    return UNREACHED


def transcripts_per_cell(files: Iterable[Path], threshold: float, n_cells: int) -> Counts:
    """Transcripts of each cell that are at least so likely its own, [n_cells]."""
    counts = np.zeros(n_cells, np.int64)
    for boundary, probability in map(_assignments, files):
        counts += np.bincount(boundary[probability >= threshold], minlength=n_cells)
    return counts


def _assignments(file: Path) -> tuple[npt.NDArray[np.int32], Floats]:
    """Cells and probabilities of the transcripts that have one, [n]; the latter exactly, but in 64 bits."""
    table = pl.read_parquet(file, columns=["boundary", "probability"], glob=False)
    table = table.filter(pl.col("boundary") >= 0)
    return table["boundary"].to_numpy(), table["probability"].to_numpy().astype(np.float64)


def _bins(probability: Floats) -> Counts:
    # exact, as the product of 24 bits and 14 fits into 53: so it is the same as comparing with b / BINS
    return np.minimum(np.floor(probability * BINS), BINS).astype(np.int64)


def _write_settled(source: Path, target: Path, threshold: float, removed: Mask) -> npt.NDArray[np.float32]:
    """Write a tile's result without what does not stand; returns the probabilities that do."""
    table = pl.read_parquet(source, glob=False)
    boundary, probability = table["boundary"].to_numpy(), table["probability"].to_numpy()
    stands = (boundary >= 0) & (probability.astype(np.float64) >= threshold) & ~removed[boundary]
    settled = table.with_columns(
        pl.Series("boundary", np.where(stands, boundary, -1), pl.Int32),
        pl.Series("probability", np.where(stands, probability, 0), pl.Float32),
    )
    settled.write_parquet(target)
    return probability[stands]
