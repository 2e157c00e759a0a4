"""Spatial neighbour graphs of cells and spots, under squidpy's names.

The edges come from scipy and not from squidpy's builders, which (in 1.8.2) drop the distance 0 of cells
that coincide, lose all but one of them in a triangulation, fail where a section has fewer cells than
neighbours are asked for, and take four seconds to import. What stands in the AnnData is the same, so either
package reads the other's graph.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.graph import edges as make
from tissuegraph.graph.sections import Codes, SectionKey, section_codes, section_columns, section_members
from tissuegraph.graph.stored import store_graph

if TYPE_CHECKING:
    from anndata import AnnData

LATTICE_NEIGHBORS = {"hexagonal": 6, "square": 8}
CELL_NEIGHBORS = 10
"""Neighbours of a cell or bead that lies on no lattice, by default."""

log = logging.getLogger(__name__)


def spatial_neighbors(
    adata: AnnData,
    *,
    section_key: SectionKey = "auto",
    spatial_key: str = "spatial",
    key_added: str = "spatial",
) -> None:
    """Build the graph that suits the positions: 6 nearest on a hexagonal lattice, 8 on a square one, else 10.

    Visium spots lie on a hexagonal lattice, bins of Visium HD and Stereo-seq on a square one (a bin and the
    ring around it), cells and beads on none. What `tg.read_section` recorded of the platform counts for more
    than what the positions look like. Nearest neighbours need no unit and leave nobody isolated; where tissue
    is torn, `spatial_neighbors_radius` makes no edge across the gap. Parameters as in
    `spatial_neighbors_knn`.
    """
    recorded = adata.uns.get(keys.UNS_RUN, {}).get(keys.UNS_SECTION, {})
    if "n_neighbors" in recorded:
        n_neighbors, reason = int(recorded["n_neighbors"]), str(recorded["platform"])
    else:
        n_neighbors, reason = _fitting_number(adata, section_key, spatial_key)
    log.info("%s: %d nearest neighbours", reason, n_neighbors)
    spatial_neighbors_knn(
        adata, n_neighbors, section_key=section_key, spatial_key=spatial_key, key_added=key_added
    )


def _fitting_number(adata: AnnData, section_key: SectionKey, spatial_key: str) -> tuple[int, str]:
    """Return how many neighbours suit the largest section, and why."""
    positions = _positions(adata, spatial_key)
    members = section_members(section_codes(adata, section_columns(adata, section_key)))
    kind = make.lattice(positions[max(members, key=len)]) if members else None
    if kind is None:
        return CELL_NEIGHBORS, "positions on no lattice"
    return LATTICE_NEIGHBORS[kind], f"positions on a {kind} lattice"


def spatial_neighbors_knn(
    adata: AnnData,
    n_neighbors: int = 6,
    *,
    section_key: SectionKey = "auto",
    spatial_key: str = "spatial",
    key_added: str = "spatial",
) -> None:
    """Join each cell to its nearest cells of the same section; the graph is directed.

    Parameters
    ----------
    n_neighbors
        Neighbours a cell; a section with fewer cells gives what there is.
    section_key
        Column(s) of `obs`: no edge joins cells that differ in one of them. "auto" takes those among
        `keys.SECTION_COLUMNS` that are there, None joins across all.
    spatial_key
        Positions in `obsm`, [N, 2] or [N, 3].
    key_added
        Written are `obsp["<key>_connectivities"]` (f32; row i holds the neighbours of i),
        `obsp["<key>_distances"]` (f64, a zero between cells that coincide) and `uns["<key>_neighbors"]`.

    Raises
    ------
    InputError
        Where positions are missing or not finite, or a column is missing.
    """
    _require_positive("n_neighbors", n_neighbors)
    parameters = {"n_neighbors": int(n_neighbors)}
    _by_section(
        adata,
        lambda here: make.nearest_edges(here, n_neighbors),
        parameters,
        section_key,
        spatial_key,
        key_added,
    )


def spatial_neighbors_radius(
    adata: AnnData,
    radius: float,
    *,
    section_key: SectionKey = "auto",
    spatial_key: str = "spatial",
    key_added: str = "spatial",
) -> None:
    """Join cells of one section that lie within a radius, in the unit of the positions.

    `tg.suggest_radius` finds a radius for a wanted number of neighbours. The other parameters, what is
    written and what is raised are those of `spatial_neighbors_knn`; a radius that would fill the memory is an
    InputError.
    """
    _require_positive("radius", radius)
    parameters = {"radius": float(radius)}
    _by_section(
        adata, lambda here: make.radius_edges(here, radius), parameters, section_key, spatial_key, key_added
    )


def spatial_neighbors_delaunay(
    adata: AnnData,
    radius: float | None = None,
    *,
    section_key: SectionKey = "auto",
    spatial_key: str = "spatial",
    key_added: str = "spatial",
) -> None:
    """Join cells of one section that share an edge of the Delaunay triangulation.

    Its edges also span holes and the outside of bent tissue: `radius` leaves out those that are longer. The
    other parameters, what is written and what is raised are those of `spatial_neighbors_knn`.
    """
    limit = np.inf if radius is None else radius
    _require_positive("radius", limit)

    def triangulate(here: make.Floats) -> make.Edges:
        found = make.delaunay_edges(here)
        return found[:, make.lengths(here, found) <= limit]

    parameters = {"delaunay": True} if radius is None else {"delaunay": True, "radius": float(radius)}
    _by_section(adata, triangulate, parameters, section_key, spatial_key, key_added)


def spatial_neighbors_3d(
    adata: AnnData,
    section_key: str,
    radius: float,
    z_radius: float,
    order: Sequence[Any] | None = None,
    z_weight: float = 1.0,
    *,
    sample_key: str | None = None,
    spatial_key: str = "spatial",
    key_added: str = "spatial",
) -> None:
    """Join cells of aligned sections, within each of them and between sections that follow each other.

    As the 3-D graph of STAGATE (Dong and Zhang 2022), with edges between sections that may count for less.

    Parameters
    ----------
    section_key
        Column of `obs` that names the section.
    radius
        Farthest neighbour within a section, in the unit of the positions, whose first two columns are read.
    z_radius
        Farthest neighbour, in the plane, in the section before or after.
    order
        The sections from bottom to top; by default the categories' order, else sorted. A section that is left
        out is joined to none.
    z_weight
        Weight of an edge between sections in the connectivities; within a section it is 1.
    sample_key
        Column of `obs`: there is never an edge between cells that differ in it.
    key_added
        As in `spatial_neighbors_knn`; distances are in the plane.
    """
    for name, value in (("radius", radius), ("z_radius", z_radius), ("z_weight", z_weight)):
        _require_positive(name, value)
    names = _section_order(adata, section_key, order)
    positions = _positions(adata, spatial_key)[:, :2]
    samples = section_codes(adata, [sample_key] if sample_key else [])
    column = adata.obs[section_key]
    members = [np.flatnonzero((column == name).to_numpy()) for name in names]
    inside = [
        _inside(positions, np.flatnonzero((column == name).to_numpy()), radius) for name in column.unique()
    ]
    between = [_between(positions, *pair, z_radius) for pair in pairwise(members)]
    found = np.concatenate([*inside, *between], axis=1)
    is_between = np.arange(found.shape[1]) >= sum(part.shape[1] for part in inside)
    kept = samples[found[0]] == samples[found[1]]
    weights = np.where(is_between, z_weight, 1.0)
    parameters = {
        "radius": float(radius),
        "z_radius": float(z_radius),
        "z_weight": float(z_weight),
        "order": [str(name) for name in names],
        "section_key": [section_key] + ([sample_key] if sample_key else []),
    }
    _save(adata, positions, found[:, kept], weights[kept], parameters, key_added)


def suggest_radius(
    adata: AnnData, mean_degree: float = 6, *, section_key: SectionKey = "auto", spatial_key: str = "spatial"
) -> float:
    """Return the radius that gives `mean_degree` neighbours a cell on average, in the unit of the positions.

    On a lattice it lies between two rings of neighbours, whichever comes nearest to the wanted number.
    """
    _require_positive("mean_degree", mean_degree)
    positions, sections = (
        _positions(adata, spatial_key),
        section_codes(adata, section_columns(adata, section_key)),
    )
    groups = [positions[members] for members in section_members(sections)]
    most = sum(len(group) * (len(group) - 1) for group in groups) / max(len(positions), 1)
    if mean_degree > most:
        raise InputError(
            f"mean_degree is {mean_degree:g}, but a cell has at most {most:.3g} others in its section; "
            "ask for fewer"
        )
    return make.radius_of_degree(groups, mean_degree)


def _positions(adata: AnnData, spatial_key: str) -> make.Floats:
    if spatial_key not in adata.obsm:
        found = ", ".join(adata.obsm.keys()) or "nothing"
        raise InputError(
            f"no positions in obsm['{spatial_key}']; found: {found}; tg.read_section writes them"
        )
    positions = np.asarray(adata.obsm[spatial_key], np.float64)
    bad = int((~np.isfinite(positions).all(1)).sum())
    if bad:
        raise InputError(
            f"{bad:,} of {len(positions):,} cells have a position that is NaN or infinite in "
            f"obsm['{spatial_key}']; drop them before the graph is built"
        )
    return positions


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{name} is {value}; give a number above 0")


def _by_section(
    adata: AnnData,
    connect: Callable[[make.Floats], make.Edges],
    parameters: dict[str, Any],
    section_key: SectionKey,
    spatial_key: str,
    key_added: str,
) -> None:
    positions, columns = _positions(adata, spatial_key), section_columns(adata, section_key)
    members = section_members(section_codes(adata, columns))
    parts = [cells[connect(positions[cells])] for cells in members if len(cells)]
    found = np.concatenate(parts, axis=1) if parts else make.NO_EDGES
    weights = np.ones(found.shape[1])
    _save(adata, positions, found, weights, parameters | {"section_key": columns}, key_added)


def _section_order(adata: AnnData, section_key: str, order: Sequence[Any] | None) -> list[Any]:
    section_codes(adata, [section_key])
    column = adata.obs[section_key]
    there = list(column.cat.categories) if hasattr(column, "cat") else sorted(column.unique())
    if order is None:
        return there
    unknown = [name for name in order if name not in there]
    if unknown or len(set(order)) < len(order):
        wrong = f"'{unknown[0]}', which is not there" if unknown else "a section twice"
        raise InputError(f"order names {wrong}; obs['{section_key}'] has: {', '.join(map(str, there))}")
    return list(order)


def _inside(positions: make.Floats, members: Codes, radius: float) -> make.Edges:
    return members[make.radius_edges(positions[members], radius)]


def _between(positions: make.Floats, lower: Codes, upper: Codes, radius: float) -> make.Edges:
    found = make.edges_between(positions[lower], positions[upper], radius)
    pairs = np.stack([lower[found[0]], upper[found[1]]])
    return np.concatenate([pairs, pairs[::-1]], axis=1)


def _save(
    adata: AnnData,
    positions: make.Floats,
    found: make.Edges,
    weights: make.Floats,
    parameters: dict[str, Any],
    key_added: str,
) -> None:
    store_graph(
        adata,
        found,
        weights,
        make.lengths(positions, found),
        {"coord_type": "generic", **parameters},
        key_added,
    )
    isolated, n = adata.uns[f"{key_added}_neighbors"]["params"]["isolated_cells"], adata.n_obs
    if isolated:
        log.warning(
            "%s of %s cells have no neighbour; a larger radius gives them some", f"{isolated:,}", f"{n:,}"
        )
