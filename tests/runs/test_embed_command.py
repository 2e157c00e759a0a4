"""`tissuegraph embed`."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import tissuegraph as tg
from tissuegraph.cli import main

QUICK = ["--infomax.epochs", "2", "--infomax.dimensions", "8", "--infomax.accelerator", "cpu"]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "in.h5ad"
    tg.simulate.section(cells=250, genes=40, seed=1).write_h5ad(path)
    return path


def test_infomax_of_raw_counts_and_its_model_on_another_section(written, tmp_path):
    out, other = tmp_path / "new" / "out.h5ad", tmp_path / "other.h5ad"
    folder = tmp_path / "model"
    line = ["embed", str(written), "-o", str(out), *QUICK, "--seed", "3", "--save-model", str(folder)]
    assert main(line) == 0
    given, found = ad.read_h5ad(written), ad.read_h5ad(out)
    assert found.obsm["X_infomax"].shape == (250, 8)
    assert (found.X != given.X).nnz == 0
    assert found.obsp["spatial_connectivities"].nnz == 2500
    run = found.uns["tissuegraph"]
    assert (run["X_infomax"]["seed"], run["embed"]["method"]) == (3, "infomax")
    assert json.loads(run["X_infomax"]["params"])["epochs"] == 2
    assert list(out.parent.iterdir()) == [out]
    for model in (out, folder):
        line = ["embed", str(written), "-o", str(other), "--model", str(model), "--overwrite"]
        assert main(line) == 0
        again = ad.read_h5ad(other).obsm["X_infomax"]
        np.testing.assert_allclose(again, found.obsm["X_infomax"], rtol=1e-4, atol=1e-4)


def test_node2vec_along_a_graph_that_is_there(written, tmp_path):
    adata = ad.read_h5ad(written)
    tg.spatial_neighbors_knn(adata, 3)
    adata.write_h5ad(written)
    out = tmp_path / "out.h5ad"
    line = ["embed", str(written), "-o", str(out), "--method", "node2vec", "--node2vec.epochs", "1"]
    assert main([*line, "--node2vec.q", "2"]) == 0
    found = ad.read_h5ad(out)
    assert found.obsm["X_node2vec"].shape == (250, 64)
    assert found.obsp["spatial_connectivities"].nnz == 750
    tg.node2vec(adata, tg.Node2VecParams(epochs=1, q=2.0))
    assert np.array_equal(adata.obsm["X_node2vec"], found.obsm["X_node2vec"])


@pytest.mark.parametrize("method", ["infomax", "node2vec"])
def test_cells_without_positions_along_a_graph_of_expression(method, tmp_path):
    path, out = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    tg.simulate.omics(200, 30, seed=1).write_h5ad(path)
    quick = QUICK if method == "infomax" else ["--node2vec.epochs", "1"]
    line = ["embed", str(path), "-o", str(out), "--method", method, *quick]
    assert main(line) == 2
    assert main([*line, "--graph", "expression"]) == 0
    found = ad.read_h5ad(out)
    assert f"X_{method}" in found.obsm
    assert found.obsp["expression_connectivities"].nnz == 15 * 200
    if method == "infomax":
        again = tmp_path / "again.h5ad"
        assert main(["embed", str(path), "-o", str(again), "--model", str(out)]) == 0
        assert "expression_connectivities" in ad.read_h5ad(again).obsp


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "umap"], "method is 'umap'; expected one of: infomax, node2vec"),
        (["--method", "node2vec", "--infomax.epochs", "2"], "options of another method are given"),
        (["--node2vec.p", "2"], "options of another method are given"),
        (["--graph", "knn"], "no graph in obsp['knn_connectivities']"),
        (["--features", "X_no"], "no embedding in obsm['X_no']"),
        (["--layer", "raw"], "no layer 'raw'"),
        (["--seed", "-1"], "seed is -1"),
        (["--infomax.dimensions", "0"], "dimensions is 0"),
        (["--model", "nowhere"], "nowhere holds no model"),
        (["--model", "m", "--features", "X"], "give one of them"),
        (["--model", "m", "--graph", "spatial"], "give one of them"),
        (["--save-model", "."], "exists already"),
        (["--epochs", "3"], "--infomax.epochs"),
    ],
)
def test_options_that_make_no_sense(written, tmp_path, capsys, options, said):
    out = tmp_path / "out.h5ad"
    assert main(["embed", str(written), "-o", str(out), *options]) == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5ad"]


def test_what_is_there_stays_without_overwrite(written, tmp_path, capsys):
    out = tmp_path / "out.h5ad"
    out.write_text("mine")
    line = ["embed", str(written), "-o", str(out), *QUICK]
    assert main(line) == 2
    assert out.read_text() == "mine"
    assert "--overwrite" in capsys.readouterr().err
    assert main([*line, "--overwrite"]) == 0
    assert "X_infomax" in ad.read_h5ad(out).obsm
    assert main(["embed", str(out), "-o", str(out)]) == 2
