"""Networks: torch and PyG only, no AnnData, no files."""
