"""Read a section of whichever platform."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.io.sections.assemble import is_whole
from tissuegraph.io.sections.beads import read_beads
from tissuegraph.io.sections.detect import detect
from tissuegraph.io.sections.stereoseq import read_stereoseq
from tissuegraph.io.sections.tables import read_h5ad, read_zarr
from tissuegraph.io.sections.visium import read_visium, read_visium_hd

log = logging.getLogger(__name__)


def read_counts_and_positions(
    path: str | Path,
    *,
    platform: str | None = None,
    bin_size: int | str | None = None,
    table: str | None = None,
    needs_positions: bool = True,
) -> ad.AnnData:
    """Read a section without a graph; parameters as of `tg.read_section`.

    An .h5ad may hold cells that lie nowhere, unless `needs_positions`.
    """
    kind, source = detect(Path(path), platform)
    if bin_size is not None and kind not in ("visium-hd", "stereo-seq"):
        raise InputError(f"bin_size is for Visium HD and Stereo-seq, but {path} is {kind}; leave it out")
    if kind == "visium":
        adata, notes = read_visium(source)
    elif kind == "visium-hd":
        if isinstance(bin_size, str):
            raise InputError(f"bin_size is '{bin_size}'; expected a number of um, as 2, 8 or 16")
        adata, notes = read_visium_hd(source, bin_size)
    elif kind == "slide-seq":
        adata, notes = read_beads(source)
    elif kind == "stereo-seq":
        adata, notes = read_stereoseq(source, bin_size)
    elif kind == "zarr":
        adata, notes = read_zarr(source, table)
    else:
        adata, notes = read_h5ad(source, needs_positions=needs_positions)
    if not adata.n_obs or not adata.n_vars:
        raise InputError(
            f"{source} holds {adata.n_obs} cells and {adata.n_vars} genes; give a section that has both"
        )
    _note(adata, kind, source, notes)
    return adata


def _note(adata: ad.AnnData, kind: str, source: Path, notes: dict[str, Any]) -> None:
    """Write where the section comes from to `uns["tissuegraph"]["section"]`, and say it."""
    values = adata.X if isinstance(adata.X, np.ndarray) else getattr(adata.X, "data", np.empty(0))
    holds = "counts" if is_whole(np.asarray(values)) else "no counts"
    run = adata.uns.get(keys.UNS_RUN, {})
    # a table that was read and written before still knows its platform
    known = run.get(keys.UNS_SECTION, {})
    notes = {"platform": kind, **notes, **known, "source": str(source), "values": holds}
    adata.uns[keys.UNS_RUN] = {**run, keys.UNS_SECTION: notes}
    unit = {"um": "um", "pixel": "pixels"}.get(str(notes["unit"]), "the unit of the file")
    log.info(
        "%s: %s, %s cells x %s genes, positions in %s, X holds %s",
        source.name,
        notes["platform"],
        f"{adata.n_obs:,}",
        f"{adata.n_vars:,}",
        unit,
        holds,
    )
