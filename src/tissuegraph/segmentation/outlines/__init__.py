"""Outlines of cells, step by step: densities compete for pixels, borders are smoothed, nuclei are kept."""
