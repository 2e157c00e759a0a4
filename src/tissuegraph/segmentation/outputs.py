"""The table of transcripts of a run, made from the tiles' results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tissuegraph import keys
from tissuegraph.io.files import reading
from tissuegraph.memory import let_go
from tissuegraph.sample import Sample
from tissuegraph.segmentation.settle import Legend
from tissuegraph.tiles.survey import drop_reason

BATCH_ROWS = 500_000
BUFFER_BYTES = 1 << 20


def write_transcripts(
    sample: Sample, legend: Legend, results: pl.LazyFrame, min_qv: float, path: Path
) -> dict[str, int]:
    """Write every row of the source with its cell, probability and, if dropped, why.

    Returns the account: how many transcripts were given, assigned, unassigned, and dropped for which
    reason.
    """
    with reading(sample.transcripts_path):
        source = open_in_pieces(sample.transcripts_path)
    boundary, probability = _by_row(results, source.metadata.num_rows, path.parent)
    ids = pl.Series(keys.ASSIGNED_CELL_ID, legend.survey.boundary_ids.astype(str), pl.String)
    account: dict[str, int] = {"transcripts": 0, "assigned": 0, "unassigned": 0}
    writer = None
    row = 0
    for batch in _batches(source, sample.transcripts_path):
        rows = slice(row, row + len(batch))
        added = _added_columns(batch, sample, ids, boundary[rows], probability[rows], legend.unknown, min_qv)
        added = added.with_columns(pl.Series(keys.ROW, np.arange(rows.start, rows.stop), pl.UInt64))
        _count(account, added)
        table = _beside(pa.Table.from_batches([batch]), added)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
        row += len(batch)
        let_go(boundary, probability)
    if writer is not None:
        writer.close()
    return account


def open_in_pieces(path: Path) -> pq.ParquetFile:
    """Open a parquet so that what was read of it is let go; by default all stays until the file is closed."""
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES)


def _batches(source: pq.ParquetFile, path: Path) -> Iterator[pa.RecordBatch]:
    """Read the source; what is wrong with it is the source's fault, not that of the file being written."""
    with reading(path):
        batches = source.iter_batches(BATCH_ROWS)
        batch = next(batches, None)
    while batch is not None:
        yield batch
        with reading(path):
            batch = next(batches, None)


ADDED = (keys.ROW, keys.ASSIGNED_CELL_ID, keys.ASSIGNMENT_PROBABILITY, keys.DROPPED_BECAUSE)


def _beside(table: pa.Table, added: pl.DataFrame) -> pa.Table:
    """The source's columns as they were, and ours; one that bears a name of ours is told apart."""
    ours = added.select(ADDED).to_arrow()
    ours = ours.cast(
        pa.schema([(f.name, pa.string() if f.type == pa.large_string() else f.type) for f in ours.schema])
    )
    table = table.rename_columns(_told_apart(table.column_names))
    for name in ADDED:
        table = table.append_column(name, ours[name])
    return table.replace_schema_metadata(None)


def _told_apart(names: list[str]) -> list[str]:
    """Add "_in_source" to every name that is one of ours, as often as it takes."""
    told = []
    for given in names:
        name = given
        while name in ADDED or (name != given and name in names):
            name += "_in_source"
        told.append(name)
    return told


