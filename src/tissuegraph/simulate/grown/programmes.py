"""What grown cells express: programmes in every mixture, along a gradient, by place in the cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tissuegraph.simulate.arrays import Floats, Integers
from tissuegraph.simulate.fields import random_field
from tissuegraph.simulate.grown.params import GrownTissueParams

# Islands of tissue a domain.
ISLANDS = 3
# Shape of the gamma numbers by which a programme changes a gene, most little used, a few much; and the
# share of a gene's abundance that all programmes have in common.
PROGRAMME_SHAPE, COMMON = 0.3, 0.1
# Times denser that the transcripts of a gene that stays in the nucleus lie there, and those of others.
RETAINED, OTHERS = 8.0, 0.8
# Degrees of freedom of the abundances' logarithm.
TAIL = 6
# Distance in um over which the gradient changes by one unit, at most a third of the slide.
GRADIENT = 150.0


@dataclass(frozen=True)
class Expression:
    """What each cell makes.

    Attributes
    ----------
    types, domains
        (n,), numbers from 0; the type is the programme with the largest share.
    shares
        (n, types): share of each programme; rows sum to 1.
    programmes
        (types, genes): share of each gene; rows sum to 1.
    state
        (n,): place along the gradient of the tissue.
    slopes
        (genes,): change of the logarithm of a gene's rate along it.
    retained
        (genes,): times denser in the nucleus than in the cytoplasm.
    totals
        (n,): expected number of transcripts.
    """

    types: Integers
    domains: Integers
    shares: Floats
    programmes: Floats
    state: Floats
    slopes: Floats
    retained: Floats
    totals: Floats

    def rates(self, part: slice) -> Floats:
        """Return the share of each gene in some cells, (n, genes)."""
        rates = self.shares[part] @ self.programmes
        rates *= np.exp(np.outer(self.state[part], self.slopes))
        return rates / rates.sum(axis=1, keepdims=True)

    def mean_rates(self) -> Floats:
        """Return the share of each gene in the tissue without its gradient, (genes,)."""
        return self.totals @ self.shares @ self.programmes / self.totals.sum()


def draw_expression(
    centres: Floats, areas: Floats, params: GrownTissueParams, rng: np.random.Generator
) -> Expression:
    """Draw the programmes, and how much each cell uses of them."""
    domains = draw_domains(centres, params, rng)
    shares = draw_shares(domains, params, rng)
    extent = float(np.ptp(centres, axis=0).max()) if len(centres) > 1 else 1.0
    gradient = random_field(min(GRADIENT, max(extent, 1.0) / 3), rng)(centres)
    # a cell's total follows its area half-way
    totals = np.sqrt(areas) * np.exp(params.depth_variation * rng.standard_normal(len(areas)))
    retained = np.where(rng.random(params.genes) < params.nuclear_genes, RETAINED, OTHERS)
    return Expression(
        types=np.argmax(shares, axis=1),
        domains=domains,
        shares=shares,
        programmes=draw_programmes(params, rng),
        state=gradient + 0.3 * rng.standard_normal(len(centres)),
        slopes=params.zonation * rng.standard_normal(params.genes),
        retained=retained * np.exp(0.3 * rng.standard_normal(params.genes)),
        totals=params.counts_per_cell * totals / totals.mean(),
    )


def draw_domains(centres: Floats, params: GrownTissueParams, rng: np.random.Generator) -> Integers:
    """Cut the slide into islands with wavy borders, some of each domain."""
    number = ISLANDS * params.domains
    low, high = centres.min(axis=0), centres.max(axis=0)
    middles = rng.uniform(low, high, (number, 2))
    scale = max(float((high - low).max()), 1.0) / np.sqrt(number)
    waves = [random_field(0.5 * scale, rng)(centres) for _ in range(2)]
    places = centres + 0.2 * scale * np.stack(waves, axis=1)
    nearest = np.zeros(len(centres), dtype=np.int64)
    least = np.full(len(centres), np.inf)
    for island, middle in enumerate(middles):
        distance = np.square(places - middle).sum(axis=1)
        nearest[distance < least] = island
        least = np.minimum(least, distance)
    return nearest % params.domains


def draw_shares(domains: Integers, params: GrownTissueParams, rng: np.random.Generator) -> Floats:
    """Draw the share of each programme in each cell, (n, types): one dominates, in many degrees."""
    mixtures = rng.dirichlet(np.full(params.types, 0.6), params.domains) * 0.9 + 0.1 / params.types
    cumulative = np.cumsum(mixtures, axis=1)[domains]
    main = np.minimum((rng.random((len(domains), 1)) > cumulative).sum(axis=1), params.types - 1)
    # a share of 1/2 or more stays with the dominant one, unless more mixing is asked for
    mixed = params.mixing * 2 * rng.beta(1.5, 1.5, len(domains))
    others = rng.standard_gamma(0.4 * params.types * mixtures[domains] + 1e-3)
    others /= others.sum(axis=1, keepdims=True)
    shares = np.clip(mixed, 0, 1)[:, None] * others
    shares[np.arange(len(domains)), main] += 1 - np.clip(mixed, 0, 1)
    return shares


def draw_programmes(params: GrownTissueParams, rng: np.random.Generator) -> Floats:
    """Draw the genes of each programme: heavy-tailed abundances, changed by gamma numbers of mean 1."""
    abundance = np.exp(params.abundance_spread * np.clip(rng.standard_t(TAIL, params.genes), -4, 4) * 0.8)
    use = rng.standard_gamma(PROGRAMME_SHAPE, (params.types, params.genes)) / PROGRAMME_SHAPE
    programmes = abundance * (COMMON + (1 - COMMON) * use)
    return programmes / programmes.sum(axis=1, keepdims=True)


def draw_counts(
    rates: Floats, totals: Floats, params: GrownTissueParams, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Draw the transcripts of some cells, Poisson-log-normal: the row and the gene of each."""
    noise = np.exp(params.gene_variation * rng.standard_normal(rates.shape))
    counts = rng.poisson(rates * noise * (totals * np.exp(-0.5 * params.gene_variation**2))[:, None])
    row, gene = np.nonzero(counts)
    number = counts[row, gene]
    return np.repeat(row, number), np.repeat(gene, number)
