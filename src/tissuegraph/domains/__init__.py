"""Tissue domains: sections in, STAGATE, clusters out."""
