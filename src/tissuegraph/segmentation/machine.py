"""What the machine has, against what was asked for: said before any work starts."""

from __future__ import annotations

import os

import torch

from tissuegraph.errors import MachineError

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")


def cpu_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available() -> dict[str, int]:
    """Devices by accelerator on this machine."""
    found = {"cpu": cpu_cores(), "cuda": torch.cuda.device_count()}
    if torch.backends.mps.is_available():
        found["mps"] = 1
    return {name: count for name, count in found.items() if count}


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
