"""What types of cells express, from a table of averages or an annotated AnnData."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from tissuegraph import keys
from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

TABLES = (".csv", ".csv.gz", ".tsv", ".parquet")
FEWEST_GENES = 0.1
"""Share of the slide's genes that a reference must have."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReferenceProfiles:
    """What types of cells express of a slide's genes.

    Attributes
    ----------
    types
        (K,), names.
    profiles
        [K, G], expression of the slide's genes on a linear scale: shares, means or counts; NaN where the
        reference does not say.

    Raises
    ------
    InputError
        If a value is negative or infinite.
    """

    types: tuple[str, ...]
    profiles: Floats

    def __post_init__(self) -> None:
        """Refuse what is no expression."""
        if (self.profiles < 0).any():
            raise InputError(
                "the profiles hold negative values, as if scaled or centred; give counts or means."
            )
        if np.isinf(self.profiles).any():
            raise InputError("the profiles hold infinite values; give counts or means.")


def check_profiles(path: Path, label: str) -> None:
    """Look whether a reference is there and has its label, before any long work.

    Raises
    ------
    InputError
        If the file is missing, of another kind, unreadable, or has no such label.
    """
    if not path.is_file():
        raise InputError(f"there is no {path}; give a table of profiles or an h5ad with --reference.")
    if path.suffix == ".h5ad":
        cells = _open_h5ad(path, backed="r")
        names = list(cells.obs.columns)
        cells.file.close()
    elif path.name.endswith(TABLES):
        with _reading_table(path):
            names = _scan_table(path).collect_schema().names()
    else:
        raise InputError(f"{path} is neither an h5ad nor one of {', '.join(TABLES)}; convert it to one.")
    if label not in names:
        raise InputError(_no_label(path, label, names))


def read_profiles(path: Path, genes: Sequence[str], label: str = keys.CELL_TYPE) -> ReferenceProfiles:
    """Read the profiles of cell types over a slide's genes.

    Parameters
    ----------
    path
        A csv, tsv or parquet with one profile a row, a column `label` and a column a gene; or an h5ad whose
        cells bear `obs[label]` (its counts, `layers["counts"]` or else X, scaled to one sum a cell). Rows of
        one type are averaged.
    genes
        The slide's genes (G,).

    Raises
    ------
    InputError
        If the file cannot be read, has no such label, fewer than a tenth of the slide's genes, or values
        that are no expression.
    """
    check_profiles(path, label)
    read = _read_h5ad if path.suffix == ".h5ad" else _read_table
    types, found, profiles = read(path, genes, label)
    full = np.full((len(types), len(genes)), np.nan)
    full[:, np.flatnonzero(np.isin(genes, found))] = profiles
    return ReferenceProfiles(tuple(types), full)


def _scan_table(path: Path) -> pl.LazyFrame:
    if path.suffix == ".parquet":
        return pl.scan_parquet(path, glob=False)
    separator = "\t" if path.suffix == ".tsv" else ","
    return pl.scan_csv(path, separator=separator, infer_schema_length=None, glob=False)


@contextmanager
def _reading_table(path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path} cannot be read as a table of profiles ({reason}); write it anew."
        ) from error


def _read_table(path: Path, genes: Sequence[str], label: str) -> tuple[list[str], list[str], Floats]:
    """Return the types, the slide's genes that are there and the profiles [types, genes that are there]."""
    with _reading_table(path):
        table = _scan_table(path).collect()
    found = _common(path, genes, [name for name in table.columns if name != label])
    try:
        numbers = table.select(pl.col(found).cast(pl.Float64), pl.col(label).cast(pl.String))
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"{path} holds text where numbers belong ({str(error).partition(chr(10))[0]}); mend it."
        ) from error
    means = numbers.drop_nulls(label).group_by(label).agg(pl.col(found).mean()).sort(label)
    return means[label].to_list(), found, means.select(found).to_numpy()


def _read_h5ad(path: Path, genes: Sequence[str], label: str) -> tuple[list[str], list[str], Floats]:
    from scipy import sparse

    cells = _open_h5ad(path)
    matrix = cells.layers.get(keys.LAYER_COUNTS, cells.X)
    if matrix is None:
        raise InputError(f"{path} has neither layers[{keys.LAYER_COUNTS!r}] nor X; give one with counts.")
    cells.var_names_make_unique()  # of genes with one name, the first counts
    found = _common(path, genes, list(cells.var_names))
    counts = sparse.csr_matrix(matrix, dtype=np.float64)
    if (counts.data % 1).any():  # logarithms would make markers of genes that are none
        raise InputError(
            f"{path} has no layers[{keys.LAYER_COUNTS!r}], and its X holds no whole counts; "
            f"put the counts into layers[{keys.LAYER_COUNTS!r}]."
        )
    total = np.asarray(counts.sum(1)).ravel()
    shares = sparse.diags(1 / np.maximum(total, 1e-9)) @ counts[:, cells.var_names.get_indexer(found)]
    names = cells.obs[label].astype("category").cat.remove_unused_categories()
    known = np.flatnonzero(names.cat.codes.to_numpy() >= 0)
    codes = names.cat.codes.to_numpy()[known]
    member = sparse.csr_matrix((np.ones(len(known)), (codes, known)), (len(names.cat.categories), len(names)))
    means = (member @ shares).toarray() / np.bincount(codes)[:, None]
    return [str(name) for name in names.cat.categories], found, means


def _open_h5ad(path: Path, backed: Literal["r"] | None = None) -> AnnData:
    import anndata

    try:
        return anndata.read_h5ad(path, backed=backed)
    except (OSError, KeyError) as error:
        raise InputError(f"{path} cannot be read as h5ad ({error}); write it anew.") from error


def _common(path: Path, genes: Sequence[str], theirs: list[str]) -> list[str]:
    """Return the slide's genes that the reference has, in the slide's order."""
    there = set(theirs)
    found = [gene for gene in genes if gene in there]
    if len(found) < FEWEST_GENES * len(genes):
        raise InputError(
            f"{path} has {len(found):,} of the slide's {len(genes):,} genes; the slide names them like "
            f"{', '.join(genes[:3])}, the reference like {', '.join(theirs[:3])}: give one of the same "
            "species with names of the same kind."
        )
    return found


def _no_label(path: Path, label: str, names: list[str]) -> str:
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")
    return f"no column {label!r} in {path}; found: {shown}; say which one names the cell type with --label."
