"""PairNet: which of its candidates a transcript belongs to, given what its neighbours hold likely."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tissuegraph.nn.attention import FusedGATv2Conv
from tissuegraph.nn.neighbour_lists import NeighbourLists

MOST = 6.0
"""Standard deviations from the mean at which a feature is cut."""
PLACE_SCALE = 5.0
"""um that count as 1 where attention compares places."""
LEARNT, FIXED = "learnt", "fixed"


class PairNet(nn.Module):
    """Attention between candidate pairs that share a cell, blind to the order of candidates.

    A pair (transcript i, cell c) starts from its features. A layer lets it listen to the pairs (j, c) of the
    neighbours j, by GATv2 attention over what they hold and where they lie relative to the cell, and then
    compares it with the other candidates of i:

        h_p = MLP(x_p);  h_p += MLP([h_p, max of h over the candidates of i])
        for every layer:  h_p += GATv2([h_p, place_p]);  h_p += MLP([h_p, max of h over the candidates of i])

    The logit of a candidate is a linear function of h_p, that of none of the maximum over the candidates.

    Parameters
    ----------
    features
        Features of a pair (F).
    hidden
        Width.
    layers
        Layers of attention; 0 listens to nobody.
    heads
        Of attention.
    attention
        learnt, or fixed: the mean over the neighbours (for comparison).
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, features: int, hidden: int = 64, layers: int = 0, heads: int = 4, attention: str = LEARNT
    ):
        super().__init__()
        if layers and hidden % heads:
            message = f"hidden is {hidden}, which {heads} heads cannot share"
            raise ValueError(message)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.encode = nn.Sequential(
            nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.compare = nn.ModuleList(_compare(hidden) for _ in range(layers + 1))
        self.listen = nn.ModuleList(
            FusedGATv2Conv(hidden + 2, hidden // heads, heads, add_self_loops=False) for _ in range(layers)
        )
        self.attention, self.width = attention, hidden
        self.candidate = nn.Linear(hidden, 1)
        self.none = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(
        self,
        features: Tensor,
        tx: Tensor,
        n_transcripts: int,
        place: Tensor | None = None,
        neighbours: NeighbourLists | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of the pairs [P] and of none [N].

        Parameters
        ----------
        features
            [P, F].
        tx
            [P], the transcript of each pair.
        n_transcripts
            N.
        place
            [P, 2], um from the centre of the cell; only with layers.
        neighbours
            The pairs that each pair listens to; only with layers.
        """
        hidden = self.compared(0, self.encoded(features), tx, n_transcripts)
        for layer in range(len(self.listen)):
            hidden = self.compared(layer + 1, self.heard(layer, hidden, place, neighbours), tx, n_transcripts)
        return self.decided(hidden, tx, n_transcripts)

    def encoded(self, features: Tensor) -> Tensor:
        """What a pair starts from, [P, H]."""
        return self.encode(((features - self.mean) / self.scale).clamp(-MOST, MOST))

    def heard(
        self, layer: int, hidden: Tensor, place: Tensor | None, neighbours: NeighbourLists | None
    ) -> Tensor:
        """The same after listening to the neighbours' pairs with the same cell: all pairs at once, [P, H]."""
        if place is None or neighbours is None:
            message = f"this network listens to neighbours in {len(self.listen)} layers: give them and places"
            raise ValueError(message)
        told = torch.cat([hidden, place / PLACE_SCALE], 1)
        listen = self.listen[layer]
        if self.attention == FIXED:
            return hidden + _mean(listen.lin_l(told), neighbours)  # type: ignore[operator]
        return hidden + listen(told, neighbours)

    def compared(self, layer: int, hidden: Tensor, tx: Tensor, n_transcripts: int) -> Tensor:
        """The same after a look at the other candidates of the transcript, [P, H]."""
        best = _best(hidden, tx, n_transcripts)
        return hidden + self.compare[layer](torch.cat([hidden, best[tx]], 1))

    def decided(self, hidden: Tensor, tx: Tensor, n_transcripts: int) -> tuple[Tensor, Tensor]:
        """Logits of the pairs [P] and of none [N]."""
        return self.candidate(hidden).squeeze(1), self.none(_best(hidden, tx, n_transcripts)).squeeze(1)

    def standardise(self, features: Tensor) -> None:
        """Take mean and standard deviation of the features [P, F] from the training data."""
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0) + 1e-3)


def _compare(hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden))


def _best(hidden: Tensor, tx: Tensor, n_transcripts: int) -> Tensor:
    """Maximum over the candidates of each transcript, 0 without one, [N, H]."""
    index = tx[:, None].expand_as(hidden)
    empty = hidden.new_zeros(n_transcripts, hidden.shape[1])
    return empty.scatter_reduce(0, index, hidden, "amax", include_self=False)


def _mean(values: Tensor, neighbours: NeighbourLists) -> Tensor:
    pointer = torch.from_numpy(neighbours.pointer).to(values.device)
    others = torch.from_numpy(neighbours.neighbours).to(values.device).long()
    return torch.segment_reduce(values[others], "mean", offsets=pointer, axis=0, initial=0.0)


def log_probabilities(pairs: Tensor, none: Tensor, tx: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the softmax over each transcript's candidates and none: of the pairs [P], of none [N]."""
    top = none.scatter_reduce(0, tx, pairs, "amax").detach()
    total = torch.exp(none - top).scatter_add(0, tx, torch.exp(pairs - top[tx]))
    norm = top + torch.log(total)
    return pairs - norm[tx], none - norm
