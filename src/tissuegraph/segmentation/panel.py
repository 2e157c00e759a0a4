"""A model for a panel that it was not trained on: genes that it does not know borrow from those alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import cKDTree

from tissuegraph.segmentation.gene_vectors import gene_vectors
from tissuegraph.segmentation.model import SegmentationModel

ALIKE = 3
"""Known genes that an unknown one borrows from."""
EMBEDDING = "model.input.tx.emb.weight"


def for_panel(
    model: SegmentationModel, genes: tuple[str, ...], counts: sparse.csr_matrix
) -> SegmentationModel:
    """Return the model for other genes, some of which it knows.

    A gene that it does not know takes the mean of the embeddings of the known ones whose correspondence-
    analysis coordinates over the slide's nuclei are nearest.

    Parameters
    ----------
    genes
        The slide's, sorted.
    counts
        [nuclei, genes], of the slide.
    """
    shares = borrowed_shares(model.genes, genes, gene_vectors(counts))
    weights = model.network.state_dict()
    known = weights[EMBEDDING][: len(model.genes)]
    weights[EMBEDDING] = torch.from_numpy((shares @ known.cpu().numpy()).astype(np.float32))
    from tissuegraph.nn.lit import LitSegger

    network = LitSegger(len(genes), model.segger)
    network.load_state_dict(weights)
    vectors = (shares @ model.gene_vectors).astype(np.float32)
    return replace(model, network=network.eval(), genes=genes, gene_vectors=vectors, num_tx_tokens=len(genes))


def borrowed_shares(known: tuple[str, ...], genes: tuple[str, ...], vectors: np.ndarray) -> sparse.csr_matrix:
    """How much of each known gene stands for each of the slide's, [genes, known]; rows sum to 1.

    vectors [genes, K] are the slide's; at least one of its genes must be known.
    """
    number = {gene: i for i, gene in enumerate(known)}
    there = np.array([gene in number for gene in genes])
    own = np.array([number[gene] for gene, is_known in zip(genes, there, strict=True) if is_known])
    k = min(ALIKE, len(own))
    _, alike = cKDTree(vectors[there]).query(vectors[~there], k=np.arange(1, k + 1))
    rows = np.concatenate([np.flatnonzero(there), np.repeat(np.flatnonzero(~there), k)])
    columns = np.concatenate([own, own[alike.ravel()]])
    shares = np.concatenate([np.ones(len(own)), np.full(alike.size, 1 / k)])
    return sparse.csr_matrix((shares, (rows, columns)), shape=(len(genes), len(known)))
