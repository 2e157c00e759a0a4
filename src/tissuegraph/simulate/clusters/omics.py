"""omics(): cells of types at known distances, in one or two omics, with or without a tissue around them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.output import refuse_existing_file, whole_file
from tissuegraph.simulate.arrays import Floats
from tissuegraph.simulate.clusters import latent as made
from tissuegraph.simulate.clusters.params import OmicsParams
from tissuegraph.simulate.clusters.places import arranged, draw_positions
from tissuegraph.simulate.clusters.types import Types, types_at
from tissuegraph.simulate.expression import gene_names
from tissuegraph.simulate.params import with_settings

if TYPE_CHECKING:
    from anndata import AnnData

ENDING = ".h5ad"
LATENT, POSTERIOR, SIMULATED = "latent", "posterior", "simulated"


@overload
def omics(
    n_samples: int = ...,
    n_features: int = ...,
    distances: npt.ArrayLike | pd.DataFrame | None = ...,
    spread: float = ...,
    noise: float = ...,
    *,
    shares: Sequence[float] | None = ...,
    second_features: None = ...,
    seed: int = ...,
    **settings: Any,
) -> AnnData: ...


@overload
def omics(
    n_samples: int = ...,
    n_features: int = ...,
    distances: npt.ArrayLike | pd.DataFrame | None = ...,
    spread: float = ...,
    noise: float = ...,
    *,
    shares: Sequence[float] | None = ...,
    second_features: int,
    seed: int = ...,
    **settings: Any,
) -> tuple[AnnData, AnnData]: ...


def omics(
    n_samples: int = OmicsParams.n_samples,
    n_features: int = OmicsParams.n_features,
    distances: npt.ArrayLike | pd.DataFrame | None = None,
    spread: float = OmicsParams.spread,
    noise: float = OmicsParams.noise,
    *,
    shares: Sequence[float] | None = None,
    second_features: int | None = OmicsParams.second_features,
    seed: int = 0,
    **settings: Any,
) -> AnnData | tuple[AnnData, AnnData]:
    """Simulate cells whose types lie at given distances.

    A type k has a centre `c_k` in the space of latent factors; centres have exactly the given distances. A
    cell of it lies at `z = c_k + spread e`, and its features are `z W + noise e'`, with independent standard
    normal `e` and `e'`.

    Parameters
    ----------
    n_samples, n_features
        Cells and features.
    distances
        [T, T], symmetric, between the centres of the types, in the unit of `spread`; a DataFrame names the
        types. By default types come in pairs (`separation`).
    spread
        Standard deviation of a type's cells along each latent factor. Two types of equal share at distance D
        are told apart with accuracy `Phi(D / (2 spread))`, at best.
    noise
        Standard deviation of the noise of each feature.
    shares
        Share of each type among the cells; equal by default. They are divided by their sum.
    second_features
        Features of a second omics of the same cells. The first sees every other latent factor, the second the
        others; the two nearest types differ in the first only, the next two mostly in the second, and so on.
    seed
        The same parameters and seed give the same bits.
    **settings
        Other fields of `OmicsParams`: `n_types`, `counts`, `spatial`, `same_neighbors` and more.

    Returns
    -------
    AnnData with features in `X` (f32; csr where there are counts), the truth in `obs["cell_type"]`,
    `obsm["latent"]` [N, L] and `obsm["posterior"]` [N, T] (probability of each type given the latent
    factors), `obsm["spatial"]` in um where asked for, and in `uns["tissuegraph"]["simulated"]` the
    parameters, seed, `distances`, `shares`, `centres` [T, L], the `factors` that the omics sees, and
    `bayes_accuracy`: of the best guess from all latent factors; `bayes_accuracy_features`: from the omics'
    features, where they are real numbers. With `second_features`, a pair of these, with the same `obs`, and
    `bayes_accuracy_seen`: from the factors that the omics sees.

    Raises
    ------
    InputError
        No points have the distances (the message says why), or another parameter makes no omics.
    """
    given = {"n_samples": n_samples, "n_features": n_features, "spread": spread, "noise": noise}
    params = with_settings(OmicsParams(), given | {"second_features": second_features} | settings)
    if seed < 0:
        raise InputError(f"seed is {seed}; give a whole number of 0 or more")
    types = types_at(distances, shares, params)
    cells = _draw_cells(types, params, seed)
    first = _layer(cells, types, params, seed, number=0)
    if params.second_features is None:
        return first
    return first, _layer(cells, types, params, seed, number=1)


def write_omics(
    out: Path | str,
    params: OmicsParams | None = None,
    *,
    distances: Path | str | None = None,
    shares: Sequence[float] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    **settings: Any,
) -> Path:
    """Simulate cells whose types lie at given distances, and write them as an h5ad.

    Parameters
    ----------
    out
        File to write, `.h5ad`. A second omics goes beside it, as `<name>_second.h5ad`.
    params
        What the omics look like.
    distances
        CSV of the distances between the types, with their names in the first row and the first column. By
        default types come in pairs (`separation`).
    shares
        Share of each type among the cells; equal by default.
    seed
        The same parameters and seed give the same cells.
    overwrite
        Replace a file that is there.
    **settings
        Fields of `OmicsParams` that replace those of `params`.

    Returns
    -------
    The file.

    Raises
    ------
    InputError
        A parameter makes no omics.
    OutputError
        The file exists or cannot be written.
    """
    out = Path(out).absolute()
    if out.suffix != ENDING:
        raise InputError(f"out is {out.name}; give a name that ends with {ENDING}")
    params = with_settings(params or OmicsParams(), settings)
    files = [out] if params.second_features is None else [out, out.with_name(f"{out.stem}_second{ENDING}")]
    for file in files:
        refuse_existing_file(file, overwrite=overwrite)
    table = None if distances is None else _read_distances(Path(distances))
    made = omics(distances=table, shares=shares, seed=seed, **asdict(params))
    for file, adata in zip(files, made if isinstance(made, tuple) else (made,), strict=True):
        with whole_file(file) as staging:
            adata.write_h5ad(staging, compression="gzip")
    return out


def _read_distances(file: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(file, index_col=0)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read distances from {file}: {error}; give a CSV with the names of the types in the "
            "first row and column"
        ) from error


@dataclass(frozen=True)
class _Cells:
    """What both omics share."""

    obs: pd.DataFrame
    latent: Floats
    posterior: Floats
    positions: Floats | None


def _draw_cells(types: Types, params: OmicsParams, seed: int) -> _Cells:
    kinds = made.draw_types(params.n_samples, types.shares, np.random.default_rng([seed, 0]))
    positions, rng = None, np.random.default_rng([seed, 1])
    if params.spatial != "none":
        positions = draw_positions(params.n_samples, params.spacing, rng)
    if positions is not None and params.spatial == "tissue":
        kinds = arranged(kinds, positions, params.same_neighbors, params.patch, rng)
    rng = np.random.default_rng([seed, 2])
    latent = types.centres[kinds] + params.spread * rng.standard_normal((len(kinds), types.centres.shape[1]))
    obs = pd.DataFrame(
        {keys.CELL_TYPE: pd.Categorical.from_codes(kinds, pd.Index(types.names))},
        index=[f"cell{number}" for number in range(1, len(kinds) + 1)],
    )
    return _Cells(obs, latent, made.posterior(latent, types.centres, types.shares, params.spread), positions)


def _layer(cells: _Cells, types: Types, params: OmicsParams, seed: int, *, number: int) -> AnnData:
    """One omics; number 1 is the second."""
    from anndata import AnnData

    rng = np.random.default_rng([seed, 3, number])
    n_features = params.n_features if number == 0 else int(params.second_features or 0)
    factors = np.arange(types.centres.shape[1])
    if params.second_features is not None:
        factors = factors[number::2]
    loadings = made.draw_loadings(len(factors), n_features, rng)
    features: Any = made.draw_features(cells.latent[:, factors], loadings, params.noise, rng)
    if params.counts is not None:
        features = made.draw_counts(features, params.counts, params.depth_variation, rng)
    names = gene_names(n_features) if number == 0 else [f"PROTEIN{i:05d}" for i in range(1, n_features + 1)]
    adata = AnnData(features, obs=cells.obs.copy(), var=pd.DataFrame(index=names))
    adata.obsm[LATENT], adata.obsm[POSTERIOR] = cells.latent.copy(), cells.posterior.copy()
    if cells.positions is not None:
        adata.obsm[keys.OBSM_SPATIAL] = cells.positions.copy()
    record = {"params": json.dumps(asdict(params)), "seed": seed, "factors": factors}
    record |= {"distances": types.distances, "centres": types.centres, "shares": types.shares}
    adata.uns[keys.UNS_RUN] = {SIMULATED: record | _accuracies(types, factors, loadings, params, seed)}
    return adata


def _accuracies(
    types: Types, factors: npt.NDArray[np.int64], loadings: Floats, params: OmicsParams, seed: int
) -> dict[str, float]:
    """How often the best guess is right, from what is known of a cell."""
    whole, part = types.centres, types.centres[:, factors]
    views = {"bayes_accuracy": (whole, params.spread)}
    if params.second_features is not None:
        views["bayes_accuracy_seen"] = part, params.spread
    if params.counts is None:
        shown = made.seen_in_features(part, loadings, params.spread, params.noise)
        views["bayes_accuracy_features"] = shown
    return {
        name: made.bayes_accuracy(centres, types.shares, spread, np.random.default_rng([seed, 4]))
        for name, (centres, spread) in views.items()
    }
