"""What is kept in `uns` of how an embedding came about."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from tissuegraph import keys

if TYPE_CHECKING:
    from anndata import AnnData


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of packages."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def keep_record(adata: AnnData, key: str, params: Any, seed: int, **more: Any) -> None:
    """Write `uns["tissuegraph"][key]`: parameters as JSON, seed and whatever else."""
    record = {"params": json.dumps(asdict(params)), "seed": seed, **more}
    adata.uns[keys.UNS_RUN] = {**adata.uns.get(keys.UNS_RUN, {}), key: record}
