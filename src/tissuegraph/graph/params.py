"""How transcripts and boundaries are joined, without anything heavy to import."""

from __future__ import annotations

from dataclasses import dataclass

from tissuegraph.errors import InputError


@dataclass(frozen=True)
class GraphParams:
    """How a tile becomes a graph; distances in um."""

    k_tx: int = 10
    """Neighbours of a transcript, at most."""
    dist_tx: float = 5.0
    """Farthest neighbour of a transcript."""
    k_bd: int = 6
    """Boundaries that compete for a transcript, at most."""
    dist_bd: float = 15.0
    """Farthest boundary that competes for a transcript, measured from its outline."""

    def __post_init__(self) -> None:
        """Refuse what makes no graph."""
        for name in ("k_tx", "dist_tx", "k_bd", "dist_bd"):
            if not 0 < getattr(self, name) < float("inf"):
                message = f"{name} is {getattr(self, name)}; give a number above 0"
                raise InputError(message)
