"""The encoders of two omics, and what is asked of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn.functional import binary_cross_entropy_with_logits, prelu

from tissuegraph.nn.hop_graph import HopGraph
from tissuegraph.nn.infomax import infomax_loss
from tissuegraph.nn.infomax_batches import Batches, Corruptions, View
from tissuegraph.nn.joint import FAINT, LAYERS, Joint, LitJoint, PassingEncoder


def two_views(n=50, seed=0):
    rng = np.random.default_rng(seed)
    tables = [sparse.random(n, n, 0.1, random_state=rng, format="csr") for _ in range(2)]
    rows = [torch.from_numpy(rng.normal(size=(n, width)).astype(np.float32)) for width in (6, 4)]
    return [View(row, HopGraph(sparse.csr_matrix(table))) for row, table in zip(rows, tables, strict=True)]


def test_the_encoder_begins_as_leading_features_averaged_twice():
    (view, _), mean = two_views(), None
    mean = torch.from_numpy(view.graph.edges.toarray())
    torch.manual_seed(0)
    found = PassingEncoder(6, 4)(view.rows, view.graph.whole(LAYERS))
    expected = mean @ mean @ view.rows[:, :4]
    for one, other in zip(found.T, expected.T, strict=True):
        assert torch.corrcoef(torch.stack([one, other]))[0, 1] > 1 - 2 * FAINT


def test_losses_are_those_of_the_formulas():
    torch.manual_seed(0)
    views, network = two_views(), Joint([6, 4], 3)
    batch = Corruptions(views, Batches(LAYERS, None), seed=1)[0]
    within, between = network(batch)
    embedded = []
    for number, view in enumerate(batch.views):
        encoder = network.encoders[number]
        bent = [encoder(view.rows, view.hops), encoder(view.rows[view.order], view.hops)]
        bent = [prelu(torch.cat([z, -z], 1), torch.tensor(0.25)) for z in bent]
        summary = torch.sigmoid(bent[0].mean(0))
        logits = torch.cat([table @ network.weights[number] @ summary for table in bent])
        wanted = torch.cat([torch.ones(50), torch.zeros(50)])
        expected = 2 * binary_cross_entropy_with_logits(logits, wanted)
        torch.testing.assert_close(infomax_loss(*within[number]), expected, rtol=1e-5, atol=1e-6)
        embedded.append(bent[0])
    scores = embedded[0] @ network.between @ embedded[1].T
    torch.testing.assert_close(between[0], scores.diagonal(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(between[1], scores[torch.arange(50), batch.partners], rtol=1e-4, atol=1e-5)


def test_some_cells_with_their_surroundings_get_what_the_whole_gives():
    torch.manual_seed(0)
    views, network = two_views(), Joint([6, 4], 3)
    whole = network.embed([v.rows for v in views], [v.graph.whole(LAYERS) for v in views])
    core = np.array([7, 3, 40])
    parts = [view.graph.around(core, LAYERS) for view in views]
    rows = [view.rows[torch.from_numpy(cells)] for view, (cells, _) in zip(views, parts, strict=True)]
    torch.testing.assert_close(network.embed(rows, [hops for _, hops in parts]), whole[core])
    assert whole.shape == (50, 6)


@pytest.mark.parametrize("batch_cells", [None, 16])
def test_both_omics_of_a_batch_are_of_the_same_cells(batch_cells):
    views = two_views()
    numbers = torch.arange(50.0)[:, None]
    views = [View(numbers, view.graph) for view in views]
    batch = Corruptions(views, Batches(LAYERS, batch_cells), seed=3)[1]
    one, other = (view.rows[: view.hops.num_core] for view in batch.views)
    assert torch.equal(one, other)
    assert sorted(batch.partners.tolist()) == list(range(len(one)))
    assert not torch.equal(batch.views[0].order, batch.views[1].order)
    moved = batch.to("cpu")
    assert torch.equal(moved.partners, batch.partners)


def test_training_lowers_every_part_of_the_loss():
    torch.manual_seed(0)
    trained = LitJoint(Joint([6, 4], 3), 0.01)
    data = Corruptions(two_views(), Batches(LAYERS, None), seed=1)
    adam, parts = trained.configure_optimizers(), []
    for step in range(150):
        losses = trained._losses(data[step % len(data)])
        adam.zero_grad()
        losses.sum().backward()
        adam.step()
        parts.append(losses.detach())
    first, last = torch.stack(parts[:10]).mean(0), torch.stack(parts[-10:]).mean(0)
    assert (last < first).all()
