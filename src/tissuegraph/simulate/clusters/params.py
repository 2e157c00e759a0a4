"""The parameters of simulated omics, and the only place of their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from tissuegraph.errors import InputError
from tissuegraph.simulate.params import Range, refuse_numbers

PLACES = ("none", "random", "tissue")
WHOLE = ("n_samples", "n_features", "n_types", "latent_factors", "second_features")


@dataclass(frozen=True)
class OmicsParams:
    """What simulated omics look like.

    The defaults make types that overlap: who knows a cell's latent factors names the right one of six types
    in 83 of 100 cells.
    """

    n_samples: int = 1000
    """Cells."""
    n_features: int = 200
    """Genes, or other features."""
    spread: float = 1.0
    """Standard deviation of the cells of a type along each latent factor."""
    noise: float = 1.0
    """Standard deviation of the noise of each feature; what a feature shows of the latent factors varies by
    `spread` within a type."""
    n_types: int | None = None
    """Types; by default as many as the distances have, else 6."""
    separation: float = 2.5
    """Where no distances are given: types come in pairs at this distance, and any others lie 1.5 times as far
    apart."""
    latent_factors: int | None = None
    """Latent factors; by default 10, or as many as the distances need."""
    counts: float | None = None
    """Mean total counts of a cell; by default features are real numbers."""
    depth_variation: float = 0.3
    """Spread of the cells' totals where there are counts: standard deviation of their logarithm."""
    second_features: int | None = None
    """Features of a second omics that sees the other half of the latent factors; by default there is none."""
    spatial: str = "none"
    """Where cells lie: "none" for nowhere, "random" for anywhere whatever their type, "tissue" where
    neighbours share types."""
    same_neighbors: float = 0.7
    """Share of a cell's 6 nearest neighbours that are of its type, on average, in "tissue"."""
    patch: float = 60.0
    """Distance in um over which the types of "tissue" change; where it is a few `spacing`, types form small
    groups."""
    spacing: float = 15.0
    """Distance of neighbours in um."""

    def __post_init__(self) -> None:
        """Refuse what makes no omics."""
        given = [name for name in _RANGES if getattr(self, name) is not None or name not in OPTIONAL]
        refuse_numbers(
            self,
            {name: _RANGES[name] for name in given},
            whole=[name for name in WHOLE if name in given],
        )
        if self.spatial not in PLACES:
            raise InputError(f"spatial is {self.spatial!r}; choose one of {', '.join(PLACES)}")


OPTIONAL = ("n_types", "latent_factors", "counts", "second_features")
_RANGES: dict[str, Range] = {
    "n_samples": (1, 100_000_000),
    "n_features": (1, 1_000_000),
    "spread": (0, 1e6),
    "noise": (0, 1e6),
    "n_types": (1, 1000),
    "separation": (0, 1e6),
    "latent_factors": (1, 10_000),
    "counts": (0.01, 1_000_000),
    "depth_variation": (0, 3),
    "second_features": (1, 1_000_000),
    "same_neighbors": (0, 1),
    "patch": (0.01, 1_000_000),
    "spacing": (0.01, 10_000),
}
