"""How pure cells are, judged without a truth by genes that do not belong together."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial import cKDTree

from tissuegraph.metrics.segmentation.codes import Codes
from tissuegraph.metrics.segmentation.markers import Markers

MIN_CELLS = 30
"""A pair of markers counts where more cells than this express either."""
NEIGHBOUR_DISTANCE = 15.0
"""um between the centres of nuclei whose cells may contaminate each other."""
CHUNK = 20_000
"""Cells that are held as a dense matrix at a time."""
MIN_OWN_SHARE = 0.02
"""Share of a type's markers in its own nuclei below which they say too little."""

Floats = npt.NDArray[np.float64]


def mutually_exclusive_coexpression(
    counts: sparse.csr_matrix, markers: Markers, *, kept: npt.ArrayLike = 1.0, min_cells: int = MIN_CELLS
) -> float | None:
    """MECR: how often cells express markers of two types at once.

    Mean over pairs (a, b) of markers of different types of `cells with both / cells with either`, over the
    pairs that more than `min_cells` cells express. Lower is purer, but fewer transcripts a cell lower it
    too, so it is compared at equal shares assigned: were each transcript kept with probability q, a cell
    with n of gene a would show it with probability `1 - (1 - q)^n`, and the expectation is returned.

    Parameters
    ----------
    counts
        [cells, genes].
    markers
        Of the genes.
    kept
        q, of all cells or (cells,); 1 is the plain rate.
    min_cells
        See above.

    Returns
    -------
    None where no pair is expressed by enough cells.

    References
    ----------
    Hartman & Satija 2024, eLife 13:RP96949.
    """
    both, either, differ = _coexpression(counts, markers, kept)
    pairs = differ & (either > min_cells)
    if not pairs.any():
        return None
    return float((both[pairs] / either[pairs]).mean())


DIGITS = 12
"""Of a ratio of sums over cells, so that the order of the cells does not show."""


def relative_coexpression(
    counts: sparse.csr_matrix, markers: Markers, *, kept: npt.ArrayLike = 1.0, min_cells: int = MIN_CELLS
) -> float | None:
    """How often cells express markers of two types at once, over how often they would by chance.

    `sum of cells with both / sum of cells with both expected`, over the pairs of
    `mutually_exclusive_coexpression`. By chance: were the genes dealt to the cells whatever their type, a
    cell of n transcripts would show a gene of share s with probability `1 - exp(-q n s)`. 0 where types never
    mix, 1 where cells are random handfuls. As deep cells express more of everything by chance, too, the ratio
    depends less on how the transcripts are spread over the cells than the plain rate does, and on which genes
    stay in the nucleus.

    Parameters
    ----------
    counts, markers, kept, min_cells
        As in `mutually_exclusive_coexpression`.

    Returns
    -------
    None where no pair is expressed by enough cells.
    """
    both, either, differ = _coexpression(counts, markers, kept)
    pairs = differ & (either > min_cells)
    if not pairs.any():
        return None
    # sums over cells in another order differ in the last digits
    return round(float(both[pairs].sum() / _by_chance(counts, markers, kept)[pairs].sum()), DIGITS)


def spurious_coexpression(
    counts: sparse.csr_matrix, nuclear: sparse.csr_matrix, markers: Markers, *, min_cells: int = MIN_CELLS
) -> float | None:
    """MECR of the cells, thinned to the depth of their nuclei, minus that of the nuclei.

    What is in a nucleus belongs together. Whatever markers meet in a cell more often than in its nucleus,
    at the same number of transcripts, were brought together by the segmentation.

    Parameters
    ----------
    counts, nuclear
        [cells, genes]: what was assigned, and what lies in the cells' nuclei, whatever it was assigned to.
        Cells without either are left out.

    Returns
    -------
    None where no pair is expressed by enough cells; 0 where cells are their nuclei.
    """
    depth, nuclear_depth = _totals(counts), _totals(nuclear)
    used = (depth > 0) & (nuclear_depth > 0)
    if not used.any():
        return None
    kept = np.minimum(nuclear_depth[used] / depth[used], 1)
    both, either, differ = _coexpression(counts[used], markers, kept)
    both_inside, either_inside, _ = _coexpression(nuclear[used], markers, 1.0)
    pairs = differ & (either > min_cells) & (either_inside > min_cells)
    if not pairs.any():
        return None
    return float((both[pairs] / either[pairs] - both_inside[pairs] / either_inside[pairs]).mean())


def marker_purity(counts: sparse.csr_matrix, cell_type: Codes, markers: Markers) -> float | None:
    """Positive marker purity: of a cell's marker transcripts, the share that marks its own type.

    Mean over cells of a known type with a marker transcript.

    Parameters
    ----------
    counts
        [cells, genes].
    cell_type
        (cells,): the type of its nucleus, -1 = unknown.

    References
    ----------
    Heidari et al. 2025, bioRxiv 2025.03.14.643160 (segger).
    """
    by_type = counts_by_type(counts, markers)
    total = by_type.sum(1)
    used = (cell_type >= 0) & (total > 0)
    if not used.any():
        return None
    return float((by_type[used, cell_type[used]] / total[used]).mean())


def sensitivity(counts: sparse.csr_matrix, cell_type: Codes, markers: Markers) -> float | None:
    """Mean share of its own type's markers that a cell of known type shows.

    References
    ----------
    Heidari et al. 2025, bioRxiv 2025.03.14.643160 (segger).
    """
    shown = counts_by_type((counts > 0).astype(np.int64), markers)
    n_markers = np.bincount(markers.type_of_gene[markers.genes], minlength=len(markers.types))
    used = (cell_type >= 0) & (n_markers[cell_type] > 0)
    if not used.any():
        return None
    own = cell_type[used]
    return float((shown[used, own] / n_markers[own]).mean())


