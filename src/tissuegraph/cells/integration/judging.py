"""What several embeddings of the same cells are worth: clusters, and labels of held-out cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from tissuegraph.clustering.partition import partition, partition_at
from tissuegraph.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

FOLDS = 5
RESOLUTION = 1.0
"""Of Leiden, where no number of clusters is known."""
CLUSTERED = 10
"""Leading components of an embedding that are clustered: a mixture is blind to scale, and would find clusters
in what is noise."""

Codes = npt.NDArray[np.int64]
Points = npt.NDArray[np.floating]


def labels_of(rna: AnnData, other: AnnData, order: Codes, column: str) -> Codes:
    """Number of each cell's label in the order of the first, -1 where there is none.

    Raises
    ------
    InputError
        If the column is missing, has fewer than two labels, or one of a single cell.
    """
    if column in rna.obs:
        codes = pd.factorize(rna.obs[column], sort=True)[0]
    elif column in other.obs:
        codes = pd.factorize(other.obs[column], sort=True)[0][order]
    else:
        found = ", ".join(map(str, [*rna.obs.columns, *other.obs.columns])) or "none"
        raise InputError(f"no column '{column}' in obs of either omics; found: {found}")
    sizes = np.bincount(codes[codes >= 0])
    if len(sizes) < 2 or sizes.min() < 2:
        rarest = int(sizes.min()) if len(sizes) else 0
        raise InputError(
            f"obs['{column}'] has {len(sizes)} labels, the rarest of {rarest} cells; give two or more "
            "labels of two or more cells each"
        )
    return codes.astype(np.int64)


def clusters(points: Points, number: int | None, truth: Codes | None, seed: int) -> Codes:
    """Cluster points [N, d] by their ten leading components: a mixture; Leiden where no number is known."""
    from sklearn.decomposition import PCA

    points = np.asarray(points, np.float64)
    most = min(CLUSTERED, *points.shape)
    leading = PCA(most, svd_solver="full").fit_transform(points)
    if number is None and truth is not None:
        number = int(truth.max()) + 1
    if number is None:
        return partition_at(leading, RESOLUTION, "leiden", seed)
    return partition(leading, number, "gmm", seed)


def compare(
    embeddings: dict[str, Points], found: dict[str, Codes], truth: Codes | None, seed: int
) -> pd.DataFrame:
    """A row for each embedding; the columns are those that `tg.integrate` documents."""
    from sklearn.metrics import adjusted_rand_score

    last = list(embeddings)[-1]
    rows = []
    for name, points in embeddings.items():
        row = {"dimensions": points.shape[1], "clusters": int(found[name].max()) + 1}
        row["agreement"] = adjusted_rand_score(found[last], found[name])
        if truth is not None:
            known = truth >= 0
            scores = _held_out(points[known], truth[known], seed)
            row |= {"accuracy": scores.mean(), "accuracy_sd": scores.std()}
            row["ari"] = adjusted_rand_score(truth[known], found[name][known])
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(list(embeddings), name="embedding"))


def _held_out(points: Points, truth: Codes, seed: int) -> npt.NDArray[np.float64]:
    """Accuracy of a logistic regression on each fold, which it has not seen."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedKFold(min(FOLDS, int(np.bincount(truth).min())), shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    scores: npt.NDArray[np.float64] = cross_val_score(model, points.astype(np.float64), truth, cv=folds)
    return scores
