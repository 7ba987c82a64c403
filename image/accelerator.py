"""KVM where it boots this image, else TCG. Found out by booting the kernel, once for each start of the host."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from image.boot import Accelerator, Guest
from image.errors import ImageError
from image.folder import Image
from results.paths import portable_text

DEVICE = Path("/dev/kvm")
ACCELERATORS = ("auto", "kvm", "tcg")


@dataclass(frozen=True)
class Choice:
    """The accelerator, and why in words."""

    accelerator: Accelerator
    why: str


Probe = Callable[[Guest], str | None]
"""Boots a guest that only comes up; None, or why it did not."""


def check_wanted(wanted: str) -> None:
    """ImageError unless it is auto, kvm or tcg."""
    if wanted not in ACCELERATORS:
        raise ImageError(f"ACCEL={wanted}: allowed are {', '.join(ACCELERATORS)}")


def choose(wanted: str, image: Image, probe: Probe) -> Choice:
    """Choose; ``wanted`` is auto, kvm or tcg. ImageError when KVM is asked for and not to be had."""
    check_wanted(wanted)
    if wanted == "tcg":
        return Choice("tcg", "asked for")
    lacking = device_problem()
    if lacking is None:
        lacking = _remembered(image, probe)
    if lacking is None:
        return Choice("kvm", "asked for" if wanted == "kvm" else "it boots here")
    if wanted == "kvm":
        raise ImageError(f"ACCEL=kvm: {lacking}; leave ACCEL out for TCG, which is some ten times slower")
    return Choice("tcg", f"no KVM: {lacking}")


def device_problem(device: Path = DEVICE) -> str | None:
    """Why KVM's device is of no use to this user; None when it is."""
    if not device.exists():
        return f"{device} does not exist"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} is not this user's to use (group kvm)"
    return None


def _remembered(image: Image, probe: Probe) -> str | None:
    """The probe's finding, from this start of the host and this image when there is one."""
    memory = image.folder / "kvm.json"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    now = {"boot": boot, "kernel": (image.manifest() or {}).get("hash"), "user": os.getuid()}
    try:
        found = json.loads(memory.read_text())
        if {name: found.get(name) for name in now} == now:
            remembered: str | None = found["lacking"]
            return remembered
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        pass
    guest = Guest(image.kernel, image.initrd, image.root, "probe", "kvm", log=image.folder / "kvm.log")
    lacking = probe(guest)
    memory.write_text(json.dumps({**now, "lacking": lacking}))
    return lacking


def as_record(choice: Choice) -> dict[str, str]:
    """What a record's environment says; paths as this work tree has them, since the guest's is another one."""
    return {"accelerator": choice.accelerator, "accelerator_why": portable_text(choice.why)}
