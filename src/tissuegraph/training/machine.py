"""What the machine has, against what was asked for: said before any work starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch

from tissuegraph.errors import InputError, MachineError
from tissuegraph.parallel import cores
from tissuegraph.training.params import Training

AnyTraining = TypeVar("AnyTraining", bound=Training)
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
SPAWN = "ddp_spawn"
STRATEGIES = ("auto", "ddp", SPAWN)
PRECISIONS = ("auto", "32-true", "16-mixed", "bf16-mixed")


def available() -> dict[str, int]:
    """Devices by accelerator on this machine."""
    found = {"cpu": cores(), "cuda": torch.cuda.device_count()}
    if torch.backends.mps.is_available():
        found["mps"] = 1
    return {name: count for name, count in found.items() if count}


def check_training(params: AnyTraining) -> AnyTraining:
    """Check how training is to run; return the parameters with the strategy that will be used.

    Several processes are spawned, unless `ddp` is asked for, which runs the whole command again in each.

    Raises
    ------
    MachineError
        As `check_machine`.
    InputError
        If the strategy or the precision is unknown.
    """
    accelerator = check_machine(params.accelerator, params.devices)
    for name, choices in (("strategy", STRATEGIES), ("precision", PRECISIONS)):
        if getattr(params, name) not in choices:
            message = f"{name} is {getattr(params, name)!r}; choose one of {', '.join(choices)}"
            raise InputError(message)
    if params.strategy == "auto" and processes(accelerator, params.devices) > 1:
        changed: Any = params
        params = replace(changed, strategy=SPAWN)
    if params.strategy == SPAWN:
        # tensors that are mapped from a file cannot be handed over by their file descriptor
        torch.multiprocessing.set_sharing_strategy("file_system")
    return params


def check_in_one_command(params: Training) -> None:
    """As `check_training`, and refuse, with `MachineError`, what would run the other steps twice."""
    accelerator, strategy = check_machine(params.accelerator, params.devices), check_training(params).strategy
    if strategy == "ddp" and processes(accelerator, params.devices) > 1:
        message = (
            "strategy ddp runs the whole command once a device, and they would write the same folder; "
            f"type --strategy {SPAWN}, or train with `tissuegraph dataset` and `tissuegraph train`"
        )
        raise MachineError(message)


def is_first_process() -> bool:
    """Say whether this process writes the results; Lightning numbers those that it starts."""
    from lightning.pytorch.utilities import rank_zero_only

    return rank_zero_only.rank == 0


def processes(accelerator: str, devices: int | str) -> int:
    """How many processes will train: one a device, and one on the CPU unless more are asked for."""
    if str(devices) == "auto":
        return 1 if accelerator == "cpu" else available()[accelerator]
    return int(devices)


def check_machine(accelerator: str, devices: int | str) -> str:
    """Return the accelerator that will be used: "cpu", "cuda" or "mps".

    Raises
    ------
    MachineError
        If the accelerator is unknown or absent, or has fewer devices than asked for.
    """
    found = available()
    listed = ", ".join(f"{name} ({count})" for name, count in found.items())
    if accelerator not in ACCELERATORS:
        message = f"unknown accelerator {accelerator!r}; choose one of {', '.join(ACCELERATORS)}"
        raise MachineError(message)
    best = next(name for name in ("cuda", "mps", "cpu") if name in found)
    wanted = {"auto": best, "gpu": best if best != "cpu" else "cuda"}.get(accelerator, accelerator)
    if wanted not in found:
        message = (
            f"accelerator {accelerator!r} was asked for, but this machine has only {listed}; "
            "type --accelerator cpu"
        )
        raise MachineError(message)
    _check_devices(devices, found[wanted], wanted, listed)
    return wanted


def _check_devices(devices: int | str, there: int, accelerator: str, listed: str) -> None:
    if str(devices) == "auto":
        return
    try:
        asked = int(devices)
    except ValueError:
        asked = 0
    if asked < 1:
        message = f"--devices takes a number of 1 or more, or auto; found {devices!r}"
        raise MachineError(message)
    if asked > there:
        message = (
            f"{asked} {accelerator} devices were asked for, but this machine has {listed}; "
            f"type --devices {there}"
        )
        raise MachineError(message)


def torch_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the GPU where there is one.

    Raises
    ------
    MachineError
        If it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise MachineError(f"device {name!r} is not there; pass device='cpu'") from error
