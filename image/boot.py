"""How a guest is started: the kernel's command line and QEMU's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Accelerator = Literal["kvm", "tcg"]
Mode = Literal["run", "shell", "probe"]

QEMU = "qemu-system-x86_64"
ROOT_DEVICE, DATA_DEVICE = "/dev/vda", "/dev/vdb"
MEMORY_MIB = 4096  # a hundred NVEs take 1.6 GB; the throw-away overlay and Python take the rest

# tb-size, MiB: room for the translated code of kernel, Open vSwitch and Python; a full one is thrown away whole.
_ACCELERATORS = {
    "tcg": ("-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max"),
    "kvm": ("-accel", "kvm", "-cpu", "host"),
}
# hpet=off: reading it leaves the guest, and TCG's guests would choose it. tsc=reliable: nothing to fall back from.
# norandmaps: TCG finds code it has translated by its virtual address, too. At random addresses each process has its
# libraries translated anew, and a run of minutes fills tb-size.
# preempt=full: who wakes up does not wait for the end of another's system call, which takes long on a slow processor.
QUICKER = "norandmaps preempt=full"
_KERNEL = f"console=ttyS0 panic=-1 mitigations=off {QUICKER} tsc=reliable random.trust_cpu=on"


@dataclass(frozen=True)
class Guest:
    """One boot: files of the image, the data disk, what it is for. ``log``: where the console goes.

    ``log`` None: the console is the terminal (``Ctrl-A x`` ends QEMU).
    """

    kernel: Path
    initrd: Path
    root: Path
    mode: Mode
    accelerator: Accelerator
    data: Path | None = None
    log: Path | None = None
    processors: int = 2
    memory_mib: int = MEMORY_MIB


def kernel_words(guest: Guest, terminal: Mapping[str, str | int]) -> str:
    """The kernel's command line; ``terminal`` has term, rows and columns of an interactive console."""
    # A log takes the kernel's warnings, a person's terminal its errors alone.
    level = 4 if guest.mode == "shell" else 6
    words = [_KERNEL, f"loglevel={level}", f"overland.root={ROOT_DEVICE}", f"overland.mode={guest.mode}"]
    words += [f"overland.{name}={value}" for name, value in terminal.items()]
    return " ".join(words)


def qemu_argv(guest: Guest, terminal: Mapping[str, str | int] | None = None) -> list[str]:
    """QEMU's command line: no network, no display, nothing of the host but the files named."""
    argv = [QEMU, *_ACCELERATORS[guest.accelerator], "-machine", "q35,hpet=off"]
    argv += ["-smp", str(guest.processors), "-m", str(guest.memory_mib)]
    argv += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    if guest.log is None:
        argv += ["-chardev", "stdio,id=console,mux=on,signal=off", "-serial", "chardev:console"]
        argv += ["-mon", "chardev=console,mode=readline"]
    else:
        argv += ["-serial", f"file:{guest.log}"]
    argv += ["-device", "virtio-rng-pci"]
    argv += ["-drive", f"file={_escaped(guest.root)},if=virtio,format=raw,readonly=on"]
    if guest.data is not None:
        argv += ["-drive", f"file={_escaped(guest.data)},if=virtio,format=raw,cache=unsafe"]
    argv += ["-kernel", str(guest.kernel), "-initrd", str(guest.initrd)]
    return [*argv, "-append", kernel_words(guest, terminal or {})]


def _escaped(path: Path) -> str:
    """A comma in a file's name is doubled (qemu(1), -drive)."""
    return str(path).replace(",", ",,")
