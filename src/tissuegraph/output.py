"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tissuegraph.errors import OutputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_WORDS = ("no space left on device", "quota exceeded", "file too large")
"""How polars, pyarrow, HDF5 and safetensors, which raise errors of their own, name a full disk."""


@contextmanager
def whole_folder(out: Path, *, overwrite: bool, marker: str, kind: str) -> Iterator[Path]:
    """Give a folder to write into, which becomes `out` at the end, or vanishes on any failure.

    What a killed run left beside `out` is started over.

    Parameters
    ----------
    out
        The folder that is to appear.
    overwrite
        Whether a folder that we wrote may be replaced; nothing else ever is.
    marker
        A file, relative to `out`, by which a folder of ours is known.
    kind
        What such a folder is called in a message: "run", "simulated slide", ...

    Raises
    ------
    OutputError
        If `out` exists and is not to be replaced, or it cannot be written.
    """
    refuse_existing(out, overwrite=overwrite, marker=marker, kind=kind)
    staging, replaced = (out.with_name(f".{out.name}.{state}") for state in ("unfinished", "replaced"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        yield staging
        if out.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            out.rename(replaced)
        staging.rename(out)
        shutil.rmtree(replaced, ignore_errors=True)
    except Exception as error:
        if is_full(error):
            message = f"cannot write {out}: No space left on device; free some or choose another disk"
            raise OutputError(message) from error
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            message = f"cannot write {out}: {error.strerror or error}; choose another folder"
            raise OutputError(message) from error
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def is_full(error: BaseException | None) -> bool:
    """Say whether an error, or one that led to it, means that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if any(words in str(error).lower() for words in FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def refuse_existing(out: Path, *, overwrite: bool, marker: str, kind: str) -> None:
    """Raise `OutputError` unless `out` is free, or a folder of ours that may be replaced."""
    try:
        free = not out.exists() and not out.is_symlink()
    except OSError as error:  # a name that no file can have
        message = f"cannot write {out}: {error.strerror}; choose another folder"
        raise OutputError(message) from error
    if free:
        return
    if not overwrite:
        message = f"{out} exists already; choose another folder or pass --overwrite"
        raise OutputError(message)
    empty = out.is_dir() and not any(out.iterdir())
    if not empty and not _is_ours(out / marker):
        message = f"{out} is no {kind}, so it is not replaced; choose another folder"
        raise OutputError(message)


def _is_ours(marker: Path) -> bool:
    """Say whether the file by which a folder is known is there; a JSON file of that name must be ours."""
    if not marker.is_file():
        return False
    return marker.suffix != ".json" or "tissuegraph" in marker.read_text(errors="replace")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def refuse_existing_file(file: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` unless the file is free, or one that may be replaced."""
    try:
        there, is_file = file.exists() or file.is_symlink(), file.is_file()
    except OSError as error:  # a name that no file can have
        raise OutputError(f"cannot write {file}: {error.strerror}; choose another name") from error
    if there and not is_file:
        raise OutputError(f"{file} is no file, so it is not replaced; choose another name")
    if there and not overwrite:
        raise OutputError(f"{file} exists already; choose another name or pass --overwrite")
    folder = file.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write {file}: {folder} is no folder to write to; choose another")


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Give a name to write to, of the same ending, which becomes `file` at the end, or vanishes on failure.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    staging = file.with_name(f".{file.stem}.unfinished{file.suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield staging
        staging.replace(file)
    except Exception as error:
        if is_full(error):
            message = f"cannot write {file}: No space left on device; free some or choose another disk"
            raise OutputError(message) from error
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            message = f"cannot write {file}: {error.strerror or error}; choose another folder"
            raise OutputError(message) from error
        raise
    finally:
        staging.unlink(missing_ok=True)
