"""Known truth to test against: tissue whose cells, types and molecules we placed ourselves."""

from __future__ import annotations

from tissuegraph.simulate.bundle import tissue
from tissuegraph.simulate.clusters.omics import omics, write_omics
from tissuegraph.simulate.clusters.params import OmicsParams
from tissuegraph.simulate.grown.bundle import grown_tissue
from tissuegraph.simulate.grown.params import GrownTissueParams
from tissuegraph.simulate.params import TissueParams
from tissuegraph.simulate.sections.params import SectionParams
from tissuegraph.simulate.sections.section import section, write_section

__all__ = [
    "GrownTissueParams",
    "OmicsParams",
    "SectionParams",
    "TissueParams",
    "grown_tissue",
    "omics",
    "section",
    "tissue",
    "write_omics",
    "write_section",
]
