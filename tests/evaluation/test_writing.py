"""What an evaluation leaves behind: JSON, a picture, and tables on the console."""

from __future__ import annotations

import dataclasses
import io
import json
import math

import matplotlib.image
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from rich.console import Console
from slides import GENES

import tissuegraph as tg
from tissuegraph.evaluation.figures import MEASURES, Figures
from tissuegraph.evaluation.picture import draw_evaluation
from tissuegraph.evaluation.result import TRUE_OUTLINES, VENDOR, Evaluation
from tissuegraph.evaluation.rules import NUCLEI_ONLY, RULES, VORONOI
from tissuegraph.evaluation.table import WIDTH_OF_A_FILE, print_evaluation
from tissuegraph.evaluation.writing import as_json, write_evaluation


@pytest.fixture(scope="module")
def written(judged, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "scores"
    write_evaluation(judged, folder, overwrite=False)
    return folder


def refuse(constant):
    raise ValueError(constant)


def test_the_json_is_valid_and_complete(judged, written):
    found = json.loads((written / "evaluation.json").read_text(), parse_constant=refuse)
    assert list(found["segmentations"]) == list(judged)
    assert found["equal_share"] == judged.equal_share
    assert found["marker_source"] == judged.marker_source
    names = [field.name for field in dataclasses.fields(Figures)]
    for name, record in found["segmentations"].items():
        assert set(names) < set(record)
        assert {key: record[key] for key in names} == dataclasses.asdict(judged[name])
        assert record["share_by_gene"] == judged.share_by_gene[name]
    method, rule = found["segmentations"]["method"], found["segmentations"][VORONOI]
    assert method["curve"]["mecr"] == judged.curves["method"].mecr
    assert method["curve"]["share"][0] == 0.3
    assert method["reliability"]["items"] == judged.reliability["method"].items.tolist()
    assert method["reliability_by_kind"] == {
        "cytoplasmic": {
            name: values.tolist()
            for name, values in judged.reliability_by_kind["method"]["cytoplasmic"]._asdict().items()
        }
    }
    assert (rule["curve"], rule["reliability"], rule["reliability_by_kind"]) == (None, None, {})


def test_the_json_names_the_markers(judged, written):
    found = json.loads((written / "evaluation.json").read_text())["markers"]
    assert sorted(found) == ["group 1", "group 2", "group 3"]
    assert sorted(sorted(genes) for genes in found.values()) == [
        [f"{kind}{i}" for i in range(4)] for kind in "ABC"
    ]
    assert {gene for genes in found.values() for gene in genes} < set(GENES)


def bare(**figures):
    """An evaluation without a truth, markers or confidences."""
    one = Figures(share_assigned=0.5, n_transcripts=10, **figures)
    nothing = Figures(share_assigned=0.0, n_transcripts=10)
    return Evaluation(
        figures={"one": one, "nothing": nothing},
        equal_share=0.5,
        markers=None,
        marker_source="none",
        share_by_gene={"one": {"G": math.nan}, "nothing": {"G": 0.0}},
        curves={},
        reliability={},
        reliability_by_kind={},
        genes=["G"],
        provenance={},
    )


def test_what_was_not_measured_is_null():
    found = as_json(bare())
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["segmentations"]["one"]["share_by_gene"] == {"G": None}
    assert found["markers"] == {}
    assert found["segmentations"]["one"]["f1"] is None


def test_the_picture_is_one(written):
    pixels = matplotlib.image.imread(written / "evaluation.png")
    height, width, _ = pixels.shape
    assert 600 < height < 3000
    assert 1000 < width < 4000
    assert pixels[..., :3].std() > 0.05  # not blank
    assert (written / "evaluation.png").stat().st_size < 2_000_000


def titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes if ax.axison]


def test_the_panels_of_a_picture(judged):
    assert titles(draw_evaluation(judged)) == [
        "F1 against the truth",
        "precision against recall",
        "reliability of the probabilities",
        "MECR (lower is better)",
        "contamination (lower is better)",
        "marker purity (higher is better)",
    ]
    assert titles(draw_evaluation(bare())) == ["share of transcripts assigned"]
    assert titles(draw_evaluation(bare(contamination=0.1))) == ["contamination (lower is better)"]
    assert titles(draw_evaluation(bare(f1=0.1, recall=0.1, precision=0.1))) == [
        "F1 against the truth",
        "precision against recall",
    ]


def dots(ax):
    """Place and colour of each labelled dot."""
    return {
        one.get_label(): (tuple(one.get_offsets()[0]), to_hex(one.get_facecolor()[0]))
        for one in ax.collections
        if isinstance(one, PathCollection)
    }


