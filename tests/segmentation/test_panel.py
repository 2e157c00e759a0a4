"""A model on a slide with genes that it does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import tissuegraph as tg
from tissuegraph.segmentation.gene_vectors import gene_vectors
from tissuegraph.segmentation.model import load_model
from tissuegraph.segmentation.panel import ALIKE, EMBEDDING, borrowed_shares, for_panel


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 5))
def test_unknown_genes_borrow_from_the_nearest_known_ones(seed, n_known, n_unknown):
    generator = np.random.default_rng(seed)
    genes = tuple(sorted(f"g{i}" for i in range(n_known + n_unknown)))
    here = sorted(generator.choice(genes, n_known, replace=False))
    model = tuple(sorted([*here, "elsewhere"]))
    vectors = generator.normal(size=(len(genes), 3))
    shares = borrowed_shares(model, genes, vectors).toarray()
    assert shares.sum(1) == pytest.approx(np.ones(len(genes)))
    assert not shares[:, model.index("elsewhere")].any()
    for i, gene in enumerate(genes):
        if gene in here:
            lenders = [gene]
        else:
            lenders = sorted(here, key=lambda one: np.linalg.norm(vectors[genes.index(one)] - vectors[i]))
        expected = {model.index(one) for one in lenders[:ALIKE]}
        assert set(np.flatnonzero(shares[i])) == expected


def test_a_gene_with_another_name_is_known_by_those_alike(run):
    model = load_model(run)
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(2.0, (60, len(model.genes))))
    same = for_panel(model, model.genes, counts)
    weights = [one.network.state_dict() for one in (model, same)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert np.array_equal(same.gene_vectors, model.gene_vectors)
    genes = (*model.genes[1:], "new")  # what was first is last now, in all there is
    turned = sparse.hstack([counts[:, 1:], counts[:, :1]]).tocsr()
    other = for_panel(model, genes, turned)
    assert other.genes == genes
    shares = borrowed_shares(model.genes, genes, gene_vectors(turned))
    table = weights[0][EMBEDDING][: len(genes)].numpy()
    assert other.network.state_dict()[EMBEDDING].numpy() == pytest.approx(shares @ table, abs=1e-6)
    assert other.gene_vectors == pytest.approx(shares @ model.gene_vectors, abs=1e-6)


def part_of(slide: Path, folder: Path, low: float, high: float) -> Path:
    """The part of a slide between two shares of its width, with its truth."""
    folder.mkdir()
    transcripts = pl.read_parquet(slide / "transcripts.parquet")
    edges = transcripts["x_location"].quantile(low), transcripts["x_location"].quantile(high)
    nuclei = pl.read_parquet(slide / "nucleus_boundaries.parquet")
    middle = pl.col("vertex_x").mean().over("cell_id")
    transcripts.filter(pl.col("x_location").is_between(*edges)).write_parquet(folder / "transcripts.parquet")
    nuclei.filter(middle.is_between(*edges)).write_parquet(folder / "nucleus_boundaries.parquet")
    return folder


@pytest.mark.slow
def test_a_model_of_one_slide_serves_another_with_a_tenth_of_other_genes(tmp_path):
    """The F1 of a model of slide A on slide B is within 0.02 of that of a model of B's own."""
    both = tg.simulate.tissue(tmp_path / "both", cells=1200, elongation=2.0, seed=21)
    a, b = part_of(both, tmp_path / "a", 0.0, 0.5), part_of(both, tmp_path / "b", 0.5, 1.0)
    table = pl.read_parquet(b / "transcripts.parquet")
    genes = table.filter(pl.col("feature_name").str.starts_with("GENE"))["feature_name"].unique().sort()
    renamed = {gene: f"OTHER{number}" for number, gene in enumerate(genes[::10])}
    table.with_columns(pl.col("feature_name").replace(renamed)).write_parquet(b / "transcripts.parquet")
    data = tg.dataset(a, tmp_path / "data")
    model = tg.train(data / "train", data / "val", tmp_path / "root")
    borrow = tg.PredictParams(genes="borrow")
    carried = tg.predict(b, model, tmp_path / "carried", prediction=borrow)
    own = tg.segment(b, tmp_path / "own", model="segger")
    truth = pl.read_parquet(both / "truth.parquet").join(table.select("transcript_id"), on="transcript_id")
    seen = pl.read_parquet(b / "nucleus_boundaries.parquet")["cell_id"].unique().to_list()
    f1 = [score(out, truth, seen) for out in (carried, own)]
    assert f1[0] >= f1[1] - 0.02, f1


def score(out: Path, truth: pl.DataFrame, seen: list[str]) -> float:
    found = pl.read_parquet(out / "transcripts.parquet").filter(pl.col("qv") >= 20)
    found = found.join(truth, on="transcript_id")
    return tg.metrics.segmentation.score_assignment(found["true_cell_id"], found["assigned_cell_id"], seen).f1
