"""Training from the command line: every option takes effect, and what cannot be is refused."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tissuegraph as tg
from tissuegraph.cli import main
from tissuegraph.errors import InputError
from tissuegraph.nn.lit import LitSegger
from tissuegraph.training.machine import available
from tissuegraph.training.trainer import stopped_because

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/train_model.py"
SMALL = {"epochs": 1, "hidden_channels": 32, "heads": 1, "batch_size_train": 2}


def words(tiles: Path, root: Path, **options: Any) -> list[str]:
    folders = {"train_dir": tiles / "train", "val_dir": tiles / "val", "default_root_dir": root}
    pairs = (folders | SMALL | options).items()
    return [word for name, value in pairs for word in (f"--{name.replace('_', '-')}", str(value))]


def read(root: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and card of the model that was trained."""
    weights = load_file(root / "model/model.safetensors")
    return weights, json.loads((root / "model/model.json").read_text())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def base(training_tiles, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("base")
    assert main(["train", *words(training_tiles, root)]) == 0
    return root


def test_it_leaves_a_model_that_predict_takes(slide, base, tmp_path):
    assert {path.name for path in (base / "model").iterdir()} == {"model.safetensors", "model.json"}
    assert (base / "checkpoints").is_dir()
    assert "val_auroc" in (base / "metrics.csv").read_text()
    assert "val_f1" in (base / "metrics.csv").read_text()
    out = tg.predict(slide, base / "model", tmp_path / "out")
    assert json.loads((out / "run.json").read_text())["account"]["assigned"] > 0


def test_the_same_flags_give_the_same_bytes_spelled_either_way(training_tiles, base, tmp_path):
    spelled = [word.replace("-", "_").replace("__", "--", 1) if word.startswith("--") else word
               for word in words(training_tiles, tmp_path)]  # fmt: skip
    assert "--batch_size_train" in spelled
    assert main(["train", *spelled]) == 0
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "model" / name).read_bytes() == (base / "model" / name).read_bytes()


