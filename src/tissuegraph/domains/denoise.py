"""Denoised components: what a cell shows itself, weighed against what the network makes of its surroundings.

The network's reconstruction is an average over neighbours: it has little noise, but blurs borders and forgets
what sets a cell apart from them. The cell's own components are not blurred, but have all the noise. For every
component the two are added with the weights of the smallest risk, which is known without the truth, so that a
cell follows its surroundings only as far as they speak for it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

PROBE = 0.05
"""Size of the change by which is measured how far the reconstruction follows the cell itself, in standard
deviations of the noise."""
ROUNDS = 20
RIDGE = 1e-6
"""Added to the second moments, as a share of their mean."""


def denoise(
    scores: Floats, rebuild: Callable[[Floats], Floats], total: float, num_genes: int, seed: int
) -> Floats:
    """Return what the scores would be without noise, as far as can be told, [N, K].

    With scores y, the reconstruction r(y) and noise of variance s^2 that is independent between cells, the
    risk of `a y + b r(y)` is smallest where `a E[y y] + b E[y r] = E[y y] - s^2` and
    `a E[y r] + b E[r r] = E[y r] - s^2 E[dr/dy]` (Stein 1981). The derivative is measured with a random
    change of all scores at once (Ramani et al. 2008).

    Parameters
    ----------
    scores
        [N, K] principal components.
    rebuild
        Scores to reconstructed scores, [N, K] both.
    total
        Mean squared length of a cell in all of the genes.
    num_genes
        How many those are.
    seed
        Of the random change.
    """
    powers = _means(scores, scores)
    own, noise = own_shares(powers, total, len(scores), num_genes)
    if not noise:
        return scores.copy()
    heard = rebuild(scores)
    probe = np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), scores.shape)
    step = np.float32(PROBE * np.sqrt(noise))
    change = rebuild((scores + step * probe).astype(np.float32)) - heard
    slopes = _means(change, probe) / step
    moments = np.array([[powers, _means(scores, heard)], [_means(scores, heard), _means(heard, heard)]])
    lost = powers * (1 - own)
    wanted = np.stack([powers - lost, moments[0, 1] - lost * slopes])
    moments = moments.transpose(2, 0, 1)
    moments = moments + RIDGE * np.trace(moments, axis1=1, axis2=2)[:, None, None] * np.eye(2)
    usable = moments[:, 0, 0] * moments[:, 1, 1] > moments[:, 0, 1] ** 2
    weights = np.zeros((len(powers), 2))
    weights[usable] = np.linalg.solve(moments[usable], wanted.T[usable][:, :, None])[:, :, 0]
    return (scores * weights[:, 0] + heard * weights[:, 1]).astype(np.float32)


def own_shares(powers: Doubles, total: float, num_cells: int, num_genes: int) -> tuple[Doubles, float]:
    """Return how much of each component is no noise, [K], and the variance of the noise of a gene.

    Components within the spectrum that noise alone has (Marchenko and Pastur 1967) count as noise, the others
    are shrunk as is best for the Frobenius norm (Gavish and Donoho 2017).

    Parameters
    ----------
    powers
        [K] variances of the leading components.
    total
        Sum of the variances of all components.
    num_cells, num_genes
        Of the data.
    """
    shape = num_genes / num_cells
    edge = (1 + np.sqrt(shape)) ** 2
    noise = total / num_genes
    for _ in range(ROUNDS):
        above = powers > edge * noise
        noise = max(0.0, total - float(powers[above].sum())) / max(1, num_genes - int(above.sum()))
    if noise <= np.finfo(np.float32).eps * total:
        return np.ones_like(powers), 0.0
    ratio = np.maximum(powers / noise, edge)
    return np.sqrt(np.maximum((ratio - shape - 1) ** 2 - 4 * shape, 0)) / ratio, noise


def _means(one: Floats, other: Floats) -> Doubles:
    """Mean product of columns, [K]."""
    return np.einsum("nk,nk->k", one, other, dtype=np.float64) / len(one)
