"""What is kept in `uns` of how an embedding came about."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tissuegraph import keys

if TYPE_CHECKING:
    from anndata import AnnData


def keep_record(adata: AnnData, key: str, params: Any, seed: int, **more: Any) -> None:
    """Write `uns["tissuegraph"][key]`: parameters as JSON, seed and whatever else."""
    record = {"params": json.dumps(asdict(params)), "seed": seed, **more}
    adata.uns[keys.UNS_RUN] = {**adata.uns.get(keys.UNS_RUN, {}), key: record}
