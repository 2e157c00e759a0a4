"""Train the pretrained model anew: simulate tissue of both kinds, learn to tell which cell made a transcript.

Usage: python scripts/train_pair_model.py OUT [--slides 140] [--held-out 6] [--seed 0] [--work FOLDER]
       python scripts/train_pair_model.py OUT --learn-from tissue --hold-out-from grown_tissue
       python scripts/train_pair_model.py OUT --work FOLDER --second-only --attention fixed     (ablations)
       python scripts/train_pair_model.py OUT --work FOLDER --second-only --layers 0 --blind

The settings of the slides are drawn from wide ranges; other slides are held out, and their scores printed.
With --work the slides stay there, and a second run on the same folder and settings does not draw them again;
--second-only also takes the first network from there, and what it saw. --blind hides all that comes from
neighbours from the second network.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pair_lessons import (
    OF_SIMULATOR,
    RANGES,
    Batch,
    Lesson,
    Setting,
    batch_of,
    blocks_of,
    draw_settings,
    look,
    look_again,
)

from tissuegraph.metrics.segmentation import expected_calibration_error, score_codes
from tissuegraph.metrics.segmentation.truth import right_codes
from tissuegraph.nn.pair_inference import infer
from tissuegraph.nn.pairs import FIXED, LEARNT, PairNet, log_probabilities
from tissuegraph.parallel import cores
from tissuegraph.segmentation.pretrained import rounds
from tissuegraph.segmentation.pretrained.evidence import EXPRESSION, FIRST_ROUND, FRAGMENT, SECOND_ROUND
from tissuegraph.segmentation.pretrained.model import PairModel
from tissuegraph.segmentation.pretrained.params import HEARD, LAYERS
from tissuegraph.segmentation.pretrained.territories import TERRITORY
from tissuegraph.segmentation.pretrained.tile_pairs import pairs_heard

# Transcripts of a slide that the first network learns from, and those of a step.
LEARNT_FROM, STEP = 8000, 2000
# What the second network knows from neighbours, or from the first round, which heard them.
ALONE = ("own gene", "lead of own gene", "log counts of the cell")
FROM_NEIGHBOURS = (*(name for name in EXPRESSION if name not in ALONE), *TERRITORY, *FRAGMENT[1:])
# What is judged beside slides with drawn settings: tissue as in docs/segment.md.
JUDGED: dict[str, tuple[str, dict[str, Any]]] = {
    "round": ("tissue", {"cells": 700, "elongation": 1.0}),
    "elongated": ("tissue", {"cells": 700, "elongation": 3.0}),
    "few counts": ("tissue", {"cells": 900, "counts_per_cell": 60.0}),
    "30% unseen": ("tissue", {"cells": 700, "missing_nuclei": 0.3}),
    "grown, round": ("grown_tissue", {"cells": 700, "elongation": 1.0}),
    "grown, elongated": ("grown_tissue", {"cells": 700, "elongation": 3.0}),
}


def in_processes(function: Callable[[Any], Path], jobs: Iterable[Any]) -> list[Path]:
    """Do jobs on all cores, in order."""
    with get_context("spawn").Pool(cores()) as pool:
        return list(pool.imap(function, jobs))


def read(path: Path, hidden: Sequence[str] = ()) -> Lesson:
    """A lesson from its file, of either round; of the second round some features may be hidden."""
    found = pickle.loads(path.read_bytes())
    lesson: Lesson = found if isinstance(found, Lesson) else found[0]
    lesson.features[:, [SECOND_ROUND.index(name) for name in hidden]] = 0
    return lesson


def fit(
    network: PairNet, batches: list[Batch], epochs: int, rate: float, generator: np.random.Generator
) -> PairNet:
    """Learn by the cross-entropy over the candidates and none; every batch is turned to a random angle."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * len(batches))
    for epoch in range(epochs):
        total = 0.0
        for index in generator.permutation(len(batches)):
            loss = loss_of(network, batches[index], generator.uniform(0, 2 * np.pi))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        print(f"  epoch {epoch}: loss {total / len(batches):.4f}", flush=True)
    return network.eval()


def loss_of(network: PairNet, batch: Batch, angle: float) -> torch.Tensor:
    """Mean negative log probability of what is right."""
    place = None
    if batch.place is not None:
        turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        place = batch.place @ turn.float()
    logits, none = network(batch.features, batch.tx, len(batch.right), place, batch.heard)
    of_pairs, of_none = log_probabilities(logits, none, batch.tx)
    right = torch.where(batch.right >= 0, of_pairs[batch.right.clamp(min=0)], of_none)
    return -right[batch.learnt_from].mean()


