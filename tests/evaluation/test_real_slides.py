"""Figures on real slides that were measured elsewhere, too."""

from __future__ import annotations

from pathlib import Path

import pytest

import tissuegraph as tg
from tissuegraph.evaluation.result import VENDOR
from tissuegraph.evaluation.rules import NUCLEI_ONLY, RULES, nearest_name

SHARED = Path(__file__).resolve().parents[3] / "shared/data"

# MECR and the share assigned, of a computation of its own.
BREAST = {
    VENDOR: (0.0224, 0.97),
    nearest_name(8): (0.0203, 0.93),
    nearest_name(5): (0.0193, 0.86),
    nearest_name(3): (0.0176, 0.77),
    NUCLEI_ONLY: (0.0128, 0.41),
}


def needs(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no {name} beside the checkout; its terms do not allow to add it")
    return SHARED / name


@pytest.fixture(scope="module")
def breast():
    bundle = needs("xenium_breast")
    return tg.evaluate(bundle, reference=bundle / "reference_profiles.csv")


@pytest.mark.parametrize("name", BREAST)
def test_mecr_of_breast(breast, name):
    mecr, share = BREAST[name]
    assert breast[name].mecr == pytest.approx(mecr, abs=0.002)
    assert breast[name].share_assigned == pytest.approx(share, abs=0.02)


def test_breast_is_as_biology_has_it(breast):
    assert list(breast) == [VENDOR, *RULES]
    assert breast[VENDOR].n_transcripts == 186_146
    assert breast[VENDOR].n_cells == 1_135
    assert breast[NUCLEI_ONLY].contamination == breast[NUCLEI_ONLY].spurious_coexpression == 0
    purity = [breast[name].marker_purity for name in RULES]
    assert purity == sorted(purity, reverse=True)  # the farther from the nucleus, the less pure
    assert 0 < breast[nearest_name(5)].contamination < 0.05
    epithelial = [breast.genes[gene] for gene in breast.markers.genes]
    assert {"CD3E", "PTPRC"} & set(breast.genes)
    assert len(epithelial) > 30


def test_lung_has_markers_of_its_own():
    found = tg.evaluate(needs("xenium_lung"))
    assert found.marker_source == "the slide's own nuclei"
    assert found.markers.n_pairs > 20
    assert found[NUCLEI_ONLY].marker_purity > found[VENDOR].marker_purity
    assert found[VENDOR].n_transcripts == 8_617


def test_a_slide_too_poor_for_markers_is_judged_without_purity(caplog):
    found = tg.evaluate(needs("xenium_toy"))
    assert found.markers is None
    assert "no purity is measured" in caplog.text
    assert found[VENDOR].mecr is None
    assert found[VENDOR].outside == pytest.approx(0.01, abs=0.01)
