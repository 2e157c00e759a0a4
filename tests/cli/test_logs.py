from __future__ import annotations

import subprocess
import sys

CODE = """
import logging, warnings
from tissuegraph.cli.logs import configure_logs
configure_logs()
import lightning.pytorch
warnings.warn("for developers")
logging.getLogger("lightning.pytorch.utilities.rank_zero").info("an advertisement")
logging.getLogger("lightning.pytorch.trainer").warning("a warning")
logging.getLogger("another.library").info("chatter")
logging.getLogger("tissuegraph.segmentation.run").info("a stage")
"""


def test_only_our_lines_and_warnings_of_others_are_seen():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == ""
    times, lines = zip(*(line.split(" ", 1) for line in done.stderr.splitlines()), strict=True)
    assert lines == ("a warning", "a stage")
    assert all(len(time) == len("12:34:56") for time in times)
