"""Train the pretrained model anew: simulate tissue of both kinds, learn to tell which cell made a transcript.

Usage: python scripts/train_pair_model.py OUT [--slides 20] [--held-out 6] [--seed 0]
       python scripts/train_pair_model.py OUT --learn-from tissue --hold-out-from grown

The settings of the slides are drawn from wide ranges; the last slides are held out, and their scores printed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.stats import qmc

import tissuegraph as tg
from tissuegraph import keys
from tissuegraph.metrics.segmentation import Encoded, score_codes
from tissuegraph.nn.pairs import PairNet, log_probabilities
from tissuegraph.segmentation.pretrained import rounds
from tissuegraph.segmentation.pretrained.agreement import second_evidence
from tissuegraph.segmentation.pretrained.cell_profiles import CellProfiles, find_profiles
from tissuegraph.segmentation.pretrained.evidence import Ground
from tissuegraph.segmentation.pretrained.model import PairModel, probabilities
from tissuegraph.segmentation.pretrained.tile_pairs import TilePairs, read_pairs
from tissuegraph.segmentation.steps import open_slide

# Name: (low, high, whether to draw the logarithm).
RANGES = {
    "counts_per_cell": (20, 800, True),
    "genes": (100, 1200, True),
    "types": (4, 14, False),
    "elongation": (1.0, 4.0, False),
    "direction_scale": (60, 300, True),
    "cell_area": (50, 220, True),
    "nucleus_size": (0.4, 0.7, False),
    "nucleus_offset": (0.1, 0.8, False),
    "missing_nuclei": (0.02, 0.35, True),
    "spill": (0.02, 0.12, False),
    "background": (0.005, 0.05, True),
}
SIMULATORS: dict[str, Callable[..., Path]] = {"tissue": tg.simulate.tissue, "grown": tg.simulate.grown_tissue}
TRANSCRIPTS, CELLS = 60_000, (200, 900)
LEARNT_FROM = 12_000
BATCH = 2048


@dataclass
class Lesson:
    """A simulated slide as the model sees it: a tile, its features, the right pair of each transcript."""

    pairs: TilePairs
    ground: Ground
    profiles: CellProfiles
    right: np.ndarray
    true_cell: np.ndarray
    survey: Any
    store: Any
    features: np.ndarray


def draw_settings(number: int, seed: int) -> list[dict[str, Any]]:
    """Draw the settings of slides, a point of a Latin hypercube each."""
    unit = qmc.LatinHypercube(len(RANGES), rng=np.random.default_rng(seed)).random(number)
    drawn = []
    for point in unit:
        one: dict[str, Any] = {}
        for share, (name, (low, high, is_log)) in zip(point, RANGES.items(), strict=True):
            one[name] = low * (high / low) ** share if is_log else low + share * (high - low)
        one |= {"genes": round(one["genes"]), "types": round(one["types"])}
        one["cells"] = int(np.clip(TRANSCRIPTS / one["counts_per_cell"], *CELLS))
        drawn.append(one)
    return drawn


def lesson(number: int, simulator: str, settings: dict[str, Any], seed: int, work: Path) -> Lesson:
    """Simulate a slide and look at it."""
    folder = work / f"slide{number}"
    sample = tg.read_xenium(SIMULATORS[simulator](folder, seed=seed, **settings))
    slide = open_slide(sample, work / f"work{number}", min_qv=20, transcripts_per_tile=10_000_000)
    store, survey = slide.store, slide.survey
    counts = rounds.nuclear_counts(store, survey, store.tiles)
    ground, profiles = rounds.find_ground(store, survey, counts, store.tiles), find_profiles(counts)
    pairs = read_pairs(store, survey, (-np.inf, -np.inf, np.inf, np.inf))
    true_cell = true_cells(sample, folder, survey, pairs)
    hit = pairs.cells[pairs.cell] == true_cell[pairs.tx]
    right = np.full(len(pairs.tokens), -1)
    right[pairs.tx[hit]] = np.flatnonzero(hit)
    features = rounds.first_evidence(pairs, ground, profiles)
    return Lesson(pairs, ground, profiles, right, true_cell, survey, store, features)


def true_cells(sample: Any, folder: Path, survey: Any, pairs: TilePairs) -> np.ndarray:
    """The true cell of each transcript: the number of its nucleus, higher for cells without, or -1."""
    ids = sample.scan().select(keys.ROW, keys.TRANSCRIPT_ID).collect()
    truth = ids.join(pl.read_parquet(folder / keys.TRUTH_FILE), on=keys.TRANSCRIPT_ID, how="left")
    cell = truth.sort(keys.ROW)[keys.TRUE_CELL_ID][pairs.rows]
    names = [*survey.boundary_ids.tolist()]
    code = {name: number for number, name in enumerate(names)}
    for name in cell.unique(maintain_order=True).drop_nulls():
        code.setdefault(name, len(code))
    return np.array([-1 if name is None else code[name] for name in cell])


def batch_of(one: Lesson, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of some transcripts: numbers, transcript in the batch, and the right one of each (-1 none)."""
    start, count = one.pairs.first[chosen], np.diff(one.pairs.first)[chosen]
    tx = np.repeat(np.arange(len(chosen)), count)
    offset = np.concatenate([[0], np.cumsum(count)[:-1]])
    number = np.arange(count.sum()) - offset[tx] + start[tx]
    right = one.right[chosen]
    return number, tx, np.where(right >= 0, right - start + offset, -1)


