"""Small graphs that everybody knows, without a download."""

from __future__ import annotations

from tissuegraph.datasets.karate import karate_club

__all__ = ["karate_club"]
