"""The space of a search: which fields of a model's parameters are tried, and at what values."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from tissuegraph.errors import InputError
from tissuegraph.metrics.searches import is_number

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Point = dict[str, Any]
LOG = "log"
REDRAWS = 100
"""Draws after which no new point is expected in a space of values."""


@dataclass(frozen=True)
class Axis:
    """One parameter: a list of values, or a range with both ends in it."""

    name: str
    default: Any
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @property
    def kind(self) -> str:
        """Either "values", "range" or "log"."""
        return "values" if self.choices else (LOG if self.log else "range")

    def draw(self, rng: np.random.Generator) -> Any:
        """Draw a value, evenly, or evenly in its logarithm."""
        if self.choices:
            return self.choices[int(rng.integers(len(self.choices)))]
        if self.whole and not self.log:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        # half a step is added to whole ranges, so that their ends are drawn as often as the others
        low, high = self.low - 0.5 * self.whole, self.high + 0.5 * self.whole
        drawn = math.exp(rng.uniform(math.log(low), math.log(high))) if self.log else rng.uniform(low, high)
        return int(np.clip(round(drawn), self.low, self.high)) if self.whole else float(drawn)

    def distribution(self) -> BaseDistribution:
        """The same, as optuna has it; listed values by their JSON."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution([as_text(value) for value in self.choices])
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def for_optuna(self, value: Any) -> Any:
        """A value as its distribution has it."""
        return as_text(value) if self.choices else value

    def holds(self, value: Any) -> bool:
        """Say whether a value lies in the space; a default need not."""
        if self.choices:
            return as_text(value) in map(as_text, self.choices)
        return is_number(value) and self.low <= value <= self.high and (not self.whole or value == int(value))

    def read(self, text: str) -> Any:
        """The value that JSON text stands for, as it was given: a tuple comes back as one."""
        known = {as_text(value): value for value in (*self.choices, self.default)}
        return known[text] if text in known else json.loads(text)

    def described(self) -> dict[str, Any]:
        """What is kept of it, for JSON."""
        if self.choices:
            return {"values": list(self.choices)}
        return {"low": self.low, "high": self.high, "log": self.log}


def as_text(value: Any) -> str:
    """The JSON of a value."""
    return json.dumps(value)


def read_space(space: Mapping[str, Any], defaults: Any, search: str) -> tuple[Axis, ...]:
    """Check a space against the parameters that it is of.

    Raises
    ------
    InputError
        If it is empty, a name is no field of the parameters, or values are neither a list nor a range.
    """
    known = [field.name for field in fields(defaults)]
    kind = type(defaults).__name__
    if not space:
        raise InputError(f"the space is empty; map fields of {kind} to values: {', '.join(known)}")
    for name in space:
        if name not in known:
            raise InputError(f"no field {name!r} in {kind}; there are: {', '.join(known)}")
    axes = tuple(_axis(name, given, getattr(defaults, name)) for name, given in space.items())
    ranges = [axis.name for axis in axes if not axis.choices]
    if search == "grid" and ranges:
        raise InputError(f"{ranges[0]} is a range, which a grid cannot try; list values, or search='random'")
    return axes


def _axis(name: str, given: Any, default: Any) -> Axis:
    if isinstance(given, tuple):
        return _range(name, given, default)
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray) or not len(given):
        raise InputError(
            f"{name} is {given!r}; give a list of values, or a range as (low, high) or (low, high, 'log')"
        )
    values = [one.item() if isinstance(one, np.generic) else one for one in given]
    try:
        texts = [as_text(value) for value in values]
    except TypeError as error:
        raise InputError(f"{name} lists what is neither number, text nor truth value: {error}") from error
    if len(set(texts)) < len(texts):
        raise InputError(f"{name} lists a value twice: {', '.join(texts)}; list each once")
    return Axis(name, default, tuple(values))


def _range(name: str, given: tuple[Any, ...], default: Any) -> Axis:
    ends, log = given[:2], given[2:] == (LOG,)
    fits = len(ends) == 2 and (log or len(given) == 2) and all(map(is_number, ends))
    if not fits or not (np.isfinite(ends).all() and ends[0] < ends[1]) or (log and ends[0] <= 0):
        raise InputError(
            f"{name} is {given!r}; a range is (low, high) or (low, high, 'log') with low < high, "
            "and above 0 for 'log'; list single values in brackets []"
        )
    # a field whose default is no whole number takes (0, 1) as a share
    whole = all(isinstance(end, int | np.integer) for end in ends) and not isinstance(default, float)
    low, high = (int(end) if whole else float(end) for end in ends)
    return Axis(name, default, (), low, high, log, whole)


def defaults_of(axes: Sequence[Axis]) -> Point:
    """The point of the defaults, which is tried first."""
    return {axis.name: axis.default for axis in axes}


def grid(axes: Sequence[Axis]) -> list[Point]:
    """The defaults, and every combination of the listed values."""
    names = [axis.name for axis in axes]
    first = defaults_of(axes)
    every = itertools.product(*(axis.choices for axis in axes))
    points = [dict(zip(names, values, strict=True)) for values in every]
    return [first, *(point for point in points if as_text(point) != as_text(first))]


def random_points(axes: Sequence[Axis], seed: int) -> Iterator[Point]:
    """The defaults, then draws without repetition; no point depends on how many are taken."""
    seen: set[str] = set()
    yield from _unseen(defaults_of(axes), seen)
    number = 1
    while True:
        rng = np.random.default_rng([seed, 11, number])
        before = len(seen)
        for _ in range(REDRAWS):
            yield from _unseen({axis.name: axis.draw(rng) for axis in axes}, seen)
            if len(seen) > before:
                break
        if len(seen) == before:
            return
        number += 1


def _unseen(point: Point, seen: set[str]) -> Iterator[Point]:
    text = as_text(point)
    if text not in seen:
        seen.add(text)
        yield point
