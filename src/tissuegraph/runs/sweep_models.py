"""What a search can tune: how each model is fitted, and how it is scored on cells that were held out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tissuegraph import keys
from tissuegraph.cells.annotate_params import AnnotateParams
from tissuegraph.cells.cluster_params import ClusterParams
from tissuegraph.cells.embed_params import InfomaxParams, Node2VecParams
from tissuegraph.domains.params import StagateParams
from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

Cells = npt.NDArray[np.int64]
PARAMS: dict[str, type[Any]] = {
    "annotate": AnnotateParams,
    "node2vec": Node2VecParams,
    "infomax": InfomaxParams,
    "stagate": StagateParams,
    "cluster": ClusterParams,
}
MACRO_F1, RAND, STABILITY = "macro-F1", "ARI", "stability"
TEST_SHARE = 0.2
RESULT = "swept"
MOST_STEPS = 1_000
"""Of the logistic regression upon an embedding."""


@dataclass(frozen=True)
class Split:
    """Labelled cells: the folds that trials are scored on, and the test part that none of them sees.

    Without labels all are empty.
    """

    labels: npt.NDArray[np.object_]
    """Of every cell, [N], None where it has none."""
    folds: tuple[Cells, ...]
    test: Cells

    @property
    def rest(self) -> Cells:
        """The labelled cells outside of the test part."""
        return np.sort(np.concatenate(self.folds))

    def without(self, held_out: Cells) -> Cells:
        """Cells to learn from while a fold is held out."""
        return np.setdiff1d(self.rest, held_out)


def split_cells(adata: AnnData, labels: str | None, n_folds: int, seed: int) -> Split:
    """Set a fifth of the cells of every label aside, and deal the others to folds; nothing without labels.

    Raises
    ------
    InputError
        If the column is missing, or a label has too few cells.
    """
    if labels is None:
        return Split(np.full(adata.n_obs, None, object), (), np.empty(0, np.int64))
    if labels not in adata.obs:
        found = ", ".join(map(str, adata.obs.columns)) or "none"
        raise InputError(f"no column '{labels}' in obs; found: {found}; name it with labels=")
    column = adata.obs[labels]
    if column.dtype.kind == "f":
        raise InputError(f"obs['{labels}'] holds measurements; name a column with labels")
    given = np.array([None if pd.isna(one) else str(one) for one in column], object)
    names = sorted({name for name in given if name is not None})
    if len(names) < 2:
        raise InputError(f"obs['{labels}'] names {len(names)} labels; give two or more")
    rng = np.random.default_rng([seed, 13])
    test: list[Cells] = []
    folds: list[list[Cells]] = [[] for _ in range(n_folds)]
    first = 0
    for name in names:
        members = rng.permutation(np.flatnonzero(given == name))
        aside = max(1, round(TEST_SHARE * len(members)))
        if len(members) - aside < n_folds:
            raise InputError(
                f"label {name!r} has {len(members)} cells, too few for {n_folds} folds and a test part; "
                "give fewer folds, or set its cells to NaN"
            )
        test.append(members[:aside])
        for number, part in enumerate(np.array_split(members[aside:], n_folds)):
            folds[(first + number) % n_folds].append(part)
        first += len(members) - aside  # so that what is left over does not always go to the first folds
    return Split(given, tuple(np.sort(np.concatenate(fold)) for fold in folds), np.sort(np.concatenate(test)))


class Judge(ABC):
    """How a model is scored."""

    metric = MACRO_F1

    def __init__(self, adata: AnnData, labels: str, split: Split, seed: int) -> None:
        self.adata, self.labels, self.split, self.seed = adata, labels, split, seed

    @abstractmethod
    def scores(self, params: Any) -> tuple[float, ...]:
        """Score each fold, none of whose labels the model has seen."""

    @abstractmethod
    def test(self, params: Any) -> float:
        """Score the test part, after learning from all the others."""

    def f1(self, cells: Cells, said: Any) -> float:
        """Macro-F1 of what was said of some cells."""
        from sklearn.metrics import f1_score

        truth = self.split.labels[cells].astype(str)
        names = np.unique(truth)
        return float(f1_score(truth, np.asarray(said).astype(str), labels=names, average="macro"))


class Annotation(Judge):
    """`tg.annotate`: the labels of the fold and of the test part are hidden from it."""

    def scores(self, params: Any) -> tuple[float, ...]:
        """Macro-F1 of every fold."""
        split = self.split
        return tuple(self._score(params, split.without(fold), fold) for fold in split.folds)

    def test(self, params: Any) -> float:
        """Macro-F1 of the test part."""
        return self._score(params, self.split.rest, self.split.test)

    def _score(self, params: AnnotateParams, known: Cells, asked: Cells) -> float:
        from tissuegraph.cells.annotate import annotate

        cells = self.adata.copy()
        shown = np.full(cells.n_obs, None, object)
        shown[known] = self.split.labels[known]
        cells.obs[self.labels] = pd.Categorical(shown)
        annotate(cells, labels=self.labels, params=params, unknown=False, key_added=RESULT, seed=self.seed)
        return self.f1(asked, cells.obs[RESULT].to_numpy()[asked])


class Embedding(Judge):
    """An embedding of all cells, made without labels; a logistic regression upon it is what is scored."""

    def __init__(self, adata: AnnData, labels: str, split: Split, seed: int, model: str) -> None:
        super().__init__(adata, labels, split, seed)
        self._model = model

    def scores(self, params: Any) -> tuple[float, ...]:
        """Macro-F1 of every fold, upon one embedding."""
        table = self._embed(params)
        return tuple(self._score(table, self.split.without(fold), fold) for fold in self.split.folds)

    def test(self, params: Any) -> float:
        """Macro-F1 of the test part."""
        return self._score(self._embed(params), self.split.rest, self.split.test)

    def _score(self, table: npt.NDArray[Any], known: Cells, asked: Cells) -> float:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_STEPS))
        classifier.fit(table[known], self.split.labels[known].astype(str))
        return self.f1(asked, classifier.predict(table[asked]))

    def _embed(self, params: Any) -> npt.NDArray[Any]:
        cells = self.adata.copy()
        # parameters may name columns, such as pre_labels; that of the answers is not there to be named
        del cells.obs[self.labels]
        embed(cells, self._model, params, self.seed)
        return np.asarray(cells.obsm[RESULT], np.float64)


class Clusters(Judge):
    """`tg.cluster_cells`, which sees no label, against the labels."""

    metric = RAND

    def scores(self, params: Any) -> tuple[float, ...]:
        """ARI of the cells outside of the test part."""
        return (self._score(params, self.split.rest),)

    def test(self, params: Any) -> float:
        """ARI of the test part."""
        return self._score(params, self.split.test)

    def _score(self, params: ClusterParams, asked: Cells) -> float:
        from sklearn.metrics import adjusted_rand_score

        from tissuegraph.cells.cluster import cluster_cells

        cells = self.adata.copy()
        cluster_cells(cells, **asdict(params), seed=self.seed, key_added=RESULT)
        found = cells.obs[RESULT].astype(str).to_numpy()[asked]
        return float(adjusted_rand_score(self.split.labels[asked].astype(str), found))


class Stability(Judge):
    """`tg.cluster_cells` where there are no labels: how far halves of the cells agree, beyond chance."""

    metric = STABILITY

    def scores(self, params: ClusterParams) -> tuple[float, ...]:
        """Agreement beyond chance; one cluster, on which all agree, has none."""
        from tissuegraph.cells.cluster import cluster_cells

        cells = self.adata.copy()
        cluster_cells(cells, **asdict(params), seed=self.seed, key_added=RESULT)
        found = cells.uns[keys.UNS_RUN][RESULT]
        if found["n_clusters"] == 1:
            return (0.0,)
        beyond = float(found["agreement"] - found["agreement_by_chance"])
        if not np.isfinite(beyond):
            raise InputError(
                f"{cells.n_obs} cells are too few to tell how stable {found['n_clusters']} clusters are; "
                "give more cells, or fewer clusters"
            )
        return (beyond,)

    def test(self, _: Any) -> float:
        """Nothing: there are no labels to set aside."""
        return float("nan")


def judge_of(model: str, adata: AnnData, labels: str | None, split: Split, seed: int) -> Judge:
    """How a model is scored, by its name.

    Raises
    ------
    InputError
        If it needs labels and there are none.
    """
    if labels is None:
        if model != "cluster":
            raise InputError(f"{model!r} is scored by labels; name their column with labels=")
        return Stability(adata, "", split, seed)
    if model == "annotate":
        return Annotation(adata, labels, split, seed)
    if model == "cluster":
        return Clusters(adata, labels, split, seed)
    return Embedding(adata, labels, split, seed, model)


def embed(cells: AnnData, model: str, params: Any, seed: int) -> None:
    """Write `obsm["swept"]` along the graph of the tissue; without one, of expression.

    The graph of the tissue is built where there are positions and it is missing. Raw counts are normalised.
    """
    graph = _graph(cells)
    layer = keys.LAYER_COUNTS if keys.LAYER_COUNTS in cells.layers else None
    if model == "stagate":
        from tissuegraph.domains.stagate import stagate
        from tissuegraph.features.expression import log_expression

        cells.X = log_expression(cells, layer)
        stagate(cells, params, key_added=RESULT, seed=seed)
    elif model == "infomax":
        from tissuegraph.cells.infomax import infomax

        infomax(cells, params, graph=graph, layer=layer, key_added=RESULT, seed=seed)
    else:
        from tissuegraph.cells.neighbours import expression_neighbors
        from tissuegraph.cells.node2vec import node2vec

        if graph == "expression" and "expression_connectivities" not in cells.obsp:
            expression_neighbors(cells, seed=seed)
        node2vec(cells, params, graph=graph, key_added=RESULT, seed=seed)


def _graph(cells: AnnData) -> str:
    from tissuegraph.graph.spatial import spatial_neighbors

    if "spatial_connectivities" not in cells.obsp and keys.OBSM_SPATIAL in cells.obsm:
        spatial_neighbors(cells)
    return "spatial" if "spatial_connectivities" in cells.obsp else "expression"
