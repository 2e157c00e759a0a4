"""What the pretrained assignment looks at, once more: a pair, a neighbour and a gene at a time, by name."""

from __future__ import annotations

import functools
import math

import numpy as np
import shapely
from drawn_pairs import Drawn
from shapely import affinity

from tissuegraph.segmentation.pretrained.ground import Ground
from tissuegraph.segmentation.pretrained.tile_pairs import TilePairs

Columns = dict[str, list[float]]


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def clip(value: float, most: float) -> float:
    return max(-most, min(most, value))


def signed(outline: shapely.Polygon, point: shapely.Point) -> float:
    distance = outline.exterior.distance(point)
    return -distance if outline.contains(point) else distance


def stretched(outline: shapely.Polygon, point: shapely.Point, angle: float, ratio: float, power: float):
    """Turn the axis to x, then shrink along x and stretch along y."""
    stretch = math.sqrt(clip(max(ratio**power, 1.0), 4.0))
    turned = [affinity.rotate(one, -angle, origin=(0, 0), use_radians=True) for one in (outline, point)]
    return signed(*(affinity.scale(one, 1 / stretch, stretch, origin=(0, 0)) for one in turned))


def over_rivals(values: list[float], tx: np.ndarray) -> list[float]:
    """How far the value of each pair is above the best other of its transcript."""
    of = {i: [q for q in range(len(values)) if tx[q] == i] for i in set(tx.tolist())}
    return [
        value - max((values[q] for q in of[tx[p]] if q != p), default=-math.inf)
        for p, value in enumerate(values)
    ]


def geometry_by_loop(pairs: TilePairs, ground: Ground) -> Columns:
    columns: Columns = {}

    def add(name: str, value: float) -> None:
        columns.setdefault(name, []).append(value)

    for i, c in zip(pairs.tx, pairs.cell, strict=True):
        number, point = pairs.cells[c], shapely.Point(pairs.positions[i])
        outline, axis = ground.outlines[number], (ground.axes.angle[number], ground.axes.ratio[number])
        add("distance", signed(outline, point))
        add("stretched distance", stretched(outline, point, *axis, 4.5))
        add("distance stretched more", stretched(outline, point, *axis, 9.0))
        offset = math.dist(pairs.positions[i], (outline.centroid.x, outline.centroid.y))
        add("distance from the centre in radii", offset / math.sqrt(outline.area / math.pi))
        add("log nucleus area", math.log(outline.area / 40))
        add("log spacing of nuclei", math.log(ground.spacing[number] / 10))
        add("log ratio of the axis", math.log(ground.axes.ratio[number]))
        add("candidates", (pairs.tx == i).sum() / 8)
    for name in ("distance", "stretched distance", "distance stretched more"):
        lead = over_rivals([-d for d in columns[name]], pairs.tx)
        columns[name.replace("distance", "lead")] = [clip(value, 20) for value in lead]
    return columns


def expression_by_loop(one: Drawn, owner: np.ndarray) -> Columns:
    """`owner` [N]: the cell, by its number in the tile, in whose counts each transcript stands."""
    pairs, profiles = one.pairs, one.profiles
    counts, types = profiles.counts.toarray(), profiles.types
    columns: Columns = {}

    def add(name: str, value: float) -> None:
        columns.setdefault(name, []).append(value)

    @functools.cache
    def ratio(c: int, j: int) -> float:
        """Evidence of transcript j for cell c, without j itself."""
        number, gene = pairs.cells[c], pairs.tokens[j]
        itself = float(owner[j] == c)
        own, depth = max(counts[number, gene] - itself, 0), max(counts[number].sum() - itself, 0)
        share = sum(m * t for m, t in zip(profiles.membership[number], types[:, gene], strict=True))
        return math.log((own + 30 * share) / (depth + 30) / profiles.mean[gene])

    @functools.cache
    def by_type(i: int) -> list[float]:
        genes = [pairs.tokens[j] for j in near_of(i)[:25]]
        return [mean(math.log(kind[gene] / profiles.mean[gene]) for gene in genes) for kind in types]

    def near_of(i: int) -> list[int]:
        return pairs.neighbours[pairs.first_neighbour[i] : pairs.first_neighbour[i + 1]].tolist()

    for i, c in zip(pairs.tx.tolist(), pairs.cell.tolist(), strict=True):
        near = near_of(i)
        values = [ratio(c, j) for j in near]
        centre = one.ground.outlines[pairs.cells[c]].centroid
        toward = np.array([centre.x, centre.y]) - pairs.positions[i]
        ways = [pairs.positions[j] - pairs.positions[i] for j in near]
        cosines = [way @ toward / (np.linalg.norm(way) * np.linalg.norm(toward)) for way in ways]
        to = [v for v, cosine in zip(values, cosines, strict=True) if cosine > 0.4]
        away = [v for v, cosine in zip(values, cosines, strict=True) if cosine < -0.4]
        membership = profiles.membership[pairs.cells[c]]
        of_own_type = sum(m * t for m, t in zip(membership, by_type(i), strict=True))
        add("own gene", ratio(c, i))
        add("6 neighbours", mean(values[:6]))
        add("15 neighbours", mean(values[:15]))
        add("all neighbours", mean(values))
        add("towards the centre", sum(to) / (len(to) + 3))
        add("away from it", sum(away) / (len(away) + 3))
        add("neighbours in the nucleus", sum(owner[j] == c for j in near[:12]) / 12)
        add("best type over the candidate's", max(by_type(i)) - of_own_type)
        add("best type over all neighbours", max(by_type(i)) - mean(values))
        add("log counts of the cell", math.log1p(counts[pairs.cells[c]].sum()))
    for name in ("own gene", "15 neighbours", "all neighbours"):
        columns[f"lead of {name}"] = [clip(lead, 6) for lead in over_rivals(columns[name], pairs.tx)]
    return columns


def around_by_loop(one: Drawn) -> Columns:
    counts = np.median(one.profiles.counts.toarray().sum(1))
    slide = {
        "log typical counts": math.log1p(counts),
        "log typical spacing": math.log(np.median(one.ground.spacing) / 10),
        "log typical reach": math.log(one.ground.typical_reach + 0.3),
    }
    columns = {name: [value] * len(one.pairs.tx) for name, value in slide.items()}
    return columns | {"log reach": [math.log(one.pairs.reach[i] + 0.3) for i in one.pairs.tx]}