def fit_first(paths: list[Path], epochs: int, hidden: int, rate: float, seed: int) -> PairNet:
    """Train the network of the first round on a sample of each slide's transcripts."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    batches = []
    for path in paths:
        lesson = read(path)
        chosen = generator.permutation(len(lesson.pairs.tokens))[:LEARNT_FROM]
        parts = np.array_split(chosen, max(1, len(chosen) // STEP))
        batches += [batch_of(lesson, part) for part in parts]
    network = PairNet(len(FIRST_ROUND), hidden)
    network.standardise(torch.cat([batch.features[::5] for batch in batches]))
    return fit(network, batches, epochs, rate, generator)


def fit_second(
    lessons: Iterable[Lesson], epochs: int, hidden: int, rate: float, seed: int, layers: int, attention: str
) -> PairNet:
    """Train the network of the second round on blocks of the slides."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    batches = [batch for lesson in lessons for batch in blocks_of(lesson, generator)]
    network = PairNet(len(SECOND_ROUND), hidden, layers, attention=attention)
    network.standardise(torch.cat([batch.features[::20] for batch in batches]))
    return fit(network, batches, epochs, rate, generator)


def report(name: str, lesson: Lesson, network: PairNet) -> None:
    """Print how well a network does on a slide, beside the nearest nucleus at its best distance."""
    heard = None if lesson.place is None else pairs_heard(lesson.pairs, HEARD)
    q, _ = infer(network, lesson.features, lesson.pairs.first, lesson.place, heard)
    cell, probability = rounds.most_likely(lesson.pairs, q, 0.5)
    encoded = lesson.encoded(cell)
    scores, assigned = score_codes(encoded), cell >= 0
    error = expected_calibration_error(probability[assigned], right_codes(encoded)[assigned])
    rules = [rounds.nearest_within(lesson.pairs, distance, lesson.n_nuclei) for distance in range(1, 9)]
    nearest = max(score_codes(lesson.encoded(rule)).f1 for rule in rules)
    print(
        f"  {name}: F1 {scores.f1:.3f} (nearest {nearest:.3f}), precision {scores.precision:.3f}, "
        f"unseen {scores.unseen or 0:.2f}, ECE {error:.3f}",
        flush=True,
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--slides", type=int, default=140)
    parser.add_argument("--held-out", type=int, default=6)
    for option in ("--learn-from", "--hold-out-from"):
        parser.add_argument(option, nargs="+", choices=list(OF_SIMULATOR), default=list(OF_SIMULATOR))
    parser.add_argument("--epochs", type=int, nargs=2, default=[8, 10], help="of the two rounds")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=LAYERS, help="of attention in the second round")
    parser.add_argument("--attention", choices=[LEARNT, FIXED], default=LEARNT)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="where the slides go, and stay")
    parser.add_argument("--second-only", action="store_true")
    parser.add_argument("--blind", action="store_true")
    return parser.parse_args()


def train(chosen: argparse.Namespace, work: Path) -> PairModel:
    """Simulate, train both rounds, print scores on slides that were held out."""
    judged = [Setting(f"judged {name}", *what, 31, work) for name, what in JUDGED.items()]
    judged += draw_settings(chosen.held_out, chosen.seed + 500, chosen.hold_out_from, work, "held out")
    drawn = draw_settings(chosen.slides, chosen.seed, chosen.learn_from, work, "slide")
    names = [setting.name for setting in judged]
    paths = in_processes(look, [*judged, *drawn])
    print(f"{len(paths)} slides", flush=True)
    if chosen.second_only:
        first = torch.load(work / "first.pt", weights_only=False)
        paths = [path.with_suffix(".second") for path in paths]
    else:
        first = fit_first(paths[len(judged) :], chosen.epochs[0], chosen.hidden, chosen.rate, chosen.seed)
        torch.save(first, work / "first.pt")
        for name, path in zip(names, paths, strict=False):
            report(f"{name}, first round", read(path), first)
        paths = in_processes(look_again, [(path, first) for path in paths])
    unseen = FROM_NEIGHBOURS if chosen.blind else ()
    lessons = (read(path, unseen) for path in paths[len(judged) :])
    shape = (chosen.hidden, chosen.rate, chosen.seed + 1, chosen.layers, chosen.attention)
    second = fit_second(lessons, chosen.epochs[1], *shape)
    for name, path in zip(names, paths, strict=False):
        report(f"{name}, second round", read(path, unseen), second)
    drawn_from = RANGES | {name: one for ranges in OF_SIMULATOR.values() for name, one in ranges.items()}
    ranges = {name: [low, high] for name, (low, high, _) in drawn_from.items()}
    card = {"slides": chosen.slides, "seed": chosen.seed, "epochs": chosen.epochs, "ranges": ranges}
    return PairModel(first, second, card)


def main() -> None:
    """Train and save."""
    chosen = arguments()
    if chosen.work is not None:
        chosen.work.mkdir(parents=True, exist_ok=True)
        train(chosen, chosen.work).save(chosen.out)
        return
    with tempfile.TemporaryDirectory() as work:
        train(chosen, Path(work)).save(chosen.out)


if __name__ == "__main__":
    main()
