"""Cells of several segmentations under common names, and as numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import polars as pl

from tissuegraph.evaluation.assignments import Assignment
from tissuegraph.evaluation.measure import Method
from tissuegraph.evaluation.slide import Slide
from tissuegraph.metrics.segmentation import Codes, match_one_to_one, overlaps

SAME_NAMES = 0.5
"""Share of nuclear transcripts in the cell of their nucleus's name, from which on names are the slide's."""


def judged_part(assignment: Assignment, slide: Slide) -> Assignment:
    """Return the assignment of the judged transcripts alone, its cells called as on the slide."""
    cell = assignment.cell[slide.judged]
    names = slide_names(cell, slide, assignment.name)
    return replace(
        assignment,
        cell=cell.to_frame("cell").join(names, on="cell", how="left", maintain_order="left")["name"],
        confidence=None if assignment.confidence is None else assignment.confidence[slide.judged],
        outlines=_renamed(assignment.outlines, names),
    )


def slide_names(cell: pl.Series, slide: Slide, prefix: str) -> pl.DataFrame:
    """Return what each of a method's cells is called on the slide: columns `cell` and `name`.

    Where most transcripts in a nucleus are in the cell of the nucleus's name, the method kept the slide's
    names. Else a cell is given the name of a nucleus, one to one and by the number of the nucleus's
    transcripts that it holds; what is left over is called by the prefix. The truth plays no part.

    Parameters
    ----------
    cell
        String (N,): the cell of each judged transcript, null = none.
    """
    known = cell.drop_nulls().unique().sort()
    inside = slide.inside
    both = np.flatnonzero((inside >= 0) & cell.is_not_null().to_numpy())
    same = (cell[both] == slide.nucleus_ids[inside[both]]).to_numpy()
    if len(both) == 0 or same.mean() >= SAME_NAMES:
        return pl.DataFrame({"cell": known, "name": known})
    code = known.search_sorted(cell[both]).to_numpy().astype(np.int64)
    pairs = overlaps(code, inside[both])
    matched = match_one_to_one(pairs, np.bincount(code, minlength=len(known))[pairs.first])
    nucleus = np.full(len(known), -1)
    nucleus[pairs.first[matched]] = pairs.second[matched]
    own = slide.nucleus_ids[np.maximum(nucleus, 0)]
    table = pl.DataFrame({"cell": known, "own": own, "is_own": nucleus >= 0})
    of_its_own = pl.lit(f"{prefix}:") + pl.col("cell")
    return table.select("cell", name=pl.when("is_own").then("own").otherwise(of_its_own))


def _renamed(outlines: gpd.GeoDataFrame | None, names: pl.DataFrame) -> gpd.GeoDataFrame | None:
    if outlines is None:
        return None
    name_of = dict(names.iter_rows())
    known = outlines[outlines.index.isin(list(name_of))]
    return known.set_axis([name_of[cell] for cell in known.index], axis=0)


@dataclass(frozen=True)
class CellNames:
    """Numbers for the cells of all segmentations of a slide; those of the nuclei come first."""

    ids: pl.Series

    @classmethod
    def of(cls, nuclei: pl.Series, others: Iterable[pl.Series]) -> CellNames:
        """Number the nuclei as they stand, then every other name."""
        rest = [one.drop_nulls().unique(maintain_order=True) for one in others]
        return cls(pl.concat([nuclei, *rest]).unique(maintain_order=True))

    def __len__(self) -> int:
        """Return how many cells there are."""
        return len(self.ids)

    def codes(self, cell: pl.Series) -> Codes:
        """Return the number of each cell, -1 for null and for names that are not known."""
        book = pl.DataFrame({"cell": self.ids, "code": np.arange(len(self.ids))})
        found = cell.to_frame("cell").join(book, on="cell", how="left", maintain_order="left")
        return found["code"].fill_null(-1).to_numpy().astype(np.int64)

    def codes_of_index(self, outlines: gpd.GeoDataFrame) -> Codes:
        """Return the number of the cell of each outline."""
        return self.codes(pl.Series(outlines.index.to_numpy(dtype=object).tolist(), dtype=pl.String))

    def by_code(self, outlines: gpd.GeoDataFrame) -> npt.NDArray[np.object_]:
        """Return the polygons by the number of their cell, None where there is none."""
        polygons = np.full(len(self.ids), None, object)
        code = self.codes_of_index(outlines)
        polygons[code[code >= 0]] = outlines.geometry.to_numpy()[code >= 0]
        return polygons


def method_of(assignment: Assignment, names: CellNames) -> Method:
    """Return a judged assignment in numbers."""
    outlines = assignment.outlines
    return Method(
        cell=names.codes(assignment.cell),
        confidence=assignment.confidence,
        is_probability=assignment.is_probability,
        outlines=None if outlines is None else names.by_code(outlines),
    )