def _by_row(results: pl.LazyFrame, n_rows: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Boundary (-1 = none) and probability of every row of the source, as arrays on disk."""
    boundary = on_disk(folder / "boundary.tmp", np.int32(-1), n_rows)
    probability = on_disk(folder / "probability.tmp", np.float32(0), n_rows)
    for part in results.select(keys.ROW, "boundary", "probability").collect_batches():
        rows = part[keys.ROW].to_numpy().astype(np.int64)
        boundary[rows] = part["boundary"].to_numpy()
        probability[rows] = part["probability"].to_numpy()
        let_go(boundary, probability)
    return boundary, probability


def on_disk(path: Path, value: np.generic, n: int) -> np.ndarray:
    """An array [n] in a file without a name, which is gone when the array is let go.

    The file is written, not only made that long: a disk that fills up under a mapped file kills the process.
    """
    with path.open("wb") as file:
        for start in range(0, n, BATCH_ROWS):
            file.write(np.full(min(BATCH_ROWS, n - start), value).tobytes())
    array = np.memmap(path, value.dtype, "r+")
    path.unlink()
    return array


def _added_columns(
    batch: pa.RecordBatch,
    sample: Sample,
    ids: pl.Series,
    boundary: np.ndarray,
    probability: np.ndarray,
    unknown: tuple[str, ...],
    min_qv: float,
) -> pl.DataFrame:
    frame = pl.DataFrame(batch)
    canonical = frame.select(
        **{name: sample.columns[name] for name in (keys.GENE, keys.X, keys.Y, keys.QV, keys.IS_CONTROL)}
    )
    reason = canonical.select(drop_reason(min_qv).alias(keys.DROPPED_BECAUSE), pl.col(keys.GENE))
    if unknown:
        missing = pl.col(keys.DROPPED_BECAUSE).is_null() & pl.col(keys.GENE).is_in(list(unknown))
        named = pl.when(missing).then(pl.lit(keys.UNKNOWN_GENE)).otherwise(pl.col(keys.DROPPED_BECAUSE))
        reason = reason.with_columns(named.alias(keys.DROPPED_BECAUSE))
    assigned = boundary >= 0
    chosen = ids.gather(np.where(assigned, boundary, 0))
    return reason.select(keys.DROPPED_BECAUSE).with_columns(
        pl.when(pl.Series(assigned)).then(chosen).otherwise(None).alias(keys.ASSIGNED_CELL_ID),
        pl.when(pl.Series(assigned))
        .then(pl.Series(np.asarray(probability)))
        .otherwise(None)
        .alias(keys.ASSIGNMENT_PROBABILITY),
    )


def _count(account: dict[str, int], added: pl.DataFrame) -> None:
    assigned = len(added) - added[keys.ASSIGNED_CELL_ID].null_count()
    dropped = added.group_by(keys.DROPPED_BECAUSE).len().drop_nulls()
    account["transcripts"] += len(added)
    account["assigned"] += assigned
    account["unassigned"] += len(added) - assigned - int(dropped["len"].sum())
    for reason, count in sorted(dropped.iter_rows()):
        account[f"dropped: {reason}"] = account.get(f"dropped: {reason}", 0) + count


def account_by_gene(path: Path, sample: Sample) -> pl.DataFrame:
    """Count, gene by gene, what of the run's transcripts was assigned, unassigned and dropped."""
    gene = sample.columns[keys.GENE].alias(keys.GENE)
    assigned = pl.col(keys.ASSIGNED_CELL_ID).is_not_null()
    dropped = pl.col(keys.DROPPED_BECAUSE).is_not_null()
    return (
        pl.scan_parquet(path, glob=False)
        .select(gene, assigned.alias("assigned"), dropped.alias("dropped"))
        .group_by(keys.GENE)
        .agg(
            pl.len().alias("transcripts"),
            pl.col("assigned").sum(),
            (~pl.col("assigned") & ~pl.col("dropped")).sum().alias("unassigned"),
            pl.col("dropped").sum(),
        )
        .sort(keys.GENE)
        .collect(engine="streaming")
    )


def compare_with_nearest(results: pl.LazyFrame, kept: int) -> dict[str, Any]:
    """Shares assigned by us and by the nearest nucleus within 5 um, and how often the two agree.

    Agreement is no accuracy: it says how much the run differs from the simplest rule.
    """
    ours, nearest = pl.col("boundary") >= 0, pl.col("nearest") >= 0
    row = results.select(
        ours.sum().alias("ours"),
        nearest.sum().alias("nearest"),
        (ours & nearest).sum().alias("both"),
        (ours & (pl.col("boundary") == pl.col("nearest"))).sum().alias("same"),
    ).collect(engine="streaming")
    count = {name: int(row[name].item() or 0) for name in row.columns}
    return {
        "share_assigned": {
            "tissuegraph": round(count["ours"] / kept, 4),
            "nearest nucleus, 5 um": round(count["nearest"] / kept, 4),
        },
        "agreement_where_both_assign": round(count["same"] / max(count["both"], 1), 4),
    }
