"""What a user names on the command line: segmentations, and the slide that they are of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.evaluation.assignments import Assignment, read_assignment
from tissuegraph.evaluation.result import TRUE_OUTLINES, VENDOR
from tissuegraph.evaluation.rules import RULES
from tissuegraph.io import read_xenium
from tissuegraph.sample import Sample

ROW_NAMES = (VENDOR, *RULES, TRUE_OUTLINES)
"""What no segmentation may be called."""
BUNDLE_MARKS = ("experiment.xenium", "nucleus_boundaries.parquet", "nucleus_boundaries.csv.gz")


@dataclass(frozen=True)
class Inputs:
    """The slide, and where its segmentations lie, with the names that the user gave them."""

    sample: Sample
    segmentations: list[tuple[str | None, Path]]

    def read_assignments(
        self, transcripts: pl.DataFrame, transcript_column: str | None, cell_column: str | None
    ) -> list[Assignment]:
        """Read all segmentations, under names that differ.

        Raises
        ------
        InputError
            As `read_assignment` does, or if two bear one name, or that of the vendor or a simple rule.
        """
        columns = {"transcript_column": transcript_column, "cell_column": cell_column}
        read = [
            read_assignment(path, transcripts, name=name, **_of_table(path, columns))
            for name, path in self.segmentations
        ]
        often = Counter(one.name for one in read)
        paths = [path for _, path in self.segmentations]
        read = [
            one if often[one.name] == 1 else replace(one, name=f"{one.name} ({path.name})")
            for one, path in zip(read, paths, strict=True)
        ]
        twice = [name for name, count in Counter(one.name for one in read).items() if count > 1]
        if twice:
            raise InputError(f"two segmentations are called {twice[0]!r}; give names, as in NAME=PATH.")
        taken = next((one.name for one in read if one.name in ROW_NAMES), None)
        if taken is not None:
            raise InputError(
                f"a segmentation is called {taken!r}, as a row of the table is; give a name, as in NAME=PATH."
            )
        return read

    def paths(self, read: list[Assignment]) -> dict[str, str]:
        """Return the path of each segmentation, by the name under which it was read."""
        pairs = zip(read, self.segmentations, strict=False)
        return {one.name: str(path) for one, (_, path) in pairs}


def open_inputs(
    segmentations: str | Path | Sequence[str | Path] | Mapping[str, str | Path], bundle: str | Path | None
) -> Inputs:
    """Find the slide and its segmentations; see `evaluate`.

    Raises
    ------
    InputError
        If it is not clear which slide is meant, or it cannot be read.
    """
    named = _named(segmentations)
    bundles = [] if bundle is None else [Path(bundle)]
    bundles += [path for _, path in named if _is_bundle(path)]
    other = next((path for path in bundles if path.resolve() != bundles[0].resolve()), None)
    if other is not None:
        raise InputError(f"{bundles[0]} and {other} are both slides; evaluate one at a time.")
    others = [(name, path) for name, path in named if not _is_bundle(path)]
    source = bundles[0] if bundles else _source_of([path for _, path in others])
    return Inputs(read_xenium(source), others)


def _named(
    segmentations: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
) -> list[tuple[str | None, Path]]:
    if isinstance(segmentations, Mapping):
        return [(name, Path(path)) for name, path in segmentations.items()]
    if isinstance(segmentations, str | Path):
        segmentations = [segmentations]
    return [_split_name(one) for one in segmentations]


def _split_name(segmentation: str | Path) -> tuple[str | None, Path]:
    """Take NAME=PATH apart, unless it is a path that bears the sign."""
    name, sign, path = str(segmentation).partition("=")
    if not sign or Path(segmentation).exists():
        return None, Path(segmentation)
    return name, Path(path)


def _is_bundle(path: Path) -> bool:
    is_run = (path / keys.RUN_FILE).is_file()
    return path.is_dir() and not is_run and any((path / mark).is_file() for mark in BUNDLE_MARKS)


def _source_of(paths: list[Path]) -> Path:
    """Return the slide that the first run of ours read."""
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise InputError(f"there is no {missing}; give a segmentation that is there, or the slide itself.")
    run = next((path for path in paths if (path / keys.RUN_FILE).is_file()), None)
    if run is None:
        unfinished = next((path for path in paths if path.is_dir()), None)
        if unfinished is not None:
            raise InputError(
                f"no {keys.RUN_FILE} in {unfinished}, so no run of ours was finished there; give the output "
                "folder of `tissuegraph segment`, or, for another tool's, the slide with --bundle."
            )
        raise InputError("no slide is named; give the bundle that was segmented with --bundle.")
    try:
        source = json.loads((run / keys.RUN_FILE).read_text()).get("source")
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{run / keys.RUN_FILE} is not valid JSON of a run ({error}); run the segmentation again, or say "
            "where the slide lies with --bundle."
        ) from error
    if not source or not Path(source).exists():
        raise InputError(
            f"{run / keys.RUN_FILE} names {source or 'no bundle'} as its source, which is not there; "
            "say where the bundle lies with --bundle."
        )
    return Path(source)


def _of_table(path: Path, columns: dict[str, str | None]) -> dict[str, str | None]:
    """Return the column options for a table of another tool; a run of ours has columns of its own."""
    return {} if (path / keys.RUN_FILE).is_file() else columns
