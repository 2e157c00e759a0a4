"""PairNet: a distribution over a transcript's candidates and none, blind to their order."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tissuegraph.nn.pairs import PairNet, log_probabilities

FEATURES = 5
Drawn = tuple[torch.Tensor, torch.Tensor, int]


def network(seed: int = 0) -> PairNet:
    """A network with random weights that is sure of something."""
    torch.manual_seed(seed)
    net = PairNet(FEATURES, 8)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.6)
    return net.eval()


def drawn(seed: int, n: int = 30) -> Drawn:
    """Features [P, F] and transcript [P] of the pairs of n transcripts, some of which have none."""
    generator = torch.Generator().manual_seed(seed)
    count = torch.randint(0, 5, (n,), generator=generator)
    tx = torch.repeat_interleave(torch.arange(n), count)
    return 2 * torch.randn(len(tx), FEATURES, generator=generator), tx, n


def answer(net: PairNet, features: torch.Tensor, tx: torch.Tensor, n: int) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        return log_probabilities(*net(features, tx, n), tx)


@pytest.mark.parametrize("seed", range(5))
def test_candidates_and_none_share_a_probability_of_one(seed):
    features, tx, n = drawn(seed)
    pairs, none = answer(network(seed), features, tx, n)
    total = none.exp().scatter_add(0, tx, pairs.exp())
    torch.testing.assert_close(total, torch.ones(n))
    assert none.exp().std() > 0.05  # not always the same


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_candidates_does_not_matter(seed):
    features, tx, n = drawn(seed)
    key = torch.rand(len(tx), generator=torch.Generator().manual_seed(seed))
    order = torch.argsort(tx + key)  # shuffled within each transcript
    assert torch.equal(tx[order], tx)
    assert not torch.equal(order, torch.arange(len(tx)))
    pairs, none = answer(network(), features, tx, n)
    other_pairs, other_none = answer(network(), features[order], tx, n)
    torch.testing.assert_close(other_pairs, pairs[order], atol=1e-6, rtol=0)
    torch.testing.assert_close(other_none, none, atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_transcripts_does_not_matter(seed):
    features, tx, n = drawn(seed)
    renamed = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    order = torch.argsort(renamed[tx], stable=True)
    pairs, none = answer(network(), features, tx, n)
    other_pairs, other_none = answer(network(), features[order], renamed[tx][order], n)
    torch.testing.assert_close(other_pairs, pairs[order], atol=1e-6, rtol=0)
    torch.testing.assert_close(other_none[renamed], none, atol=1e-6, rtol=0)


def test_a_transcript_hears_of_its_own_candidates_only():
    features, tx, n = drawn(1)
    chosen = int(tx.bincount().argmax())
    changed = features.clone()
    changed[tx == chosen] += 1.0
    one, other = answer(network(), features, tx, n), answer(network(), changed, tx, n)
    rest = torch.arange(n) != chosen
    torch.testing.assert_close(other[0][tx != chosen], one[0][tx != chosen], atol=1e-6, rtol=0)
    torch.testing.assert_close(other[1][rest], one[1][rest], atol=1e-6, rtol=0)
    assert (other[1] - one[1])[chosen].abs() > 1e-3


def test_rivals_weigh_on_a_candidate():
    alone = torch.tensor([[0.5] * FEATURES, [2.0] * FEATURES])
    net = network()
    with torch.inference_mode():
        (first, _), _ = net(alone, torch.tensor([0, 0]), 1)
        first_alone = net(alone[:1], torch.tensor([0]), 1)[0][0]
    assert abs(first - first_alone) > 1e-4


def test_without_candidates_there_is_none():
    tx = torch.tensor([1, 1])
    _, none = answer(network(), torch.randn(2, FEATURES), tx, 3)
    assert none[[0, 2]].tolist() == [0, 0]
    assert none[1] < 0
    pairs, none = answer(network(), torch.empty(0, FEATURES), torch.empty(0, dtype=torch.long), 2)
    assert (len(pairs), none.tolist()) == (0, [0, 0])
    pairs, none = answer(network(), torch.empty(0, FEATURES), torch.empty(0, dtype=torch.long), 0)
    assert (len(pairs), len(none)) == (0, 0)


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


def test_gradients_are_those_of_finite_differences():
    tx = torch.tensor([0, 0, 2, 2, 2])
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
    none = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, n: log_probabilities(p, n, tx), (pairs, none))


def test_every_weight_is_learnt():
    features, tx, n = drawn(3)
    net = network()
    pairs, none = log_probabilities(*net(features, tx, n), tx)
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
    features, tx, n = drawn(2)
    one, other = network(), network()
    factor, shift = torch.tensor([3.0, 100, 1, 0.1, 10]), torch.tensor([0.0, 50, -3, 1, 2])
    one.standardise(features)
    other.standardise(features * factor + shift)
    expected = answer(one, features, tx, n)
    found = answer(other, features * factor + shift, tx, n)
    torch.testing.assert_close(found, expected, atol=5e-2, rtol=0)  # 1e-3 is added to each deviation


def test_what_is_far_from_all_that_was_seen_counts_as_far_and_no_more():
    tx = torch.tensor([0])
    far, farther = torch.full((1, FEATURES), 6.0), torch.full((1, FEATURES), 1e6)
    assert torch.equal(answer(network(), far, tx, 1)[0], answer(network(), farther, tx, 1)[0])
