"""What `segment_peers.py` hands to a peer, and what it takes back; needs pandas and pyarrow alone.

An adapter is called as `python ADAPTER.py FOLDER RESULT.parquet [SETTINGS]`. FOLDER holds
`transcripts.parquet` (`row`, `x`, `y`, `z` in um, `gene`, `nucleus`: the number of the nucleus that holds the
transcript, 0 = none; quality of 20 or more, no controls), `nuclei.parquet` (`nucleus`: 1, 2, ...; `cell_id`;
`x`, `y`: its centroid; `geometry`: its outline as WKB) and `slide`, the bundle they came from. SETTINGS is a
JSON object that replaces some of the adapter's own settings. RESULT has `row` and `cell_id` (text, null =
unassigned): a nucleus's `cell_id`, or the peer's own ids where it makes cells of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd


def arguments(settings: dict[str, Any]) -> tuple[Path, Path, dict[str, Any]]:
    """Return the folder, the result's path and `settings` with the changes of the command line."""
    folder, result, *changes = sys.argv[1:]
    changed = json.loads(changes[0]) if changes else {}
    unknown = changed.keys() - settings.keys()
    if unknown:
        raise SystemExit(f"no setting {sorted(unknown)[0]!r}; there are: {', '.join(settings)}.")
    return Path(folder), Path(result), {**settings, **changed}


def read_transcripts(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "transcripts.parquet")


def read_nuclei(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "nuclei.parquet")


def write_result(path: Path, row: Any, cell_id: Any, **columns: Any) -> None:
    table = pd.DataFrame({"row": row, "cell_id": pd.array(cell_id, dtype="string"), **columns})
    table.to_parquet(path, index=False)


def ids_of(nucleus: Any, nuclei: pd.DataFrame) -> Any:
    """Return the `cell_id` of each number of a nucleus, none for 0 and for numbers that are no nucleus's."""
    return pd.Series(nucleus).map(nuclei.set_index("nucleus")["cell_id"]).to_numpy()
