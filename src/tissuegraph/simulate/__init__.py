"""Known truth to test against: tissue whose cells, types and molecules we placed ourselves."""

from __future__ import annotations

from tissuegraph.simulate.bundle import tissue
from tissuegraph.simulate.params import TissueParams

__all__ = ["TissueParams", "tissue"]
