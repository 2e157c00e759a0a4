"""Training tiles: what lies on disk, who is supervised by whom, and that no answer leaks."""

from __future__ import annotations

import json
import pickletools
import shutil
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
import pytest
import torch
from torch_geometric.loader import DataLoader

import tissuegraph as tg
from tissuegraph.cli import main
from tissuegraph.errors import InputError
from tissuegraph.graph.hetero import hetero_data
from tissuegraph.segmentation.dataset import (
    SUPERVISED,
    SpatialTranscriptomicsDataset,
    shuffled_tiles,
    split_tiles,
)
from tissuegraph.segmentation.model import load_model
from tissuegraph.segmentation.score import affinity
from tissuegraph.shapes import PackedOutlines
from tissuegraph.tiles.plan import Histogram, Tile
from tissuegraph.tiles.survey import Survey

SPLITS = ("train", "val", "test")
BELONGS, NEIGHBORS = ("tx", "belongs", "bd"), ("tx", "neighbors", "tx")


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def is_pickle(data: bytes) -> bool:
    """Whether the bytes are a pickle, or the zip that torch.save writes around one."""
    if data[:2] == b"PK" or b"data.pkl" in data:
        return True
    try:
        return len(list(pickletools.genops(data))) > 1
    except Exception:
        return False


def supervised_rows(tile) -> set[int]:
    return set(tile["tx"].row[tile[BELONGS].edge_label_index[0]].tolist())


@pytest.fixture(scope="module")
def train_tiles(training_tiles) -> SpatialTranscriptomicsDataset:
    return SpatialTranscriptomicsDataset(training_tiles / "train")


def test_every_split_has_raw_and_processed_tiles(training_tiles):
    assert {path.name for path in training_tiles.iterdir()} == set(SPLITS)
    number = {}
    for split in SPLITS:
        folder = training_tiles / split
        assert {path.name for path in folder.iterdir()} == {"raw", "processed", "dataset.json"}
        tiles = {path.stem for path in (folder / "processed").iterdir()}
        assert {path.suffix for path in (folder / "processed").iterdir()} == {".safetensors"}
        assert {path.name for path in (folder / "raw").iterdir()} == {
            f"{tile}{kind}.parquet" for tile in tiles for kind in ("", "_boundaries")
        }
        number[split] = len(tiles)
    assert number == {"train": 4, "val": 3, "test": 1}


def test_nothing_is_pickled(training_tiles, run):
    for folder in (training_tiles, run):
        for name, data in content(folder).items():
            assert not is_pickle(data), name


