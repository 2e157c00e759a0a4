"""Turn functions of the API into commands, without a second list of parameters, defaults and help."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
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

    The fields of a dataclass become options of their own, `out` is also called `-o`, a path is only a path,
    and `**settings`, which stand for fields, are gone.
    """

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        result = function(*args, **kwargs)
        if show is not None:
            show(result)

    signature, hints = inspect.signature(function), get_type_hints(function)
    options = [
        _option(one.replace(annotation=hints[one.name]))
        for one in signature.parameters.values()
        if one.kind is not one.VAR_KEYWORD
    ]
    command.__annotations__ = {one.name: one.annotation for one in options}
    command.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    return command


def _option(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return the parameter as cyclopts is to spell it."""
    hint = parameter.annotation
    choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    fields = next((one for one in choices if isinstance(one, type) and dataclasses.is_dataclass(one)), None)
    if any(get_origin(one) is Sequence for one in choices):
        return parameter.replace(annotation=list[str])
    if Path in choices:
        path = Path | None if type(None) in choices else Path
        alias = "-o" if parameter.name == "out" else ()
        return parameter.replace(annotation=Annotated[path, Parameter(alias=alias)])
    if fields is not None:
        flat = Parameter(name="*", group=_title(fields))
        return parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=Annotated[hint, flat])
    return parameter


def _title(fields: type) -> str:
    """Return the first sentence of a dataclass's docstring, the heading over its options."""
    return (inspect.getdoc(fields) or fields.__name__).splitlines()[0].rstrip(".")
