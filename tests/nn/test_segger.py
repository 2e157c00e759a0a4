"""The network made heterogeneous, its pair score, its start, and that it learns."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
import toy
from torch_geometric.data import Batch

from tissuegraph.errors import ModelError
from tissuegraph.graph.hetero import hetero_data
from tissuegraph.nn.lit import LitSegger
from tissuegraph.nn.params import SeggerParams
from tissuegraph.nn.segger import BD, BELONGS, METADATA, NEIGHBORS, TX, PairScore, Segger, heterogeneous
from tissuegraph.segmentation.warm_start import (
    fit_score,
    set_gene_embedding,
    warm_start,
    whiten_last_layer,
)

SMALL = {"init_emb": 4, "hidden_channels": 8, "out_channels": 6, "heads": 2}
HIDDEN = toy.NUCLEAR & (np.arange(40) % 2 == 0)


def toy_data():
    return hetero_data(toy.tile(), HIDDEN)


def lit(seed: int = 0, learning_rate: float = 3e-3, **changes: object) -> LitSegger:
    torch.manual_seed(seed)
    return LitSegger(4, SeggerParams(**(SMALL | changes)), learning_rate)


def six_genes(seed: int = 0) -> LitSegger:
    torch.manual_seed(seed)
    return LitSegger(8, SeggerParams(**SMALL))  # six genes and two tokens to spare


def embeddings(network: LitSegger, data) -> dict[str, torch.Tensor]:
    edges = {kind: data[kind].edge_index for kind in (NEIGHBORS, BELONGS)}
    return network.model({TX: data[TX].x, BD: data[BD].x}, edges)


def logits(network: LitSegger, data) -> torch.Tensor:
    return network(data, data[BELONGS].edge_label_index)


def loss(network: LitSegger, data) -> torch.Tensor:
    target = data[BELONGS].edge_label
    return torch.nn.functional.binary_cross_entropy_with_logits(logits(network, data), target)


# --- the network


@pytest.mark.parametrize("aggr", ["sum", "mean", "max"])
@pytest.mark.parametrize("mid_layers", [0, 1, 3])
def test_it_works_for_both_node_types(aggr, mid_layers):
    network = lit(aggr=aggr, mid_layers=mid_layers)
    found = embeddings(network, toy_data())
    assert found[TX].shape == (40, 6)
    assert found[BD].shape == (5, 6)
    for h in found.values():
        assert h.norm(dim=1).detach().numpy() == pytest.approx(1.0, abs=1e-5)
    loss(network, toy_data()).backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []


def test_embeddings_are_not_confined_to_one_orthant():
    found = torch.cat([embeddings(lit(seed), toy_data())[TX] for seed in range(3)])
    assert (found < -0.1).any()
    assert (found > 0.1).any()


def test_it_works_for_one_node_type_too():
    torch.manual_seed(0)
    model = Segger(4, 4, 8, 1, 6, 2)
    found = model(torch.from_numpy(toy.tokens()), torch.from_numpy(toy.tile().neighbours))
    assert found.shape == (40, 6)
    assert found.norm(dim=1).detach().numpy() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("empty", ["belongs", "neighbors", "both"])
def test_a_tile_may_lack_edges(empty):
    data = toy_data()
    for kind in (NEIGHBORS, BELONGS):
        if empty in (kind[1], "both"):
            data[kind].edge_index = torch.empty((2, 0), dtype=torch.long)
    assert logits(lit(), data).isfinite().all()


def test_a_tile_may_lack_boundaries_and_transcripts():
    graph = toy.random_tile(0, 30, 0)
    assert logits(six_genes(), hetero_data(graph, np.ones(30, bool))).shape == (0,)
    graph = toy.random_tile(0, 0, 3)
    assert embeddings(six_genes(), hetero_data(graph, np.zeros(0, bool)))[BD].shape == (3, 6)


def test_every_parameter_of_the_constructor_takes_effect():
    shapes = {name: tuple(p.shape) for name, p in lit().named_parameters()}
    for change in (
        {"init_emb": 5},
        {"hidden_channels": 12},
        {"out_channels": 3},
        {"heads": 4},
        {"mid_layers": 2},
    ):
        assert {name: tuple(p.shape) for name, p in lit(**change).named_parameters()} != shapes, change
    found = [logits(lit(aggr=aggr), toy_data()) for aggr in ("sum", "mean", "max")]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"hidden_channels \(10\) must be a multiple of heads \(4\)"):
        Segger(4, hidden_channels=10, heads=4)
    with pytest.raises(ModelError, match=r"hidden_channels \(10\) must be a multiple of heads \(4\)"):
        SeggerParams(hidden_channels=10, heads=4)


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (lit(seed).state_dict() for seed in (3, 3, 4))
    assert one.keys() == same.keys()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_inputs_that_no_type_uses_are_dropped():
    names = [name for name, _ in heterogeneous(Segger(4, 4, 8, 1, 6, 2)).named_parameters()]
    inputs = sorted(name for name in names if name.startswith("input."))
    assert inputs == ["input.bd.lin.bias", "input.bd.lin.weight", "input.tx.emb.weight"]
    assert METADATA == ([TX, BD], [NEIGHBORS, BELONGS])


def test_boundaries_start_as_what_their_transcripts_are():
    """Both edge types start alike and features start at zero: other features, the same embedding."""
    network, data = lit(), toy_data()
    before = embeddings(network, data)[BD]
    data[BD].x = torch.randn(5, 4)
    assert torch.equal(embeddings(network, data)[BD], before)


def test_a_batch_gives_what_its_tiles_give():
    tiles = [hetero_data(g, g.fold == 1) for g in (toy.tile(), *(toy.random_tile(s, 50, 4) for s in (1, 2)))]
    for tile in tiles:
        tile[TX].x = tile[TX].x.clamp(max=3)
    network = lit()
    single = torch.cat([logits(network, tile) for tile in tiles])
    batch = Batch.from_data_list(tiles)
    assert logits(network, batch).detach().numpy() == pytest.approx(single.detach().numpy(), abs=1e-5)


def test_the_pair_score_is_a_scaled_cosine():
    score, generator = PairScore(), torch.Generator().manual_seed(0)
    h_tx, h_bd = (torch.randn(n, 3, generator=generator) for n in (4, 2))
    pairs = torch.tensor([[0, 3, 3], [1, 0, 1]])
    with torch.no_grad():
        score.log_scale.fill_(0.5)
        score.bias.fill_(-2.0)
        found = score(h_tx, h_bd, pairs)
    expected = [np.exp(0.5) * float(h_tx[i] @ h_bd[j]) - 2 for i, j in pairs.T.tolist()]
    assert found.numpy() == pytest.approx(expected, rel=1e-5)


# --- training


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_the_loss_falls_on_a_toy():
    network, data = lit(learning_rate=0.02), toy_data()
    optimizer, before = network.configure_optimizers(), loss(network, data).item()
    for _ in range(20):
        optimizer.zero_grad()
        network.training_step(data).backward()
        optimizer.step()
    assert loss(network, data).item() < 0.7 * before


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_a_batch_without_pairs_teaches_nothing():
    network = lit()
    data = hetero_data(toy.tile(), np.zeros(40, bool))
    value = network.training_step(data)
    value.backward()
    assert value.item() == 0
    assert all(p.grad is None or (p.grad == 0).all() for p in network.parameters())
    network.validation_step(data)
    network.validation_step(toy_data())
    assert 0 <= network.val_auroc.compute() <= 1


def test_the_learning_rate_is_the_one_asked_for():
    network = lit(learning_rate=0.0123)
    assert network.configure_optimizers().param_groups[0]["lr"] == 0.0123
    assert network.hparams["learning_rate"] == 0.0123
    assert network.hparams["hidden_channels"] == SMALL["hidden_channels"]


@pytest.mark.parametrize("aggr", ["sum", "mean", "max"])
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "state_dict"])
def test_copies_give_the_same_scores_and_are_apart(way, aggr):
    network = lit(aggr=aggr)
    if way == "state_dict":
        twin = lit(seed=9, aggr=aggr)
        twin.load_state_dict(network.state_dict())
    else:
        twin = copy.deepcopy(network) if way == "deepcopy" else pickle.loads(pickle.dumps(network))
    assert torch.equal(logits(network, toy_data()), logits(twin, toy_data()))
    with torch.no_grad():
        twin.model.last_residual[TX].weight.add_(1.0)
    assert not torch.equal(logits(network, toy_data()), logits(twin, toy_data()))
    loss(twin, toy_data()).backward()
    assert all(p.grad is None for p in network.parameters())


# --- where training starts


def big_data():
    graph = toy.random_tile(3, 400, 15)
    return hetero_data(graph, graph.fold == 1)


@pytest.mark.parametrize("k", [2, 4, 9])
def test_genes_start_at_their_vectors(k):
    network = six_genes()
    random = network.model.input[TX].emb.weight.detach().clone()
    vectors = 5 * torch.randn(6, k, generator=torch.Generator().manual_seed(1))
    vectors[:, 0] = 0  # an axis that the data could not give
    set_gene_embedding(network, vectors)
    table, width = network.model.input[TX].emb.weight.detach(), min(k, 4)
    assert (table[:6, 0] == 0).all()
    assert table[:6, 1:width].pow(2).mean(0).numpy() == pytest.approx(1.0, abs=1e-5)
    assert torch.allclose(table[:6, 1] / table[0, 1], vectors[:, 1] / vectors[0, 1])
    assert torch.equal(table[6:], random[6:])
    assert torch.equal(table[:, width:], random[:, width:])


def outputs_before_the_norm(network: LitSegger, data) -> torch.Tensor:
    kept = []
    layers = (network.model.last_conv["__".join(NEIGHBORS)], network.model.last_residual[TX])
    hooks = [layer.register_forward_hook(lambda _, __, output: kept.append(output)) for layer in layers]
    logits(network, data)
    for hook in hooks:
        hook.remove()
    return (kept[0] + kept[1]).detach()


def farthest_from_white(network: LitSegger, data) -> float:
    outputs = outputs_before_the_norm(network, data)
    return float((torch.cov(outputs.T) - torch.eye(6)).abs().max().maximum(outputs.mean(0).abs().max()))


def test_the_last_layer_is_whitened():
    """Exactly where attention is even; where it is not, it shifts with the layer, and rounds converge."""
    network, data = six_genes(), big_data()
    for _ in range(5):
        whiten_last_layer(network, data)
    assert farthest_from_white(network, data) < 0.1
    network = six_genes()
    with torch.no_grad():
        network.model.last_conv["__".join(NEIGHBORS)].att.zero_()
    assert farthest_from_white(network, data) > 0.5
    whiten_last_layer(network, data)
    assert farthest_from_white(network, data) < 1e-3


def test_the_score_starts_at_the_logistic_regression():
    network, data = six_genes(), big_data()
    with torch.no_grad():  # labels that the score can follow in part
        network.score.log_scale.fill_(float(np.log(4.0)))
        chance = torch.sigmoid(logits(network, data) - 3)
    draw = torch.rand(chance.shape, generator=torch.Generator().manual_seed(0))
    data[BELONGS].edge_label = (draw < chance).float()
    fit_score(network, data)
    network.score.zero_grad()
    loss(network, data).backward()
    assert network.score.log_scale.exp() > 1.5
    assert network.score.log_scale.grad.abs() < 1e-3
    assert network.score.bias.grad.abs() < 1e-3


@pytest.mark.parametrize("labels", ["none", "all wrong", "all right"])
def test_labels_that_teach_nothing_leave_the_score(labels):
    network, data = six_genes(), big_data()
    before = copy.deepcopy(network.score.state_dict())
    if labels == "none":
        data[BELONGS].edge_label_index = torch.empty((2, 0), dtype=torch.long)
        data[BELONGS].edge_label = torch.empty(0)
    else:
        data[BELONGS].edge_label.fill_(float(labels == "all right"))
    fit_score(network, data)
    assert all(torch.equal(value, before[name]) for name, value in network.score.state_dict().items())


def test_a_warm_start_is_the_same_every_time_and_finite():
    vectors = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    states = []
    for _ in range(2):
        network = six_genes()
        warm_start(network, vectors, big_data())
        states.append(network.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert all(value.isfinite().all() for value in states[0].values())
    assert logits(network, big_data()).isfinite().all()


def test_zero_vectors_still_start_finite():
    network = six_genes()
    warm_start(network, torch.zeros(6, 8), big_data())
    assert all(value.isfinite().all() for value in network.state_dict().values())
