"""Judge segmentations: read what any tool assigned, score it with or without truth, beside simple rules."""
