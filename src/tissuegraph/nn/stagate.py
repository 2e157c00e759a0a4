"""STAGATE: an autoencoder of expression that attends to neighbours in the tissue."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tissuegraph.nn.row_chunks import matmul, over_rows, symmetric
from tissuegraph.nn.sparse import SparseRows, aggregate, attend, product
from tissuegraph.nn.stagate_graph import AttentionGraph

LOSSES = ("mse", "frobenius", "row_norms")
NONLINEARITIES = ("elu", "none")
INITIALISATIONS = ("components", "xavier_normal", "glorot_uniform")
RELU_GAIN = 1.414
FAINT = 0.1
"""Share of the weights of "xavier_normal" that is added where components pass at first."""


class Encoded(NamedTuple):
    """What the encoder makes of the cells of a graph; n_0 core cells lie among n_1 among n_2 cells."""

    projected: Tensor
    """[n_2, H] `X W0`."""
    shares: Tensor
    """[E] attention along every edge, the two kinds mixed."""
    embedding: Tensor
    """[n_1, L] the embedding Z."""
    parts: tuple[Tensor, ...]
    """Attention of every kind: along all edges, and within cell types where there are any."""


class Stagate(nn.Module):
    """Graph attention autoencoder with tied weights and tied attention.

    With `P = X W0`: `H1 = elu(C P)`, `Z = H1 W1`, `H3 = elu(C Z W1^T)`, `Xhat = H3 W0^T`, where row i of `C`
    is the softmax over i and its neighbours j of `sigmoid(P_i . v_receive + P_j . v_send)`. With cell types,
    `C = (1 - alpha) C_all + alpha C_same`, and the edges within types have vectors of their own.

    Neither `Xhat` nor messages along edges are ever written: the loss is computed from `P`, `H3` and
    `W0^T W0` (`_RowErrors`), and the decoder listens in L dimensions, as `C (Z W1^T) = (C Z) W1^T`.

    Parameters
    ----------
    num_inputs, hidden, latent
        Numbers of genes or components, of hidden and of latent dimensions.
    alpha
        Share of the attention within cell types.
    nonlinearity
        "elu" or "none".
    initialisation
        "xavier_normal" (gain 1.414, as the PyG port), "glorot_uniform" (as the TensorFlow port), or
        "components": the leading inputs pass through encoder and decoder, nearly as they are but for the
        averages over neighbours, and little of "xavier_normal" is added.
    generator
        Source of the initial weights.

    References
    ----------
    Dong and Zhang 2022, Deciphering spatial domains from spatially resolved transcriptomics with an
    adaptive graph attention auto-encoder.
    """

    def __init__(
        self,
        num_inputs: int,
        hidden: int,
        latent: int,
        *,
        alpha: float = 0.0,
        nonlinearity: str = "elu",
        initialisation: str = "xavier_normal",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.alpha, self.nonlinearity = alpha, nonlinearity

        def weight(rows: int, columns: int) -> nn.Parameter:
            table = _initial(initialisation, rows, columns, rows + columns, generator)
            return nn.Parameter(table * FAINT if initialisation == "components" else table)

        def vectors() -> nn.Parameter:
            fans = hidden + 1 if initialisation == "glorot_uniform" else 2 * hidden
            return nn.Parameter(_initial(initialisation, hidden, 2, fans, generator))

        self.weight0, self.weight1 = weight(num_inputs, hidden), weight(hidden, latent)
        self.attention = vectors()
        self.pruned_attention = vectors() if alpha else None
        if initialisation == "components":
            self._let_pass()

    @torch.no_grad()
    def _let_pass(self) -> None:
        """Give each leading input a pair of hidden units u and -u: `elu(u) - elu(-u)` is nearly 2u."""
        (inputs, hidden), latent = self.weight0.shape, self.weight1.shape[1]
        one = torch.arange(min(inputs, hidden // 2, latent))
        for unit, sign in ((2 * one, math.sqrt(0.5)), (2 * one + 1, -math.sqrt(0.5))):
            self.weight0[one, unit] += sign
            self.weight1[unit, one] += sign

    def attention_vectors(self) -> list[nn.Parameter]:
        """The vectors [H, 2] that the attention is made of: along all edges, and within types."""
        return [self.attention] + ([] if self.pruned_attention is None else [self.pruned_attention])

    def project(self, rows: SparseRows | Tensor) -> Tensor:
        """`X W0`, [n_2, H]."""
        return product(self.weight0, rows)

    def encode(self, projected: Tensor, graph: AttentionGraph) -> Encoded:
        """Attend and embed: projected [n_2, H] -> Z [n_1, L]."""
        parts = [self._attend(projected, self.attention, graph.weights, graph)]
        shares = parts[0]
        if self.pruned_attention is not None:
            if graph.pruned_weights is None:
                message = "a model with alpha needs a graph with cell types"
                raise ValueError(message)
            parts.append(self._attend(projected, self.pruned_attention, graph.pruned_weights, graph))
            shares = torch.lerp(parts[0], parts[1], self.alpha)
        hidden = self._bend(aggregate(shares, projected, graph.pattern))
        return Encoded(projected, shares, hidden @ self.weight1, tuple(parts))

    def decode(self, encoded: Encoded, graph: AttentionGraph, weight1: Tensor | None = None) -> Tensor:
        """`H3`, [n_0, H]: the decoder up to its last product."""
        edges = _first(encoded.shares, len(graph.decoder.columns))
        heard = aggregate(edges, encoded.embedding, graph.decoder)
        return self._bend(heard @ (self.weight1 if weight1 is None else weight1).T)

    def errors(
        self,
        rows: SparseRows | Tensor,
        squared_norms: Tensor,
        graph: AttentionGraph,
        twins: tuple[Tensor, Tensor] | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """`||x_i - xhat_i||^2` of the core cells, [n_0].

        Parameters
        ----------
        rows
            [n_2, G] expression, or components.
        squared_norms
            [n_0] `||x_i||^2` of the core cells.
        graph
            Their neighbours.
        twins
            Decoder weights that share the storage of `weight0` and `weight1`, where the two uses of a weight
            are to have gradients of their own.
        targets
            [n_0, G] what is to be reconstructed, if not the core cells themselves; `squared_norms` are of it.
        """
        encoded = self.encode(self.project(rows), graph)
        weight0, weight1 = twins or (self.weight0, self.weight1)
        projected = encoded.projected
        if targets is not None:
            projected = product(weight0, targets)
        elif twins:
            projected = product(weight0, rows, projected.detach())
        hidden = self.decode(encoded, graph, weight1)
        return _RowErrors.apply(_first(projected, graph.num_core), hidden, weight0, squared_norms)

    def reconstruct(self, encoded: Encoded, graph: AttentionGraph) -> Tensor:
        """`Xhat` of the core cells, [n_0, G]: dense, so for few cells at a time."""
        return self.decode(encoded, graph) @ self.weight0.T

    def _attend(self, projected: Tensor, vectors: Tensor, weights: Tensor, graph: AttentionGraph) -> Tensor:
        receivers, senders = (projected @ vectors).T
        return attend(_first(receivers, graph.pattern.num_rows), senders, weights, graph.pattern)

    def _bend(self, values: Tensor) -> Tensor:
        return _Elu.apply(values) if self.nonlinearity == "elu" else values


def _first(table: Tensor, number: int) -> Tensor:
    """The first rows; a slice of all would cost a copy in the gradient."""
    return table if len(table) == number else table[:number]


def _initial(kind: str, rows: int, columns: int, fans: int, generator: torch.Generator | None) -> Tensor:
    table = torch.empty(rows, columns)
    if kind == "glorot_uniform":
        limit = math.sqrt(6 / fans)
        return table.uniform_(-limit, limit, generator=generator)
    return table.normal_(0, RELU_GAIN * math.sqrt(2 / fans), generator=generator)


class _Elu(Function):
    """ELU in place: nothing before it needs the values, and the slope is `1 + min(result, 0)`.

    That takes a tenth of the time of torch's own gradient.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        over_rows(lambda rows: functional.elu_(values[rows]), values)  # type: ignore[arg-type]
        ctx.mark_dirty(values)
        ctx.save_for_backward(values)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors

        def part(rows: slice) -> None:
            # those who needed the result have had their turn
            result[rows].clamp_(max=0).add_(1).mul_(grad[rows])

        over_rows(part, result)
        return result


