"""All figures of an evaluation, recomputed from the files by loops over transcripts, cells and genes."""

from __future__ import annotations

import dataclasses
from statistics import median

import numpy as np
import plain
import polars as pl
import pytest
import shapely
from scipy import sparse
from slides import CELL, GENES, NUCLEUS, SIDE, edit

import tissuegraph as tg
from tissuegraph.evaluation.result import TRUE_OUTLINES, VENDOR
from tissuegraph.evaluation.rules import NUCLEI_ONLY, VORONOI, nearest_name
from tissuegraph.metrics.segmentation import markers_of_nuclei

METHOD = "method"


class Slide:
    """What a reader of the files knows of the judged transcripts, in lists."""

    def __init__(self, folder):
        table = pl.read_parquet(folder / "bundle/transcripts.parquet")
        method = pl.read_parquet(folder / "method.parquet")
        truth = pl.read_parquet(folder / "truth.parquet")
        cells = pl.read_parquet(folder / "truth_cells.parquet", columns=["cell_id", "has_nucleus"])
        self.seen = cells.filter("has_nucleus")["cell_id"].to_list()
        good = (table["qv"] >= 20).to_list()
        table = table.filter(pl.Series(good))
        self.x, self.y = table["x_location"].to_list(), table["y_location"].to_list()
        self.gene = [sorted(GENES).index(name) for name in table["feature_name"]]
        self.true = truth["true_cell_id"].filter(pl.Series(good)).to_list()
        self.confidence = method["assignment_confidence"].filter(pl.Series(good)).to_list()
        vendor = [None if cell == "UNASSIGNED" else cell for cell in table["cell_id"]]
        self.nucleus = [self.nucleus_at(x, y) for x, y in zip(self.x, self.y, strict=True)]
        self.assigned = {
            METHOD: method["cell"].filter(pl.Series(good)).to_list(),
            VENDOR: vendor,
            NUCLEI_ONLY: self.nucleus,
        }

    def nucleus_at(self, x, y):
        column, row = min(int(x // CELL), SIDE - 1), min(int(y // CELL), SIDE - 1)
        name = f"cell-{column + SIDE * row}"
        inset = (CELL - NUCLEUS) / 2
        from_left, from_low = x - CELL * column - inset, y - CELL * row - inset
        within = 0 <= from_left <= NUCLEUS and 0 <= from_low <= NUCLEUS
        return name if within and name in self.seen else None

    def count(self, cells, names):
        """Counts by cell and gene, as lists."""
        rows = {name: [0] * len(GENES) for name in names}
        for cell, gene in zip(cells, self.gene, strict=True):
            if cell is not None:
                rows[cell][gene] += 1
        return [rows[name] for name in names]


@pytest.fixture(scope="module")
def slide(lattice):
    return Slide(lattice)


def numbers(cells):
    """Codes of names, -1 for None."""
    book = {}
    return [-1 if cell is None else book.setdefault(cell, len(book)) for cell in cells]


@pytest.mark.parametrize("name", [METHOD, VENDOR, NUCLEI_ONLY])
def test_scores_with_the_truth(judged, slide, name):
    figures, assigned = judged[name], slide.assigned[name]
    found = figures.precision, figures.recall, figures.f1, figures.unseen, figures.share_assigned
    assert found == pytest.approx(plain.assignment(slide.true, assigned, slide.seen))
    assert figures.adjusted_rand == pytest.approx(plain.adjusted_rand(numbers(slide.true), numbers(assigned)))
    vendor = plain.adjusted_rand(numbers(slide.assigned[VENDOR]), numbers(assigned))
    assert figures.vendor_agreement == pytest.approx(vendor)


@pytest.mark.parametrize("name", [METHOD, VENDOR, NUCLEI_ONLY])
def test_cells_with_the_truth(judged, slide, name):
    wanted = cells_by_sets(slide.true, slide.assigned[name])
    assert (judged[name].cell_iou, judged[name].cell_f1) == pytest.approx(wanted)


def cells_by_sets(true, assigned):
    """As `plain.cells`, but looking only at pairs that meet, for hundreds of cells."""
    of_true, of_assigned, both = {}, {}, {}
    for t, a in zip(true, assigned, strict=True):
        of_true[t] = of_true.get(t, 0) + 1
        of_assigned[a] = of_assigned.get(a, 0) + 1
        both[t, a] = both.get((t, a), 0) + 1
    iou = {
        (t, a): shared / (of_true[t] + of_assigned[a] - shared)
        for (t, a), shared in both.items()
        if t is not None and a is not None
    }
    best = [max([value for (t, _), value in iou.items() if t == one], default=0) for one in of_true if one]
    found = sum(value > 0.5 for value in iou.values())
    n_cells = len(set(of_true) - {None}) + len(set(of_assigned) - {None})
    return plain.mean(best), 2 * found / n_cells


def test_calibration(judged, slide):
    assigned = slide.assigned[METHOD]
    right = plain.right(slide.true, assigned, slide.seen)
    kept = [i for i, cell in enumerate(assigned) if cell is not None]
    promised, came_true = [slide.confidence[i] for i in kept], [right[i] for i in kept]
    wanted = plain.calibration_error(promised, came_true, 15)
    assert judged[METHOD].calibration_error == pytest.approx(wanted)
    assert judged[METHOD].calibration_error > 0.1  # it promised too little
    curve = judged.reliability[METHOD]
    assert curve.items.sum() == len(kept)
    assert float(curve.true @ curve.items) == pytest.approx(sum(came_true))


def test_calibration_by_kind(lattice, judged, slide, monkeypatch):
    assert list(judged.reliability_by_kind) == [METHOD]
    assert list(judged.reliability_by_kind[METHOD]) == ["cytoplasmic"]  # of the others there are too few
    monkeypatch.setattr("tissuegraph.metrics.segmentation.CALIBRATION_ITEMS", 300)
    more = tg.evaluate(lattice / "method.parquet", lattice / "truth.parquet", bundle=lattice / "bundle")
    curves, figures = more.reliability_by_kind[METHOD], more[METHOD]
    assert figures.calibration_error == judged[METHOD].calibration_error
    assigned = slide.assigned[METHOD]
    right = plain.right(slide.true, assigned, slide.seen)
    places = [
        kind_of(cell, nucleus, slide.seen) for cell, nucleus in zip(assigned, slide.nucleus, strict=True)
    ]
    members = {kind: [i for i, one in enumerate(places) if one == kind] for kind in set(places) - {None}}
    by_number = sorted(range(len(GENES)), key=lambda gene: (slide.gene.count(gene), gene))
    rare = by_number[:2]
    assert slide.gene.count(by_number[2]) > len(assigned) / 10 - sum(map(slide.gene.count, rare)) >= 0
    members["rare genes"] = [i for i, cell in enumerate(assigned) if cell and slide.gene[i] in rare]
    assert set(curves) == set(members)
    for kind, kept in members.items():
        wanted = plain.calibration_error([slide.confidence[i] for i in kept], [right[i] for i in kept], 15)
        field = "calibration_error_" + kind.replace(" ", "_")
        assert getattr(figures, field) == pytest.approx(wanted)
        assert curves[kind].items.sum() == len(kept)
        assert float(curves[kind].true @ curves[kind].items) == pytest.approx(sum(right[i] for i in kept))


def kind_of(cell, nucleus, seen):
    if cell is None:
        return None
    if cell not in seen:
        return "fragments"
    return "cytoplasmic" if nucleus is None else "nuclear"


@pytest.mark.parametrize("name", [METHOD, VENDOR, NUCLEI_ONLY])
def test_purity_without_a_truth(judged, slide, name):
    figures, assigned = judged[name], slide.assigned[name]
    others = sorted({cell for cell in [*slide.true, *assigned] if cell is not None} - set(slide.seen))
    names = [*slide.seen, *others]
    counts, nuclear = slide.count(assigned, names), slide.count(slide.nucleus, names)
    n_nuclei = len(slide.seen)
    markers, types = markers_of_nuclei(sparse.csr_matrix(nuclear[:n_nuclei]))
    of_gene = markers.type_of_gene.tolist()
    assert judged.markers.type_of_gene.tolist() == of_gene
    assert sorted(of_gene) == [-1] * 4 + [0] * 4 + [1] * 4 + [2] * 4
    types = [*types.tolist(), *[-1] * len(others)]
    centres = [
        (CELL * (int(cell[5:]) % SIDE + 0.5), CELL * (int(cell[5:]) // SIDE + 0.5)) for cell in slide.seen
    ]
    centres += [(1e9 + 100 * i, 1e9) for i in range(len(others))]
    assert figures.mecr == pytest.approx(plain.mecr(counts, of_gene))
    assert figures.marker_purity == pytest.approx(plain.purity(counts, types, of_gene))
    assert figures.sensitivity == pytest.approx(plain.sensitivity(counts, types, of_gene))
    wanted = plain.contamination(counts, nuclear, types, centres, of_gene, 3)
    assert figures.contamination == pytest.approx(wanted, abs=1e-12)
    assert figures.spurious_coexpression == pytest.approx(plain.spurious(counts, nuclear, of_gene), abs=1e-12)
    own = [a if a == n else None for a, n in zip(assigned, slide.nucleus, strict=True)]
    rest = [a if a != n else None for a, n in zip(assigned, slide.nucleus, strict=True)]
    wanted = plain.nucleus_correlation(slide.count(own, names), slide.count(rest, names))
    assert figures.nucleus_correlation == (None if wanted is None else pytest.approx(wanted))
    kept = judged.equal_share / figures.share_assigned
    assert (figures.mecr_equal_share is None) == (kept > 1)
    if kept <= 1:
        assert figures.mecr_equal_share == pytest.approx(plain.mecr(counts, of_gene, kept))
        assert figures.relative_coexpression == pytest.approx(plain.relative(counts, of_gene, kept))


@pytest.mark.parametrize("name", [METHOD, VENDOR, NUCLEI_ONLY])
def test_counts_and_shapes(judged, slide, name):
    figures, assigned = judged[name], slide.assigned[name]
    members = {}
    for i, cell in enumerate(assigned):
        if cell is not None:
            members.setdefault(cell, []).append(i)
    assert figures.n_cells == len(members)
    assert figures.transcripts_per_cell == median(len(rows) for rows in members.values())
    assert figures.genes_per_cell == median(len({slide.gene[i] for i in rows}) for rows in members.values())
    if name == VENDOR:  # it has polygons: the squares
        outside = [
            not (0 <= slide.x[i] - CELL * (int(cell[5:]) % SIDE) <= CELL)
            or not (0 <= slide.y[i] - CELL * (int(cell[5:]) // SIDE) <= CELL)
            for cell, rows in members.items()
            for i in rows
        ]
        assert (figures.area, figures.elongation, figures.solidity) == (100, 1, 1)
        assert figures.outside == pytest.approx(plain.mean(outside))
    else:
        clouds = [shapely.MultiPoint([(slide.x[i], slide.y[i]) for i in rows]) for rows in members.values()]
        areas = [cloud.convex_hull.area for cloud in clouds if cloud.convex_hull.area > 0]
        assert figures.area == pytest.approx(median(areas))
        assert (figures.solidity, figures.outside) == (None, None)


def test_shares_of_each_gene(judged, slide):
    shares = judged.share_by_gene[METHOD]
    assert list(shares) == sorted(GENES)
    for number, name in enumerate(sorted(GENES)):
        of_gene = [
            cell for cell, gene in zip(slide.assigned[METHOD], slide.gene, strict=True) if gene == number
        ]
        assert shares[name] == pytest.approx(plain.mean(cell is not None for cell in of_gene))


def test_rules_by_hand(judged, slide):
    """Distances to squares and centres by the school's formulas."""
    inset = (CELL - NUCLEUS) / 2
    low = np.array([(CELL * (int(c[5:]) % SIDE), CELL * (int(c[5:]) // SIDE)) for c in slide.seen]) + inset
    names = np.array(slide.seen, object)
    where = np.column_stack([slide.x, slide.y])[:3000]
    beyond = np.maximum(np.maximum(low - where[:, None], where[:, None] - low - NUCLEUS), 0)
    distance = np.hypot(*beyond.transpose(2, 0, 1))
    nearest = names[distance.argmin(1)]
    for reach in (1, 2, 3, 5, 8):
        assigned = np.where(distance.min(1) <= reach, nearest, None)
        right = [a is not None and a == t for a, t in zip(assigned, slide.true, strict=False)]
        # over all transcripts the scores say as much as over the first ones, within chance
        share = np.mean(assigned != None)  # noqa: E711
        assert judged[nearest_name(reach)].share_assigned == pytest.approx(share, abs=0.03)
        assert judged[nearest_name(reach)].precision == pytest.approx(sum(right) / (share * 3000), abs=0.02)
    assert judged[VORONOI].share_assigned == 1


def test_curves_give_up_the_least_sure_first(judged, slide):
    curve = judged.curves[METHOD]
    assert list(judged.curves) == [METHOD]
    n, assigned = len(slide.true), slide.assigned[METHOD]
    assert curve.share == [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, judged[METHOD].share_assigned]
    assert curve.mecr[-1] == judged[METHOD].mecr
    assert curve.contamination[-1] == judged[METHOD].contamination
    assert curve.precision[-1] == judged[METHOD].precision
    assert curve.precision[0] > curve.precision[-1] + 0.02
    surest = sorted((i for i in range(n) if assigned[i] is not None), key=lambda i: -slide.confidence[i])
    kept = set(surest[: round(0.5 * n)])
    half = [cell if i in kept else None for i, cell in enumerate(assigned)]
    assert curve.precision[2] == pytest.approx(plain.assignment(slide.true, half, slide.seen)[0])
    names = sorted({*slide.seen, *[cell for cell in half if cell is not None]})
    wanted = plain.mecr(slide.count(half, names), judged.markers.type_of_gene.tolist())
    assert curve.mecr[2] == pytest.approx(wanted)


def test_a_better_segmentation_is_purer(judged):
    vendor, truth = judged[VENDOR], judged[TRUE_OUTLINES]
    for field in ("mecr_equal_share", "contamination", "spurious_coexpression", "relative_coexpression"):
        assert getattr(truth, field) < getattr(judged[METHOD], field) < getattr(vendor, field)
    assert truth.marker_purity > judged[METHOD].marker_purity > vendor.marker_purity


def permuted(lattice, folder):
    """The same slide: other names for all cells, other rows, other ids for transcripts."""
    generator = np.random.default_rng(8)
    names = [f"cell-{i}" for i in range(SIDE * SIDE)]
    other = dict(zip(names, generator.permutation([f"n{i}" for i in range(len(names))]), strict=True))
    other["UNASSIGNED"] = "UNASSIGNED"
    (folder / "bundle").mkdir()
    for name, column in [
        ("bundle/transcripts", "cell_id"),
        ("bundle/nucleus_boundaries", "cell_id"),
        ("bundle/cell_boundaries", "cell_id"),
        ("truth", "true_cell_id"),
        ("truth_cells", "cell_id"),
        ("method", "cell"),
    ]:
        table = pl.read_parquet(lattice / f"{name}.parquet")
        table = table.with_columns(pl.col(column).replace(other))
        if "boundaries" not in name:
            table = table[generator.permutation(len(table))]
        table.write_parquet(folder / f"{name}.parquet")
    return folder


def test_other_names_and_other_orders_change_nothing(lattice, judged, tmp_path):
    folder = permuted(lattice, tmp_path)
    found = tg.evaluate(folder / "method.parquet", folder / "truth.parquet", bundle=folder / "bundle")
    assert list(found) == list(judged)
    for name, figures in found.items():
        for field, value in dataclasses.asdict(judged[name]).items():
            assert getattr(figures, field) == (None if value is None else pytest.approx(value)), (name, field)
    assert found.curves[METHOD].mecr == pytest.approx(judged.curves[METHOD].mecr)


def test_a_tools_own_ids_score_the_same(lattice, judged, tmp_path):
    numbers = np.random.default_rng(3).permutation(SIDE * SIDE).tolist()
    other = {f"cell-{i}": number for i, number in enumerate(numbers)}
    table = pl.read_parquet(lattice / "method.parquet")
    table = table.with_columns(cell=pl.col("cell").replace_strict(other, return_dtype=pl.Int64))
    table.write_parquet(tmp_path / "method.parquet")
    found = tg.evaluate(tmp_path / "method.parquet", lattice / "truth.parquet", bundle=lattice / "bundle")
    assert found == judged


def test_the_truth_itself_scores_one(lattice):
    found = tg.evaluate(
        f"true={lattice / 'truth.parquet'}", lattice / "truth.parquet", bundle=lattice / "bundle"
    )
    figures = found["true"]
    for field in ("f1", "precision", "recall", "unseen", "adjusted_rand", "cell_iou", "cell_f1"):
        assert getattr(figures, field) == 1


def test_the_equal_share_can_be_chosen(lattice, judged):
    arguments = lattice / "method.parquet", lattice / "truth.parquet"
    found = tg.evaluate(*arguments, bundle=lattice / "bundle", equal_share=0.2)
    assert found.equal_share == 0.2
    assert all(figures.mecr_equal_share is not None for figures in found.values())
    assert found[METHOD].mecr == judged[METHOD].mecr
    assert judged.equal_share == judged[VENDOR].share_assigned < judged[METHOD].share_assigned
    assert judged[VENDOR].mecr_equal_share == judged[VENDOR].mecr
    assert judged[NUCLEI_ONLY].mecr_equal_share is None
    found = tg.evaluate(*arguments, bundle=lattice / "bundle", equal_share=0.99)
    assert found[METHOD].mecr_equal_share is None


def test_twice_is_the_same(lattice, judged):
    again = tg.evaluate(lattice / "method.parquet", lattice / "truth.parquet", bundle=lattice / "bundle")
    assert again == judged
    assert again.curves == judged.curves


def test_cells_without_any_nucleus(lattice, tmp_path):
    """Of the method's cells, those whose nucleus was not seen bear its own name, and can be found."""
    table = pl.read_parquet(lattice / "method.parquet")
    cells = pl.read_parquet(lattice / "truth_cells.parquet", columns=["cell_id", "has_nucleus"])
    unseen = cells.filter(~pl.col("has_nucleus"))["cell_id"].to_list()
    only = table.with_columns(pl.when(pl.col("cell").is_in(unseen)).then("cell"))
    only.write_parquet(tmp_path / "unseen.parquet")
    found = tg.evaluate(tmp_path / "unseen.parquet", lattice / "truth.parquet", bundle=lattice / "bundle")[
        "unseen"
    ]
    assert found.n_cells == len(unseen)
    assert (found.recall, found.unseen) == (0, pytest.approx(0.85, abs=0.1))
    assert (found.contamination, found.marker_purity, found.spurious_coexpression) == (None, None, None)
    assert found.nucleus_correlation is None
    assert found.sensitivity == 0  # the cells with a type hold nothing


def test_empty_nuclei(lattice, tmp_path):
    (tmp_path / "bundle").mkdir()
    for name in ("transcripts", "nucleus_boundaries"):
        pl.read_parquet(lattice / f"bundle/{name}.parquet").write_parquet(tmp_path / f"bundle/{name}.parquet")

    def with_a_far_one(table):
        far = table[:5].with_columns(cell_id=pl.lit("far"), vertex_x=pl.col("vertex_x") + 5000)
        return pl.concat([far, table])

    edit(tmp_path / "bundle/nucleus_boundaries.parquet", with_a_far_one)
    found = tg.evaluate(lattice / "method.parquet", bundle=tmp_path / "bundle")
    wanted = tg.evaluate(lattice / "method.parquet", bundle=lattice / "bundle")
    assert found[METHOD] == wanted[METHOD]
    assert found[VORONOI] == wanted[VORONOI]
