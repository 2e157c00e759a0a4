"""What every training has in common, and the checks of parameters; nothing heavy to import."""

from __future__ import annotations

from typing import Protocol

from tissuegraph.errors import InputError

LARGEST_SEED = 2**32 - 1
"""That the generators take."""
MANY = 10**9


class Training(Protocol):
    """What parameters of any training say: how long it lasts, and where it runs."""

    @property
    def epochs(self) -> int:
        """Passes over the data, at most."""

    @property
    def patience(self) -> int:
        """Epochs without a better validation loss before training stops."""

    @property
    def accelerator(self) -> str:
        """auto, cpu, gpu, cuda or mps."""

    @property
    def strategy(self) -> str:
        """auto, ddp or ddp_spawn."""

    @property
    def devices(self) -> str:
        """How many devices, or auto."""

    @property
    def precision(self) -> str:
        """32-true, 16-mixed, bf16-mixed or auto."""


def check_seed(seed: int) -> None:
    """Refuse a seed that the generators do not take, with `InputError`."""
    if not 0 <= seed <= LARGEST_SEED:
        message = f"seed is {seed}; give a whole number from 0 to {LARGEST_SEED}"
        raise InputError(message)


def check_ranges(owner: object, **ranges: tuple[float, float]) -> None:
    """Refuse values outside their range, bounds included; None is no value."""
    for name, (low, high) in ranges.items():
        value = getattr(owner, name)
        if value is not None and not low <= value <= high:
            message = f"{name} is {value}; give a number from {low:g} to {high:g}"
            raise InputError(message)
