"""Outlines of nuclei and cells: what they look like, and how all of a slide are kept."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

BLOCK = 10_000
"""Outlines that are looked at a time."""
TINY = 1e-3
"""um, um2: what a side or an area counts as at least."""

Floats = npt.NDArray[np.float64]


def aspect_ratio(outlines: npt.NDArray[np.object_]) -> Floats:
    """Long over short side of each outline's smallest rectangle, (M,)."""
    rectangles = shapely.minimum_rotated_rectangle(outlines)
    corners, index = shapely.get_coordinates(rectangles, return_index=True)
    first = np.searchsorted(index, np.arange(len(outlines)))
    sides = [np.linalg.norm(corners[first + i + 1] - corners[first + i], axis=1) for i in (0, 1)]
    return np.maximum(*sides) / np.maximum(np.minimum(*sides), TINY)


def solidity(outlines: npt.NDArray[np.object_]) -> Floats:
    """Area over the area of the convex hull, (M,); 1 is convex."""
    area, hull = shapely.area(outlines), shapely.area(shapely.convex_hull(outlines))
    return np.maximum(area, TINY) / np.maximum(hull, TINY)


class PackedOutlines:
    """Outlines in a fifth of the memory that geometries take; `packed[numbers]` are some, as geometries.

    A missing outline stays missing. Numpy and shapely take them for the array of all geometries.
    """

    def __init__(self, outlines: npt.NDArray[np.object_]) -> None:
        texts = [shapely.to_wkb(outlines[i : i + BLOCK]) for i in range(0, len(outlines), BLOCK)]
        known = [text or b"" for block in texts for text in block]
        self._bytes = b"".join(known)
        self._ends = np.array([0, *accumulate(map(len, known))], np.int64)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._ends) - 1

    def __getitem__(self, numbers: Any) -> Any:
        """The geometry of one number, or an array of those of a slice, a mask or an array of numbers."""
        chosen = np.arange(len(self))[numbers]
        texts = np.empty(np.shape(chosen), object)
        texts.ravel()[:] = [self._bytes[self._ends[i] : self._ends[i + 1]] or None for i in np.ravel(chosen)]
        return shapely.from_wkb(texts if texts.ndim else texts[()])

    def beside(self, more: npt.NDArray[np.object_]) -> PackedOutlines:
        """These and, after them, some more."""
        joined = PackedOutlines(more)
        joined._ends = np.concatenate([self._ends, self._ends[-1] + joined._ends[1:]])
        joined._bytes = self._bytes + joined._bytes
        return joined

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """All of them as geometries."""
        return np.asarray(self[:], dtype)


Outlines = npt.NDArray[np.object_] | PackedOutlines


def measured(function: Callable[[npt.NDArray[np.object_]], npt.NDArray[Any]], outlines: Outlines) -> Floats:
    """Measure outlines [M], a block at a time: what `function` gives for an array of them, [M, ...]."""
    starts = range(0, max(len(outlines), 1), BLOCK)
    return np.concatenate([function(outlines[i : i + BLOCK]) for i in starts])


def centroids(outlines: npt.NDArray[np.object_]) -> Floats:
    """Centroid of each outline, um, [M, 2]."""
    return shapely.get_coordinates(shapely.centroid(outlines)).reshape(-1, 2)
