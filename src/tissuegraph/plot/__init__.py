"""Pictures: one function a picture; each draws on a matplotlib `ax` and returns it."""

from tissuegraph.plot.graphs import degrees, stability

__all__ = ["degrees", "stability"]
