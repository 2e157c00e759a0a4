"""The loops behind `pair_inference`: PairNet on a few transcripts at a time, which stay in the cache.

The kernels are serial and release the interpreter. Matrix products go to BLAS; weights are [in, out].
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tissuegraph import parallel
from tissuegraph.nn import attention_kernels
from tissuegraph.nn.row_vectors import FAST

compiled = partial(parallel.compiled, fastmath=set(FAST))

AT_A_TIME = 32
"""Transcripts whose pairs go through the network at a time."""

Floats = npt.NDArray[np.float32]


class Linear(NamedTuple):
    """`x @ weight + bias`."""

    weight: Floats
    bias: Floats


class Encode(NamedTuple):
    """Standardisation of the features, and two layers."""

    mean: Floats
    scale: Floats
    first: Linear
    second: Linear


class Compare(NamedTuple):
    """Two layers; the first has two halves, `own` for the pair and `best` for the best candidate."""

    own: Linear
    best: Floats
    second: Linear


class Listen(NamedTuple):
    """Attention: `spoken` and `asked` with the two coordinates of the place as last inputs."""

    spoken: Linear
    asked: Linear
    att: Floats
    bias: Floats
    slope: np.float32


class Decide(NamedTuple):
    """Logit of a candidate, and the two layers to that of none."""

    candidate: Linear
    none_first: Linear
    none_second: Linear


class Room(NamedTuple):
    """Where a block's numbers stand: [pairs, H] thrice, [transcripts, H] twice, [pairs, F]."""

    a: Floats
    b: Floats
    c: Floats
    best: Floats
    of_best: Floats
    features: Floats


@compiled
def room(first, n_features, width):  # type: ignore[no-untyped-def]
    """Make room for the largest block."""
    most = 0
    for start in range(0, len(first) - 1, AT_A_TIME):
        most = max(most, first[min(start + AT_A_TIME, len(first) - 1)] - first[start])
    wide, tall = np.empty((3, most, width), np.float32), np.empty((2, AT_A_TIME, width), np.float32)
    features = np.empty((most, n_features), np.float32)
    return Room(wide[0], wide[1], wide[2], tall[0], tall[1], features)


@compiled
def encode(features, first, encoder, compare, most, hidden):  # type: ignore[no-untyped-def]
    """Write what the pairs hold before they listen, `hidden` [P, H]."""
    space = room(first, features.shape[1], hidden.shape[1])
    for start in range(0, len(first) - 1, AT_A_TIME):
        end = min(start + AT_A_TIME, len(first) - 1)
        begin, n = first[start], first[end] - first[start]
        for p in range(n):
            for f in range(features.shape[1]):
                value = (features[begin + p, f] - encoder.mean[f]) / encoder.scale[f]
                space.features[p, f] = min(max(value, -most), most)
        linear(space.features[:n], encoder.first, space.a[:n])
        cut(space.a[:n])
        linear(space.a[:n], encoder.second, space.b[:n])
        cut(space.b[:n])
        compared(first, start, end, compare, space, hidden)


@compiled
def speak(hidden, place, first, layer, spoken):  # type: ignore[no-untyped-def]
    """Write what every pair tells the others, `spoken` [P, H]."""
    for start in range(0, len(first) - 1, AT_A_TIME):
        begin, end = first[start], first[min(start + AT_A_TIME, len(first) - 1)]
        told(hidden[begin:end], place[begin:end], layer.spoken, spoken[begin:end])


