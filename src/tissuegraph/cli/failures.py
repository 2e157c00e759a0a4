"""What a user reads when a command fails, and the status it ends with."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import tissuegraph
from tissuegraph.errors import TissuegraphError

DONE, OUR_FAULT, USER_CAN_MEND = 0, 1, 2
INTERRUPTED, NOBODY_READS = 130, 141
"""What a shell reports for SIGINT and SIGPIPE."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def explain(error: Exception, out: Path | None) -> str | None:
    """Return the sentence for an error that the user can mend, None for one that is our fault.

    `out` is the folder that the command writes to; a full disk is looked for there when the error names no
    file.
    """
    if isinstance(error, TissuegraphError):
        return str(error)
    causes = list(_chain(error))
    if any(_is_full(cause) for cause in causes):
        return f"no space left in {_folder(error, out)}; free some, or choose a folder on another disk."
    if isinstance(error, OSError) and error.errno in _FORBIDDEN:
        place = error.filename or out or Path.cwd()
        return (
            f"no permission for {place} ({error.strerror}); change its owner or mode, or choose another path."
        )
    return None


def write_log(error: Exception, tokens: Sequence[str]) -> str:
    """Write the traceback to a new file and return its path; to stderr if no file can be written."""
    text = (
        f"command: {shlex.join(['tissuegraph', *tokens])}\n"
        f"tissuegraph {tissuegraph.__version__}, Python {sys.version.split()[0]}, {sys.platform}\n\n"
        + "".join(traceback.format_exception(error))
    )
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="tissuegraph-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(text)
    except OSError:
        sys.stderr.write(text)
        return "the lines above"
    return log.name


def leave(error: BaseException) -> int:
    """Return the status of a command that was stopped from outside; there is nothing to say about it."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # Python flushes once more at the end, which must not fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    raise error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_full(error: BaseException) -> bool:
    """Tell by number or, as polars, pyarrow and safetensors raise errors of their own, by words."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return "no space left on device" in str(error).lower()


def _folder(error: Exception, out: Path | None) -> Path:
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in _FULL and cause.filename:
            return Path(os.fsdecode(cause.filename)).absolute().parent
    return Path(out).absolute() if out is not None else Path(tempfile.gettempdir())
