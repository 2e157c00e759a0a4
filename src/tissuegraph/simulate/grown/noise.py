"""What blurs grown tissue: diffusion with a heavy tail, ambient RNA, false positives, quality by gene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tissuegraph.simulate.arrays import Floats, Integers
from tissuegraph.simulate.expression import CONTROL_NAMES
from tissuegraph.simulate.fields import Field, random_field
from tissuegraph.simulate.grown.molecules import Cytology, place
from tissuegraph.simulate.grown.params import GrownTissueParams
from tissuegraph.simulate.grown.programmes import Expression
from tissuegraph.simulate.molecules import MAX_QV, MIN_QV, Molecules

# Degrees of freedom of the diffusion: its tail is heavy, but no transcript goes further than that, um.
TAIL, FURTHEST = 2.5, 25.0
# Transcripts, and cells at most, by which the width of the diffusion is found.
PROBE, PROBED_CELLS = 20_000, 1000
# Share of the background that is ambient RNA, the distance in um over which it changes, and how much.
AMBIENT, PATCH, PATCHY = 0.6, 60.0, 0.8
# Standard deviations over genes: of the logarithm of false positives, of the log odds of a low qv.
FALSE_SPREAD, QUALITY_SPREAD = 1.0, 0.5


@dataclass(frozen=True)
class Noise:
    """What is drawn once for a slide.

    Attributes
    ----------
    width
        Of the diffusion, um.
    ambient, false
        (genes,): shares of each gene among ambient RNA and among false positives.
    patches
        Where ambient RNA is dense.
    low_quality
        (features,): share of each gene's, then each control's rows with qv below 20.
    typical_loss
        (features,): how far the qv of good rows typically lies below the highest.
    """

    width: float
    ambient: Floats
    false: Floats
    patches: Field
    low_quality: Floats
    typical_loss: Floats


def draw_noise(
    cytology: Cytology, expression: Expression, params: GrownTissueParams, rng: np.random.Generator
) -> Noise:
    """Draw the noise of a slide; the width of its diffusion is what makes `spill` true."""
    rates = expression.mean_rates()
    # what is made in plenty leaks more than in proportion
    ambient = rates**1.2 * np.exp(0.3 * rng.standard_normal(params.genes))
    false = np.exp(FALSE_SPREAD * rng.standard_normal(params.genes))
    features = params.genes + len(CONTROL_NAMES)
    odds = QUALITY_SPREAD * rng.standard_normal(features)
    weights = np.append(rates * (1 - params.controls), np.full(len(CONTROL_NAMES), params.controls))
    return Noise(
        width=diffusion_width(cytology, expression, params, rng),
        ambient=ambient / ambient.sum(),
        false=false / false.sum(),
        patches=random_field(PATCH, rng),
        low_quality=with_mean(odds, weights, params.low_quality),
        typical_loss=6 * np.exp(0.3 * rng.standard_normal(features)),
    )


def with_mean(odds: Floats, weights: Floats, mean: float) -> Floats:
    """Shift log odds so that the weighted mean of their probabilities is `mean`; return these."""
    if mean in (0, 1):
        return np.full(len(odds), float(mean))
    weights = weights / weights.sum()
    low, high = -40.0, 40.0
    for _ in range(60):
        shift = 0.5 * (low + high)
        over = weights @ (1 / (1 + np.exp(-odds - shift))) > mean
        low, high = (low, shift) if over else (shift, high)
    return np.asarray(1 / (1 + np.exp(-odds - low)))


def steps(number: int, rng: np.random.Generator) -> Floats:
    """Draw how transcripts diffuse at a width of 1: a mixture of Gaussians of all widths, (n, 2)."""
    width = np.sqrt(TAIL / (2 * rng.standard_gamma(TAIL / 2, number)))
    return rng.standard_normal((number, 2)) * width[:, None]


def moved(points: Floats, way: Floats, width: float) -> Floats:
    """Return points moved by `width` times their way, but no further than `FURTHEST`, float32."""
    way = width * way
    length = np.hypot(way[:, 0], way[:, 1])
    way *= (FURTHEST / np.maximum(length, FURTHEST))[:, None]
    return (points + way).astype(np.float32)


def diffusion_width(
    cytology: Cytology, expression: Expression, params: GrownTissueParams, rng: np.random.Generator
) -> float:
    """Find the width in um at which the share `spill` of the transcripts ends outside their cell."""
    if params.spill == 0:
        return 0.0
    some = np.sort(rng.permutation(params.cells)[:PROBED_CELLS])
    weights = expression.totals[some] / expression.totals[some].sum()
    cell = some[rng.choice(len(some), PROBE, p=weights)]
    gene = rng.choice(params.genes, PROBE, p=expression.mean_rates())
    start, way = place(cytology, cell, expression.retained[gene], rng), steps(PROBE, rng)
    low, high = 0.0, 3 * float(np.sqrt(params.cell_area))
    for _ in range(16):
        width = 0.5 * (low + high)
        outside = np.mean(cytology.cells.locate(moved(start, way, width)) != cell)
        low, high = (low, width) if outside > params.spill else (width, high)
    return low


def draw_background(
    rows: float,
    noise: Noise,
    extent: tuple[float, float],
    params: GrownTissueParams,
    rng: np.random.Generator,
) -> Molecules:
    """Draw ambient RNA, false positives and controls for a part with `rows` expected rows."""
    ambient = rng.choice(params.genes, rng.poisson(rows * params.background * AMBIENT), p=noise.ambient)
    false = rng.choice(params.genes, rng.poisson(rows * params.background * (1 - AMBIENT)), p=noise.false)
    controls = params.genes + rng.integers(0, len(CONTROL_NAMES), rng.poisson(rows * params.controls))
    even = rng.uniform(*extent, (len(false) + len(controls), 2))
    points = np.concatenate([in_patches(len(ambient), noise.patches, extent, rng), even])
    features = np.concatenate([ambient, false, controls])
    return Molecules(np.full(len(features), -1), features, points.astype(np.float32))


def in_patches(number: int, patches: Field, extent: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Draw places, more of them where the field is high: the best of three by their weight, (n, 2)."""
    tried = rng.uniform(*extent, (number, 3, 2))
    weight = np.exp(PATCHY * patches(tried.reshape(-1, 2)).reshape(number, 3))
    cumulative = np.cumsum(weight, axis=1)
    chosen = (rng.random((number, 1)) * cumulative[:, -1:] > cumulative).sum(axis=1)
    return np.asarray(tried[np.arange(number), np.minimum(chosen, 2)])


def draw_quality(features: Integers, noise: Noise, rng: np.random.Generator) -> Floats:
    """Draw qv, float32: below 20 for the gene's share, else as far below the highest as the gene's is."""
    bad = rng.random(len(features)) < noise.low_quality[features]
    loss = rng.exponential(noise.typical_loss[features])
    good = MAX_QV - np.minimum(loss, MAX_QV - MIN_QV)
    # 19.99 stays below 20 in float32
    return np.where(bad, rng.uniform(1, 19.99, len(features)), good).astype(np.float32)