def fit(lessons: list[Lesson], epochs: int, hidden: int, rate: float, seed: int) -> PairNet:
    """Learn from a sample of each slide's transcripts, cross-entropy over the candidates and none."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    network = PairNet(lessons[0].features.shape[1], hidden)
    sample = [one.features[generator.integers(0, len(one.features), 3000)] for one in lessons]
    network.standardise(torch.from_numpy(np.concatenate(sample)))
    batches = [
        (one, part)
        for one in lessons
        for part in np.array_split(learners(one, generator), max(1, LEARNT_FROM // BATCH))
    ]
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * len(batches))
    for epoch in range(epochs):
        total = torch.zeros(())
        for index in generator.permutation(len(batches)):
            one, chosen = batches[index]
            number, tx, right = batch_of(one, chosen)
            tx_, right_ = torch.from_numpy(tx), torch.from_numpy(right)
            logits, none = network(torch.from_numpy(one.features[number]), tx_, len(chosen))
            of_pairs, of_none = log_probabilities(logits, none, tx_)
            has = right_ >= 0
            loss = -(of_pairs[right_[has]].sum() + of_none[~has].sum()) / len(chosen)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.detach()
        print(f"  epoch {epoch}: loss {total / len(batches):.4f}", flush=True)
    return network.eval()


def learners(one: Lesson, generator: np.random.Generator) -> np.ndarray:
    """Transcripts to learn from, drawn anew for every slide."""
    number = min(LEARNT_FROM, len(one.pairs.tokens))
    return generator.permutation(len(one.pairs.tokens))[:number]


def listen(lessons: list[Lesson], first: PairNet) -> None:
    """Add the features of the second round to each lesson."""
    half = PairModel(first, first, {})
    for one in lessons:
        q, q_none = probabilities(first, one.features, one.pairs)
        before = rounds.first_round(half, one.store, one.survey, one.ground, one.profiles, one.store.tiles)
        added = second_evidence(one.pairs, q, q_none, one.ground, before.profiles, before.territories)
        one.features = np.concatenate([one.features, added], 1)


def report(name: str, one: Lesson, network: PairNet) -> None:
    """Print how well a network does on a slide, at three least probabilities, beside the nearest nucleus."""
    q, _ = probabilities(network, one.features, one.pairs)
    is_seen = np.arange(max(one.true_cell.max() + 1, len(one.survey.outlines))) < len(one.survey.outlines)
    found = []
    for least in (0.3, 0.4, 0.5):
        cell, _ = rounds.most_likely(one.pairs, q, least)
        found.append(f"{score_codes(Encoded(one.true_cell, cell, is_seen)).f1:.3f}")
    rules = [rounds.nearest_within(one.pairs, distance) for distance in range(1, 9)]
    nearest = max(score_codes(Encoded(one.true_cell, cell, is_seen)).f1 for cell in rules)
    print(f"  {name}: nearest {nearest:.3f}, F1 at .3, .4, .5: {', '.join(found)}", flush=True)


def main() -> None:
    """Simulate, train both rounds, print scores on slides that were held out, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--slides", type=int, default=20)
    parser.add_argument("--held-out", type=int, default=6)
    for option in ("--learn-from", "--hold-out-from"):
        parser.add_argument(option, nargs="+", choices=list(SIMULATORS), default=list(SIMULATORS))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        settings = draw_settings(chosen.slides + chosen.held_out, chosen.seed)
        lessons = []
        for number, drawn in enumerate(settings):
            kinds = chosen.learn_from if number < chosen.slides else chosen.hold_out_from
            seed, simulator = 10_000 * (chosen.seed + 1) + number, kinds[number % len(kinds)]
            lessons.append(lesson(number, simulator, drawn, seed, Path(work)))
            print(f"slide {number}: {len(lessons[-1].pairs.tokens):,} transcripts", flush=True)
        known, held_out = lessons[: chosen.slides], lessons[chosen.slides :]
        first = fit(known, chosen.epochs, chosen.hidden, chosen.rate, chosen.seed)
        for number, one in enumerate(held_out):
            report(f"held out {number}, first round", one, first)
        listen(lessons, first)
        second = fit(known, chosen.epochs, chosen.hidden, chosen.rate, chosen.seed + 1)
        for number, one in enumerate(held_out):
            report(f"held out {number}, second round", one, second)
    ranges = {name: [low, high] for name, (low, high, _) in RANGES.items()}
    card = {"slides": chosen.slides, "seed": chosen.seed, "epochs": chosen.epochs, "ranges": ranges}
    PairModel(first, second, card).save(chosen.out)


if __name__ == "__main__":
    main()
