"""What can be set in segmentation, and the only place of the defaults; nothing heavy to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tissuegraph.errors import InputError
from tissuegraph.training.params import MANY, check_ranges

MIN_QV = 20.0
"""Transcripts of lower quality are left out."""
MIN_PROBABILITY = 0.5
"""Of an assignment, where nothing else is asked."""
FEWEST_IN_FRAGMENT = 5
"""Transcripts that a cell without a nucleus needs: nothing else says that it is a cell."""
SMALL_CELL = 10
"""Transcripts below which a cell is called small (`obs["is_small"]`): too few to tell its type."""


@dataclass(frozen=True)
class DatasetParams:
    """Which tiles are taken for training, and how many."""

    tile_transcripts: int = 4_000
    """Transcripts in the core of a training tile, at most."""
    max_tiles: int = 64
    """Tiles taken from the slide, at most, however large it is."""
    val_share: float = 0.15
    """Share of the tiles for validation."""
    test_share: float = 0.1
    """Share of the tiles for the final test."""
    hops: int = 3
    """Layers of the network that the tiles are for: mid_layers + 2, or more."""

    def __post_init__(self) -> None:
        """Refuse what gives no tiles."""
        check_ranges(
            self,
            tile_transcripts=(1, MANY),
            max_tiles=(3, MANY),
            val_share=(0, 0.8),
            test_share=(0, 0.8),
            hops=(1, 100),
        )
        if self.val_share + self.test_share > 0.9:
            message = (
                f"val_share and test_share are {self.val_share} and {self.test_share}; "
                "leave at least 0.1 of the tiles to train on"
            )
            raise InputError(message)


@dataclass(frozen=True)
class TrainParams:
    """How the network is trained, and on what."""

    batch_size_train: int = 4
    """Tiles a training step."""
    batch_size_val: int = 4
    """Tiles a validation step."""
    epochs: int = 16
    """Passes over the training tiles, at most."""
    patience: int = 3
    """Epochs without a better validation loss before training stops."""
    learning_rate: float = 3e-3
    """Of Adam."""
    accelerator: str = "auto"
    """auto, cpu, gpu, cuda or mps."""
    strategy: str = "auto"
    """auto, ddp or ddp_spawn; auto is ddp_spawn where there are several devices."""
    devices: str = "auto"
    """How many devices, or auto (on the CPU: one process)."""
    precision: str = "auto"
    """32-true, 16-mixed, bf16-mixed or auto: 32-true on the CPU, 16-mixed on a GPU."""

    def __post_init__(self) -> None:
        """Refuse what cannot train."""
        check_ranges(
            self,
            batch_size_train=(1, MANY),
            batch_size_val=(1, MANY),
            epochs=(1, MANY),
            patience=(1, MANY),
            learning_rate=(1e-12, 1e3),
        )


@dataclass(frozen=True)
class AssignParams:
    """How the network's scores, the distance and the neighbours are weighed."""

    affinity_weight: float = 0.75
    """Weight of the network's logit."""
    profile_weight: float = 0.4
    """Weight of the log likelihood ratio of a transcript's gene, given the candidate's profile."""
    neighbour_weight: float = 12.0
    """Weight of what all the neighbours say that a transcript listens to, were they at its own place."""
    listens_to: int = 30
    """Neighbours that a transcript listens to, at most."""
    rounds: int = 4
    """Rounds of mean field: how many neighbours away a transcript is heard."""
    none_logit: float = -4.0
    """Logit of belonging to no cell."""
    temperature: float = 4.0
    """What the logit of a probability is divided by, since neighbours that agree are overconfident."""

    def __post_init__(self) -> None:
        """Refuse what weighs nothing."""
        check_ranges(
            self,
            affinity_weight=(0, 1e3),
            profile_weight=(0, 1e3),
            neighbour_weight=(0, 1e3),
            listens_to=(1, MANY),
            rounds=(0, 100),
            none_logit=(-1e3, 1e3),
        )


@dataclass(frozen=True)
class PredictParams:
    """How a trained model is applied to a slide."""

    min_probability: float | None = None
    """Probability below which a transcript stays unassigned; 0.5 unless min_precision is given."""
    min_precision: float | None = None
    """Expected precision of the assignments, which sets the threshold instead of min_probability."""
    min_transcripts: int = 0
    """Cells with fewer are removed, and their transcripts stay unassigned."""
    genes: str = "strict"
    """Genes that the model does not know: strict: an error; intersect: left out; borrow: taken for known ones
    that the slide's nuclei express alike."""
    transcripts_per_tile: int = 100_000
    """Transcripts in the core of a tile, at most: what bounds the memory."""

    def __post_init__(self) -> None:
        """Refuse what cannot be applied."""
        check_ranges(
            self,
            min_probability=(0, 1),
            min_precision=(0.5, 1),
            min_transcripts=(0, MANY),
            transcripts_per_tile=(100, MANY),
        )
        if self.min_probability is not None and self.min_precision is not None:
            message = (
                f"min_probability is {self.min_probability} and min_precision {self.min_precision}, but each "
                "sets the threshold; give one of them"
            )
            raise InputError(message)
        if self.genes not in ("strict", "intersect", "borrow"):
            message = f"genes is {self.genes!r}; choose strict, intersect or borrow"
            raise InputError(message)


@dataclass(frozen=True)
class ReferenceFile:
    """Profiles of cell types, or annotated cells, that the types of a slide start from."""

    path: Path
    label: str
