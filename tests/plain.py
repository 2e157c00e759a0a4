"""Every measure once more, word by word: dictionaries, loops and Python numbers, nothing shared with ours."""

from __future__ import annotations

import math
from collections import Counter


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def right(true, assigned, seen):
    """Which transcripts are right; cells that were not seen are matched to new ones first (none = None)."""
    overlap = {}
    for t, a in zip(true, assigned, strict=True):
        if t is not None and a is not None and t not in seen and a not in seen:
            overlap[a, t] = overlap.get((a, t), 0) + 1
    size = {pair: true.count(pair[1]) + assigned.count(pair[0]) for pair in overlap}
    match = {}
    for pair in sorted(overlap, key=lambda pair: (-overlap[pair], size[pair])):  # stable: first come, first
        if pair[0] not in match and pair[1] not in match.values():
            match[pair[0]] = pair[1]
    return [
        t is not None and a is not None and t == (a if a in seen else match.get(a))
        for t, a in zip(true, assigned, strict=True)
    ]


def assignment(true, assigned, seen):
    """Precision, recall, F1, unseen and the share assigned (none = None)."""
    is_right = right(true, assigned, seen)
    of_seen = [r for r, t in zip(is_right, true, strict=True) if t in seen]
    of_unseen = [r for r, t in zip(is_right, true, strict=True) if t is not None and t not in seen]
    n_assigned = sum(a is not None for a in assigned)
    precision = sum(is_right) / n_assigned if n_assigned else 0.0
    recall = sum(of_seen) / len(of_seen)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return precision, recall, f1, mean(of_unseen), n_assigned / len(true)


def adjusted_rand(first, second):
    """Over pairs of transcripts, each transcript without a cell being a cluster of its own."""
    first = [(-1, i) if cell == -1 else (cell,) for i, cell in enumerate(first)]
    second = [(-1, i) if cell == -1 else (cell,) for i, cell in enumerate(second)]
    pairs = sum(math.comb(count, 2) for count in Counter(zip(first, second, strict=True)).values())
    in_first = sum(math.comb(count, 2) for count in Counter(first).values())
    in_second = sum(math.comb(count, 2) for count in Counter(second).values())
    expected = in_first * in_second / max(math.comb(len(first), 2), 1)
    most = (in_first + in_second) / 2
    return 1.0 if most == expected else (pairs - expected) / (most - expected)


def cells(true, assigned):
    """Mean best intersection over union of the true cells, and F1 of finding cells."""
    sets = [
        [{i for i, cell in enumerate(column) if cell == one} for one in sorted(set(column) - {-1})]
        for column in (true, assigned)
    ]
    iou = [[len(t & p) / len(t | p) for p in sets[1]] for t in sets[0]]
    found = sum(value > 0.5 for row in iou for value in row)
    return mean(max(row, default=0.0) for row in iou), 2 * found / (len(sets[0]) + len(sets[1]))


def calibration_error(probability, correct, bins):
    total = 0.0
    for b in range(bins):
        upper = (b + 1) / bins if b < bins - 1 else math.inf
        members = [i for i, p in enumerate(probability) if b / bins <= p < upper]
        if members:
            gap = mean(correct[i] for i in members) - mean(probability[i] for i in members)
            total += len(members) / len(probability) * abs(gap)
    return total


def marker_pairs(type_of_gene):
    genes = [gene for gene, kind in enumerate(type_of_gene) if kind >= 0]
    return [(a, b) for a in genes for b in genes if a < b and type_of_gene[a] != type_of_gene[b]]


def coexpression(counts, pair, kept):
    """Expected number of cells with both genes, and with either, if transcripts are kept by chance."""
    shown = [[1 - (1 - q) ** cell[gene] for gene in pair] for cell, q in zip(counts, kept, strict=True)]
    both = sum(a * b for a, b in shown)
    return both, sum(a + b for a, b in shown) - both


def mecr(counts, type_of_gene, kept=1.0, min_cells=30):
    kept = [kept] * len(counts) if isinstance(kept, float | int) else kept
    rates = []
    for pair in marker_pairs(type_of_gene):
        both, either = coexpression(counts, pair, kept)
        if either > min_cells:
            rates.append(both / either)
    return mean(rates)


