"""Cells of types that lie at known distances, in one or two omics."""
