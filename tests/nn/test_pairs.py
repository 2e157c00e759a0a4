"""PairNet: a distribution over a transcript's candidates and none, given those of whom each pair hears."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tissuegraph.nn.neighbour_lists import NeighbourLists
from tissuegraph.nn.pairs import FIXED, LEARNT, MOST, PLACE_SCALE, PairNet, log_probabilities

FEATURES = 5
Heard = list[list[int]]


@dataclass(frozen=True)
class Drawn:
    """Features [P, F], transcript [P] and place [P, 2] of the pairs of n transcripts, and whom each hears."""

    features: Tensor
    tx: Tensor
    n: int
    place: Tensor
    heard: Heard

    @property
    def lists(self) -> NeighbourLists:
        """`heard`, one pair after the other."""
        pointer = np.cumsum([0, *map(len, self.heard)])
        return NeighbourLists(
            pointer, np.array([q for one in self.heard for q in one], np.int32), len(self.tx)
        )


def network(
    seed: int = 0, layers: int = 0, hidden: int = 32, heads: int = 2, attention: str = LEARNT
) -> PairNet:
    """A network with random weights that is sure of something."""
    net = PairNet(FEATURES, hidden, layers, heads, attention)
    generator = torch.Generator().manual_seed(seed)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=1.2 * weight.shape[-1] ** -0.5, generator=generator)
    return net.eval()


def drawn(seed: int, n: int = 30) -> Drawn:
    """Some transcripts have no candidate, some pairs hear nobody, some one pair twice, some themselves."""
    generator = torch.Generator().manual_seed(seed)
    tx = torch.repeat_interleave(torch.arange(n), torch.randint(0, 5, (n,), generator=generator))
    pairs = len(tx)
    degree = torch.randint(0, 7, (pairs,), generator=generator)
    return Drawn(
        2 * torch.randn(pairs, FEATURES, generator=generator),
        tx,
        n,
        6 * torch.randn(pairs, 2, generator=generator),
        [torch.randint(0, pairs, (int(k),), generator=generator).tolist() for k in degree],
    )


def logits(net: PairNet, one: Drawn) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        return net(one.features, one.tx, one.n, one.place, one.lists)


def answer(net: PairNet, one: Drawn) -> tuple[Tensor, Tensor]:
    return log_probabilities(*logits(net, one), one.tx)


def by_loop(net: PairNet, one: Drawn) -> tuple[list[float], list[float]]:
    """The logits of pairs and none, a pair, a head and a neighbour at a time, in double precision."""
    state = {name: value.numpy().astype(np.float64) for name, value in net.state_dict().items()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    def perceptron(name: str, x: np.ndarray) -> np.ndarray:
        return linear(f"{name}.2", np.maximum(linear(f"{name}.0", x), 0))

    def best(hidden: list[np.ndarray], i: int) -> np.ndarray:
        own = [h for h, of in zip(hidden, one.tx.tolist(), strict=True) if of == i]
        return np.max(own, 0) if own else np.zeros(len(state["encode.0.bias"]))

    def compared(layer: int, hidden: list[np.ndarray]) -> list[np.ndarray]:
        both = [np.concatenate([h, best(hidden, i)]) for h, i in zip(hidden, one.tx.tolist(), strict=True)]
        return [h + perceptron(f"compare.{layer}", b) for h, b in zip(hidden, both, strict=True)]

    def listened(layer: int, hidden: list[np.ndarray]) -> list[np.ndarray]:
        att = state[f"listen.{layer}.att"][0]
        seen = [
            np.concatenate([h, at.numpy() / PLACE_SCALE]) for h, at in zip(hidden, one.place, strict=True)
        ]
        said = [linear(f"listen.{layer}.lin_l", x).reshape(att.shape) for x in seen]
        asked = [linear(f"listen.{layer}.lin_r", x).reshape(att.shape) for x in seen]
        result = []
        for h, ask, others in zip(hidden, asked, one.heard, strict=True):
            told = np.zeros(att.shape)
            for head, a in enumerate(att):
                sums = [said[q][head] + ask[head] for q in others]
                scores = [float(a @ np.where(x > 0, x, 0.2 * x)) for x in sums]
                weights = [math.exp(score - max(scores)) for score in scores]
                if net.attention == FIXED:
                    weights = [1.0] * len(others)
                for q, weight in zip(others, weights, strict=True):
                    told[head] += weight / sum(weights) * said[q][head]
            bias = 0 if net.attention == FIXED else state[f"listen.{layer}.bias"]
            result.append(h + told.ravel() + bias)
        return result

    scaled = (one.features.numpy() - state["mean"]) / state["scale"]
    hidden = [np.maximum(perceptron("encode", x), 0) for x in np.clip(scaled, -MOST, MOST)]
    hidden = compared(0, hidden)
    for layer in range(len(net.listen)):
        hidden = compared(layer + 1, listened(layer, hidden))
    of_none = [perceptron("none", best(hidden, i)).item() for i in range(one.n)]
    return [linear("candidate", h).item() for h in hidden], of_none


@pytest.mark.parametrize("attention", [LEARNT, FIXED])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_logits_are_those_of_a_loop(layers, attention):
    one, net = drawn(layers), network(1, layers, attention=attention)
    net.standardise(one.features * 1.3 + 0.4)
    assert [] in one.heard
    for found, expected in zip(logits(net, one), by_loop(net, one), strict=True):
        assert found.tolist() == pytest.approx(expected, abs=1e-4)
        assert found.std() > 0.1


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("seed", range(3))
def test_candidates_and_none_share_a_probability_of_one(seed, layers):
    one = drawn(seed)
    pairs, none = answer(network(seed, layers), one)
    total = none.exp().scatter_add(0, one.tx, pairs.exp())
    torch.testing.assert_close(total, torch.ones(one.n))
    assert none.exp().std() > 0.05  # not always the same


def reordered(one: Drawn, order: Tensor, renamed: Tensor) -> Drawn:
    """The pairs in another order [P], and other numbers of the transcripts [n]."""
    place = torch.argsort(order).tolist()
    heard = [[place[q] for q in one.heard[p]] for p in order.tolist()]
    return Drawn(one.features[order], renamed[one.tx][order], one.n, one.place[order], heard)


@pytest.mark.parametrize("attention", [LEARNT, FIXED])
@pytest.mark.parametrize("layers", [0, 2])
def test_the_order_of_candidates_and_of_transcripts_does_not_matter(layers, attention):
    one, net = drawn(3), network(0, layers, attention=attention)
    generator = torch.Generator().manual_seed(1)
    renamed = torch.randperm(one.n, generator=generator)
    order = torch.argsort(renamed[one.tx] + torch.rand(len(one.tx), generator=generator))
    assert not torch.equal(torch.argsort(renamed[one.tx], stable=True), order)  # also within transcripts
    other = reordered(one, order, renamed)
    pairs, none = logits(net, one)
    other_pairs, other_none = logits(net, other)
    torch.testing.assert_close(other_pairs, pairs[order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(other_none[renamed], none, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", [LEARNT, FIXED])
def test_the_order_in_which_a_pair_hears_others_does_not_matter(attention):
    one, net = drawn(4), network(0, 2, attention=attention)
    other = replace(one, heard=[others[::-1] for others in one.heard])
    for found, expected in zip(logits(net, other), logits(net, one), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def chain(n: int = 7) -> Drawn:
    """Transcripts of two candidates; the pairs of each hear those of the next one with the same cell."""
    tx = torch.repeat_interleave(torch.arange(n), 2)
    generator = torch.Generator().manual_seed(0)
    features, place = (torch.randn(2 * n, size, generator=generator) for size in (FEATURES, 2))
    return Drawn(features, tx, n, place, [[p + 2] if p + 2 < 2 * n else [] for p in range(2 * n)])


@pytest.mark.parametrize("attention", [LEARNT, FIXED])
@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_a_transcript_hears_as_many_steps_away_as_there_are_layers(layers, attention):
    one, net, changed = chain(), network(0, layers, attention=attention), 4
    other = one.features + (one.tx == changed)[:, None]
    pairs, none = logits(net, one)
    other_pairs, other_none = logits(net, replace(one, features=other))
    expected = list(range(changed - layers, changed + 1))
    assert torch.unique(one.tx[(other_pairs - pairs).abs() > 1e-5]).tolist() == expected
    assert torch.nonzero((other_none - none).abs() > 1e-5).ravel().tolist() == expected


def test_who_hears_nobody_is_alone_with_the_bias():
    one, net = drawn(5), network(0, 1)
    deaf = replace(one, heard=[[] for _ in one.heard])
    pairs, _ = logits(net, deaf)
    assert pairs.isfinite().all()
    assert torch.equal(logits(net, replace(deaf, place=one.place + 3))[0], pairs)
    fixed = network(0, 1, attention=FIXED)  # where nobody is heard there is no mean
    assert not torch.allclose(logits(fixed, deaf)[0], pairs)
    torch.nn.init.zeros_(net.listen[0].bias)
    torch.testing.assert_close(logits(fixed, deaf), logits(net, deaf))


@pytest.mark.parametrize("left_out", ["place", "lists"])
def test_a_network_that_listens_asks_for_whom_and_where(left_out):
    one, net = drawn(0), network(0, 2)
    place, lists = (None if left_out == name else getattr(one, name) for name in ("place", "lists"))
    with pytest.raises(ValueError, match="2 layers"):
        net(one.features, one.tx, one.n, place, lists)
    arguments = (one.features, one.tx, one.n)
    assert torch.equal(network()(*arguments, place, lists)[0], network()(*arguments)[0])


def test_where_others_lie_matters():
    one, net = drawn(6), network(0, 1)
    assert (logits(net, replace(one, place=-one.place))[0] - logits(net, one)[0]).abs().max() > 1e-2


def test_rivals_weigh_on_a_candidate():
    alone = torch.tensor([[0.5] * FEATURES, [2.0] * FEATURES])
    net = network()
    with torch.inference_mode():
        (first, _), _ = net(alone, torch.tensor([0, 0]), 1)
        first_alone = net(alone[:1], torch.tensor([0]), 1)[0][0]
    assert abs(first - first_alone) > 1e-4


@pytest.mark.parametrize("attention", [LEARNT, FIXED])
@pytest.mark.parametrize("layers", [0, 2])
def test_without_candidates_there_is_none(layers, attention):
    net = network(0, layers, attention=attention)
    some = Drawn(torch.ones(2, FEATURES), torch.tensor([1, 1]), 3, torch.ones(2, 2), [[1], []])
    _, none = answer(net, some)
    assert none[[0, 2]].tolist() == [0, 0]
    assert none[1] < 0
    for n in (2, 0):
        nothing = torch.empty(0, dtype=torch.long)
        pairs, none = answer(net, Drawn(torch.empty(0, FEATURES), nothing, n, torch.empty(0, 2), []))
        assert (len(pairs), none.tolist()) == (0, [0] * n)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-300, 300), st.lists(st.floats(-300, 300), max_size=4)), max_size=6))
def test_log_probabilities_are_those_of_a_loop(drawn):
    pairs = torch.tensor([logit for _, logits in drawn for logit in logits], dtype=torch.float64)
    tx = torch.tensor([i for i, (_, logits) in enumerate(drawn) for _ in logits], dtype=torch.long)
    none = torch.tensor([logit for logit, _ in drawn], dtype=torch.float64)
    of_pairs, of_none = log_probabilities(pairs, none, tx)
    expected_pairs, expected_none = [], []
    for logit, logits in drawn:
        top = max([logit, *logits])
        norm = top + math.log(math.fsum(math.exp(one - top) for one in [logit, *logits]))
        expected_pairs += [one - norm for one in logits]
        expected_none.append(logit - norm)
    assert of_pairs.tolist() == pytest.approx(expected_pairs, abs=1e-9)
    assert of_none.tolist() == pytest.approx(expected_none, abs=1e-9)


@pytest.mark.parametrize("attention", [LEARNT, FIXED])
def test_gradients_are_those_of_finite_differences(attention):
    one = drawn(0, 6)
    net = network(0, 2, hidden=6, heads=2, attention=attention).double()
    names, parameters = zip(*net.named_parameters(), strict=True)

    def loss(features: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        arguments = (features, one.tx, one.n, one.place.double(), one.lists)
        of_pairs, of_none = torch.func.functional_call(net, dict(zip(names, values, strict=True)), arguments)
        return log_probabilities(of_pairs, of_none, one.tx)

    features = one.features.double().requires_grad_()
    assert torch.autograd.gradcheck(loss, (features, *parameters), fast_mode=True)


@pytest.mark.parametrize("layers", [0, 2])
def test_every_weight_is_learnt(layers):
    one, net = drawn(3), network(0, layers)
    pairs, none = log_probabilities(*net(one.features, one.tx, one.n, one.place, one.lists), one.tx)
    (-(pairs[::3].sum() + none.sum())).backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().sum() > 0, name


def test_what_is_standardised_has_mean_zero_and_deviation_one():
    features = torch.randn(500, FEATURES, generator=torch.Generator().manual_seed(0))
    features = features * torch.tensor([1.0, 10, 0.5, 100, 0]) + torch.tensor([0.0, 5, -3, 2, 7])
    net = network()
    net.standardise(features)
    scaled = (features - net.mean) / net.scale
    torch.testing.assert_close(scaled.mean(0), torch.zeros(FEATURES), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled[:, :4].std(0), torch.ones(4), atol=3e-3, rtol=0)
    assert (scaled[:, 4].abs() < 1e-3).all()  # a feature that never changes says nothing
    assert {"mean", "scale"} <= set(net.state_dict())


def test_units_cancel_once_standardised():
    features = drawn(2).features
    factor, shift = torch.tensor([3.0, 100, 1, 0.1, 10]), torch.tensor([0.0, 50, -3, 1, 2])
    one, other = network(), network()
    one.standardise(features)
    other.standardise(features * factor + shift)
    expected = answer(one, drawn(2))
    found = answer(other, replace(drawn(2), features=features * factor + shift))
    torch.testing.assert_close(found, expected, atol=5e-2, rtol=0)  # 1e-3 is added to each deviation


def test_what_is_far_from_all_that_was_seen_counts_as_far_and_no_more():
    far, farther = (
        Drawn(torch.full((1, FEATURES), value), torch.tensor([0]), 1, torch.zeros(1, 2), [[]])
        for value in (MOST, 1e6)
    )
    assert torch.equal(answer(network(), far)[0], answer(network(), farther)[0])
