"""Known truth to test against: tissue whose cells, types and molecules we placed ourselves."""

from __future__ import annotations

from tissuegraph.simulate.bundle import tissue
from tissuegraph.simulate.grown.bundle import grown_tissue
from tissuegraph.simulate.grown.params import GrownTissueParams
from tissuegraph.simulate.params import TissueParams

__all__ = ["GrownTissueParams", "TissueParams", "grown_tissue", "tissue"]