@compiled
def listen(  # type: ignore[no-untyped-def]
    lanes, pointer, neighbours, spoken, place, first, wanted, layer, compare, hidden
):
    """Attention and another look at the other candidates: `hidden` [P, H] is written over."""
    width, heads = hidden.shape[1], layer.att.shape[1]
    space = room(first, 1, width)
    norm = np.empty((len(space.a), 2, heads), np.float32)
    no_edges, no_weight = np.empty((0, 0), np.float32), np.empty((0, heads, width // heads), np.float32)
    speakers = spoken.reshape(len(spoken), heads, width // heads)
    for start in range(0, len(first) - 1, AT_A_TIME):
        end = min(start + AT_A_TIME, len(first) - 1)
        if not wanted[start:end].any():
            continue
        begin, n = first[start], first[end] - first[start]
        own, asked, heard = hidden[begin : begin + n], space.a[:n], space.b[:n]
        told(own, place[begin : begin + n], layer.asked, asked)
        attention_kernels.forward(
            lanes,
            (),
            pointer[begin : begin + n + 1],
            neighbours,
            speakers,
            asked.reshape(n, heads, width // heads),
            layer.att,
            no_edges,
            no_weight,
            layer.slope,
            heard.reshape(n, heads, width // heads),
            norm,
            0,
            n,
        )
        for p in range(n):
            for c in range(width):
                heard[p, c] += own[p, c] + layer.bias[c]
        compared(first, start, end, compare, space, hidden)


@compiled
def decide(hidden, first, wanted, last, q, q_none):  # type: ignore[no-untyped-def]
    """Write the probabilities of pairs [P] and of none [N]."""
    space = room(first, 1, hidden.shape[1])
    none = np.empty((AT_A_TIME, 1), np.float32)
    logits = np.empty((len(space.a), 1), np.float32)
    for start in range(0, len(first) - 1, AT_A_TIME):
        end = min(start + AT_A_TIME, len(first) - 1)
        if not wanted[start:end].any():
            continue
        begin, n = first[start], first[end] - first[start]
        best_of(hidden[begin : begin + n], first, start, end, space.best)
        linear(space.best[: end - start], last.none_first, space.of_best[: end - start])
        cut(space.of_best[: end - start])
        linear(space.of_best[: end - start], last.none_second, none[: end - start])
        linear(hidden[begin : begin + n], last.candidate, logits[:n])
        softmax(logits, none, first, start, end, q, q_none)


@compiled
def compared(first, start, end, compare, space, hidden):  # type: ignore[no-untyped-def]
    """`x + W2 relu(W1 [x, best])` of the pairs in `space.b`, written to `hidden`.

    The product with `best` is made once a transcript.
    """
    begin, n, count = first[start], first[end] - first[start], end - start
    held, inner, of_best = space.b[:n], space.c[:n], space.of_best
    best_of(held, first, start, end, space.best)
    np.dot(space.best[:count], compare.best, of_best[:count])
    linear(held, compare.own, inner)
    zero = np.float32(0)
    for i in range(start, end):
        for p in range(first[i] - begin, first[i + 1] - begin):
            for c in range(inner.shape[1]):
                inner[p, c] = max(inner[p, c] + of_best[i - start, c], zero)
    linear(inner, compare.second, space.a[:n])
    for p in range(n):
        for c in range(held.shape[1]):
            hidden[begin + p, c] = held[p, c] + space.a[p, c]


@compiled
def linear(x, layer, out):  # type: ignore[no-untyped-def]
    """Write `x @ weight + bias`."""
    np.dot(x, layer.weight, out)
    for p in range(len(out)):
        for c in range(out.shape[1]):
            out[p, c] += layer.bias[c]


@compiled
def told(x, place, layer, out):  # type: ignore[no-untyped-def]
    """`[x, place] @ weight + bias`."""
    width, weight = x.shape[1], layer.weight
    np.dot(x, weight[:width], out)
    for p in range(len(out)):
        for c in range(out.shape[1]):
            at = place[p, 0] * weight[width, c] + place[p, 1] * weight[width + 1, c]
            out[p, c] += at + layer.bias[c]


@compiled
def cut(x):  # type: ignore[no-untyped-def]
    """Rectify in place."""
    zero = np.float32(0)
    for p in range(len(x)):
        for c in range(x.shape[1]):
            x[p, c] = max(x[p, c], zero)


@compiled
def best_of(held, first, start, end, best):  # type: ignore[no-untyped-def]
    """Maximum over the pairs of each transcript of a block, 0 without one."""
    begin = first[start]
    for i in range(start, end):
        if first[i] == first[i + 1]:
            best[i - start] = 0
            continue
        for c in range(held.shape[1]):
            best[i - start, c] = held[first[i] - begin, c]
        for p in range(first[i] - begin + 1, first[i + 1] - begin):
            for c in range(held.shape[1]):
                best[i - start, c] = max(best[i - start, c], held[p, c])


@compiled
def softmax(logits, none, first, start, end, q, q_none):  # type: ignore[no-untyped-def]
    """Write the probabilities over each transcript's candidates and none."""
    begin = first[start]
    for i in range(start, end):
        top = none[i - start, 0]
        for p in range(first[i], first[i + 1]):
            top = max(top, logits[p - begin, 0])
        share = np.exp(none[i - start, 0] - top)
        total = share
        for p in range(first[i], first[i + 1]):
            q[p] = np.exp(logits[p - begin, 0] - top)
            total += q[p]
        q_none[i] = share / total
        for p in range(first[i], first[i + 1]):
            q[p] /= total
