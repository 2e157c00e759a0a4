"""`tissuegraph annotate`."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import tissuegraph as tg
from tissuegraph.cli import main

QUICK = ["--folds", "2", "--epochs", "5"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    adata = tg.simulate.omics(300, 40, counts=200, spatial="tissue", seed=1)
    adata[:150].write_h5ad(folder / "reference.h5ad")
    query = adata[150:].copy()
    query.obs["truth"] = query.obs.pop("cell_type")
    query.write_h5ad(folder / "query.h5ad")
    table = pd.DataFrame(adata.X.toarray(), columns=adata.var_names).groupby(
        adata.obs["cell_type"].astype(str).to_numpy()
    )
    table.mean().rename_axis("cell_type").reset_index().to_csv(folder / "profiles.csv", index=False)
    return folder


def right(path: Path) -> float:
    found = ad.read_h5ad(path).obs
    return float((found["cell_type"].astype(str) == found["truth"].astype(str)).mean())


@pytest.mark.parametrize("reference", ["reference.h5ad", "profiles.csv"])
def test_types_from_cells_or_profiles_and_a_saved_model(files, tmp_path, reference):
    out, again, model = tmp_path / "typed.h5ad", tmp_path / "again.h5ad", tmp_path / "model"
    line = ["annotate", str(files / "query.h5ad"), "--no-unknown"]
    given = ["--reference", str(files / reference), "--save-model", str(model), *QUICK]
    assert main([*line, "-o", str(out), *given]) == 0
    assert right(out) > 0.55
    assert (tmp_path / "typed.png").stat().st_size > 5_000
    scores = pd.read_csv(tmp_path / "typed.scores.csv", index_col="method")
    assert {"gat", "logistic regression", "most frequent type"} == set(scores.index)
    assert main([*line, "-o", str(again), "--model", str(model)]) == 0
    assert right(again) == pytest.approx(right(out), abs=0.1)


def test_labels_of_the_cells_themselves(files, tmp_path):
    query = ad.read_h5ad(files / "query.h5ad")
    types = query.obs["truth"].astype(object).to_numpy()
    types[::2] = np.nan
    query.obs["cell_type"] = types
    query.write_h5ad(tmp_path / "half.h5ad")
    out = tmp_path / "typed.h5ad"
    assert main(["annotate", str(tmp_path / "half.h5ad"), "-o", str(out), *QUICK]) == 0
    found = ad.read_h5ad(out)
    assert found.obs["cell_type"].notna().all()
    assert found.obs["cell_type_given"].isna().sum() == 75
    assert found.uns["tissuegraph"]["cell_type"]["graph"] == "spatial"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "typed.csv"], "give a name that ends with .h5ad"),
        (["-o", "typed.h5ad"], "has no column 'cell_type' in obs"),
        (["-o", "typed.h5ad", "--reference", "nowhere.h5ad"], "there is no nowhere.h5ad"),
        (["-o", "typed.h5ad", "--model", "m", "--save-model", "n"], "so nothing is fitted"),
        (["-o", "typed.h5ad", "--model", "nowhere"], "holds no model"),
    ],
)
def test_mistakes_are_told_in_a_sentence(files, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["annotate", str(files / "query.h5ad"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
