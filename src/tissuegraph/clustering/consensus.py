"""One partition out of several: cells that are often together stay together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

Labels = npt.NDArray[np.int64]

MOST_CELLS = 4_000
"""Cells whose co-association is written out; the others join the group that they are most often with."""


def consensus(partitions: Sequence[Labels], n_domains: int, generator: np.random.Generator) -> Labels:
    """Return the labels [N] of `n_domains` groups by average linkage of the co-association.

    The co-association of two cells is the share of partitions that put them together (Fred and Jain 2005). It
    is the product of two rows of the partitions' one-hot codes, so only a sample of cells needs the whole
    matrix.
    """
    codes = _one_hot(partitions)
    n = len(codes)
    sample = np.arange(n) if n <= MOST_CELLS else np.sort(generator.choice(n, MOST_CELLS, replace=False))
    tree = linkage(pdist(codes[sample], "sqeuclidean"), "average")
    groups = fcluster(tree, n_domains, "maxclust") - 1
    together = np.stack([codes[sample[groups == group]].mean(0) for group in range(groups.max() + 1)], 1)
    return (codes @ together).argmax(1)


def _one_hot(partitions: Sequence[Labels]) -> npt.NDArray[np.float32]:
    """Return [N, all labels of all partitions], so that a row's product with another counts agreements."""
    blocks = []
    for labels in partitions:
        block = np.zeros((len(labels), int(labels.max()) + 1), np.float32)
        block[np.arange(len(labels)), labels] = 1
        blocks.append(block)
    return np.concatenate(blocks, 1)