def relative(counts, type_of_gene, kept=1.0, min_cells=30):
    """Cells with both of two markers, over what chance would give cells of as many transcripts."""
    kept = [kept] * len(counts) if isinstance(kept, float | int) else kept
    total = sum(sum(cell) for cell in counts)
    share = [sum(cell[gene] for cell in counts) / max(total, 1) for gene in range(len(type_of_gene))]
    seen = expected = 0.0
    for pair in marker_pairs(type_of_gene):
        both, either = coexpression(counts, pair, kept)
        if either > min_cells:
            seen += both
            for cell, q in zip(counts, kept, strict=True):
                a, b = (1 - math.exp(-q * sum(cell) * share[gene]) for gene in pair)
                expected += a * b
    return seen / expected if expected else None


def spurious(counts, nuclear, type_of_gene, min_cells=30):
    used = [i for i in range(len(counts)) if sum(counts[i]) and sum(nuclear[i])]
    counts, nuclear = [counts[i] for i in used], [nuclear[i] for i in used]
    kept = [min(sum(n) / sum(c), 1) for c, n in zip(counts, nuclear, strict=True)]
    excess = []
    for pair in marker_pairs(type_of_gene):
        both, either = coexpression(counts, pair, kept)
        both_inside, either_inside = coexpression(nuclear, pair, [1] * len(nuclear))
        if either > min_cells and either_inside > min_cells:
            excess.append(both / either - both_inside / either_inside)
    return mean(excess)


def purity(counts, cell_type, type_of_gene):
    shares = []
    for cell, kind in zip(counts, cell_type, strict=True):
        marked = sum(n for n, of in zip(cell, type_of_gene, strict=True) if of >= 0)
        own = sum(n for n, of in zip(cell, type_of_gene, strict=True) if of == kind)
        if kind >= 0 and marked:
            shares.append(own / marked)
    return mean(shares)


def sensitivity(counts, cell_type, type_of_gene):
    shares = []
    for cell, kind in zip(counts, cell_type, strict=True):
        own = [n > 0 for n, of in zip(cell, type_of_gene, strict=True) if of == kind]
        if kind >= 0 and own:
            shares.append(sum(own) / len(own))
    return mean(shares)


def contamination(counts, nuclear, cell_type, centres, type_of_gene, n_types, distance=15.0, min_share=0.02):
    every = range(len(counts))
    marks = {s: [gene for gene, of in enumerate(type_of_gene) if of == s] for s in range(n_types)}
    used = [i for i in every if cell_type[i] >= 0 and sum(counts[i]) and sum(nuclear[i])]
    added, found = 0.0, False
    for s in range(n_types):
        own = [i for i in every if cell_type[i] == s]
        depth = sum(sum(nuclear[i]) for i in own)
        own_share = sum(nuclear[i][g] for i in own for g in marks[s]) / max(depth, 1)
        if own_share < min_share:
            continue
        for t in set(range(n_types)) - {s}:
            near = [
                i
                for i in used
                if cell_type[i] == t
                and any(cell_type[j] == s and math.dist(centres[i], centres[j]) <= distance for j in every)
            ]
            if near:
                assigned = sum(sum(counts[i]) for i in near)
                share = sum(counts[i][g] for i in near for g in marks[s]) / assigned
                inside = sum(nuclear[i][g] for i in near for g in marks[s])
                added += assigned * (share - inside / sum(sum(nuclear[i]) for i in near)) / own_share
                found = True
    return added / sum(sum(counts[i]) for i in used) if found else None


def correlation(first, second):
    """Pearson's r of two lists, 0 where one of them is constant."""
    if len(set(first)) == 1 or len(set(second)) == 1:
        return 0.0
    a, b = mean(first), mean(second)
    shared = sum((x - a) * (y - b) for x, y in zip(first, second, strict=True))
    spread = sum((x - a) ** 2 for x in first) * sum((y - b) ** 2 for y in second)
    return shared / math.sqrt(spread)


def nucleus_correlation(nuclear, outside, min_transcripts=10):
    return mean(
        correlation([math.log1p(n) for n in one], [math.log1p(n) for n in other])
        for one, other in zip(nuclear, outside, strict=True)
        if sum(one) >= min_transcripts and sum(other) >= min_transcripts
    )
