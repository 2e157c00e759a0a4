"""Pictures: one function a picture; each draws on a matplotlib `ax` and returns it."""

from tissuegraph.plot.graphs import degrees, stability
from tissuegraph.plot.tissue import domains

__all__ = ["degrees", "domains", "stability"]
