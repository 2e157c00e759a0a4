"""Turn functions of the API into commands, without a second list of parameters, defaults and help."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from cyclopts import Parameter

import tissuegraph

SIMULATORS = ("tissue", "grown_tissue", "write_section", "write_omics")


def __getattr__(name: str) -> Callable[..., None]:
    """Load a command when it is asked for: `app` names them as `tissuegraph.cli.commands:NAME`."""
    if name.startswith("_"):
        raise AttributeError(name)
    function = getattr(tissuegraph.simulate if name in SIMULATORS else tissuegraph, name)
    if name == "evaluate":
        from tissuegraph.evaluation.table import print_evaluation

        return as_command(function, print_evaluation)
    return as_command(function)


def as_command(
    function: Callable[..., Any], show: Callable[[Any], None] | None = None
) -> Callable[..., None]:
    """Return `function` as cyclopts is to see it: it shows its result instead of returning it.

    The fields of a dataclass become options of their own, with its name before theirs where another has the
    same, `out` is also called `-o`, a path is only a path,
    and `**settings`, which stand for fields, are gone.
    """

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        result = function(*args, **kwargs)
        if show is not None:
            show(result)

    signature, hints = inspect.signature(function), get_type_hints(function)
    given = [
        one.replace(annotation=hints[one.name])
        for one in signature.parameters.values()
        if one.kind is not one.VAR_KEYWORD
    ]
    named_twice = _named_twice({owner for owner in map(_fields, given) if owner})
    options = [_option(one, named_twice) for one in given]
    command.__annotations__ = {one.name: one.annotation for one in options}
    command.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    return command


def _fields(parameter: inspect.Parameter) -> type | None:
    """Return the dataclass that the parameter takes, or None."""
    return next((one for one in _choices(parameter) if isinstance(one, type) and is_dataclass(one)), None)


def _choices(parameter: inspect.Parameter) -> tuple[Any, ...]:
    hint = parameter.annotation
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _named_twice(owners: set[Any]) -> set[Any]:
    """Return the dataclasses that share the name of a field with another."""
    count = Counter(field.name for owner in owners for field in fields(owner))
    return {owner for owner in owners if any(count[field.name] > 1 for field in fields(owner))}


def _option(parameter: inspect.Parameter, named_twice: set[Any]) -> inspect.Parameter:
    """Return the parameter as cyclopts is to spell it."""
    choices, owner = _choices(parameter), _fields(parameter)
    if any(get_origin(one) is Sequence for one in choices):
        return parameter.replace(annotation=list[str])
    if Path in choices:
        path = Path | None if type(None) in choices else Path
        alias = "-o" if parameter.name == "out" else ()
        return parameter.replace(annotation=Annotated[path, Parameter(alias=alias)])
    if owner is not None:
        # fields that two dataclasses share are told apart by the parameter's name: --infomax.epochs
        name = f"--{parameter.name}" if owner in named_twice else "*"
        flat = Parameter(name=name, group=_title(owner))
        return parameter.replace(
            kind=parameter.KEYWORD_ONLY, annotation=Annotated[parameter.annotation, flat]
        )
    return parameter


def _title(owner: type) -> str:
    """Return the first sentence of a dataclass's docstring, the heading over its options."""
    return (inspect.getdoc(owner) or owner.__name__).splitlines()[0].rstrip(".")
