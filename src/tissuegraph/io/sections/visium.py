"""Visium and Visium HD: the folders that Space Ranger writes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import numpy.typing as npt
import polars as pl

from tissuegraph.errors import InputError
from tissuegraph.io.files import reading
from tissuegraph.io.sections.assemble import match, section
from tissuegraph.io.sections.tenx import find_matrix, read_matrix

COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
POSITION_FILES = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
BINNED = "binned_outputs"
DEFAULT_BIN = 8
SPOT_NEIGHBORS, BIN_NEIGHBORS = 6, 8
"""Neighbours of a spot by default, and of a bin, which lies on a square lattice."""
SPACING = 100.0
"""Distance between the centres of neighbouring spots of Visium, um."""
SPOT_DIAMETER = 65.0
"""What Space Ranger's spot_diameter_fullres stands for, um."""
WORST_FIT = 0.1
"""How far, in spacings, spots may lie from a lattice that still tells the scale."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scale:
    """Micrometres a pixel, None where nothing tells, and what told."""

    um_per_pixel: float | None
    source: str


def positions_file(folder: Path) -> Path | None:
    """Return the table of positions of a Space Ranger folder, or None."""
    paths = (folder / "spatial" / name for name in POSITION_FILES)
    return next((path for path in paths if path.is_file()), None)


def read_visium(folder: Path) -> tuple[ad.AnnData, dict[str, Any]]:
    """Read spots that lie in the tissue; positions in um where the scale is known, else in pixels."""
    table_path = positions_file(folder)
    if table_path is None:
        raise InputError(
            f"no spatial/tissue_positions.csv in {folder}; expected what Space Ranger writes to outs/spatial"
        )
    table, matrix = _read_positions(table_path), read_matrix(find_matrix(folder))
    rows = match(matrix.barcodes, table["barcode"].to_list(), "spot", table_path.name)
    placed = table[np.maximum(rows, 0)]
    kept = np.flatnonzero((rows >= 0) & (placed["in_tissue"].to_numpy() == 1))
    if not len(kept):
        raise InputError(
            f"no spot of {folder} lies in the tissue (in_tissue is 1 for none); choose the tissue in Loupe"
        )
    spots = placed[kept]
    pixels = np.stack([spots["pxl_col_in_fullres"].to_numpy(), spots["pxl_row_in_fullres"].to_numpy()], 1)
    factors = _scale_factors(folder)
    array = np.stack([spots["array_col"].to_numpy(), spots["array_row"].to_numpy()], 1)
    scale = _scale(factors, pixels.astype(float), array.astype(float))
    adata = section(
        matrix.counts[kept],
        [matrix.barcodes[i] for i in kept],
        matrix.genes,
        pixels * (scale.um_per_pixel or 1.0),
        obs={name: spots[name].to_numpy() for name in COLUMNS[2:4]},
        var={"gene_ids": matrix.gene_ids},
    )
    notes = {
        "spots_left_out": len(matrix.barcodes) - len(kept),
        "features_left_out": matrix.dropped,
        "scale_from": scale.source,
        "n_neighbors": SPOT_NEIGHBORS,
    }
    if scale.um_per_pixel is None:
        log.warning("nothing in %s tells the size of a pixel: positions stay in pixels", folder / "spatial")
        return adata, notes | {"unit": "pixel"}
    return adata, notes | {"unit": "um", "um_per_pixel": scale.um_per_pixel}


def read_visium_hd(folder: Path, bin_size: int | None) -> tuple[ad.AnnData, dict[str, Any]]:
    """Read the bins of one size: of `folder`, if it is such a folder, else of its binned_outputs."""
    chosen = _bin_folder(folder, bin_size)
    adata, notes = read_visium(chosen)
    bin_um = float(_scale_factors(chosen).get("bin_size_um", chosen.name[7:10]))
    return adata, notes | {"bin_um": bin_um, "n_neighbors": BIN_NEIGHBORS}


def _bin_folder(folder: Path, bin_size: int | None) -> Path:
    binned = next((path for path in (folder / BINNED, folder) if list(path.glob("square_*um"))), None)
    if binned is None:
        asked_for_another = (
            bin_size is not None and _scale_factors(folder).get("bin_size_um", bin_size) != bin_size
        )
        if asked_for_another:
            raise InputError(
                f"{folder} holds no bins of {bin_size} um; give the folder above, or leave bin_size out"
            )
        return folder
    there = sorted(path.name for path in binned.glob("square_*um"))
    wanted = f"square_{DEFAULT_BIN if bin_size is None else bin_size:03d}um"
    if wanted not in there:
        raise InputError(
            f"no {wanted} in {binned}; found: {', '.join(there)}; choose one of them by bin_size"
        )
    return binned / wanted


def _read_positions(path: Path) -> pl.DataFrame:
    with reading(path):
        if path.suffix == ".parquet":
            table = pl.read_parquet(path)
        else:
            with path.open() as file:
                has_header = file.readline().startswith(COLUMNS[0])
            # before Space Ranger 2.0 the table had no header
            table = pl.read_csv(path, has_header=has_header, new_columns=None if has_header else COLUMNS)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(
            f"no column '{missing[0]}' in {path}; found: {', '.join(table.columns)}; expected: "
            f"{', '.join(COLUMNS)}"
        )
    text = [name for name in COLUMNS[1:] if not table[name].dtype.is_numeric()]
    if text:
        raise InputError(
            f"column '{text[0]}' of {path} holds text, not numbers; expected: {', '.join(COLUMNS)}"
        )
    return table.select(pl.col(COLUMNS[0]).cast(pl.String), *COLUMNS[1:])


def _scale_factors(folder: Path) -> Mapping[str, float]:
    path = folder / "spatial" / "scalefactors_json.json"
    if not path.is_file():
        return {}
    with reading(path):
        try:
            return dict(json.loads(path.read_text()))
        except ValueError as error:
            raise InputError(f"{path} is no JSON ({error}); copy it again") from error


def _scale(
    factors: Mapping[str, float], pixels: npt.NDArray[np.float64], array: npt.NDArray[np.float64]
) -> Scale:
    if factors.get("microns_per_pixel"):
        return Scale(float(factors["microns_per_pixel"]), "microns_per_pixel")
    fitted = _scale_of_lattice(pixels, array)
    if fitted is not None:
        return Scale(fitted, "spots 100 um apart")
    if factors.get("spot_diameter_fullres"):
        return Scale(SPOT_DIAMETER / float(factors["spot_diameter_fullres"]), "spot_diameter_fullres")
    return Scale(None, "nothing")


def _scale_of_lattice(pixels: npt.NDArray[np.float64], array: npt.NDArray[np.float64]) -> float | None:
    """Return um a pixel from where the spots lie on the slide's lattice, known to a fraction of a percent.

    A column is half a spacing, a row sqrt(3)/2 of one; the image may be turned or mirrored.
    """
    centred = array - array.mean(0)
    if len(pixels) < 3 or np.linalg.matrix_rank(centred) < 2:
        return None
    um = centred * SPACING * np.array([0.5, np.sqrt(0.75)])
    moved = pixels - pixels.mean(0)
    turn = np.linalg.lstsq(um, moved, rcond=None)[0]
    pixels_per_um = float(np.sqrt(abs(np.linalg.det(turn))))
    off = np.sqrt(((um @ turn - moved) ** 2).sum(1).mean())
    if pixels_per_um == 0 or off > WORST_FIT * SPACING * pixels_per_um:
        return None
    return 1.0 / pixels_per_um
