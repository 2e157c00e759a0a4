"""Whole analyses, from files to files."""
