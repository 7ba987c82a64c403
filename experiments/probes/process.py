"""Starting, awaiting and ending one probe process. Where it runs is up to the ``spawn`` passed in."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from emulation.commands import PATIENCE
from vocabulary.errors import OverlandError

Spawn = Callable[[list[str]], "subprocess.Popen[bytes]"]
"""Starts a command in some namespace; ``stderr=subprocess.PIPE`` lets a probe's own words reach the error."""

_PROJECT = Path(__file__).resolve().parents[2]


class ProbeError(OverlandError):
    """A probe did not start, or did not end in order; the text says which, how, and what it printed."""


def python_argv(module: str, *arguments: str, site_packages: bool = False) -> list[str]:
    """The command line of a probe in Python; ``-S``: without ``site_packages`` it starts faster."""
    flags = [] if site_packages else ["-S"]
    return ["env", f"PYTHONPATH={_PROJECT}", sys.executable, *flags, "-m", module, *arguments]


class ProbeProcess:
    """A running probe and the log it writes."""

    def __init__(self, name: str, spawn: Spawn, argv: list[str], log_path: Path) -> None:
        self.name, self.log_path = name, log_path
        log_path.unlink(missing_ok=True)
        self._process = spawn(argv)

    @property
    def pid(self) -> int:
        """The process id, as the spawner's side sees it."""
        return self._process.pid

    def wait_ready(self, timeout_s: float = 10.0) -> None:
        """Return when the probe has opened its log; ProbeError when it ended before or took too long."""
        timeout_s *= PATIENCE
        deadline_s = time.monotonic() + timeout_s
        while not self.log_path.exists():
            if self._process.poll() is not None:
                raise ProbeError(f"{self.name} did not start: {self._ending()}")
            if time.monotonic() > deadline_s:
                self.kill()
                raise ProbeError(f"{self.name} was not ready after {timeout_s:g} s")
            time.sleep(0.002)

    def wait(self, timeout_s: float) -> None:
        """Wait for a probe that ends by itself; ProbeError when it does not, or ends with an error."""
        timeout_s *= PATIENCE
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProbeError(f"{self.name} did not end within {timeout_s:g} s") from None
        if self._process.returncode != 0:
            raise ProbeError(f"{self.name} failed: {self._ending()}")
        self._close()

    def ask_to_end(self) -> None:
        """Ask the probe to write its log and end; ``wait`` then sees that it does."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Have the probe write its log and end; ProbeError when it does not, or had ended with an error."""
        self.ask_to_end()
        self.wait(timeout_s)

    def kill(self) -> None:
        """End the probe at once, for the path of an error: its log is lost; never raises."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._close()

    def read(self) -> bytes:
        """The bytes of the log so far; empty when there is none."""
        try:
            return self.log_path.read_bytes()
        except FileNotFoundError:
            return b""

    def _ending(self) -> str:
        said = self._process.stderr.read().decode(errors="replace").strip() if self._process.stderr else ""
        self._close()
        code = self._process.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return f"{how}{': ' + said if said else ''}"

    def _close(self) -> None:
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
