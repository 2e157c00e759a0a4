"""Cell types: from labelled cells to a classifier, its probabilities and what it does not know."""
