"""What a tile store was made of, and with what: the sign that it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from tissuegraph import keys
from tissuegraph.output import write_json
from tissuegraph.tiles.plan import Bounds, Tile
from tissuegraph.tiles.store import TileStore

FORMAT = "tissuegraph tile store 1"


@dataclass(frozen=True)
class Manifest:
    """An account of a tile store.

    Attributes
    ----------
    fingerprint
        Of the sample that was cut, by content.
    parameters
        What decides which transcripts are there, and where they were cut.
    versions
        Of what wrote it.
    tiles
        The tiles, ...
    transcripts
        ... and how many transcripts the core of each holds.
    """

    fingerprint: str
    parameters: Mapping[str, float]
    versions: Mapping[str, str]
    tiles: tuple[Tile, ...]
    transcripts: tuple[int, ...]


def write_manifest(
    store: TileStore, *, fingerprint: str, parameters: Mapping[str, float], versions: Mapping[str, str]
) -> Manifest:
    """Write `manifest.json` into a finished store; it appears whole, after all tiles, or not at all."""
    counts = tuple(store.count(tile) for tile in store.tiles)
    manifest = Manifest(fingerprint, dict(parameters), dict(versions), tuple(store.tiles), counts)
    tiles = [
        {"index": tile.index, "bounds": _open_ends(tile.core), "transcripts": count}
        for tile, count in zip(store.tiles, counts, strict=True)
    ]
    path = store.folder / keys.MANIFEST_FILE
    unfinished = path.with_suffix(".unfinished")
    write_json(unfinished, {"format": FORMAT, **asdict(manifest), "tiles": tiles, "transcripts": sum(counts)})
    os.replace(unfinished, path)
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a store; None where there is none, or one that cannot be relied on."""
    try:
        card = json.loads((folder / keys.MANIFEST_FILE).read_text())
        if card["format"] != FORMAT:
            return None
        tiles = tuple(Tile(int(one["index"]), _bounds(one["bounds"])) for one in card["tiles"])
        counts = tuple(int(one["transcripts"]) for one in card["tiles"])
        manifest = Manifest(card["fingerprint"], card["parameters"], card["versions"], tiles, counts)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if _is_there(TileStore(folder, list(tiles)), counts) else None


def _is_there(store: TileStore, counts: tuple[int, ...]) -> bool:
    """Say whether every tile with transcripts has its file."""
    return all(
        bool(store.files(tile)) == (count > 0) for tile, count in zip(store.tiles, counts, strict=True)
    )


def _open_ends(core: Bounds) -> list[float | None]:
    """Bounds as JSON knows them: null where they are infinite."""
    return [end if isfinite(end) else None for end in core]


def _bounds(ends: list[Any]) -> Bounds:
    x0, y0, x1, y1 = (
        far if end is None else float(end) for end, far in zip(ends, (-inf, -inf, inf, inf), strict=True)
    )
    return (x0, y0, x1, y1)
