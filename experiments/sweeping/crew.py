"""The sandboxes of a sweep: started, given blocks, replaced when they end early; nothing of them outlives the sweep."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from emulation.sandbox import die_with_parent
from experiments.running.parameters import ParameterError
from experiments.sweeping.order import Dispatcher, Given

STOP_BOUND_S = 5.0
MOST_LOSSES_IN_A_ROW = 3
LINE_EVERY_S = 10.0

Supervise = Callable[[int, Any, socket.socket], int]
"""Runs a sandbox whose runner serves blocks on the socket: number of a cell it is for, its key, the socket."""


class SweepStoppedError(ParameterError):
    """Sandboxes end one after the other; says what to look at."""


@dataclass
class _Slot:
    """A place for one sandbox."""

    key: Any = None
    pid: int | None = None
    channel: socket.socket | None = None
    ready: bool = False
    given: Given | None = None
    sent: bool = False
    heard: bytes = b""


@dataclass
class Crew:
    """Works a dispatcher's blocks off. ``check`` says whether the control blocks agreed, ``tell`` prints a line."""

    name: str
    dispatcher: Dispatcher
    supervise: Supervise
    check: Callable[[], bool]
    tell: Callable[[str], None] = print
    valid: int = 0
    invalid: int = 0
    _slots: list[_Slot] = field(default_factory=list)
    _done: int = 0
    _losses: int = 0
    _begin_s: float = field(default_factory=time.monotonic)
    _told_s: float = field(default_factory=time.monotonic)

    def work(self) -> None:
        """Return when nothing is left to do. Raises SweepStoppedError; ends all sandboxes in every case."""
        dispatcher = self.dispatcher
        self._slots = [_Slot() for _ in range(dispatcher.jobs)]
        try:
            while dispatcher.unfinished or dispatcher.check_due:
                if dispatcher.check_due:
                    dispatcher.decide(self.check())
                    for slot in self._slots[max(1, dispatcher.wanted_workers) :]:
                        self._end(slot)
                self._assign()
                self._send()
                self._listen()
            for slot in self._slots:
                self._end(slot)
        finally:
            self._kill()

    def _assign(self) -> None:
        waiting = {number: slot.key for number, slot in enumerate(self._slots) if slot.given is None}
        for number, given in self.dispatcher.assign(waiting).items():
            slot = self._slots[number]
            slot.given, slot.sent = given, False
            key = self.dispatcher.keys[given.block.cell]
            if slot.pid is None or slot.key != key:
                self._end(slot)
                self._start(slot, given.block.cell, key)

    def _send(self) -> None:
        """Give ready sandboxes their blocks; those of a check begin together."""
        pending = [slot for slot in self._slots if slot.given is not None and not slot.sent]
        together = any(slot.given.control and slot.given.beside for slot in pending if slot.given)
        if together and not all(slot.ready for slot in pending):
            return
        for slot in pending:
            if slot.ready and slot.channel is not None and slot.given is not None:
                order = {"block": asdict(slot.given.block), "beside": slot.given.beside}
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its end is heard next
                    slot.channel.sendall(json.dumps(order).encode() + b"\n")
                slot.sent = True

    def _listen(self) -> None:
        channels = {slot.channel: slot for slot in self._slots if slot.channel is not None}
        readable, _, _ = select.select(list(channels), [], [], 1.0)
        for channel in readable:
            slot = channels[channel]
            try:
                data = channel.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self._lost(slot)
                continue
            *lines, slot.heard = (slot.heard + data).split(b"\n")
            for line in lines:
                self._hear(slot, json.loads(line))
        self._say_progress()

    def _hear(self, slot: _Slot, message: Mapping[str, Any]) -> None:
        if message["kind"] == "ready":
            slot.ready = True
            return
        slot.given = None
        self._losses = 0
        self._done += 1
        self.valid += message["valid"]
        self.invalid += message["invalid"]
        self.dispatcher.done(self._slots.index(slot))

    def _lost(self, slot: _Slot) -> None:
        status = self._reap(slot)
        self._losses += 1
        given, number = slot.given, self._slots.index(slot)
        given_up = self.dispatcher.lost(number)
        self._slots[number] = _Slot()
        what = f"block {given.block.number} (cell {given.block.cell})" if given else "no block"
        again = "given up after two attempts" if given_up else "tried once more in a new sandbox"
        self.tell(f"{self.name}: a sandbox ended with status {status} during {what}, which is {again}")
        if self._losses >= MOST_LOSSES_IN_A_ROW:
            raise SweepStoppedError(
                f"{self.name}: {self._losses} sandboxes in a row ended early; see the messages above. "
                "The same command goes on where this stopped"
            )

    def _start(self, slot: _Slot, cell: int, key: Any) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                die_with_parent()
                if os.getppid() == parent:
                    ours.close()
                    for other in self._slots:
                        if other.channel is not None:
                            other.channel.close()
                    status = self.supervise(cell, key, theirs)
            except BaseException as error:  # the process boundary
                print(f"{self.name}: {error or type(error).__name__}", file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        theirs.close()
        slot.key, slot.pid, slot.channel, slot.ready, slot.heard = key, pid, ours, False, b""

    def _end(self, slot: _Slot) -> None:
        """In order: the end of the channel is the end of the sandbox."""
        if slot.channel is not None:
            slot.channel.close()
            slot.channel = None
        if slot.pid is not None:
            deadline_s = time.monotonic() + STOP_BOUND_S
            while time.monotonic() < deadline_s:
                if os.waitpid(slot.pid, os.WNOHANG)[0]:
                    break
                time.sleep(0.01)
            else:
                os.kill(slot.pid, signal.SIGKILL)  # its sandbox dies with it
                os.waitpid(slot.pid, 0)
        slot.pid, slot.key, slot.ready = None, None, False

    def _reap(self, slot: _Slot) -> int:
        if slot.channel is not None:
            slot.channel.close()
        if slot.pid is None:
            return 0
        _, status = os.waitpid(slot.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _kill(self) -> None:
        """What still runs after an error or Ctrl-C."""
        for slot in self._slots:
            if slot.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(slot.pid, signal.SIGTERM)
        for slot in self._slots:
            self._end(slot)

    def _say_progress(self) -> None:
        left = self.dispatcher.unfinished
        if not left or time.monotonic() - self._told_s < LINE_EVERY_S:
            return
        self._told_s = time.monotonic()
        text = f"{self.name}: {self._done} of {self._done + left} blocks, {self.valid} valid trials"
        if self.invalid:
            text += f", {self.invalid} invalid"
        if self._done:
            rest_s = (time.monotonic() - self._begin_s) / self._done * left
            text += f", about {rest_s / 60:.0f} min left" if rest_s > 90 else f", about {rest_s:.0f} s left"
        self.tell(text)
