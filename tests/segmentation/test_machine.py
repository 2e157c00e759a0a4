"""What the machine lacks is said before any work starts, with what to type instead."""

from __future__ import annotations

import pytest
import torch

from tissuegraph.cli import main
from tissuegraph.errors import InputError, MachineError
from tissuegraph.segmentation.params import TrainParams
from tissuegraph.training import machine
from tissuegraph.training.machine import check_in_one_command, check_machine, check_training


@pytest.fixture
def with_devices(monkeypatch):
    """Pretend that the machine has these devices, and nothing is remembered of how tensors are shared."""
    monkeypatch.setattr(torch.multiprocessing, "set_sharing_strategy", lambda _: None)

    def pretend(**devices: int) -> None:
        monkeypatch.setattr(machine, "available", lambda: devices)

    return pretend


@pytest.mark.parametrize(
    ("devices", "accelerator", "expected"),
    [
        ({"cpu": 2}, "auto", "cpu"),
        ({"cpu": 2}, "cpu", "cpu"),
        ({"cpu": 2, "cuda": 1}, "auto", "cuda"),
        ({"cpu": 2, "cuda": 1}, "gpu", "cuda"),
        ({"cpu": 2, "cuda": 1}, "cpu", "cpu"),
        ({"cpu": 8, "mps": 1}, "auto", "mps"),
        ({"cpu": 8, "mps": 1}, "gpu", "mps"),
    ],
)
def test_the_best_accelerator_is_taken_unless_one_is_asked_for(with_devices, devices, accelerator, expected):
    with_devices(**devices)
    assert check_machine(accelerator, "auto") == expected


@pytest.mark.parametrize("accelerator", ["cuda", "gpu", "mps"])
def test_an_accelerator_that_is_not_there(with_devices, accelerator):
    with_devices(cpu=2)
    with pytest.raises(MachineError, match=r"has only cpu \(2\); type --accelerator cpu"):
        check_machine(accelerator, 1)


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        ("4", "4 cuda devices were asked for, but this machine has cpu .2., cuda .1.; type --devices 1"),
        ("0", "--devices takes a number of 1 or more, or auto"),
        ("-1", "--devices takes a number"),
        ("many", "--devices takes a number"),
    ],
)
def test_devices_that_are_not_there(with_devices, devices, said):
    with_devices(cpu=2, cuda=1)
    with pytest.raises(MachineError, match=said):
        check_machine("cuda", devices)


@pytest.mark.parametrize(
    ("there", "params", "strategy"),
    [
        ({"cpu": 4}, TrainParams(), "auto"),
        ({"cpu": 4}, TrainParams(devices="2"), "ddp_spawn"),
        ({"cpu": 4}, TrainParams(devices="2", strategy="ddp"), "ddp"),
        ({"cpu": 4, "cuda": 4}, TrainParams(), "ddp_spawn"),
        ({"cpu": 4, "cuda": 4}, TrainParams(devices="1"), "auto"),
        ({"cpu": 4, "cuda": 4}, TrainParams(accelerator="cpu"), "auto"),
    ],
)
def test_several_processes_are_spawned_so_that_the_command_runs_once(with_devices, there, params, strategy):
    with_devices(**there)
    assert check_training(params).strategy == strategy


def test_segment_refuses_a_strategy_that_would_run_it_twice(with_devices):
    with_devices(cpu=4)
    check_in_one_command(TrainParams(strategy="ddp"))
    with pytest.raises(MachineError, match="type --strategy ddp_spawn"):
        check_in_one_command(TrainParams(strategy="ddp", devices="2"))


@pytest.mark.parametrize(("name", "value"), [("strategy", "nonsense"), ("precision", "8-bit")])
def test_names_that_nobody_knows(name, value):
    with pytest.raises(InputError, match=f"{name} is '{value}'; choose one of auto"):
        check_training(TrainParams(**{name: value}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_on_a_machine_without_a_gpu(slide, tmp_path, capsys):
    words = ["segment", str(slide), "-o", str(tmp_path / "out"), "--accelerator", "cuda"]
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert said.endswith("type --accelerator cpu")
    assert not list(tmp_path.iterdir())