class _RowErrors(Function):
    """`||x_i - W h_i||^2 = ||x_i||^2 - 2 p_i . h_i + h_i^T W^T W h_i` with `p_i = W^T x_i`, [n].

    The gradient to `p` is `-2 g_i h_i`, to `h` is `2 g_i (W^T W h_i - p_i)` and, through the last term, to
    `W` is `2 W H^T diag(g) H`; that of the middle term reaches `W` through `p`.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, hidden: Tensor, weight: Tensor, squared_norms: Tensor) -> Tensor:
        inner = symmetric(weight, weight)
        ahead, errors = torch.empty_like(hidden), torch.empty_like(squared_norms)

        def part(rows: slice) -> None:
            here, known = hidden[rows], projected[rows]
            beyond = torch.mm(here, inner, out=ahead[rows]).sub_(known)
            errors[rows] = squared_norms[rows] + ((beyond - known) * here).sum(1)

        over_rows(part, hidden)
        ctx.save_for_backward(ahead, hidden, weight)
        return errors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        ahead, hidden, weight = ctx.saved_tensors
        factors = (2 * grad).unsqueeze(1)
        to_projected = torch.empty_like(hidden)

        def part(rows: slice) -> None:
            torch.mul(hidden[rows], -factors[rows], out=to_projected[rows])
            ahead[rows].mul_(factors[rows])

        over_rows(part, hidden)
        to_weight = matmul(weight, symmetric(hidden, to_projected).neg_())
        return to_projected, ahead, to_weight, None


def reduce_errors(errors: Tensor, squared_norms: Tensor, num_inputs: int, loss: str) -> Tensor:
    """The loss from the squared errors of rows [n].

    "mse" is their mean over cells and inputs, "frobenius" the root of their sum, "row_norms" the sum of their
    roots. A row that is met to within roundoff counts as met exactly, with no gradient.
    """
    if loss == "mse":
        return errors.sum() / (len(errors) * num_inputs)
    least = torch.finfo(errors.dtype).eps * squared_norms.mean().clamp_min(torch.finfo(errors.dtype).tiny)
    if loss == "frobenius":
        return errors.sum().clamp_min(least).sqrt()
    return torch.where(errors > least, torch.maximum(errors, least).sqrt(), 0.0).sum()
