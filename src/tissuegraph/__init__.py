"""Graph attention networks for spatial omics: from molecules to cells to tissue.

`import tissuegraph as tg` loads nothing heavy; each public name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tissuegraph import errors, metrics, plot, simulate
    from tissuegraph.cells.cluster import cluster_cells
    from tissuegraph.cells.cluster_params import ClusterParams
    from tissuegraph.domains.assign import assign_domains
    from tissuegraph.domains.cluster import cluster_domains
    from tissuegraph.domains.harmony import harmonize
    from tissuegraph.domains.markers import domain_markers
    from tissuegraph.domains.neighbourhood import umap
    from tissuegraph.domains.params import StagateParams
    from tissuegraph.domains.sections import read_section
    from tissuegraph.domains.smoothed import smoothed_components
    from tissuegraph.domains.spatial_genes import spatially_variable_genes
    from tissuegraph.domains.stagate import stagate, stagate_transform
    from tissuegraph.domains.stagate_model import StagateModel, load_stagate
    from tissuegraph.domains.trajectory import paga, pseudotime
    from tissuegraph.evaluation.evaluate import evaluate
    from tissuegraph.features.genes import mark_variable_genes
    from tissuegraph.graph.params import GraphParams
    from tissuegraph.graph.spatial import (
        spatial_neighbors,
        spatial_neighbors_3d,
        spatial_neighbors_delaunay,
        spatial_neighbors_knn,
        spatial_neighbors_radius,
        suggest_radius,
    )
    from tissuegraph.io import read_xenium
    from tissuegraph.nn.lit import LitSegger
    from tissuegraph.nn.params import SeggerParams
    from tissuegraph.nn.segger import Segger
    from tissuegraph.runs.domains import find_domains
    from tissuegraph.sample import Sample
    from tissuegraph.segmentation.commands import predict, segment
    from tissuegraph.segmentation.dataset import SpatialTranscriptomicsDataset
    from tissuegraph.segmentation.learn import dataset, train
    from tissuegraph.segmentation.params import AssignParams, DatasetParams, PredictParams, TrainParams

__all__ = [
    "AssignParams",
    "ClusterParams",
    "DatasetParams",
    "GraphParams",
    "LitSegger",
    "PredictParams",
    "Sample",
    "Segger",
    "SeggerParams",
    "SpatialTranscriptomicsDataset",
    "StagateModel",
    "StagateParams",
    "TrainParams",
    "__version__",
    "assign_domains",
    "cluster_cells",
    "cluster_domains",
    "dataset",
    "domain_markers",
    "errors",
    "evaluate",
    "find_domains",
    "harmonize",
    "load_stagate",
    "mark_variable_genes",
    "metrics",
    "paga",
    "plot",
    "predict",
    "pseudotime",
    "read_section",
    "read_xenium",
    "segment",
    "simulate",
    "smoothed_components",
    "spatial_neighbors",
    "spatial_neighbors_3d",
    "spatial_neighbors_delaunay",
    "spatial_neighbors_knn",
    "spatial_neighbors_radius",
    "spatially_variable_genes",
    "stagate",
    "stagate_transform",
    "suggest_radius",
    "train",
    "umap",
]

# The module that brings each name; a sub-package is bound here by being imported.
_SOURCES = {
    "AssignParams": "tissuegraph.segmentation.params",
    "ClusterParams": "tissuegraph.cells.cluster_params",
    "DatasetParams": "tissuegraph.segmentation.params",
    "GraphParams": "tissuegraph.graph.params",
    "LitSegger": "tissuegraph.nn.lit",
    "PredictParams": "tissuegraph.segmentation.params",
    "Sample": "tissuegraph.sample",
    "Segger": "tissuegraph.nn.segger",
    "SeggerParams": "tissuegraph.nn.params",
    "SpatialTranscriptomicsDataset": "tissuegraph.segmentation.dataset",
    "StagateModel": "tissuegraph.domains.stagate_model",
    "StagateParams": "tissuegraph.domains.params",
    "TrainParams": "tissuegraph.segmentation.params",
    "assign_domains": "tissuegraph.domains.assign",
    "cluster_cells": "tissuegraph.cells.cluster",
    "cluster_domains": "tissuegraph.domains.cluster",
    "dataset": "tissuegraph.segmentation.learn",
    "domain_markers": "tissuegraph.domains.markers",
    "errors": "tissuegraph.errors",
    "evaluate": "tissuegraph.evaluation.evaluate",
    "find_domains": "tissuegraph.runs.domains",
    "harmonize": "tissuegraph.domains.harmony",
    "smoothed_components": "tissuegraph.domains.smoothed",
    "load_stagate": "tissuegraph.domains.stagate_model",
    "mark_variable_genes": "tissuegraph.features.genes",
    "metrics": "tissuegraph.metrics.segmentation",
    "paga": "tissuegraph.domains.trajectory",
    "plot": "tissuegraph.plot",
    "predict": "tissuegraph.segmentation.commands",
    "pseudotime": "tissuegraph.domains.trajectory",
    "read_section": "tissuegraph.domains.sections",
    "read_xenium": "tissuegraph.io",
    "segment": "tissuegraph.segmentation.commands",
    "simulate": "tissuegraph.simulate",
    "spatial_neighbors": "tissuegraph.graph.spatial",
    "spatial_neighbors_3d": "tissuegraph.graph.spatial",
    "spatial_neighbors_delaunay": "tissuegraph.graph.spatial",
    "spatial_neighbors_knn": "tissuegraph.graph.spatial",
    "spatial_neighbors_radius": "tissuegraph.graph.spatial",
    "spatially_variable_genes": "tissuegraph.domains.spatial_genes",
    "stagate": "tissuegraph.domains.stagate",
    "stagate_transform": "tissuegraph.domains.stagate",
    "suggest_radius": "tissuegraph.graph.spatial",
    "train": "tissuegraph.segmentation.learn",
    "umap": "tissuegraph.domains.neighbourhood",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("tissuegraph")
    if name not in _SOURCES:
        message = f"module 'tissuegraph' has no attribute {name!r}; its names are {', '.join(__all__)}"
        raise AttributeError(message)
    module = import_module(_SOURCES[name])
    if name not in globals():
        globals()[name] = getattr(module, name)
    return globals()[name]


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
