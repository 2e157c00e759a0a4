"""The counts of simulated sections, and what is expected without noise, drawn block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tissuegraph.simulate.arrays import Floats, Integers
from tissuegraph.simulate.sections.params import SectionParams
from tissuegraph.simulate.sections.profiles import Profiles

ENTRIES_AT_A_TIME = 2_000_000
EXPECTED_TOTAL = 10_000.0
"""What expected expression sums to in a cell."""


@dataclass(frozen=True)
class Cells:
    """What decides the expression of each cell: numbers of its domain and batch, and its gradients."""

    domain: Integers
    batch: Integers
    gradients: Floats


@dataclass(frozen=True)
class Block:
    """Some cells that follow each other: counts, expected expression, and the most frequent type of each."""

    counts: sparse.csr_matrix
    expected: Floats
    types: Integers


def draw_blocks(cells: Cells, profiles: Profiles, params: SectionParams, seed: int) -> Iterator[Block]:
    """Draw all cells, a bounded number at a time."""
    size = max(1, ENTRIES_AT_A_TIME // params.genes)
    for number, start in enumerate(range(0, len(cells.domain), size)):
        rng = np.random.default_rng([seed, 1, number])
        part = slice(start, start + size)
        here = Cells(cells.domain[part], cells.batch[part], cells.gradients[part])
        yield _block(here, profiles, params, rng)


def _block(cells: Cells, profiles: Profiles, params: SectionParams, rng: np.random.Generator) -> Block:
    members = rng.multinomial(params.cells_per_spot, profiles.mixtures[cells.domain])
    rates = (members / params.cells_per_spot) @ np.exp(profiles.types)
    rates *= np.exp(profiles.domains[cells.domain] + cells.gradients @ profiles.gradients)
    rates /= rates.sum(1, keepdims=True)
    expected = (EXPECTED_TOTAL * rates).astype(np.float32)
    rates *= np.exp(profiles.batches)[cells.batch]
    level = rng.normal(0, params.depth_variation, len(rates)) - params.depth_variation**2 / 2
    rates *= (params.counts_per_cell * np.exp(level + profiles.depths[cells.batch]))[:, None]
    if params.gene_dispersion:
        shape = 1 / params.gene_dispersion
        rates *= rng.standard_gamma(shape, rates.shape) / shape
    counts = sparse.csr_matrix(rng.poisson(rates).astype(np.float32))
    return Block(counts, expected, members.argmax(1))
