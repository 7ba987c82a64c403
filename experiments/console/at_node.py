"""A command in a node's shell: what it prints is shown until it ends. Ctrl-C ends it, or else kills it."""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import shlex
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.running.interrupts import Interrupts

_LOOK_EVERY_S = 0.1
_PATIENCE_S = 2.0  # how long a command may take over Ctrl-C before it is killed
_ENDS_SHELL = ("exit", "logout", "exec", "suspend")


class NodeShellError(Exception):
    """A command that cannot run in a node's shell, or did not end in order; says what to do."""


def check_command(node: str, command: str) -> None:
    """Refuse what the shell would take for its own end, or for the beginning of something longer (NodeShellError)."""
    first = command.split()[0]
    if first in _ENDS_SHELL:
        raise NodeShellError(
            f"{node} {first}: would end {node}'s own shell; exit alone ends the session, and "
            f"`{node} sh -c '{command}'` runs it in a shell of its own"
        )
    try:
        shlex.split(command)
    except ValueError as error:
        raise NodeShellError(f"{node}: {command}: {error}; the shell would wait for the rest") from None


def run_at(
    node: Any, command: str, interrupts: Interrupts, show: Callable[[str], None], keys: int | None
) -> None:
    """Run a command in a Mininet node's shell. ``keys``: the terminal whose keys go to it, if any. NodeShellError."""
    if node.shell is None:
        raise NodeShellError(f"{node.name}'s shell has ended: exit, and start anew")
    if node.waiting:
        raise NodeShellError(f"{node.name} has not ended the command before; look with: sh ps axf")
    node.decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a command may print any bytes
    node.readbuf = ""
    others, behind = _children(node.pid), command.endswith("&")  # Mininet asks such a one for its PID
    node.sendCmd(command)
    watched = select.poll()
    watched.register(node.stdout, select.POLLIN)
    if keys is not None:
        watched.register(keys, select.POLLIN)
    presses, interrupted_s = interrupts.presses, 0.0
    with interrupts.held(), _key_by_key(keys):
        while node.waiting:
            ready = {descriptor for descriptor, _ in watched.poll(_LOOK_EVERY_S * 1e3)}
            if keys in ready:
                _pass_keys(node, keys, watched)
            if node.stdout.fileno() in ready or node.readbuf:
                show(str(node.monitor(timeoutms=0, findPid=behind)))
            elif node.shell.poll() is not None:
                node.waiting, node.shell = False, None
                raise NodeShellError(f"{node.name}'s shell has ended, and with it what holds {node.name} up")
            if interrupts.presses > presses:
                presses = interrupts.presses
                interrupted_s = interrupted_s or time.monotonic()
                node.sendInt()
            if interrupted_s and time.monotonic() - interrupted_s > _PATIENCE_S:
                _kill(node, others, interrupts, show)
        interrupts.answer()


def _pass_keys(node: Any, keys: int, watched: select.poll) -> None:
    typed = os.read(keys, 1024)
    if typed:
        os.write(node.stdin.fileno(), typed)
    else:
        watched.unregister(keys)


def _kill(node: Any, others: set[int], interrupts: Interrupts, show: Callable[[str], None]) -> None:
    """End what did not end on Ctrl-C: all that the shell has started since."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while node.waiting and time.monotonic() < deadline_s:
        for child in _children(node.pid) - others:
            for pid in (*_below(child), child):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        show(str(node.monitor(timeoutms=_LOOK_EVERY_S * 1e3, findPid=False)))
    interrupts.answer()
    what = (
        "did not end on Ctrl-C and was killed" if not node.waiting else "does not end, not even when killed"
    )
    raise NodeShellError(f"{node.name}: the command {what}")


def _children(pid: int) -> set[int]:
    with contextlib.suppress(OSError):
        return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return set()


def _below(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield from _below(child)
        yield child


@contextlib.contextmanager
def _key_by_key(keys: int | None) -> Iterator[None]:
    """The terminal gives keys as they are pressed, not lines; afterwards as before."""
    try:
        before = None if keys is None else termios.tcgetattr(keys)
    except termios.error:
        before = None
    if keys is None or before is None:
        yield
        return
    changed = [*before]
    changed[3] &= ~termios.ICANON
    try:
        termios.tcsetattr(keys, termios.TCSANOW, changed)
        yield
    finally:
        sys.stdout.flush()
        termios.tcsetattr(keys, termios.TCSANOW, before)
