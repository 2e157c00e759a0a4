from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tissuegraph

SOURCE = Path(__file__).resolve().parents[1] / "src" / "tissuegraph"

# What stands later may import what stands earlier; those in one group do not know each other.
ORDER = (
    {"keys", "errors", "memory", "trace"},
    {"parallel", "output", "shapes"},
    {"sample"},
    {"io", "simulate", "tiles", "graph", "metrics", "datasets"},
    {"nn"},
    {"features", "clustering", "training"},
    {"segmentation", "domains", "cells"},
    {"plot"},
    {"evaluation", "runs"},
    {"report"},
    {"cli"},
)
RANK = {unit: rank for rank, units in enumerate(ORDER) for unit in units}
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def unit_of(module: Path) -> str:
    return module.relative_to(SOURCE).with_suffix("").parts[0]


def imported_units(module: Path) -> Iterator[str]:
    """What a module imports of this package, inside functions too; relative imports are not ours."""
    for node in ast.walk(ast.parse(module.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full"
            if node.module == "tissuegraph":
                names = [f"tissuegraph.{alias.name}" for alias in node.names]
            else:
                names = [node.module or ""]
        yield from (name.split(".")[1] for name in names if name.startswith("tissuegraph."))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(module):
    unit = unit_of(module)
    wrong = [other for other in imported_units(module) if other != unit and not RANK[other] < RANK[unit]]
    assert not wrong, f"{unit} must not import {wrong}"


def test_every_unit_has_its_place_in_the_order():
    assert {unit_of(module) for module in MODULES} <= RANK.keys()


@pytest.mark.parametrize("name", tissuegraph.__all__)
def test_public_names_are_there(name):
    assert getattr(tissuegraph, name) is not None
    assert name in dir(tissuegraph)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_names():
    with pytest.raises(AttributeError, match=r"no attribute 'segmnt'.*segment"):
        tissuegraph.segmnt  # noqa: B018
    assert not hasattr(tissuegraph, "segmnt")


def test_no_package_bears_the_name_of_a_public_function():
    units = {unit_of(module) for module in MODULES}
    functions = {name for name in tissuegraph.__all__ if callable(getattr(tissuegraph, name))}
    assert not units & functions


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_importing_the_package_loads_nothing_heavy():
    heavy = "torch", "pandas", "lightning", "numpy", "polars", "geopandas", "numba", "anndata", "cyclopts"
    assert run(f"import sys, tissuegraph; print(*({set(heavy)!r} & sys.modules.keys()))").split() == []


def test_subpackages_come_with_what_they_hold():
    code = "import tissuegraph as tg; print(tg.simulate.tissue.__name__, tg.metrics.segmentation.__name__)"
    assert run(code).split() == ["tissue", "tissuegraph.metrics.segmentation"]
