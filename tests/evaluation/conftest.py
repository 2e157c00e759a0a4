"""The slides of `slides`: the one drawn by hand anew for each test, the lattice once for all."""

from __future__ import annotations

from pathlib import Path

import pytest
import slides

import tissuegraph as tg


@pytest.fixture
def hand(tmp_path) -> Path:
    return slides.write_hand(tmp_path)


@pytest.fixture(scope="session")
def lattice(tmp_path_factory) -> Path:
    """Not to be written to."""
    return slides.write_lattice(tmp_path_factory.mktemp("lattice"))


@pytest.fixture(scope="session")
def judged(lattice):
    """The lattice's evaluation with its truth."""
    return tg.evaluate(lattice / "method.parquet", lattice / "truth.parquet", bundle=lattice / "bundle")
