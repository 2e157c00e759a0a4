"""A tile as a graph: transcripts, boundaries, who is near whom and who belongs to whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
import torch
from torch_geometric.data import HeteroData

from tissuegraph.graph.candidates import candidate_pairs
from tissuegraph.graph.neighbours import nearest_neighbours, nearest_of
from tissuegraph.graph.params import GraphParams
from tissuegraph.shapes import aspect_ratio, solidity

GOLDEN_ANGLE = np.pi * (3 - 5**0.5)
"""Radians; multiples of it are spread evenly over all directions."""


@dataclass(frozen=True)
class TileGraph:
    """The arrays of a tile's graph; positions in um, indices local to the tile.

    tokens [N], rows [N] (u64), positions [N, 2]; features [M, F] and boundaries [M] (numbers on the
    slide); neighbours [2, E] (neighbour, transcript), and heard, a wider choice of them for the
    assignment; candidates [2, P] (transcript, boundary) with
    distance [P], signed, negative inside; owner [N], the boundary whose outline holds the transcript
    or -1; fold [N], the half of that boundary in which it lies, 0 or 1, or -1 outside.
    """

    tokens: np.ndarray
    rows: np.ndarray
    positions: np.ndarray
    features: np.ndarray
    boundaries: np.ndarray
    neighbours: np.ndarray
    heard: np.ndarray
    candidates: np.ndarray
    distance: np.ndarray
    owner: np.ndarray
    fold: np.ndarray


def boundary_features(outlines: np.ndarray) -> np.ndarray:
    """Shape of outlines as features near one: log area, elongation, solidity, circularity, [M, 4].

    `log(area / 40 um2)`; log of long over short side of the smallest rectangle; area over area of
    the convex hull; `4 pi area / perimeter^2`. No feature depends on the tile.
    """
    if len(outlines) == 0:
        return np.empty((0, 4), np.float32)
    area = np.maximum(shapely.area(outlines), 1e-3)
    perimeter = np.maximum(shapely.length(outlines), 1e-3)
    columns = (
        np.log(area / 40.0),
        np.log(aspect_ratio(outlines)),
        solidity(outlines),
        4 * np.pi * area / perimeter**2,
    )
    return np.stack(columns, axis=1).astype(np.float32)


def tile_graph(
    tokens: np.ndarray,
    rows: np.ndarray,
    positions: np.ndarray,
    outlines: np.ndarray,
    boundaries: np.ndarray,
    params: GraphParams,
    listens_to: int = 0,
) -> TileGraph:
    """Build the graph of the transcripts and outlines of a tile, halo included.

    tokens [N], rows [N] ascending, positions [N, 2] um; outlines [M] polygons and boundaries [M]
    their numbers on the slide. Nothing in the result depends on what lies farther away than the
    distances in `params`.
    """
    x, y = positions[:, 0].astype(np.float64), positions[:, 1].astype(np.float64)
    tx, bd, distance = candidate_pairs(x, y, outlines, k=params.k_bd, max_distance=params.dist_bd)
    heard = nearest_neighbours(np.stack([x, y], 1), max(params.k_tx, listens_to), params.dist_tx)
    owner = np.full(len(tokens), -1, np.int64)
    nearest = np.r_[True, tx[1:] != tx[:-1]] if len(tx) else np.empty(0, bool)
    inside = nearest & (distance < 0)
    owner[tx[inside]] = bd[inside]
    return TileGraph(
        tokens=tokens,
        rows=rows,
        positions=positions,
        features=boundary_features(outlines),
        boundaries=boundaries,
        neighbours=nearest_of(heard, params.k_tx),
        heard=heard,
        candidates=np.stack([tx, bd]),
        distance=distance,
        owner=owner,
        fold=halves(positions, owner, outlines, boundaries),
    )


def halves(
    positions: np.ndarray, owner: np.ndarray, outlines: np.ndarray, boundaries: np.ndarray
) -> np.ndarray:
    """Cut every boundary in two through its centre: half 0 or 1 of each transcript inside, else -1, [N].

    The direction of the cut follows from the boundary's number, so it is the same in every tile. One
    half is compared with what the other half says of the boundary; were the halves mixed, a
    transcript's neighbours would be part of both sides of the comparison.
    """
    fold = np.full(len(owner), -1, np.int64)
    inside = np.flatnonzero(owner >= 0)
    centre = shapely.get_coordinates(shapely.centroid(outlines)).reshape(-1, 2)
    offset = positions[inside].astype(np.float64) - centre[owner[inside]]
    angle = boundaries[owner[inside]] * GOLDEN_ANGLE
    fold[inside] = offset[:, 0] * np.cos(angle) + offset[:, 1] * np.sin(angle) > 0
    return fold


def receptive_field(graph: TileGraph, asked: np.ndarray, hops: int) -> tuple[TileGraph, np.ndarray]:
    """Keep only what the scores of some transcripts depend on.

    Those are the transcripts asked about [N] (bool), their candidate boundaries with the transcripts
    inside, and everything up to `hops` neighbours away from any of them. Returns the smaller graph, in
    which the scores are the same, and the numbers of its transcripts in the larger one.
    """
    rivals = np.zeros(len(graph.features), bool)
    rivals[graph.candidates[1, asked[graph.candidates[0]]]] = True
    needed = asked | np.isin(graph.owner, np.flatnonzero(rivals))
    source, target = graph.neighbours
    for _ in range(hops):
        needed[source[needed[target]]] = True
    rivals[graph.owner[needed & (graph.owner >= 0)]] = True
    rivals[graph.candidates[1, needed[graph.candidates[0]]]] = True
    tx, bd = np.cumsum(needed) - 1, np.append(np.cumsum(rivals) - 1, -1)  # the last one for no owner
    joined = needed[source] & needed[target]
    paired = needed[graph.candidates[0]]
    smaller = TileGraph(
        tokens=graph.tokens[needed],
        rows=graph.rows[needed],
        positions=graph.positions[needed],
        features=graph.features[rivals],
        boundaries=graph.boundaries[rivals],
        neighbours=np.stack([tx[source[joined]], tx[target[joined]]]),
        heard=np.empty((2, 0), np.int64),
        candidates=np.stack([tx[graph.candidates[0, paired]], bd[graph.candidates[1, paired]]]),
        distance=graph.distance[paired],
        owner=bd[graph.owner[needed]],
        fold=graph.fold[needed],
    )
    return smaller, np.flatnonzero(needed)


def hetero_data(graph: TileGraph, supervised: np.ndarray) -> HeteroData:
    """Turn a tile's arrays into a graph for the network, hiding the edges that are supervised.

    Parameters
    ----------
    graph
        The tile.
    supervised
        bool [N]: transcripts whose pairs are asked about. None of their own `belongs` edges is in
        `edge_index`, so no message tells the network whose they are.

    Returns
    -------
    HeteroData with `tx.x` (tokens), `tx.pos` (um), `tx.row`, `bd.x` (features), `bd.boundary`;
    edges `tx neighbors tx` and `tx belongs bd`; for the latter also `edge_label_index` (the candidate
    pairs of the supervised transcripts) and `edge_label` (1 for the owner, 0 for a competing
    neighbour).
    """
    data = HeteroData()
    data["tx"].x = torch.from_numpy(graph.tokens.astype(np.int64))
    data["tx"].pos = torch.from_numpy(graph.positions.astype(np.float32))
    data["tx"].row = torch.from_numpy(graph.rows.astype(np.int64))
    data["bd"].x = torch.from_numpy(graph.features)
    data["bd"].boundary = torch.from_numpy(graph.boundaries.astype(np.int64))
    data["tx", "neighbors", "tx"].edge_index = torch.from_numpy(graph.neighbours)
    told = np.flatnonzero((graph.owner >= 0) & ~supervised)
    told = told[np.argsort(graph.owner[told], kind="stable")]
    belongs = data["tx", "belongs", "bd"]
    belongs.edge_index = torch.from_numpy(np.stack([told, graph.owner[told]]))
    tx, bd = asked = graph.candidates[:, supervised[graph.candidates[0]]]
    belongs.edge_label_index = torch.from_numpy(asked)
    belongs.edge_label = torch.from_numpy((graph.owner[tx] == bd).astype(np.float32))
    return data
