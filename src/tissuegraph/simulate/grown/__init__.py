"""Tissue that grows on a lattice: the second simulator, which differs from the first in kind."""
