"""The command line: the API's own functions, loaded when they are called."""

from __future__ import annotations

from tissuegraph.cli.app import main

__all__ = ["main"]
