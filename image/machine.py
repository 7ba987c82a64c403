"""A guest's life as the host sees it: started, followed, ended; what it wrote is brought back whatever happened."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping

from emulation import commands
from emulation.errors import CommandError
from image.boot import QEMU, Guest, qemu_argv
from image.console import PATIENCE, Console, Patience, how_it_ended, silent_too_long
from image.errors import ImageError

Show = Callable[[str], None]
_LOOK_EVERY_S = 0.1
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""In front of QEMU: a guest that its runner could not end any more would keep the processors for itself."""


def qemu_version() -> str:
    """The first line of ``qemu --version``. ImageError when there is no QEMU."""
    try:
        return commands.run([QEMU, "--version"]).splitlines()[0]
    except CommandError:
        raise ImageError(f"{QEMU} not found: run `./setup.sh image` (Debian: qemu-system-x86)") from None


def follow(guest: Guest, show: Show, patience: Patience | None = None) -> tuple[Console, str | None]:
    """Boot a guest, show its command's lines, wait for its end; what its console said, and what went wrong.

    A guest that says nothing for too long is ended. Nothing of QEMU is left when this returns or raises.
    """
    assert guest.log is not None
    guest.log.write_bytes(b"")
    console, patience = Console(), patience or PATIENCE[guest.accelerator]
    complaints = guest.log.with_suffix(".qemu")
    with complaints.open("wb") as stderr:
        process = commands.spawn([*DIES_WITH_US, *qemu_argv(guest)], stderr=stderr)
    trouble = None
    try:
        with guest.log.open("rb") as log:
            heard_s = time.monotonic()
            while True:
                gone = process.poll() is not None
                data = log.read()
                if data:
                    heard_s = time.monotonic()
                    for line in console.feed(data):
                        show(line)
                if gone:
                    break
                trouble = silent_too_long(console, time.monotonic() - heard_s, patience)
                if trouble is not None:
                    break
                time.sleep(_LOOK_EVERY_S)
    finally:
        _end(process)
    if trouble is None:
        trouble = how_it_ended(console, process.returncode)
    if trouble is not None and not console.up:
        said = complaints.read_text(errors="replace").strip().splitlines()
        trouble += f" ({said[-1]})" if said else ""
    return console, trouble


def probe(guest: Guest) -> str | None:
    """Boot a guest that only says that its kernel has come up; None, or why that did not happen."""
    console, trouble = follow(guest, lambda _line: None)
    if console.up or trouble is None:
        return None
    assert guest.log is not None
    # What QEMU said last may be a failed assertion of its own; it stays in the file.
    return f"{trouble.partition(' (')[0]}, see {guest.log.with_suffix('.qemu')}"


def interact(guest: Guest, terminal: Mapping[str, str | int]) -> int:
    """Boot a guest whose console is this terminal; QEMU's exit status."""
    return subprocess.run([*DIES_WITH_US, *qemu_argv(guest, terminal)], check=False).returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
