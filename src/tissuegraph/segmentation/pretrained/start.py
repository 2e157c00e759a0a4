"""What the nuclei of a slide tell before anything is assigned."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from tissuegraph import keys
from tissuegraph.graph.candidates import candidate_pairs
from tissuegraph.io.profiles import ReferenceProfiles
from tissuegraph.parallel import in_order
from tissuegraph.segmentation.axes import find_axes
from tissuegraph.segmentation.gene_vectors import gene_vectors
from tissuegraph.segmentation.pretrained.cell_counts import CellCounts, total
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles, find_profiles
from tissuegraph.segmentation.pretrained.fragments import Sizes, sizes_of
from tissuegraph.segmentation.pretrained.ground import Ground, ground_of
from tissuegraph.segmentation.pretrained.params import NUCLEAR_DISTANCE
from tissuegraph.segmentation.stages import Progress, no_progress
from tissuegraph.segmentation.tile_graphs import gene_tokens
from tissuegraph.tiles.plan import Tile, grown
from tissuegraph.tiles.store import TileStore
from tissuegraph.tiles.survey import Survey


@dataclass(frozen=True)
class Start:
    """What the nuclei tell: the ground they lie on, and what their cells express."""

    survey: Survey
    ground: Ground
    profiles: CellProfiles

    @cached_property
    def sizes(self) -> Sizes:
        """What fragments are measured by."""
        return sizes_of(self.ground.areas, self.profiles.depth)


def start(
    store: TileStore,
    survey: Survey,
    *,
    progress: Progress = no_progress,
    seed: int = 0,
    reference: ReferenceProfiles | None = None,
) -> Start:
    """Count in the nuclei, find types among them and the tissue's axis at each."""
    counts = nuclear_counts(store, survey, store.tiles, progress)
    axes = find_axes(store, survey, survey.genes, gene_vectors(counts), store.tiles)
    return Start(survey, ground_of(survey, axes), find_profiles(counts, seed=seed, reference=reference))


def nuclear_counts(
    store: TileStore, survey: Survey, tiles: Collection[Tile], progress: Progress = no_progress
) -> sparse.csr_matrix:
    """Count the transcripts in or near each nucleus, [M, G]."""
    parts = in_order(lambda tile: _nuclear_counts(store, survey, tile), tiles)
    shape = (len(survey.outlines), len(survey.genes))
    return total(list(progress(parts, "reading the nuclei", len(tiles))), shape)


def _nuclear_counts(store: TileStore, survey: Survey, tile: Tile) -> CellCounts:
    table = store.read(tile.core)
    numbers = survey.outlines_in(grown(tile.core, NUCLEAR_DISTANCE))
    x, y = (table[axis].to_numpy().astype(np.float64) for axis in (keys.X, keys.Y))
    tx, cell, _ = candidate_pairs(x, y, survey.outlines[numbers], k=1, max_distance=NUCLEAR_DISTANCE)
    return CellCounts.of(numbers[cell], gene_tokens(table[keys.GENE], survey.genes)[tx])
