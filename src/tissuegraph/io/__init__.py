"""Readers: one platform a file, each returns a `Sample`."""

from tissuegraph.io.xenium import read_xenium

__all__ = ["read_xenium"]
