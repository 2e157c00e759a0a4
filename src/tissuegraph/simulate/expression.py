"""What simulated cells are: type, domain, and how many transcripts of which gene they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tissuegraph.simulate.arrays import Floats, Integers
from tissuegraph.simulate.fields import bands, random_field
from tissuegraph.simulate.params import TissueParams

CONTROL_NAMES = [
    *(f"NegControlProbe_{number:05d}" for number in range(1, 21)),
    *(f"NegControlCodeword_{number:04d}" for number in range(500, 520)),
    *(f"BLANK_{number:04d}" for number in range(1, 21)),
]


@dataclass(frozen=True)
class Kinds:
    """The type and domain of each cell, and what the types make.

    Attributes
    ----------
    types, domains
        (n,), numbers from 0.
    profiles
        (types, genes): share of each gene among a type's transcripts; rows sum to 1.
    """

    types: Integers
    domains: Integers
    profiles: Floats


def gene_names(genes: int) -> list[str]:
    """Return the panel's names."""
    return [f"GENE{number:05d}" for number in range(1, genes + 1)]


def draw_kinds(centres: Floats, params: TissueParams, rng: np.random.Generator) -> Kinds:
    """Draw domains as coherent regions, and types by each domain's own mixture."""
    extent = float(np.ptp(centres, axis=0).max()) if len(centres) > 1 else 1.0
    domains = bands(random_field(min(250.0, max(extent, 1.0) / 4), rng)(centres), params.domains)
    mixtures = rng.dirichlet(np.full(params.types, 0.7), params.domains) * 0.9 + 0.1 / params.types
    cumulative = np.cumsum(mixtures, axis=1)[domains]
    types = (rng.random((len(centres), 1)) > cumulative).sum(axis=1)
    return Kinds(np.minimum(types, params.types - 1), domains, draw_profiles(params, rng))


def draw_profiles(params: TissueParams, rng: np.random.Generator) -> Floats:
    """Draw what each type makes: a common log-normal profile, its own markers several times enriched."""
    common = rng.lognormal(0, 1, params.genes)
    profiles = common * rng.lognormal(0, 0.2, (params.types, params.genes))
    each = max(1, round(params.marker_share * params.genes))
    order = rng.permutation(params.genes)
    for number in range(params.types):
        markers = order[np.arange(number * each, (number + 1) * each) % params.genes]
        profiles[number, markers] *= params.marker_fold * rng.lognormal(0, 0.3, len(markers))
    return profiles / profiles.sum(axis=1, keepdims=True)


def draw_counts(
    profiles: Floats, means: Floats, params: TissueParams, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Draw the transcripts of some cells: gamma-Poisson over cells and over genes.

    Parameters
    ----------
    profiles
        (n, genes), each cell's.
    means
        (n,), expected number of transcripts of each cell.

    Returns
    -------
    cell, gene
        One entry a transcript: the row of `means` and the gene's number.
    """
    level = spread(means * 1.0, params.cell_dispersion, rng)
    rates = spread(profiles * level[:, None], params.gene_dispersion, rng)
    counts = rng.poisson(rates)
    cell, gene = np.nonzero(counts)
    number = counts[cell, gene]
    return np.repeat(cell, number), np.repeat(gene, number)


def spread(means: Floats, dispersion: float, rng: np.random.Generator) -> Floats:
    """Multiply by gamma noise of mean 1 and variance `dispersion`."""
    if dispersion == 0:
        return means
    return means * rng.standard_gamma(1 / dispersion, means.shape) * dispersion
