"""Score the candidate pairs of a tile with a trained network."""

from __future__ import annotations

import numpy as np
import torch

from tissuegraph.graph.hetero import TileGraph, hetero_data
from tissuegraph.nn.lit import LitSegger


@torch.inference_mode()
def affinity(network: LitSegger, graph: TileGraph) -> np.ndarray:
    """Logits [P] of the tile's candidate pairs.

    A transcript inside a nucleus is scored while its half of the nucleus is hidden from message passing;
    one outside is scored with either half hidden, and the mean is taken.
    """
    total = np.zeros(graph.candidates.shape[1], np.float64)
    fold = graph.fold[graph.candidates[0]]
    for hidden in (0, 1):
        data = hetero_data(graph, graph.fold == hidden).to(network.device)
        pairs = torch.from_numpy(graph.candidates).to(network.device)
        logits = network(data, pairs).float().cpu().numpy()
        total += np.where(fold == hidden, logits, np.where(fold < 0, logits / 2, 0.0))
    return total
