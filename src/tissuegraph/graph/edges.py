"""Edges between positions: arrays in, arrays out.

Edges are [2, E] integers, (neighbour, position), as in `graph.neighbours`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial import Delaunay, QhullError, cKDTree

from tissuegraph.errors import InputError
from tissuegraph.graph.neighbours import nearest_neighbours

Edges = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MOST_EDGES = 200_000_000
"""Edges beyond which a radius is taken for a slip in its unit."""
PROBES, MOST_PROBES = 2_000, 50_000
"""Positions looked at where a rough estimate, or a good one, is enough."""
STEP = 1.05
"""How much farther the next distance is where they come in steps."""
NO_EDGES: Edges = np.empty((2, 0), np.int64)


def nearest_edges(positions: Floats, n_neighbors: int) -> Edges:
    """Join each position to its nearest others; a tie is broken by order."""
    return nearest_neighbours(positions, n_neighbors, float("inf"))


def radius_edges(positions: Floats, radius: float) -> Edges:
    """Join positions that lie within a radius of each other, both ways."""
    tree = cKDTree(positions)
    _refuse_too_many(tree, positions, radius)
    pairs = tree.query_pairs(radius, output_type="ndarray").astype(np.int64).T
    return np.concatenate([pairs, pairs[::-1]], axis=1)


def edges_between(sources: Floats, targets: Floats, radius: float) -> Edges:
    """Join the positions of one set to those of another within a radius: (source, target)."""
    tree = cKDTree(sources)
    _refuse_too_many(tree, targets, radius)
    found = tree.sparse_distance_matrix(cKDTree(targets), radius, output_type="ndarray")
    return np.stack([found["i"], found["j"]]).astype(np.int64)


def _refuse_too_many(tree: cKDTree, targets: Floats, radius: float) -> None:
    if not len(targets) or not tree.n:
        return
    probes = targets[:: 1 + len(targets) // PROBES]
    degree = float(np.mean(tree.query_ball_point(probes, radius, return_length=True)))
    if degree * len(targets) > MOST_EDGES:
        raise InputError(
            f"a radius of {radius:g} gives about {degree:,.0f} neighbours a cell, more than fit in memory; "
            "it has the unit of obsm['spatial']: tg.suggest_radius(adata) finds one that fits"
        )


def delaunay_edges(positions: Floats) -> Edges:
    """Join positions that share an edge of the Delaunay triangulation, both ways.

    The triangulation keeps one of several positions that coincide. So it is made of the places, and
    every cell of a place is joined to the others there and to all cells of the neighbouring places.
    """
    places, place = np.unique(positions, axis=0, return_inverse=True)
    joined = _triangulate(places)
    if len(places) == len(positions):
        order = np.argsort(place)
        return order[joined]
    n = len(places)
    here = sparse.identity(n, dtype=bool, format="csr")
    matrix = sparse.csr_matrix((np.ones(joined.shape[1], bool), (joined[1], joined[0])), (n, n)) + here
    belongs = sparse.csr_matrix((np.ones(len(place), bool), (np.arange(len(place)), place)))
    spread = (belongs @ matrix @ belongs.T).tocoo()
    others = spread.row != spread.col
    return np.stack([spread.col[others], spread.row[others]]).astype(np.int64)


def _triangulate(places: Floats) -> Edges:
    if len(places) < 2:
        return NO_EDGES
    # far from the origin, qhull loses digits
    centred = places - places.mean(0)
    try:
        starts, neighbours = Delaunay(centred).vertex_neighbor_vertices
    except (QhullError, ValueError):
        return _chain(centred)
    return np.stack([neighbours, np.repeat(np.arange(len(places)), np.diff(starts))]).astype(np.int64)


def _chain(centred: Floats) -> Edges:
    """Join places on one line, which have no triangles, to the next in both directions."""
    along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    order = np.argsort(along, kind="stable")
    pairs = np.stack([order[:-1], order[1:]])
    return np.concatenate([pairs, pairs[::-1]], axis=1)


def lengths(positions: Floats, edges: Edges) -> Floats:
    """Return the length of each edge."""
    return np.sqrt(((positions[edges[0]] - positions[edges[1]]) ** 2).sum(1))


def radius_of_degree(groups: list[Floats], mean_degree: float) -> float:
    """Return the radius at which a position has `mean_degree` neighbours on average.

    Where distances come in steps, as on a lattice, the radius lies in the middle between two of them, so that
    the graph does not hang on rounding: at the step whose mean degree comes nearest to the wanted one.
    """
    # more cells than these say nothing new
    step = 1 + sum(map(len, groups)) // MOST_PROBES
    wanted = mean_degree * sum(len(group[::step]) for group in groups)
    asked = int(2 * mean_degree) + 4
    distances, reach = _sorted_distances(groups, asked, step)
    while asked < max(map(len, groups)) and reach < distances[min(len(distances) - 1, int(2 * wanted))]:
        asked *= 2
        distances, reach = _sorted_distances(groups, asked, step)
    ranks = np.arange(max(1, int(wanted / 2)), min(int(2 * wanted) + 1, len(distances)))
    steps = ranks[distances[ranks] > STEP * distances[ranks - 1]]
    if len(steps):
        rank = steps[np.argmin(np.abs(steps - wanted))]
        return float((distances[rank - 1] + distances[rank]) / 2)
    return float(distances[min(round(wanted), len(distances)) - 1])


def _sorted_distances(groups: list[Floats], asked: int, step: int) -> tuple[Floats, float]:
    """Return the sorted distances from every `step`-th cell to its nearest, and where they stop being all."""
    parts, reach = [], np.inf
    for positions in groups:
        if len(positions) < 2:
            continue
        tree, k = cKDTree(positions), min(asked + 1, len(positions))
        distance = np.asarray(tree.query(positions[::step], k=k)[0])
        parts.append(distance[:, 1:].ravel())
        if asked + 1 < len(positions):
            reach = min(reach, float(distance[:, -1].min()))
    return np.sort(np.concatenate(parts)) if parts else np.empty(0), reach


def lattice(positions: Floats) -> str | None:
    """Tell spots on a lattice, "hexagonal" or "square", from cells that lie anywhere (None).

    Seen from a spot, the nearest rings of a hexagonal lattice lie at 1 and 1.73 spacings, those of a square
    one at 1, 1.41 and 2. Spots may be missing.
    """
    if len(positions) < 3:
        return None
    probes = positions[:: 1 + len(positions) // PROBES]
    distance = np.asarray(cKDTree(positions).query(probes, k=min(9, len(positions)))[0])[:, 1:]
    spacing = np.median(distance[:, 0])
    if spacing <= 0:
        return None
    near = distance[distance < 1.6 * spacing] / spacing
    on_first, on_second = np.abs(near - 1) < 0.1, np.abs(near - np.sqrt(2)) < 0.1
    if on_first.mean() > 0.95:
        return "hexagonal"
    return "square" if (on_first | on_second).mean() > 0.95 else None
