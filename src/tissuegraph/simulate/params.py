"""The parameters of simulated tissue, and the only place of their defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Params = TypeVar("Params", bound="DataclassInstance")
Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class TissueParams:
    """What simulated tissue looks like.

    The defaults make tissue about as hard as real tissue: the nearest nucleus, at its best distance,
    scores F1 0.84 at `elongation=1` (round) and 0.76 at `elongation=3` (elongated), the true outlines
    0.96 at both.
    """

    cells: int = 2000
    """Number of cells, exactly."""
    genes: int = 300
    """Number of genes in the panel."""
    types: int = 9
    """Number of cell types."""
    domains: int = 4
    """Number of tissue domains, each a coherent region with its own mixture of types."""
    counts_per_cell: float = 180.0
    """Mean number of transcripts that a cell makes."""
    cell_dispersion: float = 0.15
    """Overdispersion of a cell's total: the squared coefficient of variation of its expression level."""
    gene_dispersion: float = 0.5
    """Overdispersion of a gene within a type: counts are negative binomial with this 1 / shape."""
    marker_share: float = 0.04
    """Share of the panel that marks one type; the types have markers of their own."""
    marker_fold: float = 8.0
    """How many times more of a marker its type makes than the others do."""
    elongation: float = 2.0
    """Long over short axis of a cell; 1 is round."""
    direction_scale: float = 150.0
    """Distance in um over which the long axis turns by about one radian."""
    cell_area: float = 100.0
    """Mean area of a cell in um2."""
    size_variation: float = 0.42
    """Spread of the cells' areas: standard deviation of their logarithm."""
    irregularity: float = 0.12
    """How far an outline strays from the smooth shape, relative to its radius."""
    gap: float = 0.08
    """Mean share of a cell's radius that is left empty along its border."""
    nucleus_size: float = 0.55
    """Radius of the nucleus relative to the radius of its cell."""
    nucleus_offset: float = 0.65
    """Mean distance of the nucleus from the middle of its cell, relative to the way it has."""
    missing_nuclei: float = 0.08
    """Share of cells whose nucleus is not seen."""
    spill: float = 0.07
    """Share of transcripts that drift away from where they were made; about half of them leave the cell."""
    spill_distance: float = 5.0
    """Mean distance in um that such a transcript drifts."""
    background: float = 0.02
    """Share of transcripts that no cell made, anywhere on the slide."""
    controls: float = 0.005
    """Share of rows that are control probes and codewords, anywhere on the slide."""
    low_quality: float = 0.1
    """Share of rows with qv below 20."""
    thickness: float = 8.0
    """Thickness of the section in um."""

    def __post_init__(self) -> None:
        """Refuse what makes no tissue."""
        refuse_outside(self, _RANGES)


SHARE: Range = (0.0, 1.0)
_RANGES: dict[str, Range] = {
    "cells": (1, 100_000_000),
    "genes": (1, 1_000_000),
    "types": (1, 1000),
    "domains": (1, 1000),
    "counts_per_cell": (0.01, 1_000_000),
    "cell_dispersion": (0, 10),
    "gene_dispersion": (0, 100),
    "marker_share": SHARE,
    "marker_fold": (1, 1000),
    "elongation": (1, 10),
    "direction_scale": (10, 1_000_000),
    "cell_area": (1, 100_000),
    "size_variation": (0, 1),
    "irregularity": (0, 0.5),
    "gap": (0, 0.5),
    "nucleus_size": (0.05, 0.95),
    "nucleus_offset": (0, 0.8),
    "missing_nuclei": SHARE,
    "spill": SHARE,
    "spill_distance": (0, 1000),
    "background": SHARE,
    "controls": SHARE,
    "low_quality": SHARE,
    "thickness": (0, 1000),
}


def refuse_outside(params: Any, ranges: dict[str, Range]) -> None:
    """Raise `InputError` if a field is out of its range, or the shares leave nothing to the cells."""
    refuse_numbers(params, ranges, whole=("cells", "genes", "types", "domains"))
    stray = params.background + params.controls
    if stray > 0.95:
        raise InputError(
            f"background and controls together are {stray:g}; "
            "leave at least 0.05 of the transcripts to the cells."
        )


def refuse_numbers(params: Any, ranges: dict[str, Range], *, whole: Sequence[str]) -> None:
    """Raise `InputError` if a field is out of its range, or should be a whole number and is none."""
    for name, (low, high) in ranges.items():
        value = getattr(params, name)
        if not isinstance(value, Real) or not low <= float(value) <= high:
            raise InputError(f"{name} is {value!r}; give a number from {low:g} to {high:g}.")
    for name in whole:
        if not isinstance(getattr(params, name), Integral):
            raise InputError(f"{name} is {getattr(params, name)!r}; give a whole number.")


def with_settings(params: Params, settings: dict[str, object]) -> Params:
    """Return `params` with some fields replaced.

    Raises
    ------
    InputError
        A setting is not a field of the parameters, or its value makes no tissue.
    """
    known = [field.name for field in dataclasses.fields(params)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise InputError(f"no setting {unknown[0]!r} for simulated tissue; there are: {', '.join(known)}.")
    return dataclasses.replace(params, **settings)
