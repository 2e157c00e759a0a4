"""Sections of spots or cells in tissue domains that we drew ourselves."""
