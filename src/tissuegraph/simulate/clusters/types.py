"""The types of simulated omics: their names, shares and centres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tissuegraph.errors import InputError
from tissuegraph.simulate.arrays import Floats
from tissuegraph.simulate.clusters.distances import centres_at, checked, sibling_distances
from tissuegraph.simulate.clusters.params import OmicsParams

TYPES, FACTORS = 6, 10
"""How many, unless the parameters say otherwise."""


@dataclass(frozen=True)
class Types:
    """Types of cells.

    Attributes
    ----------
    names
        T of them.
    shares
        [T], sum to 1.
    distances
        [T, T], as asked for.
    centres
        [T, L], in the space of latent factors.
    """

    names: list[str]
    shares: Floats
    distances: Floats
    centres: Floats


def types_at(
    distances: npt.ArrayLike | pd.DataFrame | None, shares: Sequence[float] | None, params: OmicsParams
) -> Types:
    """Return types at the given distances, or at those of the parameters.

    Raises
    ------
    InputError
        If the distances, the shares and the parameters do not go together.
    """
    if distances is None:
        table = sibling_distances(params.n_types or TYPES, params.separation)
    else:
        table = checked(distances)
    n = len(table)
    if params.n_types not in (None, n):
        raise InputError(f"n_types is {params.n_types}, but distances are between {n} types; leave it out")
    names = [f"type {number}" for number in range(1, n + 1)]
    if isinstance(distances, pd.DataFrame):
        names = _names_of(distances)
    return Types(names, _shares(shares, n), table, _padded(centres_at(table), params))


def _names_of(distances: pd.DataFrame) -> list[str]:
    names = [str(name) for name in distances.index]
    if names != [str(name) for name in distances.columns] or len(set(names)) < len(names):
        raise InputError(
            "rows and columns of distances have not the same names, each once; name both by the types"
        )
    return names


def _shares(shares: Sequence[float] | None, n: int) -> Floats:
    if shares is None:
        return np.full(n, 1 / n)
    try:
        values = np.array(shares, np.float64)  # the command line gives text
    except (TypeError, ValueError) as error:
        raise InputError(f"shares are {shares}; give one number a type") from error
    if values.shape != (n,):
        raise InputError(f"there are {values.size} shares for {n} types; give one a type")
    if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
        raise InputError(f"shares are {shares}; give numbers of 0 or more, not all of them 0")
    return values / values.sum()


def _padded(centres: Floats, params: OmicsParams) -> Floats:
    """Centres in as many dimensions as there are latent factors; along the last ones types do not differ."""
    needed = centres.shape[1]
    factors = params.latent_factors or max(FACTORS, needed)
    if factors < needed:
        raise InputError(
            f"latent_factors is {factors}, but these distances need {needed} dimensions; ask for more"
        )
    if params.second_features is not None and (needed < 2 or factors < 2):
        raise InputError(
            "types differ along one line only, of which a second omics would see nothing; give three types "
            "or more that do not lie on a line"
        )
    return np.pad(centres, ((0, 0), (0, factors - needed))) + 0.0  # no minus zeros
