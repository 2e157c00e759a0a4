"""Who is like whom: the neighbours of cells in an embedding, and UMAP, through scanpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import numpy.typing as npt
from scipy import sparse

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.features.embeddings import embedding

if TYPE_CHECKING:
    from anndata import AnnData

NEIGHBORS = 15
FEWEST_CELLS = 4
EXACT_CELLS = 50_000
"""Up to here all distances are looked at: compiling the search for approximate neighbours takes a minute."""


def umap(
    adata: AnnData,
    use_rep: str = "X_stagate",
    *,
    n_neighbors: int = NEIGHBORS,
    min_dist: float = 0.5,
    key_added: str = keys.OBSM_UMAP,
    seed: int = 0,
) -> None:
    """Lay cells out in two dimensions with UMAP (McInnes et al. 2018), as scanpy does.

    Neighbours are found on a copy, so that those of the user in `uns["neighbors"]` and `obsp` stay.

    Parameters
    ----------
    use_rep
        Embedding in `obsm`, [N, d].
    n_neighbors, min_dist
        How local the picture is, and how close its points may lie.
    key_added
        Written is `obsm[key_added]`, [N, 2] f32.
    seed
        Of the layout; on the CPU the same seed gives the same bits.

    Raises
    ------
    InputError
        Where the embedding is missing or not finite, or there are fewer than four cells.
    """
    import scanpy  # takes seconds

    work = neighbourhood(embedding(adata, use_rep), n_neighbors, seed)
    scanpy.tl.umap(work, min_dist=min_dist, random_state=seed)
    adata.obsm[key_added] = np.ascontiguousarray(work.obsm["X_umap"], np.float32)


def neighbourhood(points: npt.NDArray[np.floating], n_neighbors: int, seed: int) -> AnnData:
    """Return an AnnData of points [n, d] with scanpy's neighbours in `obsp`, under its own names."""
    if len(points) < FEWEST_CELLS:
        raise InputError(f"{len(points)} cells are too few for neighbours; give {FEWEST_CELLS} or more")
    import scanpy  # takes seconds

    work = ad.AnnData(points.astype(np.float32))
    number = min(n_neighbors, len(points) - 1)
    search = Descent(number, seed) if len(points) > EXACT_CELLS else "sklearn"
    scanpy.pp.neighbors(work, n_neighbors=number, use_rep="X", random_state=seed, transformer=search)
    return work


class Descent:
    """The approximate search of scanpy, with a result that it can read.

    What pynndescent returns from 0.7 on is a sparse array, on which scanpy 1.11 fails. One thread, so that a
    seed gives the same bits.
    """

    def __init__(self, n_neighbors: int, seed: int) -> None:
        self.n_neighbors, self.seed = n_neighbors, seed

    def get_params(self) -> dict[str, int]:
        """What scanpy asks for."""
        return {"n_neighbors": self.n_neighbors}

    def fit_transform(self, points: npt.NDArray[np.float32]) -> sparse.csr_matrix:
        """Distances to the nearest points, [n, n]."""
        from pynndescent import PyNNDescentTransformer

        search = PyNNDescentTransformer(n_neighbors=self.n_neighbors, random_state=self.seed, n_jobs=1)
        return sparse.csr_matrix(search.fit_transform(points))
