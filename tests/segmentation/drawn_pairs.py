"""Tiles, nuclei, profiles and networks drawn at random, for the tests of the pretrained assignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
import torch
import toy
from scipy import sparse

from tissuegraph.nn.pairs import PairNet
from tissuegraph.segmentation.axes import LocalAxes
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles
from tissuegraph.segmentation.pretrained.evidence import FIRST_ROUND, SECOND_ROUND
from tissuegraph.segmentation.pretrained.ground import Ground
from tissuegraph.segmentation.pretrained.model import PairModel
from tissuegraph.segmentation.pretrained.params import LAYERS
from tissuegraph.segmentation.pretrained.tile_pairs import TilePairs, tile_pairs

GENES = 7
TYPES = 3


@dataclass(frozen=True)
class Drawn:
    """A tile that holds some of a slide's nuclei, and what is known of the slide."""

    pairs: TilePairs
    ground: Ground
    profiles: CellProfiles


def nuclei(seed: int, m: int, side: float) -> np.ndarray:
    """`m` elliptic nuclei of 2 to 5 um half axes on a square, some overlapping, in um."""
    return toy.random_outlines(seed, m, side)


def pairs_on(
    positions: np.ndarray, outlines: np.ndarray, *, tokens: np.ndarray | None = None, cells=None
) -> TilePairs:
    """Pairs of transcripts at `positions` [N, 2] with `outlines` [M]; genes in turns unless given."""
    positions = np.asarray(positions, np.float64).reshape(-1, 2)
    tokens = np.arange(len(positions)) % GENES if tokens is None else tokens
    cells = np.arange(len(outlines)) if cells is None else cells
    return tile_pairs(np.arange(len(positions), dtype=np.uint64), tokens, positions, cells, outlines)


def ground_of(outlines: np.ndarray, seed: int) -> Ground:
    """Random axes and spacings; the rest as it is."""
    generator = np.random.default_rng(seed)
    m = len(outlines)
    return Ground(
        outlines=outlines,
        centres=shapely.get_coordinates(shapely.centroid(outlines)),
        areas=shapely.area(outlines),
        spacing=generator.uniform(5, 30, m),
        axes=LocalAxes(generator.uniform(-np.pi, np.pi, m), generator.uniform(1, 1.4, m)),
        typical_reach=2.5,
    )


def profiles_of(m: int, seed: int, genes: int = GENES, types: int = TYPES) -> CellProfiles:
    """Random counts, one cell in five without any; random types, memberships and mean."""
    generator = np.random.default_rng(seed)
    counts = generator.poisson(generator.gamma(1, 2, (m, 1)) * generator.gamma(1, 1, (m, genes)))
    counts[::5] = 0
    return CellProfiles(
        sparse.csr_matrix(counts.astype(float)),
        generator.dirichlet(np.ones(genes), types),
        generator.dirichlet(np.ones(types), m),
        generator.dirichlet(np.ones(genes)),
    )


def drawn(seed: int, n: int = 180, m: int = 9, side: float = 24.0) -> Drawn:
    """`n` transcripts and `m` nuclei, every other of the slide's, so that the two numberings differ."""
    generator = np.random.default_rng(seed)
    outlines = nuclei(seed, 2 * m, side)
    cells = np.arange(1, 2 * m, 2)
    pairs = pairs_on(
        generator.uniform(-4, side, (n, 2)),
        outlines[cells],
        tokens=generator.integers(0, GENES, n),
        cells=cells,
    )
    return Drawn(pairs, ground_of(outlines, seed), profiles_of(2 * m, seed))


def random_network(features: int, seed: int, layers: int = 0) -> PairNet:
    """A network of random weights, to which nearer cells are likelier, and none where all are far."""
    generator = torch.Generator().manual_seed(seed)
    network = PairNet(features, hidden=16, layers=layers)
    with torch.no_grad():
        for parameter in network.parameters():
            spread = 0.3 * parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.0
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
        distance = FIRST_ROUND.index("distance")  # the same in the second
        network.scale[distance] = 2.0  # um
        for layer, source, weight in ((0, distance, -1.0), (2, 0, 1.0)):  # the first unit: 5 - distance
            network.encode[layer].weight[0] = 0.0
            network.encode[layer].weight[0, source] = weight
        network.encode[0].bias[0] = 5.0
        network.candidate.weight[0, 0] = 1.5
        network.none[2].bias[0] = 5.0
    return network.eval()


def random_model(seed: int = 0) -> PairModel:
    """Networks with random weights, whatever they think of tissue."""
    first = random_network(len(FIRST_ROUND), seed)
    second = random_network(len(SECOND_ROUND), seed + 1, LAYERS)
    return PairModel(first, second, {"seed": seed})
