from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError, Parameter

from tissuegraph.cli.commands import as_command


@dataclass(frozen=True)
class CakeParams:
    """What the cake is like. The rest is up to the cook."""

    sugar_grams: int = 100
    """How sweet."""
    shape: str = "round"
    """Seen from above."""


@dataclass(frozen=True)
class OvenParams:
    """How it is baked."""

    degrees: float = 180.0
    """Celsius."""


def bake(
    recipe: str | Path | CakeParams,
    out: str | Path,
    params: CakeParams | None = None,
    *,
    oven: OvenParams | None = None,
    helpers: int | None = None,
    overwrite: bool = False,
    **settings: object,
) -> tuple:
    """Bake a cake.

    Parameters
    ----------
    recipe
        Where it is written.
    out
        The plate.
    """
    return recipe, out, params, oven, helpers, overwrite, settings


Bake = Callable[[str], tuple]


@pytest.fixture
def call() -> Bake:
    def call(line: str) -> tuple:
        shown: list[tuple] = []
        app = App(default_parameter=Parameter(negative=()))
        app.default(as_command(bake, shown.append))
        command, bound, _ = app.parse_args(line.split(), exit_on_error=False, print_error=False)
        assert command(*bound.args, **bound.kwargs) is None
        return shown[0]

    return call


def test_defaults_stay_with_the_function(call):
    assert call("book plate") == (Path("book"), Path("plate"), None, None, None, False, {})


@pytest.mark.parametrize(
    "line", ["book -o plate", "book --out plate", "-o plate --recipe book", "book plate"]
)
def test_paths_by_place_or_by_name(call, line):
    assert call(line)[:2] == (Path("book"), Path("plate"))


@pytest.mark.parametrize("spelling", ["--sugar-grams", "--sugar_grams"])
def test_fields_are_options_with_hyphens_or_underscores_alike(call, spelling):
    _, _, params, oven, *_ = call(f"book -o plate {spelling} 7 --degrees 200")
    assert params == CakeParams(sugar_grams=7)
    assert oven == OvenParams(degrees=200.0)


def test_a_flag_has_no_opposite(call):
    assert call("book plate --overwrite")[5] is True
    with pytest.raises(CycloptsError, match="Unknown option: --no-overwrite"):
        call("book plate --no-overwrite")


def test_settings_are_not_an_option(call):
    with pytest.raises(CycloptsError, match="Unknown option: --flour"):
        call("book plate --flour 3")


def test_help_is_read_from_the_docstrings(capsys):
    app = App(name="bake")
    app.default(as_command(bake))
    command, bound, _ = app.parse_args(["--help"])
    command(*bound.args, **bound.kwargs)
    said = capsys.readouterr().out
    for text in (
        "Bake a cake.",
        "Where it is written.",
        "What the cake is like",
        "How sweet.",
        "default: 180.0",
    ):
        assert text in said
    assert "settings" not in said.lower()


@dataclass(frozen=True)
class IcingParams:
    """What is on it."""

    sugar_grams: int = 30
    """How sweet."""


def ice(out: Path, cake: CakeParams | None = None, icing: IcingParams | None = None) -> tuple:
    """Ice a cake."""
    return out, cake, icing


def test_fields_of_one_name_are_told_apart_by_what_they_belong_to():
    shown: list[tuple] = []
    app = App(default_parameter=Parameter(negative=()))
    app.default(as_command(ice, shown.append))
    line = "plate --cake.sugar-grams 1 --cake.shape square --icing.sugar_grams 2"
    command, bound, _ = app.parse_args(line.split(), exit_on_error=False, print_error=False)
    command(*bound.args, **bound.kwargs)
    assert shown == [(Path("plate"), CakeParams(1, "square"), IcingParams(2))]
