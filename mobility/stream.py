"""Real bytes between two NVEs over the underlay, as a hypervisor copies a VM's memory; limited in rate, counted."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from emulation import commands
from emulation.errors import EmulationError
from emulation.network import RUN_FOLDER

PORT = 49152  # the first one of the range that QEMU's managers use for migration
START_BOUND_S = 15.0
_PATIENCE_S, _PATIENCE = 30.0, 20  # a path far slower than asked for is waited for, a dead one is not
_PROJECT = Path(__file__).resolve().parents[1]
_numbers = itertools.count()


class Process(Protocol):
    """As much of a process as is needed here."""

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int:
        """Wait for its end."""


class Spawns(Protocol):
    """Where the ends run: ``spawn(node, argv)``, as the emulated network does it."""

    def spawn(self, node: str, argv: list[str]) -> Process:
        """Start a command in a node's namespace."""


def end_argv(*arguments: str) -> list[str]:
    """The command line of one end; ``-S``: without site packages it starts faster."""
    return ["env", f"PYTHONPATH={_PROJECT}", sys.executable, "-S", "-m", "mobility.stream_end", *arguments]


class MemoryStream:
    """A TCP connection from the old NVE to the new one, open and ready: ``send`` costs no start of a process."""

    def __init__(
        self, network: Spawns, old_nve: str, new_nve: str, new_ip: str, folder: Path = RUN_FOLDER
    ) -> None:
        self._names = f"the copy from {old_nve} to {new_nve}"
        number = next(_numbers)
        control, port = folder / f"copy-{number}.sock", str(PORT + number % 1000)
        self._processes: Sequence[Process] = [
            network.spawn(new_nve, end_argv("receive", new_ip, port)),
            network.spawn(old_nve, end_argv("send", new_ip, port, str(control))),
        ]
        try:
            self._control: socket.socket = commands.wait_until(
                lambda: self._connect(control), START_BOUND_S, self._names
            )
        except BaseException:
            self._end()
            raise
        self._lines: Any = self._control.makefile("rwb")
        control.unlink()

    def _connect(self, path: Path) -> socket.socket | None:
        self._check()
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            return None
        return connection

    def _check(self) -> None:
        for process, end in zip(self._processes, ("receiving", "sending"), strict=True):
            if process.poll() is not None:
                raise EmulationError(f"{self._names}: its {end} end ended with status {process.poll()}")

    def send(self, size_bytes: int, bandwidth_bps: float) -> float:
        """Move so many bytes, at most that fast; the seconds until the new NVE had them all. EmulationError."""
        asked = json.dumps({"bytes": size_bytes, "bandwidth_bps": bandwidth_bps}).encode() + b"\n"
        self._control.settimeout(_PATIENCE_S + _PATIENCE * size_bytes * 8 / bandwidth_bps)
        try:
            self._lines.write(asked)
            self._lines.flush()
            answer = self._lines.readline()
        except OSError as error:
            raise EmulationError(f"{self._names} broke off: {error.strerror or error}") from None
        if not answer:
            raise EmulationError(f"{self._names} broke off: one of its ends has ended")
        return float(json.loads(answer)["seconds"])

    def close(self) -> None:
        """End both ends; without effect when they have ended."""
        with contextlib.suppress(OSError):
            self._lines.close()
        self._control.close()
        self._end()

    def _end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
