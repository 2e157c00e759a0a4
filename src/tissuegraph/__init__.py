"""Graph attention networks for spatial omics: from molecules to cells to tissue.

`import tissuegraph as tg` loads nothing heavy; each public name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tissuegraph import datasets, errors, metrics, plot, simulate
    from tissuegraph.cells.annotate import annotate, annotate_transform
    from tissuegraph.cells.annotate_params import AnnotateParams
    from tissuegraph.cells.annotation.model import AnnotateModel, load_annotator
    from tissuegraph.cells.bridge import to_pyg
    from tissuegraph.cells.bridge_back import from_pyg
    from tissuegraph.cells.cluster import cluster_cells
    from tissuegraph.cells.cluster_params import ClusterParams
    from tissuegraph.cells.embed_params import InfomaxParams, IntegrateParams, Node2VecParams
    from tissuegraph.cells.explain import explain_cell, gene_importance, neighbor_importance
    from tissuegraph.cells.infomax import infomax, infomax_transform
    from tissuegraph.cells.infomax_model import InfomaxModel, load_infomax
    from tissuegraph.cells.integrate import integrate
    from tissuegraph.cells.neighbours import expression_neighbors
    from tissuegraph.cells.node2vec import node2vec
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
    from tissuegraph.runs.annotate import annotate_cells
    from tissuegraph.runs.cluster import cluster_cells_of
    from tissuegraph.runs.domains import find_domains
    from tissuegraph.runs.embed import embed_cells
    from tissuegraph.runs.sweep import sweep
    from tissuegraph.runs.sweep_cells import sweep_cells
    from tissuegraph.sample import Sample
    from tissuegraph.segmentation.commands import predict, segment
    from tissuegraph.segmentation.dataset import SpatialTranscriptomicsDataset
    from tissuegraph.segmentation.learn import dataset, train
    from tissuegraph.segmentation.params import AssignParams, DatasetParams, PredictParams, TrainParams

__all__ = [
    "AnnotateModel",
    "AnnotateParams",
    "AssignParams",
    "ClusterParams",
    "DatasetParams",
    "GraphParams",
    "InfomaxModel",
    "InfomaxParams",
    "IntegrateParams",
    "LitSegger",
    "Node2VecParams",
    "PredictParams",
    "Sample",
    "Segger",
    "SeggerParams",
    "SpatialTranscriptomicsDataset",
    "StagateModel",
    "StagateParams",
    "TrainParams",
    "__version__",
    "annotate",
    "annotate_cells",
    "annotate_transform",
    "assign_domains",
    "cluster_cells",
    "cluster_cells_of",
    "cluster_domains",
    "dataset",
    "datasets",
    "domain_markers",
    "embed_cells",
    "errors",
    "evaluate",
    "explain_cell",
    "expression_neighbors",
    "find_domains",
    "from_pyg",
    "gene_importance",
    "harmonize",
    "infomax",
    "infomax_transform",
    "integrate",
    "load_annotator",
    "load_infomax",
    "load_stagate",
    "mark_variable_genes",
    "metrics",
    "neighbor_importance",
    "node2vec",
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
    "sweep",
    "sweep_cells",
    "to_pyg",
    "train",
    "umap",
]

# The module that brings each name; a sub-package is bound here by being imported.
_SOURCES = {
    "AnnotateModel": "tissuegraph.cells.annotation.model",
    "AnnotateParams": "tissuegraph.cells.annotate_params",
    "annotate": "tissuegraph.cells.annotate",
    "annotate_cells": "tissuegraph.runs.annotate",
    "explain_cell": "tissuegraph.cells.explain",
    "gene_importance": "tissuegraph.cells.explain",
    "neighbor_importance": "tissuegraph.cells.explain",
    "annotate_transform": "tissuegraph.cells.annotate",
    "load_annotator": "tissuegraph.cells.annotation.model",
    "AssignParams": "tissuegraph.segmentation.params",
    "ClusterParams": "tissuegraph.cells.cluster_params",
    "DatasetParams": "tissuegraph.segmentation.params",
    "GraphParams": "tissuegraph.graph.params",
    "InfomaxModel": "tissuegraph.cells.infomax_model",
    "InfomaxParams": "tissuegraph.cells.embed_params",
    "IntegrateParams": "tissuegraph.cells.embed_params",
    "LitSegger": "tissuegraph.nn.lit",
    "Node2VecParams": "tissuegraph.cells.embed_params",
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
    "cluster_cells_of": "tissuegraph.runs.cluster",
    "cluster_domains": "tissuegraph.domains.cluster",
    "dataset": "tissuegraph.segmentation.learn",
    "datasets": "tissuegraph.datasets",
    "domain_markers": "tissuegraph.domains.markers",
    "embed_cells": "tissuegraph.runs.embed",
    "errors": "tissuegraph.errors",
    "evaluate": "tissuegraph.evaluation.evaluate",
    "expression_neighbors": "tissuegraph.cells.neighbours",
    "find_domains": "tissuegraph.runs.domains",
    "from_pyg": "tissuegraph.cells.bridge_back",
    "harmonize": "tissuegraph.domains.harmony",
    "infomax": "tissuegraph.cells.infomax",
    "infomax_transform": "tissuegraph.cells.infomax",
    "integrate": "tissuegraph.cells.integrate",
    "smoothed_components": "tissuegraph.domains.smoothed",
    "load_infomax": "tissuegraph.cells.infomax_model",
    "load_stagate": "tissuegraph.domains.stagate_model",
    "mark_variable_genes": "tissuegraph.features.genes",
    "metrics": "tissuegraph.metrics.segmentation",
    "node2vec": "tissuegraph.cells.node2vec",
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
    "sweep": "tissuegraph.runs.sweep",
    "sweep_cells": "tissuegraph.runs.sweep_cells",
    "to_pyg": "tissuegraph.cells.bridge",
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
