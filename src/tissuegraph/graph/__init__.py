"""Graphs over molecules and cells."""
