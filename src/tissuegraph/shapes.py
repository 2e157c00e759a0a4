"""Outlines of nuclei and cells: what they look like, and how all of a slide are kept."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from copy import copy
from os import SEEK_END
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from tissuegraph.memory import let_go

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
    """Outlines in a file without a name, 12 bytes of memory each; `packed[numbers]` are some, as geometries.

    A missing outline stays missing. Numpy and shapely take them for the array of all geometries. The file
    lies in `folder` (default: the system's temporary one) and is gone when nothing refers to it.
    """

    def __init__(self, outlines: npt.NDArray[np.object_], folder: Path | None = None) -> None:
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115, open as long as this
        self._starts, self._sizes = np.empty(0, np.int64), np.empty(0, np.int32)
        self._append(outlines)

    def _append(self, outlines: npt.NDArray[np.object_]) -> None:
        """Write outlines as WKB, a missing one as nothing, at the end of the file."""
        sizes, end = [self._sizes], self._file.seek(0, SEEK_END)
        for first in range(0, len(outlines), BLOCK):
            texts = [text or b"" for text in shapely.to_wkb(outlines[first : first + BLOCK])]
            self._file.write(b"".join(texts))
            sizes.append(np.array([len(text) for text in texts], np.int32))
        self._file.flush()
        self._sizes = np.concatenate(sizes)
        new = self._sizes[len(self._starts) :]
        self._starts = np.concatenate([self._starts, end + np.cumsum(new, dtype=np.int64) - new])
        whole = self._file.seek(0, SEEK_END)
        self._written = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if whole else None

    def __len__(self) -> int:
        """How many there are."""
        return len(self._starts)

    def __getitem__(self, numbers: Any) -> Any:
        """The geometry of one number, or an array of those of a slice, a mask or an array of numbers."""
        chosen = np.arange(len(self))[numbers]
        number = np.ravel(chosen)
        texts = np.empty(len(number), object)
        for i, (start, size) in enumerate(zip(self._starts[number], self._sizes[number], strict=True)):
            texts[i] = self._written[start : start + size] if size and self._written else None
        let_go(self._written)
        return shapely.from_wkb(texts.reshape(chosen.shape) if chosen.ndim else texts[0])

    def beside(self, more: npt.NDArray[np.object_]) -> PackedOutlines:
        """These, which are not copied, and after them some more."""
        joined = copy(self)
        joined._append(more)
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
