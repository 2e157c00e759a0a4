"""`tissuegraph domains` on a tissue of stripes."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

import tissuegraph as tg
from tissuegraph.cli import main
from tissuegraph.errors import InputError

SIDE = 20
QUICK = ["--epochs", "40", "--n-domains", "3", "--n-networks", "2"]


def stripes(genes: int = 60, sections: int = 1, seed: int = 0) -> ad.AnnData:
    """Counts on a square lattice; each third of the columns has genes of its own that are high."""
    generator = np.random.default_rng(seed)
    column, row = np.tile(np.arange(SIDE), SIDE), np.repeat(np.arange(SIDE), SIDE)
    stripe = np.tile(column * 3 // SIDE, sections)
    rate = generator.gamma(2, 0.3, genes) * np.where(np.arange(genes)[None] % 3 == stripe[:, None], 4, 1)
    adata = ad.AnnData(
        sparse.csr_matrix(generator.poisson(rate).astype(np.int32)),
        obs=pd.DataFrame({"stripe": stripe.astype(str)}, index=[f"c{i}" for i in range(len(stripe))]),
    )
    adata.obsm["spatial"] = np.tile(np.stack([column, row], 1).astype(float), (sections, 1))
    if sections > 1:
        adata.obs["section"] = np.repeat([f"s{i}" for i in range(sections)], SIDE * SIDE)
    return adata


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "in.h5ad"
    stripes().write_h5ad(path)
    return path


def test_domains_of_raw_counts(written, tmp_path):
    out = tmp_path / "new" / "out.h5ad"
    assert main(["domains", str(written), "-o", str(out), *QUICK, "--seed", "3"]) == 0
    given, found = ad.read_h5ad(written), ad.read_h5ad(out)
    assert adjusted_rand_score(found.obs["stripe"], found.obs["domain"]) > 0.9
    assert list(found.obs["domain"].cat.categories) == ["1", "2", "3"]
    assert (found.X != given.X).nnz == 0
    assert found.obsm["X_stagate"].shape == (SIDE * SIDE, 30)
    assert not np.allclose(found.obsm["X_stagate"], found.obsm["X_stagate_2"])
    run = found.uns["tissuegraph"]
    assert list(run["domain"]["use_rep"]) == ["X_stagate", "X_stagate_2", "X_smoothed"]
    assert (run["domain"]["n_domains"], run["domain"]["seed"], run["domains"]["seed"]) == (3, 3, 3)
    assert run["domains"]["section"] == str(written)
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.h5ad", "out.png"]


def test_markers_of_the_domains_are_a_table(written, tmp_path):
    out = tmp_path / "out.h5ad"
    assert main(["domains", str(written), "-o", str(out), *QUICK, "--markers"]) == 0
    table = pd.read_csv(tmp_path / "out.markers.csv")
    found = ad.read_h5ad(out)
    best = table.groupby("domain").first()
    for domain, gene in best["gene"].items():
        stripe = found.obs["stripe"][found.obs["domain"] == str(domain)].mode()[0]
        assert gene % 3 == int(stripe)
    kept = found.uns["tissuegraph"]["domain_markers"]
    assert list(kept["gene"].astype(int)) == list(table["gene"])
    assert main(["domains", str(written), "-o", str(tmp_path / "out.h5ad"), *QUICK]) == 2


def test_the_same_seed_the_same_domains(written, tmp_path):
    found = []
    for name in ("a.h5ad", "b.h5ad"):
        assert main(["domains", str(written), "-o", str(tmp_path / name), *QUICK]) == 0
        found.append(ad.read_h5ad(tmp_path / name))
    assert (found[0].obsm["X_stagate"] == found[1].obsm["X_stagate"]).all()
    assert (found[0].obs["domain"] == found[1].obs["domain"]).all()


def test_few_cells_are_looked_for_on_request(tmp_path):
    adata = stripes(seed=2)
    column, row = adata.obsm["spatial"].T
    few = (abs(column - 3) <= 2) & (abs(row - 9) <= 2)
    counts = adata.X.toarray()
    counts[few] = counts[few][:, np.random.default_rng(1).permutation(counts.shape[1])]
    adata.X = sparse.csr_matrix(counts)
    adata.write_h5ad(tmp_path / "in.h5ad")
    tg.find_domains(
        tmp_path / "in.h5ad",
        tmp_path / "out.h5ad",
        n_domains=4,
        n_networks=2,
        stagate=tg.StagateParams(epochs=40),
        rare=True,
    )
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert found.uns["tissuegraph"]["domain"]["rare"]
    label = found.obs["domain_raw"][few].value_counts().index[0]
    assert (found.obs["domain_raw"][few] == label).mean() > 0.7
    assert (found.obs["domain_raw"] == label).sum() < 40


def test_sections_share_domains_and_no_edge(tmp_path):
    path, out = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    adata = stripes(sections=2)
    adata.obs["piece"] = adata.obs.pop("section")
    adata.write_h5ad(path)
    line = ["domains", str(path), "-o", str(out), *QUICK, "--section-key", "piece", "--harmony"]
    assert main(line) == 0
    found = ad.read_h5ad(out)
    assert adjusted_rand_score(found.obs["stripe"], found.obs["domain"]) > 0.9
    first = (found.obs["piece"] == "s0").to_numpy()
    assert found.obsp["spatial_connectivities"][first][:, ~first].nnz == 0
    assert found.uns["tissuegraph"]["domain"]["use_rep"][0] == "X_stagate_harmony"


def test_variable_genes_of_many(tmp_path):
    path, out = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    stripes(genes=1200).write_h5ad(path)
    assert main(["domains", str(path), "-o", str(out), *QUICK, "--n-genes", "300"]) == 0
    found = ad.read_h5ad(out)
    assert found.var["highly_variable"].sum() == 300
    assert "of 300 genes" in found.uns["tissuegraph"]["X_stagate"]["input"]


def test_a_column_of_the_users_is_kept(tmp_path):
    path, out = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    adata = stripes()
    adata.obs["domain"] = adata.obs["stripe"]
    adata.write_h5ad(path)
    tg.find_domains(path, out, n_domains=3, stagate=tg.StagateParams(epochs=5))
    assert (ad.read_h5ad(out).obs["domain_given"] == adata.obs["stripe"]).all()


def test_normalised_expression_is_taken_as_it_is(tmp_path):
    path = tmp_path / "in.h5ad"
    adata = stripes()
    adata.X = adata.X.astype(np.float32).log1p()
    adata.write_h5ad(path)
    tg.find_domains(path, tmp_path / "out.h5ad", n_domains=3, stagate=tg.StagateParams(epochs=5))
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert np.allclose(found.X.toarray(), adata.X.toarray())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--n-domains", "0"], "n_domains is 0"),
        (["--n-domains", "100000"], "100000 domains are wanted of 400 cells"),
        (["--method", "kmeans"], "method is 'kmeans'; expected one of: gmm"),
        (["--preset", "paper"], "no preset 'paper'"),
        (["--section-key", "slide"], "no column 'slide' in obs; found: stripe"),
        (["--layer", "raw"], "no layer 'raw'"),
        (["--seed", "-1"], "seed is -1"),
        (["--harmony"], "harmony aligns several sections"),
        (["--epochs", "0"], "epochs is 0"),
    ],
)
def test_options_that_make_no_sense(written, tmp_path, capsys, options, said):
    out = tmp_path / "out.h5ad"
    short = [] if "--epochs" in options or "--preset" in options else ["--epochs", "2"]
    given = ["domains", str(written), "-o", str(out), *short, *options]
    assert main(given if "--n-domains" in options else [*given, "--n-domains", "3"]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_section_that_is_missing(tmp_path, capsys):
    assert main(["domains", str(tmp_path / "no.h5ad"), "-o", str(tmp_path / "out.h5ad")]) == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_what_is_there_stays_without_overwrite(written, tmp_path, capsys):
    out = tmp_path / "out.h5ad"
    out.write_text("mine")
    line = ["domains", str(written), "-o", str(out), *QUICK]
    assert main(line) == 2
    assert "exists already" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main([*line, "--overwrite"]) == 0
    assert ad.read_h5ad(out).n_obs == SIDE * SIDE
    out.unlink()
    assert main(line) == 2  # the picture is there
    assert "out.png exists already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["out.csv", "in.h5ad"])
def test_out_has_a_name_of_its_own(written, tmp_path, name):
    with pytest.raises(InputError):
        tg.find_domains(written, tmp_path / name, n_domains=3, overwrite=True)
    assert written.exists()
