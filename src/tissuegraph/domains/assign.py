"""Cells of another section are given the domains that were found before, without finding them anew."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from tissuegraph import keys
from tissuegraph.domains.refine import refine_labels
from tissuegraph.domains.stagate import stagate_transform
from tissuegraph.errors import InputError, ModelError
from tissuegraph.graph.averages import average_over_neighbours
from tissuegraph.graph.stored import adjacency

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

log = logging.getLogger(__name__)


def assign_domains(
    reference: AnnData | Path | str,
    adata: AnnData,
    *,
    key: str = keys.DOMAIN,
    refine: bool = True,
    layer: str | None = None,
    normalize: bool = False,
    device: str = "auto",
) -> None:
    """Give cells of other sections the domains of a reference, whose fit stays as it is.

    Every network's embedding that the domains were found in is made of the new cells by
    `tg.stagate_transform`, unless it is there already, and averaged over neighbours as it was. Embeddings of
    no model, such as smoothed components, count only where both have them. In each, the domains are Gaussians
    with one covariance, of the means and sizes that they have in the reference; a cell gets the domain that
    is the likeliest on average.

    Parameters
    ----------
    reference
        Cells with domains of `tg.cluster_domains`, and with the models of `tg.stagate`; or the file of such,
        as `tissuegraph domains` writes it.
    adata
        Cells of the same genes, with a graph built in the same way.
    key
        `obs["<key>"]` of both, and what was found before refinement, `obs["<key>_raw"]`; the categories are
        those of the reference.
    refine
        As in `tg.cluster_domains`.
    layer, normalize, device
        As in `tg.stagate_transform`.

    Raises
    ------
    InputError
        If the reference has no domains, or its embeddings are of no model.
    ModelError
        If the reference holds no model of an embedding that is missing.
    """
    reference = _read(reference)
    record = _record(reference, key)
    names = _usable(reference, record, adata)
    for name in names:
        if name not in adata.obsm:
            stagate_transform(
                reference, adata, layer=layer, key_added=name, device=device, normalize=normalize
            )
    known = reference.obs[f"{key}_raw"].cat
    graphs = adjacency(reference), adjacency(adata)
    chances = np.zeros((adata.n_obs, len(known.categories)))
    for name in names:
        for times in map(int, record["smooth"]):
            old, new = (
                average_over_neighbours(np.asarray(cells.obsm[name], np.float64), graph, times)
                for cells, graph in zip((reference, adata), graphs, strict=True)
            )
            for dimensions in map(int, record["dimensions"]):
                chances += _chances(*_leading(old, new, dimensions), known.codes.to_numpy())
    labels = chances.argmax(1)
    _write(adata, labels, graphs[1], known.categories, key, refine=refine)
    adata.uns[keys.UNS_RUN] = {
        **adata.uns.get(keys.UNS_RUN, {}),
        key: {"method": "assigned", "use_rep": names, "refine": refine, "n_domains": len(known.categories)},
    }


def _read(reference: AnnData | Path | str) -> AnnData:
    if not isinstance(reference, Path | str):
        return reference
    from anndata import read_h5ad

    try:
        return read_h5ad(reference)
    except OSError as error:
        message = f"the reference {reference} cannot be read; give the .h5ad of cells that have domains"
        raise InputError(message) from error


def _record(reference: AnnData, key: str) -> dict[str, Any]:
    """How the domains were found."""
    record = reference.uns.get(keys.UNS_RUN, {}).get(key, {})
    if "smooth" not in record or f"{key}_raw" not in reference.obs:
        found = ", ".join(map(str, reference.obs.columns)) or "nothing"
        raise InputError(
            f"the reference has no domains in obs['{key}'] (found: {found}); find them with "
            "tg.cluster_domains, or name its key_added"
        )
    for name in record["use_rep"]:
        if name not in reference.obsm:
            raise InputError(f"the reference lacks obsm['{name}'], in which its domains were found; keep it")
    return record


def _usable(reference: AnnData, record: dict[str, Any], adata: AnnData) -> list[str]:
    """The embeddings, each once, that the new cells have or that a model of the reference makes."""
    fitted = reference.uns[keys.UNS_RUN]
    found = [str(name) for name in dict.fromkeys(record["use_rep"])]
    usable = [name for name in found if name in adata.obsm or "card" in fitted.get(name, {})]
    if not usable:
        raise ModelError(
            f"the reference holds no model of {', '.join(found)}, in which its domains were found; find them "
            "in an embedding of tg.stagate, or make these embeddings of the new cells first"
        )
    return usable


def _leading(old: Floats, new: Floats, dimensions: int) -> tuple[Floats, Floats]:
    """Both along the leading principal directions of the old."""
    centre = old.mean(0)
    turn = np.linalg.eigh((old - centre).T @ (old - centre))[1][:, ::-1][:, :dimensions]
    return (old - centre) @ turn, (new - centre) @ turn


def _chances(old: Floats, new: Floats, labels: Labels) -> Floats:
    """Probability of each domain in the new cells, [n, domains]."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    out = np.zeros((len(new), labels.max() + 1))
    there = np.unique(labels)
    if len(there) == 1:
        out[:, there] = 1
        return out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # directions without variance count for nothing
        out[:, there] = LinearDiscriminantAnalysis().fit(old, labels).predict_proba(new)
    return out


def _write(
    adata: AnnData,
    labels: Labels,
    graph: sparse.csr_matrix,
    categories: pd.Index,
    key: str,
    *,
    refine: bool,
) -> None:
    refined = refine_labels(labels, graph) if refine else labels
    for name, values in ((key, refined), (f"{key}_raw", labels)):
        adata.obs[name] = pd.Categorical.from_codes(values, categories=categories)
    log.info("%s cells were assigned to %d domains", f"{adata.n_obs:,}", len(categories))
