"""Tables that others have made already: .h5ad, AnnData and SpatialData as .zarr."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad

from tissuegraph import keys
from tissuegraph.errors import InputError, MachineError
from tissuegraph.io.files import reading
from tissuegraph.io.sections.assemble import unique


def read_h5ad(path: Path, *, needs_positions: bool = True) -> tuple[ad.AnnData, dict[str, Any]]:
    """Read an AnnData as it is; only names that stand twice are told apart."""
    with reading(path):
        try:
            adata = _quietly(ad.read_h5ad, path)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is HDF5 but no AnnData ({str(error).splitlines()[0]}); write it with "
                "adata.write_h5ad"
            ) from error
    # `segment` writes its run there, and micrometres
    is_ours = path.name == keys.CELLS_FILE or keys.HAS_NUCLEUS in adata.obs
    unit = "um" if is_ours and keys.UNS_RUN in adata.uns else "as given"
    return _checked(adata, path, needs_positions=needs_positions), {"unit": unit}


def read_zarr(path: Path, table: str | None) -> tuple[ad.AnnData, dict[str, Any]]:
    """Read an AnnData, or a table of SpatialData, that has positions."""
    if _encoding(path) == "anndata":
        with reading(path):
            return _checked(_quietly(ad.read_zarr, path), path), {"unit": "as given"}
    try:
        from spatialdata import read_zarr as read_spatialdata
    except ImportError as error:
        message = f"{path} is SpatialData, which needs another package; run 'pip install spatialdata'"
        raise MachineError(message) from error
    with reading(path):
        tables = dict(read_spatialdata(path, selection=("tables",)).tables)
    name = table if table is not None else next(iter(tables), None) if len(tables) == 1 else None
    if name not in tables:
        found = ", ".join(tables) or "none"
        raise InputError(f"{path} has the tables: {found}; choose one of them by table")
    return _checked(tables[name], path), {"unit": "as given", "table": name}


def _quietly(read: Callable[[Path], ad.AnnData], path: Path) -> ad.AnnData:
    """Read without the warning that names stand twice, which is mended here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*names are not unique", UserWarning)
        return read(path)


def _encoding(path: Path) -> str:
    """Return what a zarr says that it is, in format 2 or 3."""
    for name in (".zattrs", "zarr.json"):
        file = path / name
        if file.is_file():
            attributes = json.loads(file.read_text())
            return str(attributes.get("attributes", attributes).get("encoding-type", ""))
    return ""


def _checked(adata: ad.AnnData, path: Path, *, needs_positions: bool = True) -> ad.AnnData:
    if needs_positions and keys.OBSM_SPATIAL not in adata.obsm:
        found = ", ".join(adata.obsm.keys()) or "nothing"
        raise InputError(
            f"no positions in obsm['{keys.OBSM_SPATIAL}'] of {path}; found in obsm: {found}; write x, y there"
        )
    for names in ("obs_names", "var_names"):
        if not getattr(adata, names).is_unique:
            setattr(adata, names, unique(getattr(adata, names)))
    return adata
