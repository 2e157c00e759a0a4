"""section(): sections of spots or cells whose domains, types and expected expression are known."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.output import refuse_existing_file, whole_file
from tissuegraph.simulate.arrays import Integers
from tissuegraph.simulate.expression import gene_names
from tissuegraph.simulate.params import with_settings
from tissuegraph.simulate.sections.counts import Cells, draw_blocks
from tissuegraph.simulate.sections.params import SectionParams
from tissuegraph.simulate.sections.places import Places, draw_places
from tissuegraph.simulate.sections.profiles import (
    domain_names,
    domain_numbers,
    draw_gradients,
    draw_profiles,
    type_names,
)

if TYPE_CHECKING:
    from anndata import AnnData

ENDING = ".h5ad"
EXPECTED = "expected"
DEPTH, SAMPLE = "depth", "sample"
SIMULATED = "simulated"


def section(
    params: SectionParams | None = None, *, skip_expected: bool = False, seed: int = 0, **settings: object
) -> AnnData:
    """Simulate sections of spots or cells with known domains.

    Parameters
    ----------
    params
        What the sections look like.
    skip_expected
        Leave out the expected expression, which is dense.
    seed
        The same parameters and seed give the same bits.
    **settings
        Fields of `SectionParams` that replace those of `params`.

    Returns
    -------
    AnnData with counts in `X` (csr, f32), `obs["domain"]`, `obs["cell_type"]` (of a spot, the most frequent),
    `obs["depth"]` (0 to 1 from the first layer to the last), `obs["section"]` and `obs["sample"]`,
    `obsm["spatial"]` in um ([N, 3] where sections are stacked), `layers["expected"]` (f32, without noise and
    batch effects, 10,000 a cell) and in `uns["tissuegraph"]["simulated"]` the parameters, the seed and
    `layer_order`.

    Raises
    ------
    InputError
        A parameter makes no section.
    """
    from anndata import AnnData

    params = with_settings(params or SectionParams(), settings)
    if seed < 0:
        raise InputError(f"seed is {seed}; give a whole number of 0 or more")
    rng = np.random.default_rng([seed, 0])
    places = draw_places(params, rng)
    profiles = draw_profiles(params, rng)
    batch = places.sample * params.sections + places.section
    cells = Cells(domain_numbers(places, params), batch, draw_gradients(places, params, rng))
    counts, kept, types = [], [], []
    for block in draw_blocks(cells, profiles, params, seed):
        counts.append(block.counts)
        types.append(block.types)
        if not skip_expected:
            kept.append(block.expected)
    adata = AnnData(
        sparse.vstack(counts, format="csr"),
        obs=_table(places, cells, np.concatenate(types), params),
        var=pd.DataFrame(index=gene_names(params.genes)),
    )
    adata.obsm[keys.OBSM_SPATIAL] = places.positions[:, : 3 if params.sections > 1 else 2].copy()
    if not skip_expected:
        adata.layers[EXPECTED] = np.concatenate(kept)
    record = {
        "params": json.dumps(asdict(params)),
        "seed": seed,
        "layer_order": domain_names(params)[: params.domains],
    }
    adata.uns[keys.UNS_RUN] = {SIMULATED: record}
    return adata


def write_section(
    out: Path | str,
    params: SectionParams | None = None,
    *,
    skip_expected: bool = False,
    seed: int = 0,
    overwrite: bool = False,
    **settings: object,
) -> Path:
    """Simulate sections of spots or cells with known domains, and write them as an h5ad.

    Parameters
    ----------
    out
        File to write, `.h5ad`.
    params
        What the sections look like.
    skip_expected
        Leave out `layers["expected"]`, which is dense.
    seed
        The same parameters and seed give the same sections.
    overwrite
        Replace a file that is there.
    **settings
        Fields of `SectionParams` that replace those of `params`.

    Returns
    -------
    The file.

    Raises
    ------
    InputError
        A parameter makes no section.
    OutputError
        The file exists or cannot be written.
    """
    out = Path(out).absolute()
    if out.suffix != ENDING:
        raise InputError(f"out is {out.name}; give a name that ends with {ENDING}")
    refuse_existing_file(out, overwrite=overwrite)
    adata = section(params, skip_expected=skip_expected, seed=seed, **settings)
    with whole_file(out) as staging:
        adata.write_h5ad(staging, compression="gzip")
    return out


def _table(places: Places, cells: Cells, types: Integers, params: SectionParams) -> pd.DataFrame:
    """The columns of obs."""
    samples = [f"sample {number}" for number in range(1, params.samples + 1)]
    sections = [f"{name}, section {number}" for name in samples for number in range(1, params.sections + 1)]
    columns = {
        keys.DOMAIN: (cells.domain, domain_names(params)),
        keys.CELL_TYPE: (types, type_names(params)),
        keys.UNS_SECTION: (cells.batch, sections),
        SAMPLE: (places.sample, samples),
    }
    table = {
        name: pd.Categorical.from_codes(codes, pd.Index(names)) for name, (codes, names) in columns.items()
    }
    index = [f"cell{number}" for number in range(1, len(types) + 1)]
    return pd.DataFrame({**table, DEPTH: places.depth}, index=index)
