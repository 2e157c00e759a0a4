"""What is learnt about cells: embeddings of a graph, of expression on a graph, of several omics."""
