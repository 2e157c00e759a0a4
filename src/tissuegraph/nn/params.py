"""The hyper-parameters of the networks, without anything heavy to import."""

from __future__ import annotations

from dataclasses import dataclass

from tissuegraph.errors import ModelError

AGGREGATIONS = ("sum", "mean", "max")


@dataclass(frozen=True)
class SeggerParams:
    """The network; the panel's size comes from the data."""

    init_emb: int = 8
    """Width of the first embedding of genes and boundaries."""
    hidden_channels: int = 64
    """Width of the layers between, all heads together; a multiple of heads."""
    out_channels: int = 16
    """Width of the last layer, in which transcripts and boundaries are compared."""
    heads: int = 4
    """Attention heads."""
    mid_layers: int = 1
    """Layers between the first and the last."""
    aggr: str = "sum"
    """How messages are put together: sum, mean or max."""

    def __post_init__(self) -> None:
        """Refuse what makes no network."""
        for name, least in (("init_emb", 1), ("hidden_channels", 1), ("out_channels", 1), ("heads", 1)):
            if getattr(self, name) < least:
                message = f"{name} is {getattr(self, name)}; give {least} or more"
                raise ModelError(message)
        if self.mid_layers < 0:
            message = f"mid_layers is {self.mid_layers}; give 0 or more"
            raise ModelError(message)
        if self.hidden_channels % self.heads:
            message = f"hidden_channels ({self.hidden_channels}) must be a multiple of heads ({self.heads})"
            raise ModelError(message)
        if self.aggr not in AGGREGATIONS:
            message = f"aggr is {self.aggr!r}; choose one of {', '.join(AGGREGATIONS)}"
            raise ModelError(message)

    @property
    def hops(self) -> int:
        """How many neighbours away a transcript can be and still matter."""
        return self.mid_layers + 2
