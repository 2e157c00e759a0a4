"""What networks are given of an AnnData: normalised expression, its components, embeddings."""
