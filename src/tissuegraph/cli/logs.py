"""Logs of the command line: one line a stage on stderr, without what other libraries advertise."""

from __future__ import annotations

import logging
import sys
import warnings

WITH_HANDLERS_OF_THEIR_OWN = ("lightning.pytorch", "lightning.fabric")


def configure_logs() -> None:
    """Send our own lines of level INFO, and other libraries' warnings, to stderr.

    A program that has set up its logging already keeps it. Python's warnings concern developers; `python -W`
    or PYTHONWARNINGS shows them.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_is_for_users)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in WITH_HANDLERS_OF_THEIR_OWN:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers = [handler]
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _is_for_users(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == "tissuegraph"
