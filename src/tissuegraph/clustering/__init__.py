"""From points to clusters: mixtures, communities, consensus, how many; arrays in, labels out."""
