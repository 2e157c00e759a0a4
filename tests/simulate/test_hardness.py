"""Simulated tissue is as hard as tissue: scores of simple assignments, shapes, expression."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
import pytest
import shapely
from scipy.spatial import cKDTree

from tissuegraph import simulate
from tissuegraph.metrics.segmentation import score_assignment

ROUND, ELONGATED = 1.0, 3.0


def scores(slide: Path) -> dict[str, float]:
    """Return the F1 of the nearest nucleus at its best distance, of the vendor and of the true outlines."""
    rows = pl.read_parquet(slide / "transcripts.parquet").join(
        pl.read_parquet(slide / "truth.parquet"), on="transcript_id"
    )
    rows = rows.filter((pl.col("qv") >= 20) & ~pl.col("feature_name").str.contains("^(NegControl|BLANK)"))
    truth = gpd.read_parquet(slide / "truth_cells.parquet")
    ids = truth.cell_id.to_numpy()
    points = rows.select("x_location", "y_location").to_numpy()
    nearest, distance = nearest_nucleus(slide, points)
    code = {cell: number for number, cell in enumerate(ids)}
    true = np.array([code.get(cell, -1) for cell in rows["true_cell_id"]])
    vendor = np.array([code.get(cell, -1) for cell in rows["cell_id"]])
    nearest = np.array([code[cell] for cell in nearest])
    containing = np.full(len(points), -1)
    point, outline = truth.sindex.query(shapely.points(points), predicate="intersects")
    containing[point] = outline
    seen = np.flatnonzero(truth.has_nucleus)

    def score(assigned: np.ndarray) -> float:
        return score_assignment(true, assigned, seen).f1

    sweep = [score(np.where(distance <= limit, nearest, -1)) for limit in np.arange(3, 8, 0.5)]
    return {"nearest": max(sweep), "vendor": score(vendor), "outlines": score(containing)}


def nearest_nucleus(slide: Path, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest nucleus of each point and the distance to its outline."""
    table = pl.read_parquet(slide / "nucleus_boundaries.parquet")
    nuclei = shapely.polygons(
        shapely.linearrings(
            table.select("vertex_x", "vertex_y").to_numpy(), indices=table["cell_id"].rle_id().to_numpy()
        )
    )
    centres = shapely.get_coordinates(shapely.centroid(nuclei))
    near = cKDTree(centres).query(points, k=4)[1]
    distance = shapely.distance(shapely.points(points)[:, None], nuclei[near])
    best = distance.argmin(axis=1)
    rows = np.arange(len(points))
    return table["cell_id"].unique(maintain_order=True).to_numpy()[near[rows, best]], distance[rows, best]


@pytest.mark.parametrize(
    ("settings", "nearest", "within"),
    [
        ({"elongation": ROUND}, 0.84, 0.02),
        ({"elongation": ELONGATED}, 0.76, 0.02),
        ({"elongation": ROUND, "seed": 11, "types": 5, "genes": 60}, 0.84, 0.03),
        ({"elongation": ELONGATED, "seed": 12, "domains": 2, "genes": 1000}, 0.76, 0.03),
    ],
)
def test_simple_assignments_score_as_on_tissue(
    tmp_path: Path, settings: dict[str, float], nearest: float, within: float
) -> None:
    found = scores(simulate.tissue(tmp_path / "out", cells=1000, counts_per_cell=60, **settings))
    assert found["nearest"] == pytest.approx(nearest, abs=within)
    assert found["outlines"] == pytest.approx(0.96, abs=0.01)
    assert found["vendor"] == pytest.approx(found["nearest"], abs=0.015)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("elongation", "low", "high"), [(ROUND, 0.80, 0.845), (ELONGATED, 0.735, 0.80)])
