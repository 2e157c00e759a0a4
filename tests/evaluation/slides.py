"""Two slides of known truth, as a user has them: one drawn by hand, one large enough for purity.

The first lies along y = 2, with nuclei A at x = 0..4 and B at x = 20..24, none for u; one transcript at 13.5
is background, and two more at 3 are a control and one of low quality.

     A  A   A     A        .        B    B  B             u  u
   [ 1  2 ] 6    10       13.5     18  [21 22 ]            40 41

The second is a lattice of 18 x 18 square cells of 10 um with square nuclei of 5 um, types at random.
"""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
import shapely

X = [1, 2, 6, 10, 13.5, 18, 21, 22, 40, 41, 3, 3]
TRUE = [*"AAAA", None, *"BBB", *"uu", "A", "A"]
OURS = [*"AAA", None, "B", *"BBB", "new-1", "new-1", None, None]
VENDOR = [*"AA", None, None, None, None, *"BB", "B", "B", "A", "A"]
FIRST_ID = 2**54
"""Ids that a float cannot hold."""

SIDE, CELL, NUCLEUS = 18, 10.0, 5.0
MARKERS, SHARED, DEPTH = 4, 4, 60
GENES = [f"{kind}{i}" for kind in "ABC" for i in range(MARKERS)] + [f"S{i}" for i in range(SHARED)]


def write_hand(folder: Path, copies: int = 1) -> Path:
    """Write the first slide with its truth and a run, `copies` times over in one place."""
    bundle = folder / "bundle"
    bundle.mkdir()
    n = len(X) * copies
    write_transcripts(
        bundle,
        cell_id=VENDOR * copies,
        gene=[*["ACTB"] * 11, "NegControlProbe_00042"] * copies,
        x=np.tile(X, copies),
        y=np.full(n, 2),
        qv=[*[30] * 10, 5, 40] * copies,
    )
    write_squares(bundle / "nucleus_boundaries.parquet", ["A", "B"], [(0, 0), (20, 0)], 4)
    outlines = [shapely.box(-1, 0, 11, 4), shapely.box(17, 0, 26, 4), shapely.box(39, 0, 42, 4)]
    write_truth(folder, TRUE * copies, list("ABu"), [True, True, False], outlines)
    assigned = pl.Series("assigned_cell_id", OURS * copies)
    run = {
        "row": pl.int_range(pl.len(), dtype=pl.UInt64),
        "assigned_cell_id": assigned,
        "assignment_probability": pl.when(assigned.is_not_null()).then(pl.lit(0.9)),
        "dropped_because": pl.Series([*[None] * 10, "low quality", "control"] * copies),
    }
    (folder / "out").mkdir()
    table = pl.read_parquet(bundle / "transcripts.parquet").with_columns(**run)
    table.write_parquet(folder / "out" / "transcripts.parquet")
    (folder / "out" / "run.json").write_text(json.dumps({"source": str(bundle)}))
    return folder


