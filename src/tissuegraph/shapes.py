"""Outlines of nuclei and cells: what they look like, and how all of a slide are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Block:
    """Some outlines as WKB, one after the other: the i-th ends at `ends[i + 1]`; a missing one is empty."""

    joined: bytes
    ends: npt.NDArray[np.int32]

    @classmethod
    def of(cls, outlines: npt.NDArray[np.object_]) -> _Block:
        texts = [text or b"" for text in shapely.to_wkb(outlines)]
        return cls(b"".join(texts), np.array([0, *accumulate(map(len, texts))], np.int32))

    def text(self, i: int) -> bytes | None:
        return self.joined[self.ends[i] : self.ends[i + 1]] or None


class PackedOutlines:
    """Outlines in a fifth of the memory that geometries take; `packed[numbers]` are some, as geometries.

    A missing outline stays missing. Numpy and shapely take them for the array of all geometries.
    """

    def __init__(self, outlines: npt.NDArray[np.object_]) -> None:
        blocks = [outlines[i : i + BLOCK] for i in range(0, len(outlines), BLOCK)]
        self._blocks = [_Block.of(block) for block in blocks]
        self._starts = np.array([0, *accumulate(map(len, blocks))], np.int64)

    def __len__(self) -> int:
        """How many there are."""
        return int(self._starts[-1])

    def __getitem__(self, numbers: Any) -> Any:
        """The geometry of one number, or an array of those of a slice, a mask or an array of numbers."""
        chosen = np.arange(len(self))[numbers]
        number = np.ravel(chosen)
        block = np.searchsorted(self._starts, number, "right") - 1
        places = zip(block.tolist(), (number - self._starts[block]).tolist(), strict=True)
        texts = np.empty(len(number), object)
        texts[:] = [self._blocks[b].text(i) for b, i in places]
        return shapely.from_wkb(texts.reshape(chosen.shape) if chosen.ndim else texts[0])

    def beside(self, more: npt.NDArray[np.object_]) -> PackedOutlines:
        """These, which are not copied, and after them some more."""
        joined = PackedOutlines(more)
        joined._blocks = self._blocks + joined._blocks
        joined._starts = np.concatenate([self._starts, self._starts[-1] + joined._starts[1:]])
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
