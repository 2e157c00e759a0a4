"""citation_graph(): documents that cite each other, whose labels nothing gives away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.simulate.arrays import Floats, Integers

if TYPE_CHECKING:
    from anndata import AnnData

KEY = "citation"
WORDS = 18
"""Words of a document, on average, as in Cora."""
POPULARITY = 0.7
"""Spread of the documents' popularity, and of the words': standard deviation of its logarithm."""
ROUNDS = 200
"""How often missing edges are drawn again."""


def citation_graph(
    n_nodes: int = 1000,
    n_features: int = 500,
    n_classes: int = 7,
    mean_degree: float = 4.0,
    homophily: float = 0.0,
    *,
    seed: int = 0,
) -> AnnData:
    """Simulate a citation graph with bags of words, whose labels neither of them tells.

    By default a label has nothing to do with the graph, and it never has with the words: on documents that it
    has not seen, no classifier is right more often than by chance, whatever it reaches on those that it was
    trained on. With homophily the graph tells something.

    Parameters
    ----------
    n_nodes, n_features, n_classes
        Documents, words, and labels of equal probability.
    mean_degree
        Mean number of neighbours of a document. Some are more popular than others.
    homophily
        Share of edges whose second end is drawn from the documents of the label of the first; those of the
        others are drawn from all.
    seed
        The same parameters and seed give the same bits.

    Returns
    -------
    AnnData with words in `X` (csr f32, 0 or 1), `obs["label"]`, the graph (f32, symmetric, no self loops) in
    `obsp["citation_connectivities"]` and `uns["citation_neighbors"]`, and the parameters in
    `uns["tissuegraph"]["simulated"]`.

    Raises
    ------
    InputError
        A parameter makes no graph.
    """
    from anndata import AnnData

    sizes = {"n_nodes": n_nodes, "n_features": n_features, "n_classes": n_classes}
    params = {**sizes, "mean_degree": mean_degree, "homophily": homophily}
    _check(sizes, mean_degree, homophily, seed)
    labels = np.random.default_rng([seed, 0]).integers(0, n_classes, n_nodes)
    pairs = _draw_pairs(labels, round(n_nodes * mean_degree / 2), homophily, np.random.default_rng([seed, 1]))
    edges = np.concatenate([pairs, pairs[::-1]], axis=1)
    names = pd.Index([f"class {number}" for number in range(1, n_classes + 1)])
    adata = AnnData(
        _draw_words(n_nodes, n_features, np.random.default_rng([seed, 2])),
        obs=pd.DataFrame(
            {"label": pd.Categorical.from_codes(labels, names)},
            index=[f"document{number}" for number in range(1, n_nodes + 1)],
        ),
        var=pd.DataFrame(index=[f"word{number}" for number in range(1, n_features + 1)]),
    )
    weights = np.ones(edges.shape[1], np.float32)
    graph = sparse.csr_matrix((weights, (edges[1], edges[0])), (n_nodes, n_nodes))
    adata.obsp[f"{KEY}_connectivities"] = graph
    adata.uns[f"{KEY}_neighbors"] = {"connectivities_key": f"{KEY}_connectivities", "params": params}
    adata.uns[keys.UNS_RUN] = {"simulated": {"params": json.dumps(params), "seed": seed}}
    return adata


def _check(sizes: dict[str, int], mean_degree: float, homophily: float, seed: int) -> None:
    for name, value in sizes.items():
        if value != int(value) or value < 1:
            raise InputError(f"{name} is {value}; give a whole number of 1 or more")
    most = (sizes["n_nodes"] - 1) / 2
    if not 0 <= mean_degree <= most:
        raise InputError(
            f"mean_degree is {mean_degree:g}; give a number from 0 to {most:g}, half of all other documents"
        )
    if not 0 <= homophily <= 1:
        raise InputError(f"homophily is {homophily:g}; give a share from 0 to 1")
    if seed < 0:
        raise InputError(f"seed is {seed}; give a whole number of 0 or more")


def _draw_pairs(labels: Integers, number: int, homophily: float, rng: np.random.Generator) -> Integers:
    """Distinct pairs [2, number] of documents that differ, (smaller, larger)."""
    n = len(labels)
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))
    reach = np.concatenate([[0.0], np.cumsum(rng.lognormal(0, POPULARITY, n))])
    found = np.empty(0, np.int64)
    for _ in range(ROUNDS):
        if len(found) == number:
            return np.stack(np.divmod(found, n))
        size = 2 * (number - len(found)) + 8
        one = _popular(reach, np.zeros(size), np.full(size, reach[-1]), rng)
        group = labels[order[one]]
        own = rng.random(size) < homophily
        first = np.where(own, np.concatenate([[0], ends])[group], 0)
        last = np.where(own, ends[group], n)
        other = _popular(reach, reach[first], reach[last], rng)
        ends_of = np.sort(np.stack([order[one], order[other]]), axis=0)
        codes = (ends_of[0] * n + ends_of[1])[one != other]
        together = np.concatenate([found, codes])
        _, at = np.unique(together, return_index=True)
        found = together[np.sort(at)][:number]  # in the order in which they were drawn
    raise InputError(
        f"only {len(found):,} of {number:,} edges were found with homophily {homophily:g}; "
        "ask for a smaller mean_degree or fewer classes"
    )


def _popular(reach: Floats, low: Floats, high: Floats, rng: np.random.Generator) -> Integers:
    """Draw places by their popularity: `reach` [n + 1] cumulates it, and bounds are given in it."""
    at = np.searchsorted(reach, rng.uniform(low, high), side="right") - 1
    return np.minimum(at, len(reach) - 2)


def _draw_words(n_nodes: int, n_features: int, rng: np.random.Generator) -> sparse.csr_matrix:
    """Bags of words [N, F], 0 or 1: of each document at least one draw, by the words' frequency."""
    frequency = rng.lognormal(0, POPULARITY, n_features)
    lengths = 1 + rng.poisson(min(WORDS, n_features) - 1, n_nodes)
    words = rng.choice(n_features, int(lengths.sum()), p=frequency / frequency.sum())
    place = np.repeat(np.arange(n_nodes), lengths), words
    bags = sparse.csr_matrix((np.ones(len(words), np.float32), place), (n_nodes, n_features))
    bags.data[:] = 1
    return bags
