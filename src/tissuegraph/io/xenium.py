"""10x Xenium: the output folder of the Onboard Analysis, any version."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd
import polars as pl
import pyarrow as pa

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.io import columns
from tissuegraph.io.files import SUFFIXES, count_rows, find_table, open_table, reading, require_columns
from tissuegraph.io.outlines import outlines_from_vertices
from tissuegraph.sample import Sample

# Integer ids (versions before 1.3) mark a transcript outside all cells by -1, text ids by UNASSIGNED.
UNASSIGNED = ("UNASSIGNED", "-1", "")
# Some exports use 0, which is a cell in others: it is one where an outline bears it.
MAYBE_UNASSIGNED = "0"
CONTROL_NAMES = (
    "^(NegControl|antisense|BLANK|Blank|Unassigned|Deprecated|Intergenic)"  # UnassignedCodeword, too
)

TRANSCRIPTS, NUCLEI, CELLS = "transcripts", "nucleus_boundaries", "cell_boundaries"
_BUNDLE_FILES = ("experiment.xenium", *(TRANSCRIPTS + suffix for suffix in SUFFIXES))

_NEEDED = ("feature_name", "x_location", "y_location")
_NUMERIC = ("x_location", "y_location", "z_location", "qv")
_TRANSCRIPT_TYPES = {
    "transcript_id": pa.uint64(),
    "overlaps_nucleus": pa.bool_(),
    "x_location": pa.float64(),
    "y_location": pa.float64(),
    "z_location": pa.float64(),
    "qv": pa.float64(),
    "nucleus_distance": pa.float64(),
    "codeword_index": pa.int64(),
    "is_gene": pa.bool_(),
}
_VERTICES = ("vertex_x", "vertex_y")
_VERTEX_TYPES = {"vertex_x": pa.float64(), "vertex_y": pa.float64(), "label_id": pa.int64()}

_NOT_XENIUM = "give a Xenium output folder as the instrument wrote it"


def read_xenium(path: str | Path) -> Sample:
    """Read a Xenium bundle; the transcripts stay on disk, the outlines are loaded.

    Parameters
    ----------
    path
        The output folder, or its `experiment.xenium` or transcripts file. The folder holds
        `transcripts` and, where there are any, `nucleus_boundaries` and `cell_boundaries`, each as
        `.parquet`, `.csv.gz` or `.csv`. A csv is converted once to a temporary parquet, which lives as
        long as the process.

    Returns
    -------
    The sample. `nuclei` or `cells` is None where the folder lacks the file. `repairs` counts the
    outlines that were mended or left out.

    Raises
    ------
    InputError
        When a file is missing, unreadable, empty, lacks columns or holds text for numbers, or when more
        than one outline in a hundred is broken.
    """
    folder = _bundle_folder(Path(path))
    source = _find_transcripts(folder)
    parquet, schema = open_table(source, _TRANSCRIPT_TYPES)
    require_columns(source, schema, _NEEDED, _NUMERIC, _NOT_XENIUM)
    if count_rows(parquet) == 0:
        raise InputError(f"{source} holds no transcripts; {_NOT_XENIUM}, or export it again")
    nuclei, nucleus_repairs = _read_outlines(folder, NUCLEI, "nucleus")
    cells, cell_repairs = _read_outlines(folder, CELLS, "cell")
    zero_is_a_cell = any(
        MAYBE_UNASSIGNED in outlines.index for outlines in (nuclei, cells) if outlines is not None
    )
    unassigned = UNASSIGNED if zero_is_a_cell else (*UNASSIGNED, MAYBE_UNASSIGNED)
    return Sample(
        transcripts_path=parquet,
        columns=_canonical_columns(schema, unassigned),
        nuclei=nuclei,
        cells=cells,
        platform="xenium",
        name=folder.name,
        source=folder,
        repairs=nucleus_repairs | cell_repairs,
    )


def _bundle_folder(path: Path) -> Path:
    path = Path(os.path.abspath(path.expanduser()))
    with reading(path):
        if path.is_dir():
            return path
        if not path.exists():
            raise InputError(f"no such folder: {path}; give the Xenium folder that holds transcripts.parquet")
    if path.name not in _BUNDLE_FILES:
        raise InputError(
            f"{path} is no part of a Xenium bundle; give its folder or one of {', '.join(_BUNDLE_FILES)}"
        )
    return path.parent


def _find_transcripts(folder: Path) -> Path:
    with reading(folder):
        found = find_table(folder, TRANSCRIPTS)
        if found is not None:
            return found
        names = sorted(entry.name for entry in folder.iterdir())
        inner = next((name for name in names if find_table(folder / name, TRANSCRIPTS)), None)
    looked_for = ", ".join(TRANSCRIPTS + suffix for suffix in SUFFIXES)
    there = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    advice = f"did you mean {folder / inner}?" if inner else "give the folder of a Xenium output"
    raise InputError(
        f"no transcripts in {folder}: looked for {looked_for}; found: {there or 'nothing'}; {advice}"
    )


def _canonical_columns(schema: pl.Schema, unassigned: tuple[str, ...]) -> Mapping[str, pl.Expr]:
    """Return the expression of each canonical column over the platform's own columns."""
    gene = columns.text("feature_name", schema["feature_name"])
    chosen = {
        keys.TRANSCRIPT_ID: pl.lit(None, dtype=pl.UInt64),
        keys.GENE: gene,
        keys.X: columns.number("x_location"),
        keys.Y: columns.number("y_location"),
        keys.Z: pl.lit(None, dtype=pl.Float32),
        keys.QV: pl.lit(None, dtype=pl.Float32),
        keys.CELL_ID: pl.lit(None, dtype=pl.String),
        keys.OVERLAPS_NUCLEUS: pl.lit(None, dtype=pl.Boolean),
        keys.IS_CONTROL: _is_control(gene, schema),
    }
    if "transcript_id" in schema:
        as_given = schema["transcript_id"].is_integer()
        chosen[keys.TRANSCRIPT_ID] = (
            pl.col("transcript_id") if as_given else columns.text("transcript_id", schema["transcript_id"])
        )
    if "z_location" in schema:
        chosen[keys.Z] = columns.number("z_location")
    if "qv" in schema:
        chosen[keys.QV] = columns.number("qv")
    if "cell_id" in schema:
        chosen[keys.CELL_ID] = columns.cell_id("cell_id", schema["cell_id"], unassigned)
    if "overlaps_nucleus" in schema:
        chosen[keys.OVERLAPS_NUCLEUS] = columns.flag("overlaps_nucleus", schema["overlaps_nucleus"])
    return chosen