def test_the_script_takes_the_same_flags(training_tiles, base, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words(training_tiles, tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 0
    assert same(read(tmp_path)[0], read(base)[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size_train", 4),
        ("num_tx_tokens", 60),
        ("init_emb", 4),
        ("hidden_channels", 16),
        ("out_channels", 32),
        ("heads", 2),
        ("mid_layers", 0),
        ("aggr", "mean"),
        ("precision", "bf16-mixed"),
        ("epochs", 2),
        ("learning_rate", 0.02),
        ("seed", 1),
    ],
)
def test_every_option_changes_the_model(training_tiles, base, tmp_path, name, value):
    assert main(["train", *words(training_tiles, tmp_path, **{name: value})]) == 0
    (weights, card), (usual, usual_card) = read(tmp_path), read(base)
    assert name == "epochs" or not same(weights, usual)  # the first epoch may be the best
    training, usual_training = card["training"], usual_card["training"]
    if name in ("batch_size_train", "epochs"):
        assert training["steps"] != usual_training["steps"]
    if name in ("init_emb", "hidden_channels", "out_channels", "heads", "mid_layers", "aggr"):
        assert card["segger"][name] == value
        shapes = [{key: tuple(tensor.shape) for key, tensor in one.items()} for one in (weights, usual)]
        assert (shapes[0] != shapes[1]) == (name != "aggr")
    if name == "num_tx_tokens":
        assert weights["model.input.tx.emb.weight"].shape[0] == 60


def test_a_network_may_look_as_far_as_the_tiles_reach(slide, tmp_path):
    data = tg.DatasetParams(tile_transcripts=400, max_tiles=4, hops=5)
    tiles = tg.dataset(slide, tmp_path / "tiles", data=data)
    assert main(["train", *words(tiles, tmp_path, mid_layers=3)]) == 0
    assert read(tmp_path)[1]["segger"]["mid_layers"] == 3


def test_batch_size_val_sets_the_number_of_validation_steps(training_tiles, tmp_path, monkeypatch):
    sizes: list[int] = []
    validate = LitSegger.validation_step

    def count(self, batch):
        sizes.append(batch.num_graphs)
        return validate(self, batch)

    monkeypatch.setattr(LitSegger, "validation_step", count)
    for size, expected in ((1, [1, 1, 1]), (2, [2, 1])):
        sizes.clear()
        assert main(["train", *words(training_tiles, tmp_path / str(size), batch_size_val=size)]) == 0
        assert sizes == expected


def test_training_stops_where_it_no_longer_helps(training_tiles, tmp_path):
    options = {"epochs": 20, "patience": 1, "learning_rate": 1.0}
    assert main(["train", *words(training_tiles, tmp_path, **options)]) == 0
    card = read(tmp_path)[1]["training"]
    assert card["epochs"] < 20
    assert card["stopped_because"] != "all epochs done"


def last_checkpoint(epoch: int, score: float) -> dict[str, Any]:
    state = {"current_score": torch.tensor(score)}
    return {"epoch": epoch, "callbacks": {"ModelCheckpoint": state, "EarlyStopping": {"wait_count": 2}}}


@pytest.mark.parametrize(
    ("epoch", "score", "because"),
    [
        (4, 0.3, "validation loss is flat"),
        (9, 0.3, "all epochs done"),
        (4, float("nan"), "validation loss is no number"),
    ],
)
def test_why_training_stopped_is_told_by_its_last_checkpoint(epoch, score, because):
    assert stopped_because(last_checkpoint(epoch, score), tg.TrainParams(epochs=10)) == because


def test_it_says_how_long_it_took_and_on_what(training_tiles, base):
    said = json.loads((base / "training.json").read_text())
    assert said["command"] == "train"
    assert list(said["stages"]) == ["start-up", "training", "other", "whole"]
    assert said["training"] == read(base)[1]["training"]
    assert said["training"]["tiles"] == {"train": 4, "val": 3}
    assert said["training"]["stopped_because"] == "all epochs done"
    assert said["training"]["transcripts"] > 400
    assert said["stages"]["training"]["transcripts_per_second"] > 0
    assert not (base / "trace.json").exists()


def test_a_profile_shows_the_epochs(training_tiles, tmp_path):
    assert main(["train", *words(training_tiles, tmp_path, epochs=2), "--profile"]) == 0
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {"start-up", "training", "epoch 0", "epoch 1"} <= {event["name"] for event in events}


def test_the_best_epoch_is_kept(training_tiles, tmp_path):
    assert main(["train", *words(training_tiles, tmp_path, epochs=3, learning_rate=0.1)]) == 0
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("val_loss")
    losses = [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]
    assert len(losses) >= 2
    assert read(tmp_path)[1]["training"]["best_val_loss"] == pytest.approx(min(losses))


def test_fewer_tokens_than_genes_are_refused(training_tiles, tmp_path, capsys):
    assert main(["train", *words(training_tiles, tmp_path / "root", num_tx_tokens=39)]) == 2
    said = capsys.readouterr().err
    assert "num_tx_tokens is 39, but the panel has 40 genes; type --num-tx-tokens 40" in said
    assert not (tmp_path / "root").exists()


def test_a_network_that_looks_farther_than_the_tiles_says_so(training_tiles, tmp_path, caplog):
    with caplog.at_level("WARNING", logger="tissuegraph"):
        tg.train(
            train_dir=training_tiles / "train",
            val_dir=training_tiles / "val",
            default_root_dir=tmp_path,
            segger=tg.SeggerParams(mid_layers=2),
            training=tg.TrainParams(epochs=1),
        )
    assert "tissuegraph dataset --hops 4" in caplog.text
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_folders_that_are_no_tiles_are_refused(training_tiles, tmp_path, capsys):
    for name in ("train_dir", "val_dir"):
        assert main(["train", *words(training_tiles, tmp_path, **{name: tmp_path / "nothing"})]) == 2
        assert "make it with `tissuegraph dataset" in capsys.readouterr().err


def test_two_panels_are_refused(training_tiles, tmp_path):
    other = shutil.copytree(training_tiles / "val", tmp_path / "val")
    card = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**card, "genes": [*card["genes"], "ZZZ"]}))
    with pytest.raises(InputError, match="not the same panel"):
        tg.train(train_dir=training_tiles / "train", val_dir=other, default_root_dir=tmp_path / "root")


def test_a_folder_named_model_that_is_not_ours_is_left_alone(training_tiles, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/thesis.txt").write_text("mine")
    assert main(["train", *words(training_tiles, tmp_path)]) == 2
    assert "is no model" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_what_the_machine_lacks_is_said_at_once(training_tiles, tmp_path, capsys):
    cores = available()["cpu"]
    too_many = f"this machine has cpu ({cores}); type --devices {cores}"
    for options, said in (
        ({"accelerator": "cuda"}, "type --accelerator cpu"),
        ({"accelerator": "cpu", "devices": cores + 2}, too_many),
    ):
        assert main(["train", *words(training_tiles, tmp_path / "root", **options)]) == 2
        assert capsys.readouterr().err.strip().endswith(said)
    assert not (tmp_path / "root").exists()


@pytest.mark.slow
@pytest.mark.skipif(available()["cpu"] < 2, reason="needs two cores")
@pytest.mark.parametrize("strategy", ["auto", "ddp_spawn"])
def test_two_processes_train_one_model(training_tiles, base, tmp_path, strategy):
    options = {"accelerator": "cpu", "devices": 2, "strategy": strategy}
    assert main(["train", *words(training_tiles, tmp_path, **options)]) == 0
    weights, _ = read(tmp_path)
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert not same(weights, read(base)[0])
    history = read(tmp_path)[1]["training"]
    assert history["steps"] > 0
    assert np.isfinite(history["best_val_loss"])
