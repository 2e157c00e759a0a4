"""An evaluation on the console."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from tissuegraph.evaluation.figures import COUNTS, GROUPS, MEASURES, PURITY, WITH_TRUTH, Figures, Measure
from tissuegraph.evaluation.result import Evaluation
from tissuegraph.evaluation.slide import MIN_QV

WIDTH_OF_A_FILE = 120
"""Characters a line where the output is no terminal."""


def print_evaluation(evaluation: Evaluation, console: Console | None = None) -> None:
    """Print one table for each group of measures, one row a segmentation."""
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, WIDTH_OF_A_FILE)
    count = next(iter(evaluation.values())).n_transcripts
    console.print(f"{count:,} transcripts with qv >= {MIN_QV} that are not controls")
    for group in GROUPS:
        chosen = [one for one in MEASURES if one.group == group and _is_measured(one, evaluation)]
        if chosen:
            console.print(_table(evaluation, group, chosen))


def _table(evaluation: Evaluation, group: str, chosen: list[Measure]) -> Table:
    table = Table(title=group, caption=_caption(evaluation, group), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.title_justify = table.caption_justify = "left"
    table.add_column("segmentation", overflow="fold")
    table.add_column("assigned", justify="right")
    for one in chosen:
        table.add_column(one.title, justify="right")
    for name, figures in evaluation.items():
        table.add_row(name, _text(figures.share_assigned, 3), *(_shown(one, figures) for one in chosen))
    return table


def _caption(evaluation: Evaluation, group: str) -> str | None:
    if group == PURITY and evaluation.markers is not None:
        return (
            f"{len(evaluation.markers.genes)} markers of {len(evaluation.markers.types)} types from "
            f"{evaluation.marker_source}; equal share: thinned at random to {evaluation.equal_share:.0%} "
            "of the transcripts"
        )
    if group == WITH_TRUTH:
        return "the nearest nucleus's best distance is chosen by the truth itself"
    if group == COUNTS and any(one.vendor_agreement is not None for one in evaluation.values()):
        return "agreement with the vendor is no accuracy: the vendor may be wrong"
    return None


def _is_measured(measure: Measure, evaluation: Evaluation) -> bool:
    return any(getattr(figures, measure.field) is not None for figures in evaluation.values())


def _shown(measure: Measure, figures: Figures) -> str:
    return _text(getattr(figures, measure.field), measure.digits)


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
