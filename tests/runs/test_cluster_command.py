"""`tissuegraph cluster`."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import tissuegraph as tg
from tissuegraph.cli import main
from tissuegraph.errors import InputError

QUICK = ["--method", "kmeans", "--n-starts", "3"]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "in.h5ad"
    tg.simulate.omics(300, 60, separation=5.0, seed=1).write_h5ad(path)
    return path


def test_the_number_is_searched_and_drawn(written, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("tissuegraph.plot.graphs.tidy", lambda ax, *_: drawn.append(ax) or ax)
    out = tmp_path / "new" / "out.h5ad"
    assert main(["cluster", str(written), "-o", str(out), "--most", "7", *QUICK, "--seed", "3"]) == 0
    given, found = ad.read_h5ad(written), ad.read_h5ad(out)
    assert np.array_equal(found.X, given.X)
    tg.cluster_cells(given, method="kmeans", n_starts=3, most=7, seed=3)
    assert (found.obs["cluster"] == given.obs["cluster"]).all()
    assert found.obs["cluster"].nunique() == 6
    assert found.uns["tissuegraph"]["cluster"]["source"] == str(written)
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.h5ad", "out.png"]
    assert drawn[0].get_title(loc="left") == "6 clusters are found most reliably"


def test_a_given_number_in_an_embedding_shows_silhouettes(written, tmp_path):
    out = tmp_path / "out.h5ad"
    line = ["cluster", str(written), "-o", str(out), "--n-clusters", "4", "--use-rep", "latent"]
    assert main([*line, *QUICK]) == 0
    found = ad.read_h5ad(out)
    axes = tg.plot.silhouettes(found)
    assert axes.get_title(loc="left") == f"mean silhouette {found.obs['cluster_silhouette'].mean():.2f}"
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list("1234")
    assert (tmp_path / "out.png").stat().st_size > 5_000


def test_averages_over_a_tissue_whose_graph_is_built(tmp_path):
    path, out = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    tg.simulate.section(cells=250, genes=40, seed=1).write_h5ad(path)
    line = ["cluster", str(path), "-o", str(out), "--n-clusters", "3", "--smooth", "1", *QUICK]
    assert main(line) == 0
    found = ad.read_h5ad(out)
    assert "spatial_connectivities" in found.obsp
    assert found.uns["tissuegraph"]["cluster"]["graph_key"] == "spatial"


def test_one_cluster_has_a_picture_too():
    adata = tg.simulate.omics(60, 20)
    tg.cluster_cells(adata, 1, "kmeans")
    assert tg.plot.silhouettes(adata).get_title(loc="left") == "one cluster has no silhouettes"
    with pytest.raises(InputError, match=r"no silhouettes in obs\['domain_silhouette'\]"):
        tg.plot.silhouettes(adata, "domain")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "umap"], "method is 'umap'; expected one of: leiden"),
        (["--graph", "knn"], "a graph is given, which only --smooth reads"),
        (["--layer", "raw", "--use-rep", "latent"], "both use_rep and layer are given"),
        (["--smooth", "1"], "spatial"),
        (["--seed", "-1"], "seed is -1"),
        (["--n-clusters", "3", "--resolution", "1"], "give one of them"),
    ],
)
def test_options_that_make_no_sense(written, tmp_path, capsys, options, said):
    assert main(["cluster", str(written), "-o", str(tmp_path / "out.h5ad"), *options]) == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5ad"]


@pytest.mark.parametrize("name", ["out.h5ad", "out.png"])
def test_what_is_there_stays_without_overwrite(written, tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    line = ["cluster", str(written), "-o", str(tmp_path / "out.h5ad"), "--n-clusters", "3", *QUICK]
    assert main(line) == 2
    assert (tmp_path / name).read_text() == "mine"
    assert "--overwrite" in capsys.readouterr().err
    assert main([*line, "--overwrite"]) == 0
    assert "cluster" in ad.read_h5ad(tmp_path / "out.h5ad").obs
    assert main(["cluster", str(written), "-o", str(written), "--overwrite"]) == 2
