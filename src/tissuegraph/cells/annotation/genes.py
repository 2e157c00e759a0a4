"""Which genes two AnnData share, whatever they call them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_id")
SYMBOL_COLUMNS = ("gene_symbols", "gene_symbol", "gene_name", "gene_names", "feature_name", "symbol")
ENSEMBL = re.compile(r"^ENS([A-Z]{3})?G\d{6,}(\.\d+)?$")
SPECIES = {"": "human", "MUS": "mouse", "RNO": "rat", "DAR": "zebrafish"}
FEWEST_SHARED = 5
"""Genes without which nothing can be told."""
HALF = 0.5

Names = npt.NDArray[np.str_]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharedGenes:
    """Genes that stand in both, by the query's names, and their columns in either."""

    names: tuple[str, ...]
    query: npt.NDArray[np.int64]
    reference: npt.NDArray[np.int64]


def share_genes(query: AnnData, reference: AnnData) -> SharedGenes:
    """Find the genes that both have, by name or by another column of `var` (Ensembl ids, symbols).

    Raises
    ------
    InputError
        If they share fewer than five; the message says what their names look like.
    """
    best: tuple[int, str, str, Names, Names] | None = None
    for theirs, their_names in _namings(reference):
        for ours, our_names in _namings(query):
            number = len(np.intersect1d(our_names, their_names))
            if best is None or number > best[0]:
                best = (number, ours, theirs, our_names, their_names)
    if best is None or best[0] < min(FEWEST_SHARED, query.n_vars, reference.n_vars):
        raise InputError(_why_not(query, reference))
    number, ours, theirs, our_names, their_names = best
    if (ours, theirs) != ("var_names", "var_names"):
        log.info("genes are matched by %s of the query and %s of the reference", ours, theirs)
    smaller = min(query.n_vars, reference.n_vars)
    log.info(
        "%s genes are shared, of %s in the query and %s in the reference",
        f"{number:,}", f"{query.n_vars:,}", f"{reference.n_vars:,}",
    )  # fmt: skip
    if number < HALF * smaller:
        log.warning(
            "only %s of %s genes are shared; types whose markers are missing cannot be told apart",
            f"{number:,}", f"{smaller:,}",
        )  # fmt: skip
    place = pd.Index(their_names)
    first = ~pd.Index(our_names).duplicated() & np.isin(our_names, their_names)
    columns = np.flatnonzero(first)
    firsts = pd.Series(np.arange(len(place)), place)
    firsts = firsts[~firsts.index.duplicated()]
    found = firsts.reindex(our_names[columns]).to_numpy(np.int64)
    return SharedGenes(tuple(query.var_names[columns].astype(str)), columns, found)


def find_genes(adata: AnnData, genes: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Columns of the genes of a model, -1 where one is missing."""
    wanted = _plain(np.asarray(genes))
    best = np.full(len(genes), -1)
    for _, names in _namings(adata):
        index = pd.Series(np.arange(len(names)), names)
        found = index[~index.index.duplicated()].reindex(wanted).fillna(-1).to_numpy(np.int64)
        if (found >= 0).sum() > (best >= 0).sum():
            best = found
    return best


def _namings(adata: AnnData) -> Iterator[tuple[str, Names]]:
    """Everything that genes are called, names of `var` first."""
    yield "var_names", _plain(adata.var_names.to_numpy().astype(str))
    for column in (*ID_COLUMNS, *SYMBOL_COLUMNS):
        if column in adata.var:
            yield f"var['{column}']", _plain(adata.var[column].astype(str).to_numpy())


def _plain(names: npt.NDArray) -> Names:
    """Ensembl ids without their version."""
    return np.array([name.partition(".")[0] if ENSEMBL.match(name) else name for name in names], dtype=str)


def _why_not(query: AnnData, reference: AnnData) -> str:
    ours, theirs = (_look(adata.var_names.to_numpy().astype(str)) for adata in (query, reference))
    shown = [", ".join(adata.var_names[:3].astype(str)) for adata in (query, reference)]
    named = (
        f"the genes of the query are {ours[0]} ({shown[0]}), those of the reference {theirs[0]} ({shown[1]})"
    )
    upper = [set(adata.var_names.astype(str).str.upper()) for adata in (query, reference)]
    if ours[1] != theirs[1] and "" not in (ours[1], theirs[1]):
        return f"{named}: {ours[1]} and {theirs[1]}; give a reference of the query's species"
    if ours[0] != theirs[0]:
        return (
            f"{named}; put the other's kind into a column of var, such as var['gene_ids'] or "
            "var['gene_symbols']"
        )
    if len(upper[0] & upper[1]) >= FEWEST_SHARED:
        return (
            f"{named}: they are the same but for upper case, so perhaps of two species; give one of its own"
        )
    return f"{named}, and fewer than {FEWEST_SHARED} are shared; give a reference of the same tissue and kind"


def _look(names: Names) -> tuple[str, str]:
    """What the names look like, and the species that they speak of ("" where they do not)."""
    ids = [match for match in map(ENSEMBL.match, names) if match]
    if len(ids) > len(names) / 2:
        return "Ensembl ids", SPECIES.get(ids[0].group(1) or "", ids[0].group(1) or "")
    letters = [name for name in names if len(name) > 1 and name[0].isalpha()]
    if not letters:
        return "names", ""
    upper = np.mean([name.upper() == name for name in letters])
    title = np.mean([name[0].isupper() and name[1:].lower() == name[1:] for name in letters])
    if upper > 0.8:
        return "symbols in upper case", "human"
    return ("symbols in lower case", "mouse") if title > 0.8 else ("names", "")