def contamination(
    counts: sparse.csr_matrix,
    nuclear: sparse.csr_matrix,
    cell_type: Codes,
    centres: Floats,
    markers: Markers,
    *,
    distance: float = NEIGHBOUR_DISTANCE,
) -> float | None:
    """Estimate the share of the cells' transcripts that comes from neighbours of other types.

    Of the cells of type t with a neighbour of type s within `distance`, let `r` be the share of type s's
    markers among all their transcripts, `r_nuc` that in their nuclei, and `p_s` that in nuclei of type s
    itself. `(r - r_nuc) / p_s` is what the neighbours added beyond what the cells themselves express.
    Summed over s, weighted by transcripts. A gene set with `p_s` below 2% says too little and is left out.
    Neighbours of one's own type contaminate as much, but cannot be seen; genes that nuclei retain shift all
    methods alike.

    Parameters
    ----------
    counts, nuclear
        [cells, genes]: what was assigned, and what lies in the cells' nuclei, whatever it was assigned to.
    cell_type
        (cells,): the type of its nucleus, -1 = unknown.
    centres
        [cells, 2], um: of the nuclei, so that they do not depend on the segmentation; NaN = no nucleus.

    Returns
    -------
    None where no two types are neighbours. A value near or below 0 is noise.

    References
    ----------
    The name and the question are those of Heidari et al. 2025, bioRxiv 2025.03.14.643160 (segger), which
    counts the neighbours' markers without the nuclei as control.
    """
    n_types = len(markers.types)
    marks, marks_inside = counts_by_type(counts, markers), counts_by_type(nuclear, markers)
    depth, depth_inside = _totals(counts), _totals(nuclear)
    own = _own_share(marks_inside, depth_inside, cell_type, n_types)
    is_near = _has_near(cell_type, centres, n_types, distance)
    used = (cell_type >= 0) & (depth > 0) & (depth_inside > 0)
    added, found = 0.0, False
    for t, s in product(range(n_types), np.flatnonzero(own >= MIN_OWN_SHARE).tolist()):
        near = used & (cell_type == t) & is_near[:, s]
        if t != s and near.any():
            share = marks[near, s].sum() / depth[near].sum()
            share_inside = marks_inside[near, s].sum() / depth_inside[near].sum()
            added += depth[near].sum() * (share - share_inside) / own[s]
            found = True
    return float(added / depth[used].sum()) if found else None


def counts_by_type(counts: sparse.csr_matrix, markers: Markers) -> Floats:
    """Count each cell's transcripts of the markers of each type, [cells, T]."""
    genes = markers.genes
    shape = (counts.shape[1], len(markers.types))
    marks = sparse.csr_matrix((np.ones(len(genes)), (genes, markers.type_of_gene[genes])), shape=shape)
    return (counts @ marks).toarray()


def _coexpression(
    counts: sparse.csr_matrix, markers: Markers, kept: npt.ArrayLike
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Return expected cells with both and with either of two markers, and whether the pair counts, [M, M]."""
    shown = counts[:, markers.genes].astype(np.float64)
    rows = np.repeat(np.arange(shown.shape[0]), np.diff(shown.indptr))
    lost = 1 - np.broadcast_to(kept, shown.shape[0])[rows]
    shown.data = 1 - lost**shown.data
    both = (shown.T @ shown).toarray()
    each = np.asarray(shown.sum(0)).ravel()
    type_of_marker = markers.type_of_gene[markers.genes]
    differ = np.triu(type_of_marker[:, None] != type_of_marker)
    return both, each[:, None] + each - both, differ


def _own_share(marks: Floats, depth: Floats, cell_type: Codes, n_types: int) -> Floats:
    """Return the share of each type's markers in its own cells, (T,)."""
    known = np.flatnonzero(cell_type >= 0)
    marked = np.bincount(cell_type[known], marks[known, cell_type[known]], n_types)
    return marked / np.maximum(np.bincount(cell_type[known], depth[known], n_types), 1)


def _by_chance(counts: sparse.csr_matrix, markers: Markers, kept: npt.ArrayLike) -> Floats:
    """Return how many cells would show both of two markers if genes did not depend on types, [M, M]."""
    depth = _totals(counts)
    share = np.asarray(counts[:, markers.genes].sum(0)).ravel() / max(depth.sum(), 1)
    depth = depth * np.broadcast_to(kept, depth.shape)
    expected = np.zeros((len(share), len(share)))
    for start in range(0, len(depth), CHUNK):
        shown = -np.expm1(-np.outer(depth[start : start + CHUNK], share))
        expected += shown.T @ shown
    return expected


def _has_near(cell_type: Codes, centres: Floats, n_types: int, distance: float) -> npt.NDArray[np.bool_]:
    """Tell whether another cell of each type lies within `distance` of each cell, bool [cells, T]."""
    seen = np.flatnonzero(np.isfinite(centres).all(1))
    pairs = seen[cKDTree(centres[seen]).query_pairs(distance, output_type="ndarray")]
    near = np.zeros((len(centres), n_types + 1), bool)  # the last column is for -1
    near[pairs[:, 0], cell_type[pairs[:, 1]]] = True
    near[pairs[:, 1], cell_type[pairs[:, 0]]] = True
    return near[:, :n_types]


def _totals(matrix: sparse.csr_matrix) -> Floats:
    return np.asarray(matrix.sum(1), np.float64).ravel()
