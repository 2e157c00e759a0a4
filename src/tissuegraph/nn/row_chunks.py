"""Dense operations on chunks of rows, which threads share and no number of threads changes.

torch's own threads meet after every operation and wait by spinning: on a busy machine, or where operations
are short, that costs more than it saves, and the last bits of a product depend on how many there are. Here
torch runs on one thread in each of ours, over chunks that the shape alone decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from tissuegraph import parallel

ROWS = 512
BLOCK = 128
MOST_PARTS = 8
WORTH_THREADS = 2**20

_workers: list[int] = []
"""How many threads are ours, innermost last, where torch was told to use one."""


def workers(work: int = WORTH_THREADS) -> int:
    """How many threads to use for so many additions or products; threads take a while to wake."""
    if work < WORTH_THREADS:
        return 1
    return _workers[-1] if _workers else torch.get_num_threads()


@contextmanager
def own_threads() -> Iterator[None]:
    """Use as many threads as torch would, and let torch itself run on one."""
    number = workers()
    before = torch.get_num_threads()
    _workers.append(number)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _workers.pop()


def over_rows(kernel: Callable[[slice], None], like: Tensor, rows: int = ROWS) -> None:
    """Call `kernel(rows)` for chunks of the rows of a table; all at once where it is not on the CPU."""
    if like.device.type != "cpu":
        kernel(slice(None))
        return
    number = len(like)
    jobs = [(slice(first, min(first + rows, number)),) for first in range(0, number, rows)]
    parallel.all_jobs(torch.no_grad()(kernel), jobs, workers(like.numel()))


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """`left right`, [n, D]."""
    out = left.new_empty(len(left), right.shape[1])

    def part(rows: slice) -> None:
        torch.mm(left[rows], right, out=out[rows])

    over_rows(part, left)
    return out


def transposed_matmul(left: Tensor, right: Tensor) -> Tensor:
    """`left^T right`, [A, B], of tables with many rows: sums over chunks, added in order."""
    length = max(ROWS, -(-len(left) // MOST_PARTS))
    parts = left.new_empty(-(-len(left) // length), left.shape[1], right.shape[1])

    def part(rows: slice) -> None:
        torch.mm(left[rows].T, right[rows], out=parts[(rows.start or 0) // length])

    if left.device.type != "cpu" or len(parts) < 2:
        return left.T @ right
    over_rows(part, left, length)
    return parts.sum(0)


def symmetric(left: Tensor, right: Tensor) -> Tensor:
    """`left^T right`, [D, D], where it is known to be symmetric: one half is computed."""
    out = left.new_empty(left.shape[1], right.shape[1])

    def part(rows: slice) -> None:
        first = rows.start or 0
        out[rows, first:] = left[:, rows].T @ right[:, first:]
        out[rows.stop or len(out) :, rows] = out[rows, rows.stop or len(out) :].T

    over_rows(part, out, BLOCK)
    return out