def _is_control(gene: pl.Expr, schema: pl.Schema) -> pl.Expr:
    """Ask `is_gene`, where that is null or absent the codeword's category, then the feature's name."""
    answers = []
    if "is_gene" in schema:
        answers.append(~columns.flag("is_gene", schema["is_gene"]))
    if "codeword_category" in schema:  # predesigned_gene, custom_gene; negative_control_probe, ...
        category = columns.text("codeword_category", schema["codeword_category"])
        answers.append(~category.str.ends_with("gene"))
    # A transcript without a name cannot be segmented either.
    return pl.coalesce(*answers, gene.str.contains(CONTROL_NAMES), pl.lit(True))


def _read_outlines(folder: Path, stem: str, noun: str) -> tuple[gpd.GeoDataFrame | None, dict[str, int]]:
    with reading(folder):
        source = find_table(folder, stem)
    if source is None:
        return None, {}
    optional = "" if stem == NUCLEI else f", or take {source.name} away, which segmentation can do without"
    parquet, schema = open_table(source, _VERTEX_TYPES)
    needed = ("cell_id", *_VERTICES)
    require_columns(source, schema, needed, _VERTICES, _NOT_XENIUM + optional)
    chosen = [
        columns.cell_id("cell_id", schema["cell_id"], ("UNASSIGNED", "")).alias(keys.CELL_ID),
        pl.col("vertex_x").alias("x"),
        pl.col("vertex_y").alias("y"),
    ]
    if "label_id" in schema:
        chosen.append(pl.col("label_id").alias("label"))
    with reading(source):
        vertices = pl.scan_parquet(parquet, glob=False).select(chosen).collect()
    return outlines_from_vertices(vertices, source, noun, f"mend them, or export the bundle again{optional}")
