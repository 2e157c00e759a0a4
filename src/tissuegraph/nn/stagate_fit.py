"""Training of STAGATE, on all cells at once or on batches of patches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tissuegraph.nn.row_chunks import own_threads
from tissuegraph.nn.stagate import Stagate, reduce_errors
from tissuegraph.nn.stagate_batches import Batch


@dataclass(frozen=True)
class Descent:
    """How the weights are changed."""

    loss: str
    """"mse", "frobenius" or "row_norms"."""
    learning_rate: float
    """Of Adam."""
    weight_decay: float
    """Added to the gradient of every weight, times the weight; see `decay_last_only`."""
    decay_last_only: bool
    """Decay only `W1`, as half its squared norm in the loss, before clipping."""
    gradient_clipping: float
    """Largest norm of the gradient."""
    two_updates: bool
    """Change each tied weight twice a step, as its encoder and its decoder use have an Adam each."""


def fit(
    network: Stagate,
    passes: Iterable[Iterable[Batch]],
    descent: Descent,
    report: Callable[[float], None] = lambda _: None,
) -> list[float]:
    """Train; return the loss of every pass, the mean over its batches.

    On the CPU the same bits come out on any number of threads.
    """
    twins = None
    if descent.two_updates:
        twins = (nn.Parameter(network.weight0.detach()), nn.Parameter(network.weight1.detach()))
    weights = _in_order(network, twins)
    decay = 0.0 if descent.decay_last_only else descent.weight_decay
    fused = weights[0].device.type == "cpu"
    adam = torch.optim.Adam(weights, lr=descent.learning_rate, weight_decay=decay, fused=fused)
    history = []
    with own_threads():
        for batches in passes:
            losses = [_step(network, batch, descent, adam, weights, twins) for batch in batches]
            history.append(float(torch.stack(losses).mean()))
            report(history[-1])
    return history


def _in_order(network: Stagate, twins: tuple[nn.Parameter, nn.Parameter] | None) -> list[nn.Parameter]:
    """Weights in the order in which they are changed, which matters where two share their storage."""
    weights = [network.weight0, network.attention, network.weight1]
    if network.pruned_attention is not None:
        weights.append(network.pruned_attention)
    return [*weights, *reversed(twins)] if twins else weights


def _step(
    network: Stagate,
    batch: Batch,
    descent: Descent,
    adam: torch.optim.Optimizer,
    weights: list[nn.Parameter],
    twins: tuple[Tensor, Tensor] | None,
) -> Tensor:
    adam.zero_grad()
    errors = network.errors(batch.rows, batch.squared_norms, batch.graph, twins, batch.targets)
    loss = reduce_errors(errors, batch.squared_norms, len(network.weight0), descent.loss)
    if descent.decay_last_only:
        loss = loss + descent.weight_decay / 2 * network.weight1.square().sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, descent.gradient_clipping)
    adam.step()
    return loss.detach()
