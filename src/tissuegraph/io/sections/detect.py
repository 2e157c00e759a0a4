"""Which platform a path holds."""

from __future__ import annotations

from pathlib import Path

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.io.sections import visium
from tissuegraph.io.sections.beads import find_beads
from tissuegraph.io.sections.stereoseq import GEF_ENDING, GEM_ENDINGS
from tissuegraph.io.sections.wide import open_text

PLATFORMS = ("visium", "visium-hd", "slide-seq", "stereo-seq", "h5ad", "zarr")
TEXT_ENDINGS = (".txt", ".tsv", ".txt.gz", ".tsv.gz")


def detect(path: Path, platform: str | None = None) -> tuple[str, Path]:
    """Return the platform and the file or folder that its reader takes.

    Raises
    ------
    InputError
        Where the path does not exist, holds nothing known, or holds several sections.
    """
    if not path.exists():
        raise InputError(f"no such file or folder: {path}; check the path")
    if platform is not None and platform not in PLATFORMS:
        raise InputError(f"platform is '{platform}'; expected one of: {', '.join(PLATFORMS)}")
    found = _detect_folder(path) if path.is_dir() else _detect_file(path)
    if found is None and platform is None:
        there = ", ".join(sorted(item.name for item in path.iterdir())[:12]) if path.is_dir() else path.name
        raise InputError(
            f"no section in {path}; found: {there or 'nothing'}; expected a Space Ranger folder (spatial/ or "
            "binned_outputs/), Slide-seq tables (BeadLocationsForR.csv), a .gem or .gef file, .h5ad or .zarr"
        )
    if found is None or (platform is not None and found[0] != platform):
        return str(platform), path
    return found


def _detect_file(path: Path) -> tuple[str, Path] | None:
    name = path.name
    if name.endswith(".h5ad"):
        return "h5ad", path
    if name.endswith((*GEM_ENDINGS, GEF_ENDING)) or (name.endswith(TEXT_ENDINGS) and _is_gem(path)):
        return "stereo-seq", path
    if name in visium.POSITION_FILES:
        return _detect_folder(path.parent.parent)
    if name.endswith("feature_bc_matrix.h5") or name == "scalefactors_json.json":
        return _detect_folder(path.parent if name.endswith(".h5") else path.parent.parent)
    return None


def _is_gem(path: Path) -> bool:
    try:
        with open_text(path) as file:
            header = next((line for line in file if not line.startswith("#")), "")
    except (OSError, UnicodeDecodeError):
        return False
    return {"geneID", "x", "y"} <= set(header.split())


def _detect_folder(folder: Path) -> tuple[str, Path] | None:
    for place in (folder, folder / "outs"):
        if (place / visium.BINNED).is_dir() or list(place.glob("square_*um")):
            return "visium-hd", place
        if visium.positions_file(place):
            return "visium-hd" if place.name.startswith("square_") else "visium", place
    if folder.name.endswith(".zarr") or any((folder / name).is_file() for name in (".zgroup", "zarr.json")):
        return "zarr", folder
    if (folder / keys.CELLS_FILE).is_file():
        return "h5ad", folder / keys.CELLS_FILE
    if find_beads(folder):
        return "slide-seq", folder
    single = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and (found := _detect_file(path)) and found[0]
    ]
    if len(single) > 1:
        names = ", ".join(path.name for path in single)
        raise InputError(f"{folder} holds several sections: {names}; give the path of one")
    return _detect_file(single[0]) if single else None
