"""What the cells of simulated sections make: their types, and how much of each gene is expected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tissuegraph.simulate.arrays import Floats, Integers
from tissuegraph.simulate.fields import random_field
from tissuegraph.simulate.sections.params import SectionParams
from tissuegraph.simulate.sections.places import Places

ABUNDANCE_SPREAD = 1.0
"""Standard deviation of the logarithm of the genes' abundance."""
ELSEWHERE = 0.01
"""Share of the types of thin structure and rare domain in the other domains."""
BAND = 0.7
"""How far a type, or a gene that depends on the layer, reaches from its place, in layers."""
PROGRAMMES = 3
"""Gradients that genes take part in."""
BOTH_TYPES = 0.33
"""Share of the markers that mark a second type."""


@dataclass(frozen=True)
class Profiles:
    """All that expected expression is made of; logarithms of factors.

    Attributes
    ----------
    mixtures
        (domains, types): share of each type; rows sum to 1.
    types, domains
        (types, genes), (domains, genes).
    gradients
        (PROGRAMMES, genes).
    batches
        (sections of all samples, genes).
    depths
        (sections of all samples,).
    """

    mixtures: Floats
    types: Floats
    domains: Floats
    gradients: Floats
    batches: Floats
    depths: Floats


def domain_names(params: SectionParams) -> list[str]:
    """Return the layers in their order, then the thin structure and the rare domain where there are such."""
    extra = ["thin"] * bool(params.thin_width) + ["rare"] * bool(params.rare_share)
    return [f"layer {number}" for number in range(1, params.domains + 1)] + extra


def type_names(params: SectionParams) -> list[str]:
    """Return the types of the layers in their order, then those of thin structure and rare domain."""
    extra = ["of thin"] * bool(params.thin_width) + ["of rare"] * bool(params.rare_share)
    return [f"type {number}" for number in range(1, params.types + 1)] + extra


def domain_numbers(places: Places, params: SectionParams) -> Integers:
    """Return the number of each cell's domain in `domain_names`."""
    number = np.where(places.thin, params.domains, places.layer)
    return np.where(places.rare, params.domains + bool(params.thin_width), number)


def draw_profiles(params: SectionParams, rng: np.random.Generator) -> Profiles:
    """Draw what types, domains, gradients and batches do to each gene."""
    batches = params.samples * params.sections
    taking_part = rng.random(params.genes) < 0.5
    return Profiles(
        _mixtures(params),
        _types(params, rng),
        _domains(params, rng),
        rng.normal(0, params.gradient / np.sqrt(PROGRAMMES), (PROGRAMMES, params.genes)) * taking_part,
        rng.normal(0, params.batch_effect, (batches, params.genes)),
        rng.normal(0, min(params.batch_effect, 0.3), batches),
    )


def draw_gradients(places: Places, params: SectionParams, rng: np.random.Generator) -> Floats:
    """Draw how far each programme is on in each cell, (n, PROGRAMMES), by sample."""
    values = np.empty((len(places.true), PROGRAMMES))
    extent = params.spacing * np.sqrt(params.cells)
    for sample in range(params.samples):
        here = places.sample == sample
        for programme in range(PROGRAMMES):
            values[here, programme] = random_field(extent / 4, rng)(places.true[here, :2])
    return values


def _mixtures(params: SectionParams) -> Floats:
    layers = np.arange(params.domains)
    places = (np.arange(params.types) + 0.5) / params.types * params.domains - 0.5
    near = np.exp(-(((layers[:, None] - places) / BAND) ** 2) / 2) + 1e-9
    near /= near.sum(1, keepdims=True)
    mixtures = params.type_purity * near + (1 - params.type_purity) / params.types
    for _ in domain_names(params)[params.domains :]:
        host = mixtures[params.domains // 2]
        own = (1 - params.type_purity) * host
        mixtures = np.column_stack([np.vstack([mixtures, own]), np.zeros(len(mixtures) + 1)])
        mixtures[:-1] *= 1 - ELSEWHERE
        mixtures[:-1, -1] = ELSEWHERE
        mixtures[-1, -1] = params.type_purity
    return mixtures / mixtures.sum(1, keepdims=True)


def _types(params: SectionParams, rng: np.random.Generator) -> Floats:
    number, genes = len(type_names(params)), params.genes
    effects = rng.normal(0, ABUNDANCE_SPREAD, genes) + rng.normal(0, 0.15, (number, genes))
    each = max(1, round(params.marker_share * genes))
    order = rng.permutation(max(genes, each * number)) % genes
    for kind in range(number):
        markers = order[np.arange(kind * each, (kind + 1) * each) % len(order)]
        folds = np.log(params.marker_fold) * rng.lognormal(0, 0.3, len(markers))
        effects[kind, markers] += folds
        shared = rng.random(len(markers)) < BOTH_TYPES
        effects[(kind + 1) % number, markers[shared]] += folds[shared]
    return effects


def _domains(params: SectionParams, rng: np.random.Generator) -> Floats:
    names, genes = domain_names(params), params.genes
    size = np.log(params.domain_fold) * rng.normal(0, 1.25, (1 + len(names) - params.domains, genes))
    size *= rng.random(size.shape) < params.domain_share
    centre = rng.uniform(-0.5, params.domains - 0.5, genes)
    layers = size[0] * np.exp(-(((np.arange(params.domains)[:, None] - centre) / BAND) ** 2) / 2)
    return np.vstack([layers, layers[params.domains // 2] + size[1:]])