def test_what_would_be_a_pickle_is_known_as_one(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "new.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert all(is_pickle(data) for data in content(tmp_path).values())


def test_a_raw_tile_has_its_transcripts_and_outlines(slide, training_tiles):
    source = pl.read_parquet(slide / "transcripts.parquet").with_row_index("row")
    cores = []
    for path in sorted(training_tiles.rglob("raw/tile_*.parquet")):
        if path.stem.endswith("boundaries"):
            outlines = gpd.read_parquet(path)
            assert outlines["cell_id"].is_unique
            assert outlines.is_valid.all()
            assert (outlines["axis_ratio"] >= 1).all()
            continue
        table = pl.read_parquet(path)
        own = source[table["row"].cast(pl.Int64)]
        assert own["feature_name"].equals(table["gene"], check_names=False)
        assert own["x_location"].equals(table["x"], check_names=False)
        assert (own["qv"] >= 20).all()
        cores.append(table.filter("in_core")["row"])
    rows = pl.concat(cores)
    assert rows.n_unique() == len(rows)


def test_no_transcript_is_supervised_twice(training_tiles):
    tiles = [tile for split in SPLITS for tile in SpatialTranscriptomicsDataset(training_tiles / split)]
    rows = [supervised_rows(tile) for tile in tiles]
    assert all(rows)
    assert len(set.union(*rows)) == sum(map(len, rows))


def test_negatives_are_the_candidates_and_every_supervised_transcript_has_one_owner(train_tiles):
    for index, tile in enumerate(train_tiles):
        raw = train_tiles.raw_tile(index).graph
        tx, bd = tile[BELONGS].edge_label_index.numpy()
        row, boundary = tile["tx"].row.numpy(), tile["bd"].boundary.numpy()
        asked = set(zip(row[tx].tolist(), boundary[bd].tolist(), strict=True))
        chosen = np.isin(raw.rows[raw.candidates[0]], row[tx])
        candidates = raw.candidates[:, chosen]
        pairs = zip(raw.rows[candidates[0]].tolist(), raw.boundaries[candidates[1]].tolist(), strict=True)
        assert asked == set(pairs)
        owners = np.bincount(tx, tile[BELONGS].edge_label.numpy())[np.unique(tx)]
        assert (owners == 1).all()


def test_no_supervised_transcript_sends_its_answer(train_tiles):
    for tile in train_tiles:
        told = set(tile[BELONGS].edge_index[0].tolist())
        assert told
        assert not told & set(tile[BELONGS].edge_label_index[0].tolist())


def scores_before_and_after(model, graph, *, shuffled: int, scored: int) -> list[np.ndarray]:
    """Logits in prediction of one half's pairs, as it is and with the owners of a half shuffled."""
    owner, half = graph.owner.copy(), graph.fold == shuffled
    owner[half] = np.random.default_rng(0).permutation(owner[half])
    graphs = (graph, replace(graph, owner=owner))
    return [affinity(model.network, one)[one.fold[one.candidates[0]] == scored] for one in graphs]


def test_the_belongs_edges_of_a_held_out_transcript_do_not_move_its_score(train_tiles, run):
    model = load_model(run)
    raw = train_tiles.raw_tile(0)
    graph = raw.graph
    supervised = raw.in_core & (graph.fold == SUPERVISED)
    owner = graph.owner.copy()
    owner[supervised] = np.random.default_rng(0).permutation(owner[supervised])
    assert (owner != graph.owner).any()
    pairs = hetero_data(graph, supervised)[BELONGS].edge_label_index
    with torch.inference_mode():
        before, after = (
            model.network(hetero_data(one, supervised), pairs) for one in (graph, replace(graph, owner=owner))
        )
    assert torch.equal(before, after)
    for half in (0, 1):  # the same in prediction, where one half at a time is held out
        owner = graph.owner.copy()
        owner[graph.fold == half] = np.random.default_rng(half).permutation(owner[graph.fold == half])
        of_half = graph.fold[graph.candidates[0]] == half
        before, after = (
            affinity(model.network, one)[of_half] for one in (graph, replace(graph, owner=owner))
        )
        assert (before == after).all()


def test_what_is_not_held_out_does_move_scores(train_tiles, run):
    """The test above would pass if `belongs` edges were never heard at all."""
    model, graph = load_model(run), train_tiles.raw_tile(0).graph
    before, after = scores_before_and_after(model, graph, shuffled=0, scored=1)
    assert (before != after).mean() > 0.5


def test_a_processed_tile_gives_the_scores_of_the_whole_tile(train_tiles, run):
    model = load_model(run)
    for index, tile in enumerate(train_tiles):
        raw = train_tiles.raw_tile(index)
        whole = hetero_data(raw.graph, raw.in_core & (raw.graph.fold == SUPERVISED))
        with torch.inference_mode():
            scores = [model.network(data, data[BELONGS].edge_label_index) for data in (tile, whole)]
        assert torch.allclose(*scores, atol=1e-5)


def test_processed_tiles_can_be_deleted(training_tiles, tmp_path):
    copy = shutil.copytree(training_tiles / "train", tmp_path / "train")
    before = content(copy)
    shutil.rmtree(copy / "processed")
    SpatialTranscriptomicsDataset(copy)
    assert content(copy) == before
    next((copy / "processed").iterdir()).unlink()
    SpatialTranscriptomicsDataset(copy)
    assert content(copy) == before


def test_the_same_command_gives_the_same_bytes_and_another_seed_other_tiles(slide, training_tiles, tmp_path):
    words = ["--tile_transcripts", "400", "--max-tiles", "8", "--val-share", "0.4", "--k-tx", "5"]
    assert main(["dataset", str(slide), "-o", str(tmp_path / "again"), *words]) == 0
    assert content(tmp_path / "again") == content(training_tiles)
    assert main(["dataset", str(slide), "-o", str(tmp_path / "other"), *words, "--seed", "1"]) == 0
    assert content(tmp_path / "other") != content(training_tiles)


def test_it_is_a_dataset_of_pyg(train_tiles):
    assert len(train_tiles) == 4
    assert train_tiles[0].validate()
    assert train_tiles[0].node_types == ["bd", "tx"]
    assert set(train_tiles[0].edge_types) == {BELONGS, NEIGHBORS}
    batches = list(DataLoader(train_tiles, batch_size=3))
    assert [batch.num_graphs for batch in batches] == [3, 1]
    total = sum(tile["tx"].num_nodes for tile in train_tiles[:3])
    assert batches[0]["tx"].num_nodes == total
    assert batches[0][BELONGS].edge_label_index[0].max() < total
    last = train_tiles[[3]]
    assert len(last) == 1
    assert torch.equal(last[0]["tx"].row, train_tiles[3]["tx"].row)


def test_a_transform_is_called_and_does_not_change_the_dataset(training_tiles):
    def mark(tile):
        tile["tx"].x[:] = 0
        return tile

    tiles = SpatialTranscriptomicsDataset(training_tiles / "train", transform=mark)
    assert (tiles[0]["tx"].x == 0).all()
    tiles.transform = None
    assert (tiles[0]["tx"].x != 0).any()


def test_edges_obey_the_parameters(slide, tmp_path):
    graph = tg.GraphParams(k_tx=4, dist_tx=2.0, k_bd=2, dist_bd=4.0)
    folder = tg.dataset(
        slide, tmp_path / "data", graph=graph, data=tg.DatasetParams(tile_transcripts=800, max_tiles=3)
    )
    tiles = SpatialTranscriptomicsDataset(folder / "train")
    assert tiles.graph_params == graph
    for index, tile in enumerate(tiles):
        source, target = tile[NEIGHBORS].edge_index
        assert torch.bincount(target).max() <= 4
        gap = (tile["tx"].pos[source] - tile["tx"].pos[target]).norm(dim=1)
        assert gap.max() <= 2.0 + 1e-5
        raw = tiles.raw_tile(index).graph
        assert np.bincount(raw.candidates[0]).max() <= 2
        assert raw.distance.max() <= 4.0


@pytest.mark.parametrize("val_share", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("n", [3, 4, 5, 20])
def test_every_split_gets_a_tile(val_share, n):
    tiles = [Tile(number, (0.0, 0.0, 1.0, 1.0)) for number in range(n)]
    splits = split_tiles(tiles, tg.DatasetParams(val_share=val_share), seed=0)
    assert min(map(len, splits.values())) >= 1
    assert sorted(tile.index for part in splits.values() for tile in part) == list(range(n))


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no training data"):
        SpatialTranscriptomicsDataset(tmp_path)


@pytest.mark.parametrize("harm", ["{}", "[]", "not json", '{"format": "tissuegraph tiles 0"}'])
def test_a_card_that_is_not_ours_is_refused(training_tiles, tmp_path, harm):
    copy = shutil.copytree(training_tiles / "test", tmp_path / "test")
    (copy / "dataset.json").write_text(harm)
    with pytest.raises(InputError, match="is no training data"):
        SpatialTranscriptomicsDataset(copy)


@pytest.mark.parametrize("folder", ["raw", "processed"])
def test_a_tile_that_was_cut_short_is_refused(training_tiles, tmp_path, folder):
    copy = shutil.copytree(training_tiles / "test", tmp_path / "test")
    path = next(path for path in (copy / folder).iterdir() if "boundaries" not in path.name)
    path.write_bytes(path.read_bytes()[:-500])
    if folder == "raw":
        shutil.rmtree(copy / "processed")
    with pytest.raises(InputError):
        SpatialTranscriptomicsDataset(copy)


def test_training_data_is_only_replaced_on_request(slide, training_tiles, tmp_path, capsys):
    copy = shutil.copytree(training_tiles, tmp_path / "data")
    words = ["dataset", str(slide), "-o", str(copy), "--max-tiles", "3"]
    assert main(words) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert content(copy) == content(training_tiles)
    assert main([*words, "--overwrite"]) == 0
    assert json.loads((copy / "train/dataset.json").read_text())["format"] == "tissuegraph tiles 1"
    assert sum(len(list((copy / split / "processed").iterdir())) for split in SPLITS) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("millions", [1, 20])
def test_however_large_the_slide_tiles_are_taken_all_over_it(millions, seed):
    bins = 256
    counts = np.random.default_rng(seed).poisson(millions * 1e6 / bins**2, (bins, bins))
    histogram = Histogram(counts, np.arange(bins + 1.0), np.arange(bins + 1.0))
    survey = Survey((), {}, np.empty(0, object), PackedOutlines(np.empty(0, object)), histogram)
    params = tg.DatasetParams()
    taken = shuffled_tiles(survey, params, seed)[: params.max_tiles]
    assert len(taken) == params.max_tiles
    ends = np.clip([tile.core for tile in taken], 0, bins)
    held = [counts[int(x0) : int(x1), int(y0) : int(y1)].sum() for x0, y0, x1, y1 in ends]
    assert max(held) <= params.tile_transcripts
    middles = (ends[:, :2] + ends[:, 2:]) / 2
    quadrants = np.bincount((middles > bins / 2) @ [1, 2], minlength=4)
    assert quadrants.min() >= 6
    assert sum(map(len, split_tiles(taken, params, seed).values())) == params.max_tiles
