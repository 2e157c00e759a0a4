"""Every name that we read or write in tables and folders, once."""

from __future__ import annotations

# Columns of `Sample.scan()`, and of every tile file.
ROW = "row"
TRANSCRIPT_ID = "transcript_id"
GENE = "gene"
X, Y, Z = "x", "y", "z"
QV = "qv"
CELL_ID = "cell_id"
OVERLAPS_NUCLEUS = "overlaps_nucleus"
IS_CONTROL = "is_control"

# Columns that a run adds to the transcripts.
ASSIGNED_CELL_ID = "assigned_cell_id"
ASSIGNMENT_PROBABILITY = "assignment_probability"
DROPPED_BECAUSE = "dropped_because"

# Values of `dropped_because`.
LOW_QUALITY = "low quality"
CONTROL = "control"
NO_POSITION = "no position"
UNKNOWN_GENE = "unknown gene"

# Columns of the truth of a simulated slide.
TRUE_CELL_ID = "true_cell_id"
CELL_TYPE = "cell_type"
UNKNOWN = "unknown"
DOMAIN = "domain"
HAS_NUCLEUS = "has_nucleus"

# Files of a run.
TRANSCRIPTS_FILE = "transcripts.parquet"
CELLS_FILE = "cells.h5ad"
BOUNDARIES_FILE = "cell_boundaries.parquet"
RUN_FILE = "run.json"
MODEL_DIR = "model"
TRACE_FILE = "trace.json"
TRAINING_FILE = "training.json"
WORK_DIR = "work"
MANIFEST_FILE = "manifest.json"
MODEL_WEIGHTS_FILE = "model.safetensors"
MODEL_CARD_FILE = "model.json"

# Files of a simulated slide, beside the bundle.
TRUTH_FILE = "truth.parquet"
TRUTH_CELLS_FILE = "truth_cells.parquet"

# AnnData.
IS_SMALL = "is_small"
OBSM_SPATIAL = "spatial"
LAYER_COUNTS = "counts"
UNS_RUN = "tissuegraph"

# What comes after the domains.
OBS_PSEUDOTIME = "pseudotime"
OBSM_UMAP = "X_umap"
UNS_PAGA = "paga"

# Sections: columns of obs that tell one piece of tissue from another, whatever their case.
SECTION_COLUMNS = (
    "section",
    "section_id",
    "sample",
    "sample_id",
    "library_id",
    "slide",
    "slide_id",
    "slice",
    "slice_id",
    "puck",
    "core",
    "core_id",
    "batch",
)
UNS_SECTION = "section"