def write_lattice(folder: Path, seed: int = 0) -> Path:
    """Write the second slide with its truth, and a table `method.parquet` with the cells of some tool."""
    generator = np.random.default_rng(seed)
    n = SIDE * SIDE
    corners = CELL * np.column_stack([np.arange(n) % SIDE, np.arange(n) // SIDE])
    names = np.array([f"cell-{i}" for i in range(n)], object)
    kinds = generator.integers(0, 3, n)
    has_nucleus = generator.uniform(size=n) > 0.05
    owner = np.repeat(np.arange(n), generator.poisson(DEPTH, n))
    at = corners[owner] + generator.uniform(0, CELL, (len(owner), 2))
    rates = np.ones((3, len(GENES)))
    rates[:, : 3 * MARKERS] = 0.05
    for kind in range(3):
        rates[kind, kind * MARKERS : (kind + 1) * MARKERS] = 1
    cumulative = (rates / rates.sum(1, keepdims=True)).cumsum(1)[kinds[owner]]
    gene = (generator.uniform(size=(len(owner), 1)) > cumulative).sum(1)
    bundle = folder / "bundle"
    bundle.mkdir()
    blurred = cells_at(at + generator.normal(0, 1.5, at.shape))
    write_transcripts(
        bundle,
        cell_id=[None if drawn < 0.1 else names[i] for i, drawn in zip(blurred, at[:, 0] % 1, strict=True)],
        gene=[GENES[i] for i in gene],
        x=at[:, 0],
        y=at[:, 1],
        qv=np.where(generator.uniform(size=len(owner)) < 0.02, 10, 30),
    )
    inset = (CELL - NUCLEUS) / 2
    nuclei = bundle / "nucleus_boundaries.parquet"
    write_squares(nuclei, names[has_nucleus], corners[has_nucleus] + inset, NUCLEUS)
    write_squares(bundle / "cell_boundaries.parquet", names, corners, CELL)
    is_background = generator.uniform(size=len(owner)) < 0.03
    true = [None if alone else names[i] for i, alone in zip(owner, is_background, strict=True)]
    write_truth(folder, true, names, has_nucleus, list(shapely.box(*corners.T, *(corners + CELL).T)))
    sure = generator.uniform(0.5, 1, len(owner))
    guessed = np.where(generator.uniform(size=len(owner)) < sure, owner, blurred)
    pl.DataFrame(
        {
            "transcript_id": np.arange(len(owner), dtype=np.uint64) + FIRST_ID,
            "cell": [names[i] if p > 0.55 else None for i, p in zip(guessed, sure, strict=True)],
            "assignment_confidence": sure,
        }
    ).write_parquet(folder / "method.parquet")
    return folder


def cells_at(where: np.ndarray) -> np.ndarray:
    """Number of the lattice's cell at each place, the nearest one outside."""
    column, row = np.clip((where // CELL).astype(int), 0, SIDE - 1).T
    return column + SIDE * row


def write_transcripts(bundle: Path, *, cell_id, gene, x, y, qv) -> None:
    """Write the transcripts of a Xenium bundle."""
    n = len(x)
    pl.DataFrame(
        {
            "transcript_id": np.arange(n, dtype=np.uint64) + FIRST_ID,
            "cell_id": [cell or "UNASSIGNED" for cell in cell_id],
            "overlaps_nucleus": np.zeros(n, np.uint8),
            "feature_name": gene,
            "x_location": np.asarray(x, np.float32),
            "y_location": np.asarray(y, np.float32),
            "z_location": np.zeros(n, np.float32),
            "qv": np.asarray(qv, np.float32),
        }
    ).write_parquet(bundle / "transcripts.parquet")


def write_squares(path: Path, names, corners, side: float) -> None:
    """Write square outlines as a Xenium bundle has them, one row a vertex."""
    turn = [(0, 0), (side, 0), (side, side), (0, side), (0, 0)]
    rows = [
        (name, left + x, low + y) for name, (left, low) in zip(names, corners, strict=True) for x, y in turn
    ]
    table = pl.DataFrame(rows, schema=["cell_id", "vertex_x", "vertex_y"], orient="row")
    table.cast({"vertex_x": pl.Float32, "vertex_y": pl.Float32}).write_parquet(path)


def write_truth(folder: Path, true, names, has_nucleus, outlines) -> None:
    """Write the truth beside a bundle."""
    ids = np.arange(len(true), dtype=np.uint64) + FIRST_ID
    pl.DataFrame({"transcript_id": ids, "true_cell_id": true}).write_parquet(folder / "truth.parquet")
    cells = {"cell_id": list(names), "has_nucleus": list(has_nucleus)}
    gpd.GeoDataFrame(cells, geometry=outlines).to_parquet(folder / "truth_cells.parquet")


def edit(path: Path, change) -> None:
    """Rewrite a parquet file."""
    change(pl.read_parquet(path)).write_parquet(path)
