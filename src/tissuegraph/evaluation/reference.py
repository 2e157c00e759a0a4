"""Markers of cell types, from a table of averages or an annotated AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tissuegraph import keys
from tissuegraph.io.profiles import read_profiles
from tissuegraph.metrics.segmentation import Markers, markers_of_profiles


def read_reference(path: Path, genes: Sequence[str], label: str = keys.CELL_TYPE) -> Markers:
    """Read the profiles of cell types (`io.profiles.read_profiles`), and find their markers.

    Parameters
    ----------
    path, genes, label
        As for `read_profiles`.

    Raises
    ------
    InputError
        If the file is no such reference, has fewer than two types, or one expresses none of the genes.
    """
    reference = read_profiles(path, genes, label)
    return markers_of_profiles(reference.profiles, list(reference.types))
