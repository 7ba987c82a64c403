"""The one door for running commands, in whichever namespace: any other exit status than 0 raises.

Mininet's own ``Node.cmd`` returns text and hides the exit status; nothing here uses it.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from emulation.errors import CommandError, WaitError

HERE = "sandbox"
PATIENCE = float(os.environ.get("OVERLAND_PATIENCE") or 1)
"""By how much every bound on waiting is longer: an emulated processor (TCG) is some ten times slower than a real one.

Bounds only end what hangs; no figure depends on them.
"""
EMULATED = PATIENCE > 2
"""Processors are emulated: what shares them is weighed otherwise, and less is asked of them."""


def in_namespaces_of(pid: int | None, argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` in the network namespace of process ``pid`` (None: where we are)."""
    return list(argv) if pid is None else ["mnexec", "-a", str(pid), *argv]


def run(
    argv: Sequence[str],
    *,
    pid: int | None = None,
    node: str = HERE,
    stdin: str | None = None,
    timeout_s: float = 30.0,
) -> str:
    """Run a command to its end and return its stdout; raise CommandError when it fails or takes too long."""
    try:
        done = subprocess.run(
            in_namespaces_of(pid, argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s * PATIENCE,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandError(node, argv, 127, f"{error.filename}: not found") from None
    except subprocess.TimeoutExpired:
        raise CommandError(node, argv, -1, f"did not end within {timeout_s * PATIENCE:g} s") from None
    if done.returncode != 0:
        raise CommandError(node, argv, done.returncode, done.stderr)
    return done.stdout


def batch(tool: str, lines: Sequence[str], *, pid: int | None = None, node: str = HERE) -> None:
    """Run many ``ip`` or ``tc`` lines in one process; raise CommandError with the line that was refused."""
    if not lines:
        return
    argv = [tool, "-batch", "-"]
    try:
        run(argv, pid=pid, node=node, stdin="\n".join(lines) + "\n")
    except CommandError as error:
        raise CommandError(node, argv, error.exit_code, _with_refused_line(error.stderr, lines)) from None


def _with_refused_line(stderr: str, lines: Sequence[str]) -> str:
    """Both tools end with "Command failed -:N": put line N beside it."""
    number = stderr.rpartition("-:")[2].strip()
    if number.isdigit() and 0 < int(number) <= len(lines):
        return f"{stderr.strip()} [{lines[int(number) - 1]}]"
    return stderr


def spawn(
    argv: Sequence[str],
    *,
    pid: int | None = None,
    stdout: int | IO[Any] = subprocess.DEVNULL,
    stderr: int | IO[Any] = subprocess.DEVNULL,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command that goes on; the caller holds the process and ends it."""
    return subprocess.Popen(
        in_namespaces_of(pid, argv),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=env,
        start_new_session=True,
    )


def wait_until(check: Callable[[], Any], timeout_s: float, wanted: str, every_s: float = 0.005) -> Any:
    """Wait until ``check()`` gives something true and return it; WaitError says what was seen last."""
    timeout_s *= PATIENCE
    deadline_s = time.monotonic() + timeout_s
    while True:
        seen = check()
        if seen:
            return seen
        if time.monotonic() >= deadline_s:
            raise WaitError(wanted, timeout_s, seen)
        time.sleep(every_s)
