"""mclust itself, through Rscript."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tissuegraph.errors import MachineError

SCRIPT = """
arguments <- commandArgs(trailingOnly = TRUE)
suppressPackageStartupMessages(library(mclust))
set.seed(as.integer(arguments[4]))
points <- as.matrix(read.csv(arguments[1], header = FALSE))
fitted <- Mclust(points, G = as.integer(arguments[3]), modelNames = "EEE", verbose = FALSE)
if (is.null(fitted)) stop("mclust found no such mixture")
writeLines(as.character(fitted$classification), arguments[2])
"""


def run_mclust(points: npt.NDArray[np.float64], n_domains: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the classification by R's mclust with model EEE, as STAGATE has it, [N].

    Raises
    ------
    MachineError
        Where R or its package mclust is not installed, or fails.
    """
    program = shutil.which("Rscript")
    if program is None:
        raise MachineError(
            "method 'mclust' needs R, and no Rscript is on PATH; install R and its package mclust, or take "
            "method='gmm', which is the same model with more starts"
        )
    with tempfile.TemporaryDirectory() as folder:
        script, table, answer = (Path(folder) / name for name in ("run.R", "points.csv", "labels.txt"))
        script.write_text(SCRIPT)
        np.savetxt(table, points, delimiter=",", fmt="%.17g")
        command = [program, *map(str, (script, table, answer, n_domains, seed))]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode or not answer.is_file():
            reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise MachineError(
                f"mclust failed ({reason}); run install.packages('mclust') in R, or take method='gmm'"
            )
        return np.loadtxt(answer, dtype=np.int64, ndmin=1) - 1
