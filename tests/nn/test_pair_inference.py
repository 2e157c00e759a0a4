"""Inference in small blocks gives what the network gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_pairs import FEATURES, Drawn, answer, drawn, network

from tissuegraph.nn.pair_inference import infer
from tissuegraph.nn.pairs import FIXED, LEARNT, PairNet


def first_of(one: Drawn) -> np.ndarray:
    return np.searchsorted(one.tx.numpy(), np.arange(one.n + 1))


def inferred(net: PairNet, one: Drawn, wanted: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    return infer(net, one.features.numpy(), first_of(one), one.place.numpy(), one.lists, wanted)


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 200])
@pytest.mark.parametrize("layers", range(3))
def test_it_is_what_the_network_gives(layers, n):
    net, one = network(layers=layers), drawn(n, n)
    expected = [part.exp().numpy() for part in answer(net, one)]
    for found, part in zip(inferred(net, one), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, part, atol=3e-6)


@pytest.mark.parametrize("attention", [LEARNT, FIXED])
def test_either_attention_is_what_the_network_gives(attention):
    net, one = network(layers=1, attention=attention), drawn(3)
    expected = [part.exp().numpy() for part in answer(net, one)]
    for found, part in zip(inferred(net, one), expected, strict=True):
        np.testing.assert_allclose(found, part, atol=3e-6)


@pytest.mark.parametrize("layers", range(3))
def test_what_is_wanted_does_not_depend_on_what_is_not(layers):
    net, one = network(layers=layers), drawn(5, 200)
    wanted = np.arange(200) // 20 % 3 == 0
    whole, part = inferred(net, one), inferred(net, one, wanted)
    assert np.array_equal(whole[1][wanted], part[1][wanted])
    assert np.array_equal(whole[0][wanted[one.tx]], part[0][wanted[one.tx]])


def test_the_network_is_left_as_it_is():
    net, one = network(layers=1), drawn(1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    inferred(net, one)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_network_that_listens_needs_somebody_to_listen_to():
    one = drawn(0)
    with pytest.raises(ValueError, match="give them and places"):
        infer(network(layers=1), one.features.numpy(), first_of(one))
    assert one.features.shape[1] == FEATURES
