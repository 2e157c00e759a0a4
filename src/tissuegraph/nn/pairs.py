"""PairNet: which of its candidates a transcript belongs to, or none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOST = 6.0
"""Standard deviations from the mean at which a feature is cut."""


class PairNet(nn.Module):
    """A small network over the candidate pairs of a transcript, blind to the order of candidates.

    `h_c = MLP(x_c)`, `m = max_c h_c`; the logit of candidate c is `MLP([h_c, m])`, that of none `MLP(m)`.

    Parameters
    ----------
    features
        Features of a pair (F).
    hidden
        Width.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, hidden: int = 64):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.pair = nn.Sequential(
            nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.candidate = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.none = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, features: Tensor, tx: Tensor, n_transcripts: int) -> tuple[Tensor, Tensor]:
        """Return the logits of the pairs [P] and of none [N].

        Parameters
        ----------
        features
            [P, F].
        tx
            [P], the transcript of each pair.
        n_transcripts
            N.
        """
        hidden = self.pair(((features - self.mean) / self.scale).clamp(-MOST, MOST))
        index = tx[:, None].expand_as(hidden)
        best = hidden.new_zeros(n_transcripts, hidden.shape[1]).scatter_reduce(0, index, hidden, "amax")
        logits = self.candidate(torch.cat([hidden, best[tx]], 1)).squeeze(1)
        return logits, self.none(best).squeeze(1)

    def standardise(self, features: Tensor) -> None:
        """Take mean and standard deviation of the features [P, F] from the training data."""
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0) + 1e-3)


def log_probabilities(pairs: Tensor, none: Tensor, tx: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the softmax over each transcript's candidates and none: of the pairs [P], of none [N]."""
    top = none.scatter_reduce(0, tx, pairs, "amax").detach()
    total = torch.exp(none - top).scatter_add(0, tx, torch.exp(pairs - top[tx]))
    norm = top + torch.log(total)
    return pairs - norm[tx], none - norm
