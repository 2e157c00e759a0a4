"""Pictures: one function a picture; each draws on the matplotlib axes that it is given, or on new ones."""

from tissuegraph.plot.classes import confusion
from tissuegraph.plot.confidence import reliability
from tissuegraph.plot.genes import denoised, violins
from tissuegraph.plot.graphs import degrees, silhouettes, stability
from tissuegraph.plot.neighbourhoods import neighbours
from tissuegraph.plot.networks import graph
from tissuegraph.plot.searches import sweep
from tissuegraph.plot.spaces import embedding, sections_3d, umap
from tissuegraph.plot.tissue import attention, domains, pseudotime
from tissuegraph.plot.training import history
from tissuegraph.plot.trajectory import paga

__all__ = [
    "attention",
    "confusion",
    "degrees",
    "denoised",
    "domains",
    "embedding",
    "graph",
    "history",
    "neighbours",
    "paga",
    "pseudotime",
    "reliability",
    "sections_3d",
    "silhouettes",
    "stability",
    "sweep",
    "umap",
    "violins",
]
