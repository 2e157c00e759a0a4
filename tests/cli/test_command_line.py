from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tissuegraph
from tissuegraph.cli import main
from tissuegraph.cli.app import app

COMMANDS = ("simulate tissue", "segment", "evaluate", "dataset", "train", "predict", "domains", "embed")
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train_model.py"

TRAIN = {
    "train_dir": ("tiles/train", Path("tiles/train")),
    "val_dir": ("tiles/val", Path("tiles/val")),
    "batch_size_train": ("3", 3),
    "batch_size_val": ("2", 2),
    "num_tx_tokens": ("500", 500),
    "init_emb": ("4", 4),
    "hidden_channels": ("32", 32),
    "out_channels": ("8", 8),
    "heads": ("2", 2),
    "mid_layers": ("2", 2),
    "aggr": ("mean", "mean"),
    "accelerator": ("cpu", "cpu"),
    "strategy": ("ddp", "ddp"),
    "precision": ("bf16-mixed", "bf16-mixed"),
    "devices": ("2", "2"),
    "epochs": ("7", 7),
    "learning_rate": ("0.01", 0.01),
    "default_root_dir": ("model", Path("model")),
    "seed": ("11", 11),
}


def parsed(tokens: list[str]) -> dict[str, object]:
    """The arguments that a command gets, with the fields of its dataclasses among them."""
    _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    fields: dict[str, object] = {}
    for name, value in bound.arguments.items():
        fields |= vars(value) if hasattr(value, "__dataclass_fields__") else {name: value}
    return fields


def loaded_by(code: str, modules: set[str]) -> set[str]:
    """Which modules a fresh Python has loaded after it ran the code."""
    code = f"{code}\nimport sys, json; print(json.dumps(sorted({modules!r} & sys.modules.keys())))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_lists_the_commands_and_loads_none(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert [name for name in COMMANDS if name.split()[0] in said] == list(COMMANDS)
    heavy = {"torch", "lightning", "numpy", "polars", "tissuegraph.segmentation", "tissuegraph.simulate"}
    assert loaded_by("from tissuegraph.cli import main; main(['--help'])", heavy) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert f"tissuegraph {command}" in said
    assert "--" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_no_two_options_of_a_command_bear_one_name(command):
    page = app
    for word in command.split():
        page = page[word]
    arguments = page.assemble_argument_collection()
    names = [name for argument in arguments for name in argument.names if name != "*"]
    assert names
    assert sorted(names) == sorted(set(names))


def test_help_of_a_command_does_not_load_the_network():
    code = """
from tissuegraph.cli import main
for command in ("segment", "train", "predict", "dataset", "evaluate", "embed"):
    assert main([command, "--help"]) == 0
"""
    assert loaded_by(code, {"torch", "lightning", "torch_geometric"}) == set()


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == tissuegraph.__version__


@pytest.mark.parametrize(
    "spelled", [str, lambda name: name.replace("_", "-")], ids=["underscores", "hyphens"]
)
def test_train_takes_every_flag_spelled_either_way(spelled):
    tokens = [part for name, (text, _) in TRAIN.items() for part in (f"--{spelled(name)}", text)]
    arguments = parsed(["train", *tokens])
    assert {name: arguments[name] for name in TRAIN} == {name: value for name, (_, value) in TRAIN.items()}


@pytest.mark.parametrize("command", ["segment", "dataset"])
def test_the_bundle_stands_first_and_the_output_after_o(command):
    arguments = parsed([command, "slide", "-o", "result", "--k_tx", "7", "--seed", "3"])
    assert arguments["bundle"] == Path("slide")
    assert arguments["out"] == Path("result")
    assert (arguments["k_tx"], arguments["seed"]) == (7, 3)


def test_predict_takes_a_model():
    arguments = parsed(["predict", "slide", "--model", "m", "-o", "result", "--overwrite"])
    assert (arguments["bundle"], arguments["model"], arguments["out"]) == (
        Path("slide"),
        Path("m"),
        Path("result"),
    )
    assert arguments["overwrite"] is True


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("segmnt slide", "did you mean segment?"),
        ("xyz", "there are: simulate, segment"),
        ("simulate tissue slide --cell 5", "Did you mean --cells?"),
        ("simulate tissue slide --cells five", "five"),
        ("simulate tissue", "--out"),
        ("simulate tissue slide --cells -5", "cells is -5"),
        ("simulate tissue slide extra", "extra"),
        ("evaluate nowhere --truth truth.parquet", "there is no nowhere"),
    ],
)
def test_what_is_typed_wrong_is_one_sentence_and_status_2(line, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tissuegraph: error: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert list(tmp_path.iterdir()) == []


def test_simulate_then_refuse_to_overwrite(capsys, tmp_path):
    line = ["simulate", "tissue", str(tmp_path / "slide"), "--cells", "20", "--counts_per_cell", "10"]
    assert main(line) == 0
    assert (tmp_path / "slide" / "truth.parquet").is_file()
    assert main(line) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*line, "--overwrite"]) == 0


def test_the_script_is_the_command():
    script = subprocess.run(
        [sys.executable, SCRIPT, "--epoch", "3"], capture_output=True, text=True, timeout=120
    )
    assert script.returncode == 2
    assert "Did you mean --epochs?" in script.stderr
    assert "Traceback" not in script.stderr
