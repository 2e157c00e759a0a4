"""Why a cell was given its type: by which genes, and by which neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor, nn

from tissuegraph.cells.annotation.genes import find_genes
from tissuegraph.cells.annotation.graphs import EXPRESSION, joint_graph
from tissuegraph.cells.annotation.model import AnnotateModel, load_annotator
from tissuegraph.cells.annotation.numbers import read_numbers
from tissuegraph.errors import InputError, ModelError
from tissuegraph.graph.hops import around

if TYPE_CHECKING:
    from anndata import AnnData

EPOCHS = 200
"""Steps in which an explanation is sought."""


@dataclass(frozen=True)
class Explanation:
    """What one cell's type rests on.

    Attributes
    ----------
    said
        The type.
    genes
        Importance of each gene, 0 to 1, the most important first.
    neighbors
        Importance of each neighbour, 0 to 1, by its name, the most important first.
    """

    said: str
    genes: pd.Series
    neighbors: pd.Series


def gene_importance(model: AnnotateModel | Path | str) -> pd.DataFrame:
    """How much each gene speaks for each type, [types, genes].

    The weight in the logistic regression upon which the networks stand, of one standard deviation of the gene
    where genes are z-scored, else of one unit of its logarithm; types' weights of a gene add up to zero.
    """
    fitted = model if isinstance(model, AnnotateModel) else load_annotator(model)
    weights = [network.own.weight.detach().numpy() for network in fitted.networks] or [fitted.logistic[0]]
    by_gene = np.mean(weights, axis=0) @ fitted.components.loadings.T / fitted.length
    table = by_gene - by_gene.mean(0)
    return pd.DataFrame(table, list(fitted.types), list(fitted.genes))


def neighbor_importance(
    model: AnnotateModel | Path | str,
    adata: AnnData,
    *,
    layer: str | None = None,
    key_added: str = "cell_type_attention",
) -> None:
    """Write the attention that each cell pays to its neighbours and itself, mean over heads and networks.

    Parameters
    ----------
    model
        A fitted "gat".
    adata
        Cells of the same genes, with the graph that the model listens along; along "expression" they are
        joined to each other.
    key_added
        Written is `obsp[key_added]`: row i has what cell i pays to others, and adds up to one.

    Raises
    ------
    ModelError
        If the model has no attention.
    """
    fitted = model if isinstance(model, AnnotateModel) else load_annotator(model)
    if fitted.method != "gat" or not fitted.networks:
        raise ModelError(f"the model's method is {fitted.method!r}, which has no attention; fit a 'gat'")
    x, graph = _input(fitted, adata, layer)
    coo = graph.tocoo()
    edges = torch.from_numpy(np.stack([coo.col, coo.row]).astype(np.int64))
    total: Any = 0
    for network in fitted.networks:
        with torch.no_grad():
            found, weights = network.eval().attention(torch.from_numpy(x), edges)
        source, cell = found.numpy()
        total = total + sparse.csr_matrix((weights.numpy(), (cell, source)), graph.shape)
    adata.obsp[key_added] = sparse.csr_matrix(total / len(fitted.networks))


def explain_cell(
    model: AnnotateModel | Path | str, adata: AnnData, cell: str, *, layer: str | None = None, seed: int = 0
) -> Explanation:
    """Explain one cell's type by its genes and its neighbours, by GNNExplainer (Ying et al. 2019).

    Masks over the genes and over the edges that end near the cell are sought that keep the type likely while
    they are small. Parameters as in `neighbor_importance`; `cell` is its name.

    Raises
    ------
    InputError
        If there is no such cell.
    ModelError
        If the model listens to no neighbours.
    """
    from torch_geometric.explain import Explainer, GNNExplainer

    fitted = model if isinstance(model, AnnotateModel) else load_annotator(model)
    if not fitted.networks:
        raise ModelError("a logistic regression listens to no neighbours; see tg.gene_importance")
    if cell not in adata.obs_names:
        raise InputError(f"no cell {cell!r}; the first are {', '.join(adata.obs_names[:3])}")
    number = int(adata.obs_names.get_indexer([cell])[0])
    _, graph = _input(fitted, adata, layer)
    nodes, edges = around(graph, np.array([number]), len(fitted.networks[0].convolutions))
    numbers = read_numbers(adata[nodes], find_genes(adata, fitted.genes), layer, "the cells")
    matrix: Any = fitted.scale.apply(numbers)
    dense = torch.from_numpy(_dense(matrix))
    network = _OnGenes(fitted)
    torch.manual_seed(seed)
    explainer = Explainer(
        network,
        algorithm=GNNExplainer(epochs=EPOCHS),
        explanation_type="model",
        node_mask_type="common_attributes",
        edge_mask_type="object",
        model_config={"mode": "multiclass_classification", "task_level": "node", "return_type": "log_probs"},
    )
    found = explainer(dense, torch.from_numpy(edges), index=0)
    said = fitted.types[int(network(dense, torch.from_numpy(edges))[0].argmax())]
    genes = pd.Series(found.node_mask.detach().numpy().ravel(), list(fitted.genes))
    to_cell = edges[1] == 0
    heard = pd.Series(
        found.edge_mask.detach().numpy()[to_cell], adata.obs_names[nodes[edges[0][to_cell]]].astype(str)
    )
    return Explanation(said, genes.sort_values(ascending=False), heard.sort_values(ascending=False))


class _OnGenes(nn.Module):
    """The networks, from expression [N, G] on their scale to mean log probabilities [N, T]."""

    def __init__(self, model: AnnotateModel) -> None:
        super().__init__()
        self.networks = nn.ModuleList(model.networks).eval()
        moments = model.components.moments
        self.mean, self.scale = torch.from_numpy(moments.mean[0]), torch.from_numpy(moments.scale[0])
        self.loadings = torch.from_numpy(model.components.loadings) / model.length

    def forward(self, expression: Tensor, edge_index: Tensor) -> Tensor:
        """Log probabilities of cells with expression [N, G]."""
        x = ((expression - self.mean) / self.scale) @ self.loadings
        logits = [network(x, edge_index).log_softmax(1) for network in self.networks]
        return torch.stack(logits).mean(0).log_softmax(1)


def _dense(matrix: Any) -> npt.NDArray[np.float32]:
    return np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.todense(), np.float32)


def _input(
    model: AnnotateModel, adata: AnnData, layer: str | None
) -> tuple[npt.NDArray[np.float32], sparse.csr_matrix]:
    """Features and graph of cells, without the labelled ones that the model keeps."""
    columns = find_genes(adata, model.genes)
    if (columns < 0).any():
        raise InputError(f"{int((columns < 0).sum())} genes of the model are missing; give the same panel")
    x = model.features(read_numbers(adata, columns, layer, "the cells"))
    neighbors = model.params.n_neighbors if model.graph == EXPRESSION else 0
    return x, joint_graph(model.graph, x, adata, None, neighbors, model.seed)
