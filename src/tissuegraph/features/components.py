"""Leading principal components of expression, section by section centred, without a dense matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tissuegraph.features.expression import Matrix
from tissuegraph.nn.sparse import SparseRows

SPARE = 20
"""Directions beyond those asked for, which make the last of them exact sooner."""
PREFIX = "components."
"""Of the names that its numbers have in a model."""
ROUNDS = 8
"""Rounds of subspace iteration."""

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Moments:
    """Mean and scale of each gene in each section, [sections, G]."""

    mean: Floats
    scale: Floats


@dataclass(frozen=True)
class Components:
    """A fitted projection: genes are centred, divided by a scale, and multiplied by loadings [G, K]."""

    moments: Moments
    loadings: Floats
    by_section: bool
    """Whether every section is centred by itself, so that a new one brings moments of its own."""
    z_score: bool

    def moments_of(self, matrix: Matrix, sections: Codes) -> Moments:
        """The moments by which these cells are centred; sections [N] counts from 0."""
        if self.by_section:
            return moments(matrix, sections, z_score=self.z_score)
        repeated = np.zeros(int(sections.max()) + 1, np.int64)
        return Moments(self.moments.mean[repeated], self.moments.scale[repeated])

    def project(self, matrix: Matrix, sections: Codes, by: Moments) -> Floats:
        """Scores [N, K]."""
        parts = _parts(matrix, sections, by)
        scores = np.empty((matrix.shape[0], self.loadings.shape[1]), np.float32)
        for part in parts:
            scores[part.cells] = part.times(torch.from_numpy(self.loadings)).numpy()
        return scores

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is numbers, by name."""
        arrays = {"loadings": self.loadings, "mean": self.moments.mean, "scale": self.moments.scale}
        return {
            PREFIX + name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()
        }

    @classmethod
    def taken_from(
        cls, tensors: dict[str, Tensor], *, by_section: bool, z_score: bool
    ) -> tuple[Components | None, dict[str, Tensor]]:
        """Take a projection, if there is one, out of all the tensors of a model; return it and the others."""
        parts = {name: value.numpy() for name, value in tensors.items() if name.startswith(PREFIX)}
        others = {name: value for name, value in tensors.items() if name not in parts}
        if not parts:
            return None, others
        loadings, mean, scale = (parts[PREFIX + name] for name in ("loadings", "mean", "scale"))
        return cls(Moments(mean, scale), loadings, by_section, z_score), others

    def expand(self, scores: Floats, sections: Codes, by: Moments) -> Floats:
        """Expression [n, G] that belongs to scores [n, K]."""
        return (scores @ self.loadings.T) * by.scale[sections] + by.mean[sections]


def fit_components(
    matrix: Matrix, n_components: int, sections: Codes, *, z_score: bool
) -> tuple[Components, Floats]:
    """Find the leading components by subspace iteration (Halko et al. 2011).

    Parameters
    ----------
    matrix
        [N, G] expression.
    n_components
        How many; fewer where there are fewer cells or genes.
    sections
        [N] number of the section of each cell, from 0; each is centred by itself.
    z_score
        Divide every gene by its standard deviation in the section.

    Returns
    -------
    The projection, and the scores [N, K]. The same data give the same components, without a seed.
    """
    by = moments(matrix, sections, z_score=z_score)
    parts = _parts(matrix, sections, by)
    wanted = min(n_components, matrix.shape[0], matrix.shape[1])
    width = min(wanted + SPARE, matrix.shape[1])
    basis = torch.randn(matrix.shape[1], width, generator=torch.Generator().manual_seed(0))
    for _ in range(ROUNDS):
        basis = torch.linalg.qr(sum(part.transposed_times(part.times(basis)) for part in parts))[0]
    projected = [part.times(basis) for part in parts]
    inner = sum((table.double().T @ table.double() for table in projected), torch.zeros(()))
    turn = torch.linalg.eigh(inner)[1].flip(1)[:, :wanted].float()
    loadings = basis @ turn
    # the sign of a component is free: its largest loading is positive
    signs = torch.sign(loadings.gather(0, loadings.abs().argmax(0, keepdim=True)))
    signs[signs == 0] = 1
    scores = np.empty((matrix.shape[0], wanted), np.float32)
    for part, table in zip(parts, projected, strict=True):
        scores[part.cells] = (table @ (turn * signs)).numpy()
    found = Components(by, (loadings * signs).numpy(), len(by.mean) > 1, z_score)
    return found, scores


def moments(matrix: Matrix, sections: Codes, *, z_score: bool) -> Moments:
    """Mean and, with `z_score`, standard deviation (else one) of each gene in each section."""
    whole: Any = matrix
    means, scales = [], []
    for section in range(int(sections.max()) + 1):
        part = whole[sections == section]
        mean = np.asarray(part.mean(axis=0, dtype=np.float64)).ravel()
        squares = part**2 if isinstance(part, np.ndarray) else part.multiply(part)
        variance = np.asarray(squares.mean(axis=0, dtype=np.float64)).ravel() - mean**2
        means.append(mean)
        spread = np.sqrt(np.maximum(variance, 0))
        # a gene that does not vary stays as it is, which after centring is zero
        scales.append(np.where(spread > 1e-6, spread, 1.0) if z_score else np.ones_like(mean))
    return Moments(np.array(means, np.float32), np.array(scales, np.float32))


def mean_squared_length(matrix: Matrix, sections: Codes, by: Moments) -> float:
    """Mean squared length of a cell, centred and scaled: the sum of the variances of all components."""
    whole: Any = matrix
    total = 0.0
    for section in range(int(sections.max()) + 1):
        part = whole[sections == section]
        squares = part**2 if isinstance(part, np.ndarray) else part.multiply(part)
        means = [np.asarray(table.mean(axis=0, dtype=np.float64)).ravel() for table in (part, squares)]
        centre, scale = by.mean[section].astype(np.float64), by.scale[section]
        total += part.shape[0] * float(((means[1] - 2 * centre * means[0] + centre**2) / scale**2).sum())
    return total / matrix.shape[0]


class _Part:
    """One section, centred and scaled in thought."""

    def __init__(self, matrix: Matrix, cells: npt.NDArray[np.int64], mean: Floats, scale: Floats) -> None:
        whole: Any = matrix
        part = whole if len(cells) == matrix.shape[0] else whole[cells]
        self.cells = cells
        self.rows: Any = torch.from_numpy(part) if isinstance(part, np.ndarray) else SparseRows(part)
        self.mean, self.scale = torch.from_numpy(mean), torch.from_numpy(scale).unsqueeze(1)

    def times(self, table: Tensor) -> Tensor:
        scaled = table / self.scale
        out = self.rows.times(scaled) if isinstance(self.rows, SparseRows) else self.rows @ scaled
        return out - self.mean @ scaled

    def transposed_times(self, table: Tensor) -> Tensor:
        sparse_rows = isinstance(self.rows, SparseRows)
        out = self.rows.transposed_times(table) if sparse_rows else self.rows.T @ table
        return (out - torch.outer(self.mean, table.sum(0))) / self.scale


def _parts(matrix: Matrix, sections: Codes, by: Moments) -> list[_Part]:
    numbers = range(int(sections.max()) + 1)
    return [_Part(matrix, np.flatnonzero(sections == i), by.mean[i], by.scale[i]) for i in numbers]