def test_grown_tissue_is_as_hard(
    tmp_path: Path, elongation: float, low: float, high: float, seed: int
) -> None:
    slide = simulate.grown_tissue(
        tmp_path / "out", cells=700, counts_per_cell=40, elongation=elongation, seed=seed
    )
    found = scores(slide)
    assert low <= found["nearest"] <= high
    assert 0.94 <= found["outlines"] <= 0.97
    assert found["vendor"] == pytest.approx(found["nearest"], abs=0.015)


def axes(shape: shapely.Polygon) -> tuple[float, float]:
    """Return the aspect ratio and the direction of the long axis, from the moments of points inside."""
    left, low, right, high = shape.bounds
    grid = np.stack(np.meshgrid(np.arange(left, right, 0.5), np.arange(low, high, 0.5)), -1).reshape(-1, 2)
    inside = grid[shapely.contains_xy(shape, grid)]
    size, axis = np.linalg.eigh(np.cov(inside.T))
    return float(np.sqrt(size[1] / size[0])), float(np.arctan2(axis[1, 1], axis[0, 1]))


@pytest.mark.parametrize("elongation", [1.0, 2.0, 3.0, 5.0])
def test_cells_have_the_aspect_asked_for(tmp_path: Path, elongation: float) -> None:
    slide = simulate.tissue(tmp_path / "out", cells=300, elongation=elongation, counts_per_cell=5)
    shapes = gpd.read_parquet(slide / "truth_cells.parquet").geometry
    aspect = np.median([axes(shape)[0] for shape in shapes])
    # an irregular round cell measures a little over 1
    assert aspect == pytest.approx(max(elongation, 1.15), rel=0.1)


def test_long_axes_agree_nearby_and_turn_over_the_slide(tmp_path: Path) -> None:
    slide = simulate.tissue(tmp_path / "out", cells=2500, elongation=3.0, counts_per_cell=5)
    truth = gpd.read_parquet(slide / "truth_cells.parquet")
    centres = shapely.get_coordinates(truth.geometry.centroid)
    double = 2 * np.array([axes(shape)[1] for shape in truth.geometry])
    first, second = np.random.default_rng(0).integers(0, len(truth), (2, 200_000))
    apart = np.hypot(*(centres[first] - centres[second]).T)
    agree = np.cos(double[first] - double[second])
    assert agree[apart < 30].mean() > 0.75
    assert agree[apart > 250].mean() < 0.4


def test_expression_is_overdispersed_and_mostly_shared(tmp_path: Path) -> None:
    slide = simulate.tissue(tmp_path / "out", cells=600, genes=100, types=4)
    rows = pl.read_parquet(slide / "transcripts.parquet").join(
        pl.read_parquet(slide / "truth.parquet"), on="transcript_id"
    )
    truth = pl.read_parquet(slide / "truth_cells.parquet", columns=["cell_id", "cell_type", "domain"])
    rows = rows.filter(pl.col("true_cell_id").is_not_null())
    counts = rows.pivot("feature_name", index="true_cell_id", values="qv", aggregate_function="len")
    counts = truth.join(counts, left_on="cell_id", right_on="true_cell_id").fill_null(0)
    totals = counts.select(pl.sum_horizontal(pl.col("^GENE.*$").cast(pl.Int64))).to_series()
    assert totals.var() > 5 * totals.mean()
    profiles = counts.group_by("cell_type").agg(pl.col("^GENE.*$").cast(pl.Int64).sum()).sort("cell_type")
    shares = profiles.select("^GENE.*$").to_numpy().astype(float)
    shares = np.log((shares + 1) / shares.sum(axis=1, keepdims=True))
    fold = np.abs(shares - np.median(shares, axis=0))
    assert 0.02 < (fold > np.log(3)).any(axis=0).mean() < 0.4  # some markers ...
    assert np.median(fold) < np.log(1.5)  # ... and most genes are common
    mixing = truth.group_by("domain").agg(pl.col("cell_type").n_unique())
    assert (mixing["cell_type"] == 4).all()
