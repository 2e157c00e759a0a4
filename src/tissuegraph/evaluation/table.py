"""An evaluation on the console."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from tissuegraph.evaluation.figures import (
    CALIBRATION,
    COUNTS,
    GROUPS,
    MEASURES,
    PURITY,
    SHAPE,
    WITH_TRUTH,
    Figures,
    Measure,
)
from tissuegraph.evaluation.result import Evaluation
from tissuegraph.evaluation.slide import MIN_QV
from tissuegraph.metrics.segmentation import CALIBRATION_ITEMS

WIDTH_OF_A_FILE = 130
"""Characters a line where the output is no terminal."""
NAME_WIDTH = 22
"""Characters of a name before it is broken."""
GAP = 2
"""Characters between columns."""


def print_evaluation(evaluation: Evaluation, console: Console | None = None) -> None:
    """Print one table for each group of measures, one row a segmentation."""
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, WIDTH_OF_A_FILE)
    count = next(iter(evaluation.values())).n_transcripts
    console.print(f"{count:,} transcripts with qv >= {MIN_QV} that are not controls")
    for group in GROUPS:
        chosen = [one for one in MEASURES if one.group == group and _is_measured(one, evaluation)]
        for some in _that_fit(chosen, evaluation, console.width):
            console.print(_table(evaluation, group, some))


def _that_fit(chosen: list[Measure], evaluation: Evaluation, width: int) -> list[list[Measure]]:
    """Return the measures of one table after the other: rich would cut what is too wide, without a word."""
    tables: list[list[Measure]] = []
    room = 0
    for one in chosen:
        words = [*one.title.split(), *(_shown(one, figures) for figures in evaluation.values())]
        needed = max(map(len, words)) + GAP
        if needed > room:
            tables.append([])
            room = width - NAME_WIDTH - len("assigned") - 2 * GAP - 1
        tables[-1].append(one)
        room -= needed
    return tables


def _table(evaluation: Evaluation, group: str, chosen: list[Measure]) -> Table:
    table = Table(title=group, caption=_caption(evaluation, group), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.title_justify = table.caption_justify = "left"
    table.add_column("segmentation", overflow="fold", min_width=NAME_WIDTH)
    for title in ("assigned", *(one.title for one in chosen)):
        table.add_column("\n".join(title.split()), justify="right", vertical="bottom", no_wrap=True)
    for name, figures in evaluation.items():
        if group == CALIBRATION and all(getattr(figures, one.field) is None for one in chosen):
            continue  # most promise nothing
        table.add_row(name, _text(figures.share_assigned, 3), *(_shown(one, figures) for one in chosen))
    return table


def _caption(evaluation: Evaluation, group: str) -> str | None:
    if group == PURITY and evaluation.markers is not None:
        return (
            f"{len(evaluation.markers.genes)} markers of {len(evaluation.markers.types)} types from "
            f"{evaluation.marker_source}; equal share: thinned at random to {evaluation.equal_share:.0%} "
            "of the transcripts"
        )
    if group == CALIBRATION:
        return (
            "in a nucleus or not; genes that make up the rarest tenth of the transcripts; cells without a "
            f"nucleus; where there are {CALIBRATION_ITEMS:,} transcripts"
        )
    if group == WITH_TRUTH:
        return "the nearest nucleus's best distance is chosen by the truth itself"
    if group == COUNTS and any(one.vendor_agreement is not None for one in evaluation.values()):
        return "agreement with the vendor is no accuracy: the vendor may be wrong"
    if group == SHAPE and any(one.solidity is None for one in evaluation.values()):
        return "without a solidity: of the convex hulls of the transcripts, as there are no polygons"
    return None


def _is_measured(measure: Measure, evaluation: Evaluation) -> bool:
    return any(getattr(figures, measure.field) is not None for figures in evaluation.values())


def _shown(measure: Measure, figures: Figures) -> str:
    return _text(getattr(figures, measure.field), measure.digits)


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
