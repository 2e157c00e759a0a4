"""Sparse matrices times tables, with gradients, without anything dense of the sparse matrix's shape.

On the CPU in compiled loops that give the same bits on any number of threads; elsewhere in torch's own
sparse operations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tissuegraph import parallel
from tissuegraph.nn import sparse_kernels as kernels
from tissuegraph.nn.row_chunks import matmul, transposed_matmul, workers

MAX_CHUNKS = 64
ITEMS_A_CHUNK = 4096
WIDTHS = (16, 32, 64)
"""Numbers in a vector; a table of another width is filled up with zeros."""
PANEL_ROWS = 8
"""Entries a row from which on copying the table into panels pays off."""


class Pattern:
    """Where a sparse matrix [rows, num_columns] has entries, in CSR form.

    Attributes
    ----------
    pointer
        [rows + 1] start of each row.
    columns
        [E] columns of the entries.
    bounds
        Ranges `[first, last)` of rows of about equal work, which the pattern alone decides.
    """

    def __init__(self, pointer: NDArray[Any], columns: NDArray[Any], num_columns: int) -> None:
        self.pointer = np.ascontiguousarray(pointer, np.int64)
        self.columns = np.ascontiguousarray(columns, np.int32)
        self.num_columns = num_columns
        self.on_device: dict[torch.device, tuple[Tensor, Tensor]] = {}
        work = self.pointer + np.arange(len(self.pointer))
        count = min(MAX_CHUNKS, 1 + int(work[-1]) // ITEMS_A_CHUNK)
        cuts = np.searchsorted(work, np.linspace(0, work[-1], count + 1)[1:-1]).tolist()
        self.bounds = list(zip([0, *cuts], [*cuts, self.num_rows], strict=True))

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(self.pointer) - 1

    @cached_property
    def rows(self) -> NDArray[np.int32]:
        """[E] row of every entry."""
        return np.repeat(np.arange(self.num_rows, dtype=np.int32), np.diff(self.pointer))

    @cached_property
    def _turned(self) -> tuple[Pattern, NDArray[np.int32]]:
        places = np.arange(len(self.columns), dtype=np.int32)
        shape = (self.num_rows, self.num_columns)
        turned = sparse.csr_matrix((places, self.columns, self.pointer), shape=shape).tocsc()
        return Pattern(turned.indptr, turned.indices, self.num_rows), turned.data

    @property
    def transposed(self) -> Pattern:
        """The same entries by column."""
        return self._turned[0]

    @property
    def order(self) -> NDArray[np.int32]:
        """[E] where each entry of `transposed` stands in this pattern."""
        return self._turned[1]

    def head(self, num_rows: int, num_columns: int) -> Pattern:
        """The first rows, whose entries must lie in the first columns."""
        if (num_rows, num_columns) == (self.num_rows, self.num_columns):
            return self
        pointer = self.pointer[: num_rows + 1]
        return Pattern(pointer, self.columns[: pointer[-1]], num_columns)

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Pointer and columns on a device."""
        if device not in self.on_device:
            parts = (
                torch.from_numpy(part.astype(np.int64)).to(device) for part in (self.pointer, self.columns)
            )
            self.on_device[device] = (*parts,)  # type: ignore[assignment]
        return self.on_device[device]

    def each(self, kernel: Callable[..., None], *arguments: Any, width: int = 1) -> None:
        """Call `kernel(*arguments, first, last)` over all rows, each entry worth `width` products."""
        number = workers(len(self.columns) * width // 4)
        parallel.all_jobs(lambda *rows: kernel(*arguments, *rows), self.bounds, number)


def _has_kernels(table: Tensor) -> bool:
    """Say whether the compiled loops can read it."""
    return table.device.type == "cpu"


def _lanes(width: int) -> tuple[int, ...]:
    """A tuple as long as the vectors that a table of this width is cut into."""
    return (0,) * next((lanes for lanes in WIDTHS if width <= lanes), WIDTHS[-1])


def _cut(table: Tensor, lanes: int) -> Tensor:
    """A table [n, D] as [n, panels, lanes]."""
    missing = -table.shape[1] % lanes
    table = functional.pad(table, (0, missing)) if missing else table.contiguous()
    return table.view(len(table), -1, lanes)


def weighted_sums(pattern: Pattern, values: Tensor, table: Tensor) -> Tensor:
    """`out[i] = sum_k values[k] table[columns[k]]`, [rows, D], without a gradient."""
    values = values.contiguous()
    if not _has_kernels(table):
        shape = (pattern.num_rows, pattern.num_columns)
        return torch.sparse_csr_tensor(*pattern.tensors(table.device), values, shape) @ table
    lanes = _lanes(table.shape[1])
    cut = _cut(table, len(lanes))
    out = table.new_empty(pattern.num_rows, cut.shape[1] * len(lanes))
    result = out.numpy().reshape(-1, *cut.shape[1:])
    entries = (pattern.pointer, pattern.columns, values.numpy())
    if len(pattern.columns) < PANEL_ROWS * pattern.num_rows or cut.shape[1] == 1:
        pattern.each(kernels.row_product, lanes, *entries, cut.numpy(), result, width=table.shape[1])
    else:
        panels = cut.transpose(0, 1).contiguous().numpy()
        jobs = [(panel, *rows) for panel in range(len(panels)) for rows in pattern.bounds]
        walk = (lanes, *entries, panels, result)
        parallel.all_jobs(lambda *job: kernels.panel_product(*walk, *job), jobs, workers())
    return out if out.shape[1] == table.shape[1] else out[:, : table.shape[1]].contiguous()


def edge_dots(pattern: Pattern, left: Tensor, right: Tensor) -> Tensor:
    """`out[k] = left[i] . right[columns[k]]`, [E], without a gradient."""
    if not _has_kernels(left):
        rows = torch.from_numpy(pattern.rows).to(left.device)
        pairs = zip(rows.split(2**18), pattern.tensors(left.device)[1].split(2**18), strict=True)
        return torch.cat([(left[i] * right[j]).sum(1) for i, j in pairs])
    out = left.new_empty(len(pattern.columns))
    lanes = _lanes(left.shape[1])
    tables = (_cut(table, len(lanes)).numpy() for table in (left, right))
    pattern.each(
        kernels.edge_dots, lanes, pattern.pointer, pattern.columns, *tables, out.numpy(), width=left.shape[1]
    )
    return out


def _placed(pattern: Pattern, values: Tensor) -> Tensor:
    """Values of the entries in the order of the transposed pattern."""
    return values[torch.from_numpy(pattern.order).to(values.device)]


class SparseRows:
    """A sparse matrix [N, G] of numbers that do not learn: expression."""

    def __init__(
        self, matrix: sparse.csr_matrix | sparse.csr_array, dtype: torch.dtype = torch.float32
    ) -> None:
        self.pattern = Pattern(matrix.indptr, matrix.indices, matrix.shape[1])
        self.values = torch.from_numpy(np.ascontiguousarray(matrix.data)).to(dtype)
        self.shape = matrix.shape

    def __len__(self) -> int:
        return self.pattern.num_rows

    def to(self, device: torch.device | str) -> SparseRows:
        """Move the values; the pattern follows where it is asked for."""
        self.values = self.values.to(device)
        self.__dict__.pop("turned", None)
        return self

    @cached_property
    def turned(self) -> tuple[Pattern, Tensor]:
        """The transposed pattern, and the values in its order."""
        shape = (self.pattern.num_rows, self.pattern.num_columns)
        entries = (self.values.cpu().numpy(), self.pattern.columns, self.pattern.pointer)
        turned = sparse.csr_matrix(entries, shape).tocsc()
        pattern = Pattern(turned.indptr, turned.indices, shape[0])
        return pattern, torch.from_numpy(turned.data).to(self.values.device)

    def times(self, table: Tensor) -> Tensor:
        """`X table`, [N, D], without a gradient."""
        return weighted_sums(self.pattern, self.values, table)

    def transposed_times(self, table: Tensor) -> Tensor:
        """`X^T table`, [G, D], without a gradient."""
        return weighted_sums(*self.turned, table)

    def squared_norms(self) -> Tensor:
        """`||x_i||^2`, [N]."""
        squares = sparse.csr_matrix(
            (self.values.cpu().double().numpy() ** 2, self.pattern.columns, self.pattern.pointer), self.shape
        )
        return torch.from_numpy(np.asarray(squares.sum(1)).ravel()).to(self.values)


class _Aggregate(Function):
    """`out_i = sum_j c_ij table_j` over the entries of a pattern, with gradients to both."""

    @staticmethod
    def forward(ctx: Any, shares: Tensor, table: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(shares, table)
        ctx.pattern = pattern
        return weighted_sums(pattern, shares, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None]:
        shares, table = ctx.saved_tensors
        grad = grad.contiguous()
        along = edge_dots(ctx.pattern, grad, table) if ctx.needs_input_grad[0] else None
        back = weighted_sums(ctx.pattern.transposed, _placed(ctx.pattern, shares), grad)
        return along, back, None


class _Attend(Function):
    """`c_ij = w_ij exp(sigmoid(r_i + s_j)) / sum_k w_ik exp(sigmoid(r_i + s_k))`, [E]."""

    @staticmethod
    def forward(ctx: Any, receivers: Tensor, senders: Tensor, weights: Tensor, pattern: Pattern) -> Tensor:
        receivers, senders = receivers.contiguous(), senders.contiguous()
        gates, shares = torch.empty_like(weights), torch.empty_like(weights)
        if _has_kernels(weights):
            tables = [table.numpy() for table in (weights, receivers, senders, gates, shares)]
            pattern.each(kernels.attention, pattern.pointer, pattern.columns, *tables)
        else:
            pointer, columns = pattern.tensors(weights.device)
            gates = torch.sigmoid(receivers.repeat_interleave(pointer.diff()) + senders[columns])
            shares = weights * gates.exp()
            shares = shares / _by_row(shares, pointer).repeat_interleave(pointer.diff())
        ctx.save_for_backward(gates, shares)
        ctx.pattern = pattern
        return shares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (gates, shares), pattern = ctx.saved_tensors, ctx.pattern
        if _has_kernels(grad):
            slopes, receivers = torch.empty_like(gates), grad.new_empty(pattern.num_rows)
            senders = grad.new_empty(pattern.num_columns)
            tables = [table.numpy() for table in (gates, shares, grad.contiguous(), slopes, receivers)]
            pattern.each(kernels.attention_gradient, pattern.pointer, *tables)
            turned = pattern.transposed
            turned.each(kernels.row_sums, turned.pointer, pattern.order, slopes.numpy(), senders.numpy())
            return receivers, senders, None, None
        pointer = pattern.tensors(grad.device)[0]
        mean = _by_row(shares * grad, pointer).repeat_interleave(pointer.diff())
        slopes = shares * (grad - mean) * gates * (1 - gates)
        senders = _by_row(_placed(pattern, slopes), pattern.transposed.tensors(grad.device)[0])
        return _by_row(slopes, pointer), senders, None, None


def _by_row(values: Tensor, pointer: Tensor) -> Tensor:
    """Sums of the entries of each row."""
    return torch.segment_reduce(values, "sum", offsets=pointer, initial=0)


class _Product(Function):
    """`X W`, [N, H], with `X^T` times the gradient going to `W`."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: SparseRows | Tensor, known: Tensor | None) -> Tensor:
        ctx.rows = rows
        if known is not None:
            return known.view_as(known)
        return rows.times(weight) if isinstance(rows, SparseRows) else matmul(rows, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        if isinstance(ctx.rows, SparseRows):
            return ctx.rows.transposed_times(grad.contiguous()), None, None
        return transposed_matmul(ctx.rows, grad), None, None


def aggregate(shares: Tensor, table: Tensor, pattern: Pattern) -> Tensor:
    """`out_i = sum_j c_ij table_j`, [rows, D], of a table [columns, D], in the precision of shares [E]."""
    return _Aggregate.apply(shares, table.to(shares.dtype), pattern)


def attend(receivers: Tensor, senders: Tensor, weights: Tensor, pattern: Pattern) -> Tensor:
    """`c_ij`, the softmax over row i of `log w_ij + sigmoid(r_i + s_j)`, [E]."""
    return _Attend.apply(receivers, senders, weights, pattern)


def product(weight: Tensor, rows: SparseRows | Tensor, known: Tensor | None = None) -> Tensor:
    """`X W`, [N, H]; where it is known already, only its gradient is computed."""
    return _Product.apply(weight, rows, known)
