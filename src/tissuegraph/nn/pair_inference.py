"""PairNet without gradients: the same answer as `PairNet.forward`, several times as fast on a CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tissuegraph.nn import pair_kernels as kernels
from tissuegraph.nn.neighbour_lists import NeighbourLists
from tissuegraph.nn.pairs import FIXED, MOST, PLACE_SCALE, PairNet, log_probabilities

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@torch.inference_mode()
def infer(
    network: PairNet,
    features: Floats,
    first: Indices,
    place: Floats | None = None,
    heard: NeighbourLists | None = None,
    wanted: Mask | None = None,
) -> tuple[Floats, Floats]:
    """Probability of each pair [P] and of none [N]: the softmax of what `PairNet.forward` gives.

    Parameters
    ----------
    features
        [P, F], sorted by transcript.
    first
        [N + 1]: where the pairs of each transcript start.
    place, heard
        For a network with layers, see `PairNet.forward`.
    wanted
        [N]: the transcripts whose answer counts; that of the others is anything. By default all.
    """
    if len(network.listen) and (place is None or heard is None):
        message = f"this network listens to neighbours in {len(network.listen)} layers: give them and places"
        raise ValueError(message)
    if len(network.listen) and network.attention == FIXED:
        return _by_torch(network, features, first, place, heard)
    every = np.ones(len(first) - 1, np.bool_)
    hidden = np.empty((len(features), network.width), np.float32)
    compare = [_compare(part) for part in network.compare]
    kernels.encode(features, first, _encode(network), compare[0], np.float32(MOST), hidden)
    for number, (attend, then) in enumerate(zip(network.listen, compare[1:], strict=True)):
        layer, lanes = _listen(attend), (0,) * int(attend.out_channels)  # type: ignore[arg-type]
        needed = every if wanted is None or number + 1 < len(network.listen) else wanted
        spoken = np.empty_like(hidden)
        kernels.speak(hidden, place, first, layer, spoken)
        lists = (heard.pointer, heard.neighbours)  # type: ignore[union-attr]
        kernels.listen(lanes, *lists, spoken, place, first, needed, layer, then, hidden)
    q, q_none = np.zeros(len(features), np.float32), np.ones(len(first) - 1, np.float32)
    kernels.decide(hidden, first, every if wanted is None else wanted, _decide(network), q, q_none)
    return q, q_none


def _by_torch(
    network: PairNet, features: Floats, first: Indices, place: Floats | None, heard: NeighbourLists | None
) -> tuple[Floats, Floats]:
    tx = torch.from_numpy(np.repeat(np.arange(len(first) - 1), np.diff(first)))
    where = None if place is None else torch.from_numpy(place)
    pairs, none = network(torch.from_numpy(features), tx, len(first) - 1, where, heard)
    of_pairs, of_none = log_probabilities(pairs, none, tx)
    return of_pairs.exp().numpy(), of_none.exp().numpy()


def _array(values: torch.Tensor) -> Floats:
    return np.ascontiguousarray(values.detach().numpy(), np.float32)


def _linear(layer: nn.Module) -> kernels.Linear:
    weight, bias = layer.weight, layer.bias
    return kernels.Linear(_array(weight.T), _array(bias))  # type: ignore[arg-type]


def _encode(network: PairNet) -> kernels.Encode:
    first, second = network.encode[0], network.encode[2]
    return kernels.Encode(_array(network.mean), _array(network.scale), _linear(first), _linear(second))


def _compare(layer: nn.Module) -> kernels.Compare:
    first, second = layer[0], layer[2]  # type: ignore[index]
    both = _linear(first)
    own, best = np.split(both.weight, 2)
    own, best = np.ascontiguousarray(own), np.ascontiguousarray(best)
    return kernels.Compare(kernels.Linear(own, both.bias), best, _linear(second))


def _listen(attend: nn.Module) -> kernels.Listen:
    spoken, asked = (_linear(layer) for layer in (attend.lin_l, attend.lin_r))  # type: ignore[arg-type]
    for layer in (spoken, asked):
        layer.weight[-2:] /= PLACE_SCALE
    slope = np.float32(attend.negative_slope)  # type: ignore[arg-type]
    return kernels.Listen(spoken, asked, _array(attend.att), _array(attend.bias), slope)  # type: ignore[arg-type]


def _decide(network: PairNet) -> kernels.Decide:
    none = network.none
    return kernels.Decide(_linear(network.candidate), _linear(none[0]), _linear(none[2]))