def test_every_segmentation_is_drawn_where_it_belongs(judged):
    figure = draw_evaluation(judged)
    bars, *others = figure.axes
    widths = [bar.get_width() for bar in bars.patches]
    assert widths == [figures.f1 for figures in judged.values()]
    drawn = dots(others[0])
    assert list(drawn) == list(judged)
    for name, figures in judged.items():
        assert drawn[name][0] == pytest.approx((figures.recall, figures.precision))
    for name, (place, _) in dots(others[2]).items():
        assert place == pytest.approx((judged[name].share_assigned, judged[name].mecr))
    dashed = [line for line in others[2].lines if line.get_linestyle() == "--"]
    assert [line.get_ydata().tolist() for line in dashed] == [judged.curves["method"].mecr]
    assert figure.get_suptitle().startswith("dashed")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(judged)


def test_kinds_are_drawn_where_one_segmentation_alone_says_how_sure_it_is(judged):
    panel = draw_evaluation(judged).axes[2]
    error = judged["method"].calibration_error_cytoplasmic
    assert [text.get_text() for text in panel.get_legend().get_texts()] == [f"cytoplasmic, ECE {error:.3f}"]
    two = dict.fromkeys(("method", VENDOR), judged.reliability["method"])
    panel = draw_evaluation(dataclasses.replace(judged, reliability=two)).axes[2]
    assert panel.get_legend() is None
    assert len(panel.lines) == 1 + len(two)


def test_colours_tell_segmentations_apart(judged):
    others = [f"tool {i}" for i in range(6)]
    names = [*others, VENDOR, NUCLEI_ONLY, TRUE_OUTLINES]
    many = dataclasses.replace(
        judged,
        figures=dict.fromkeys(names, judged[VENDOR]),
        curves={},
        reliability={},
        reliability_by_kind={},
    )
    figure = draw_evaluation(many)
    colours = [to_hex(bar.get_facecolor()) for bar in figure.axes[0].patches]
    assert len(set(colours)) == len(names)
    assert figure.get_suptitle() == ""  # nothing is dashed
    rules = dataclasses.replace(many, figures={name: judged[name] for name in RULES})
    assert len({to_hex(bar.get_facecolor()) for bar in draw_evaluation(rules).axes[0].patches}) == 1


def said(evaluation, **options):
    console = Console(record=True, file=io.StringIO(), **options)
    print_evaluation(evaluation, console)
    return console.export_text()


def test_the_tables_show_every_figure(judged):
    text = said(judged, width=200, force_terminal=True)
    count = f"{judged[VENDOR].n_transcripts:,} transcripts"
    assert count in text
    for measure in MEASURES:
        value = getattr(judged["method"], measure.field)
        if value is not None:
            assert f"{value:,.{measure.digits}f}" in text
    for name in (VENDOR, *RULES, TRUE_OUTLINES):
        assert name in text
    assert "agreement with the vendor is no accuracy" in text
    assert "12 markers of 3 types from the slide's own nuclei" in text
    assert "convex hulls" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("width", "is_terminal"), [(60, True), (80, True), (100, True), (130, True), (40, False)]
)
def test_no_number_is_cut_on_a_narrow_terminal(judged, width, is_terminal):
    text = said(judged, width=width, force_terminal=is_terminal)
    lines = [line.split() for line in text.splitlines() if line.startswith(" method")]
    shown = [word for line in lines for word in line[2:]]
    measured = [
        one for one in MEASURES if any(getattr(other, one.field) is not None for other in judged.values())
    ]
    values = [(getattr(judged["method"], one.field), one.digits) for one in measured]
    assert shown == ["-" if value is None else f"{value:,.{digits}f}" for value, digits in values]
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= (width if is_terminal else WIDTH_OF_A_FILE)
    for measure in measured:
        assert all(word in text for word in measure.title.split())


def test_calibration_by_kind_is_shown_of_what_promises_something(judged):
    text = said(judged, width=200, force_terminal=True)
    _, _, rest = text.partition("calibration error by kind")
    table, _, _ = rest.partition("purity, without truth")
    rows = [line.split() for line in table.splitlines() if any(name in line for name in judged)]
    shown = judged["method"].share_assigned, judged["method"].calibration_error_cytoplasmic
    assert rows == [["method", *(f"{value:.3f}" for value in shown)]]
    assert "nuclear" not in table  # too few


def test_only_what_was_measured_is_shown():
    text = said(bare(n_cells=3, area=12.5), width=120)
    for absent in ("with the truth", "purity", "MECR", "agreement"):
        assert absent not in text
    lines = [line.split() for line in text.splitlines() if "nothing" in line]
    assert lines[-1] == ["nothing", "0.000", "-"]


def test_files_are_written_on_demand(hand):
    found = tg.evaluate(hand / "out", hand / "truth.parquet", out=hand / "deep/scores")
    record = json.loads((hand / "deep/scores/evaluation.json").read_text(), parse_constant=refuse)
    assert record["segmentations"]["tissuegraph"]["f1"] == found["tissuegraph"].f1
    assert record["marker_source"] == "none"
    assert np.prod(matplotlib.image.imread(hand / "deep/scores/evaluation.png").shape) > 10**6
