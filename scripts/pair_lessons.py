"""Simulated slides as the pretrained networks see them, with the right answer for every transcript."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import polars as pl
import torch
from scipy.stats import qmc

import tissuegraph as tg
from tissuegraph import keys
from tissuegraph.metrics.segmentation import Encoded
from tissuegraph.nn.neighbour_lists import NeighbourLists
from tissuegraph.nn.pairs import PairNet
from tissuegraph.segmentation.pretrained import fragments, rounds
from tissuegraph.segmentation.pretrained.evidence import first_evidence
from tissuegraph.segmentation.pretrained.params import HEARD, NEIGHBOUR_DISTANCE
from tissuegraph.segmentation.pretrained.start import start
from tissuegraph.segmentation.pretrained.tile_pairs import TilePairs, pairs_heard, read_pairs
from tissuegraph.segmentation.steps import open_slide

EVERYWHERE = (-np.inf, -np.inf, np.inf, np.inf)
# Name: (low, high, whether to draw the logarithm).
RANGES = {
    "counts_per_cell": (20, 1000, True),
    "genes": (60, 5000, True),
    "types": (4, 16, False),
    "elongation": (1.0, 4.0, False),
    "direction_scale": (60, 300, True),
    "cell_area": (50, 220, True),
    "nucleus_size": (0.4, 0.7, False),
    "nucleus_offset": (0.1, 0.8, False),
    "missing_nuclei": (0.02, 0.5, True),
    "spill": (0.02, 0.2, True),
    "background": (0.005, 0.05, True),
}
OF_SIMULATOR: dict[str, dict[str, tuple[float, float, bool]]] = {
    "tissue": {
        "spill_distance": (3, 7, False),
        "marker_fold": (4, 30, True),
        "gene_dispersion": (0.2, 1, True),
    },
    "grown_tissue": {
        "mixing": (0.1, 0.45, False),
        "nuclear_genes": (0.0, 0.2, False),
        "nucleus_error": (0.1, 0.8, False),
    },
}
TRANSCRIPTS, CELLS = 50_000, (120, 900)
# From which unexplained share on a place is a fragment here: more, and worse ones, than in use.
LEARNT_SHARE = 0.35
# Transcripts of a block, um of what lies around it, and blocks a slide, that the second network learns from.
BLOCK, AROUND, BLOCKS = 1500, 0.75 * NEIGHBOUR_DISTANCE, 4


@dataclass(frozen=True)
class Setting:
    """A slide to be drawn: its simulator, its settings, and where it goes."""

    name: str
    simulator: str
    settings: dict[str, Any]
    seed: int
    work: Path

    @property
    def digest(self) -> str:
        """Short name of all that decides what the slide looks like."""
        return f"{crc32(repr((self.simulator, self.settings, self.seed)).encode()):08x}"


@dataclass
class Lesson:
    """A slide in one tile: `right` [N] is the pair that each transcript belongs to, -1 for none."""

    pairs: TilePairs
    features: np.ndarray
    right: np.ndarray
    true_cell: np.ndarray
    n_nuclei: int
    place: np.ndarray | None = None

    def encoded(self, cell: np.ndarray) -> Encoded:
        """An assignment [N] beside the truth, as it is scored."""
        n = max(int(self.true_cell.max()) + 1, self.n_nuclei)
        is_fragment = cell >= self.n_nuclei
        cell = np.where(is_fragment, cell - self.n_nuclei + n, cell)
        seen = np.arange(max(n, int(cell.max()) + 1)) < self.n_nuclei
        return Encoded(self.true_cell, cell, seen)


def draw_settings(number: int, seed: int, simulators: list[str], work: Path, prefix: str) -> list[Setting]:
    """Draw the settings of slides, a point of a Latin hypercube each."""
    width = len(RANGES) + max(len(ranges) for ranges in OF_SIMULATOR.values())
    unit = qmc.LatinHypercube(width, rng=np.random.default_rng(seed)).random(number)
    drawn = []
    for index, point in enumerate(unit):
        simulator = simulators[index % len(simulators)]
        ranges = RANGES | OF_SIMULATOR[simulator]
        one: dict[str, Any] = {}
        for share, (name, (low, high, is_log)) in zip(point, ranges.items(), strict=False):
            one[name] = float(low * (high / low) ** share if is_log else low + share * (high - low))
        one |= {"genes": round(one["genes"]), "types": round(one["types"])}
        one["cells"] = int(np.clip(TRANSCRIPTS / one["counts_per_cell"], *CELLS))
        drawn.append(Setting(f"{prefix} {index}", simulator, one, 10_000 * (seed + 1) + index, work))
    return drawn


def look(setting: Setting) -> Path:
    """Simulate a slide and write what the first network sees of it; a file that is there stays."""
    folder = setting.work / f"{setting.name} {setting.digest}"
    path = folder.with_suffix(".first")
    if path.exists():
        return path
    torch.set_num_threads(1)
    sample = tg.read_xenium(
        getattr(tg.simulate, setting.simulator)(folder, seed=setting.seed, **setting.settings)
    )
    slide = open_slide(sample, path.with_suffix(".cut"), min_qv=20, transcripts_per_tile=10_000_000)
    begin = start(slide.store, slide.survey)
    pairs = read_pairs(slide.store, slide.survey, EVERYWHERE)
    features = first_evidence(pairs, begin.ground, begin.profiles)
    true_cell = true_cells(sample, folder, slide.survey.boundary_ids.tolist())[pairs.rows]
    right = right_pairs(pairs, pairs.cells, true_cell)
    lesson = Lesson(pairs, features, right, true_cell, len(slide.survey.outlines))
    rows = sum(slide.survey.counts.values())
    path.write_bytes(pickle.dumps((lesson, slide.store, begin, rows)))
    return path


def true_cells(sample: tg.Sample, folder: Path, names: list[str]) -> np.ndarray:
    """The true cell of every row: the number of its nucleus, a higher one without, or -1."""
    ids = sample.scan().select(keys.ROW, keys.TRANSCRIPT_ID).collect()
    truth = ids.join(pl.read_parquet(folder / keys.TRUTH_FILE), on=keys.TRANSCRIPT_ID, how="left")
    cell = truth.sort(keys.ROW)[keys.TRUE_CELL_ID]
    code = {name: number for number, name in enumerate(names)}
    for name in cell.unique(maintain_order=True).drop_nulls():
        code.setdefault(name, len(code))
    return np.array([-1 if name is None else code[name] for name in cell])


def right_pairs(pairs: TilePairs, stands_for: np.ndarray, true_cell: np.ndarray) -> np.ndarray:
    """The pair of each transcript with the candidate that stands for its true cell, -1 without, [N]."""
    hit = (stands_for[pairs.cell] == true_cell[pairs.tx]) & (true_cell[pairs.tx] >= 0)
    right = np.full(len(pairs.tokens), -1)
    right[pairs.tx[hit]] = np.flatnonzero(hit)
    return right


def look_again(job: tuple[Path, PairNet]) -> Path:
    """Write what the second network sees of a slide."""
    path, first = job
    torch.set_num_threads(1)
    fragments.LEAST_SHARE = LEARNT_SHARE
    seen, store, begin, rows = pickle.loads(path.read_bytes())
    before = rounds.first_round(first, store, begin, store.tiles, np.full(rows, rounds.NONE, np.int32))
    pairs = read_pairs(store, before.survey, EVERYWHERE)
    stands_for = np.concatenate([np.arange(before.n_nuclei), _unseen_cells(before, pairs, seen.true_cell)])
    lesson = Lesson(
        pairs,
        rounds.second_features(pairs, before),
        right_pairs(pairs, stands_for[pairs.cells], seen.true_cell),
        seen.true_cell,
        before.n_nuclei,
        rounds.place_in_cell(pairs, before.ground),
    )
    target = path.with_suffix(".second")
    target.write_bytes(pickle.dumps(lesson))
    return target


def _unseen_cells(before: rounds.FirstRound, pairs: TilePairs, true_cell: np.ndarray) -> np.ndarray:
    """The cell without a nucleus that each fragment stands for, -2 if none or not the best one, [F]."""
    stands_for = np.full(len(before.unexplained), -2)
    owner = before.owner[pairs.rows]
    held = owner >= before.n_nuclei
    counts = (
        pl.DataFrame({"fragment": owner[held] - before.n_nuclei, "cell": true_cell[held]})
        .group_by("fragment", "cell")
        .len()
        .sort("len", "fragment", "cell", descending=[True, False, False])
    )
    mostly = counts.group_by("fragment", maintain_order=True).first()
    best = mostly.filter(pl.col("cell") >= before.n_nuclei).group_by("cell", maintain_order=True).first()
    stands_for[best["fragment"].to_numpy()] = best["cell"].to_numpy()
    return stands_for


@dataclass
class Batch:
    """Some transcripts and their pairs: `tx` [P] and `right` [N] are numbers in the batch."""

    features: torch.Tensor
    tx: torch.Tensor
    right: torch.Tensor
    learnt_from: torch.Tensor
    place: torch.Tensor | None = None
    heard: NeighbourLists | None = None


def batch_of(lesson: Lesson, chosen: np.ndarray, learnt_from: np.ndarray | None = None) -> Batch:
    """The pairs of some transcripts; of a lesson of the second round also whom they listen to."""
    pairs = lesson.pairs
    start, count = pairs.first[chosen], np.diff(pairs.first)[chosen]
    first = np.concatenate([[0], np.cumsum(count)])
    tx = np.repeat(np.arange(len(chosen)), count)
    number = np.arange(len(tx)) - first[:-1][tx] + start[tx]
    right = lesson.right[chosen]
    right = np.where(right >= 0, right - start + first[:-1], -1)
    learnt_from = np.ones(len(chosen), bool) if learnt_from is None else learnt_from
    batch = Batch(
        torch.from_numpy(lesson.features[number]),
        torch.from_numpy(tx),
        torch.from_numpy(right),
        torch.from_numpy(learnt_from),
    )
    if lesson.place is not None:
        batch.place = torch.from_numpy(lesson.place[number])
        part = replace(pairs, tokens=pairs.tokens[chosen], first=first, tx=tx, cell=pairs.cell[number])
        batch.heard = pairs_heard(_neighbours_among(part, pairs, chosen), HEARD)
    return batch


def _neighbours_among(part: TilePairs, pairs: TilePairs, chosen: np.ndarray) -> TilePairs:
    """`part` with the neighbours that are themselves chosen."""
    number = np.full(len(pairs.tokens), -1)
    number[chosen] = np.arange(len(chosen))
    count = np.diff(pairs.first_neighbour)[chosen]
    i = np.repeat(np.arange(len(chosen)), count)
    offset = np.concatenate([[0], np.cumsum(count)[:-1]])
    edge = np.arange(len(i)) - offset[i] + pairs.first_neighbour[chosen][i]
    j = number[pairs.neighbours[edge]]
    first = np.concatenate([[0], np.cumsum(np.bincount(i[j >= 0], minlength=len(chosen)))])
    return replace(part, neighbours=j[j >= 0], first_neighbour=first)


def blocks_of(lesson: Lesson, generator: np.random.Generator) -> list[Batch]:
    """Some blocks of a slide: halved along the longer side until small, with what lies around them."""
    positions = lesson.pairs.positions
    blocks = [np.arange(len(positions))]
    while max(map(len, blocks)) > BLOCK:
        blocks = [half for block in blocks for half in _halves(block, positions)]
    batches = []
    for index in generator.permutation(len(blocks))[:BLOCKS]:
        block = positions[blocks[index]]
        low, high = block.min(0) - AROUND, block.max(0) + AROUND
        chosen = np.flatnonzero(((positions >= low) & (positions <= high)).all(1))
        batches.append(batch_of(lesson, chosen, np.isin(chosen, blocks[index])))
    return batches


def _halves(block: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    axis = np.argmax(np.ptp(positions[block], 0))
    order = block[np.argsort(positions[block, axis], kind="stable")]
    return order[: len(order) // 2], order[len(order) // 2 :]
