"""Graph attention networks for spatial omics: from molecules to cells to tissue."""

