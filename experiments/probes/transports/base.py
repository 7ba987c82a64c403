"""What a transport is to an experiment: it is started, stopped, and what it logged is parsed into an outcome.

``start``, ``stop`` and ``kill`` touch processes; ``parse`` is pure: bytes of logs in, an ``Outcome`` out, which answers
for any window of time. Which ways a transport goes, who opens its connections and how much it sends are its own fields.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.probes.measures import Measure, Window
from experiments.probes.process import ProbeProcess, Spawn

STOP_BOUND_S = 5.0
WINDOW_SLACK_S = 0.2  # samples kept on either side of a trial's window, for the picture

Columns = dict[str, np.ndarray[Any, Any]]
Files = dict[str, Columns]
"""Rows by name of the sample file."""
Windows = Sequence[tuple[int, Window]]
"""Windows with the index of their trial."""
Logs = Mapping[str, bytes]
"""What each probe logged, by the probe's name."""


@dataclass(frozen=True)
class Ends:
    """A VM that moves and one that stays: addresses by name, how probes start in each, and where logs go.

    ``spawner(node, pauses_with_vm)``: what starts a probe there.
    """

    vm: str
    peer: str
    addresses: Mapping[str, str]
    spawner: Callable[[str, bool], Spawn]
    folder: Path

    def of(self, direction: str) -> tuple[str, str]:
        """Who sends and who receives."""
        return (self.peer, self.vm) if direction == "to_vm" else (self.vm, self.peer)


@dataclass(frozen=True)
class Progress:
    """How far a connection is by now: bytes that its sender wanted sent, bytes read, moments on the monotonic clock.

    ``read_at_s``: of the last read, 0 before the first. ``ended_at_s``: None while it stands; ``ending``: how it ended.
    ``rate_bps``: of its sender; 0: as fast as it goes.
    """

    offered_bytes: int
    read_bytes: int
    read_at_s: float
    ended_at_s: float | None = None
    ending: str = ""
    rate_bps: float = 0.0


@dataclass(frozen=True)
class Scope:
    """What of a trial's window counts: no connection ``left_out``; gaps from ``later_s`` on are told by themselves."""

    left_out: frozenset[str] = frozenset()
    later_s: float | None = None


WHOLE = Scope()


@dataclass(frozen=True)
class Offered:
    """What a flow's sender has offered by ``at_s``, and what it was asked for; ``sender``: the node it runs in."""

    at_s: float
    packets: int
    asked_pps: float
    sender: str


class Outcome(ABC):
    """What a transport's logs say, asked window by window. Pure."""

    @abstractmethod
    def measures(self, window: Window, scope: Scope = WHOLE) -> dict[str, Measure]:
        """All measures of one window, each with its direction in its name."""

    @abstractmethod
    def samples(self, windows: Windows) -> Files:
        """The rows of all windows (with some slack for pictures), by sample file, with their trial's index."""

    @abstractmethod
    def stalls_s(self, window: Window, scope: Scope = WHOLE) -> dict[str, float | None]:
        """By direction the longest time in which the receiver got nothing: one notion for all transports."""

    def leaked_packets(self, _window: Window) -> int:
        """Packets of other flows that its receivers got within the window."""
        return 0


class Transport(ABC):
    """One way of talking between two ends. ``start``, then ``stop``, then ``parse`` what that returned."""

    @abstractmethod
    def start(self) -> None:
        """Start both ends of every stream; returns when all run. ProbeError when one does not."""

    @abstractmethod
    def stop(self) -> Logs:
        """End all probes in order; what they logged. ProbeError when one did not end in order."""

    @abstractmethod
    def kill(self) -> None:
        """End all probes at once; for the path of an error."""

    def progress(self) -> dict[str, Progress]:
        """How far each of its connections is by now, by name; none when it has no connections."""
        return {}

    def offered(self) -> dict[str, Offered]:
        """What each of its flows of a fixed packet rate has offered by now, by direction."""
        return {}

    @abstractmethod
    def parse(self, logs: Logs) -> Outcome:
        """The outcome in logs. Pure. ProbeError or LogError when figures from them would be wrong."""


class Probes:
    """The processes of a transport, started and ended side by side: each takes a while, most of it to load Python."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._processes: dict[str, ProbeProcess] = {}
        self._starting: list[ProbeProcess] = []

    def begin(self, name: str, node: str, argv: list[str], *, pauses_with_vm: bool = True) -> None:
        """Begin to start one; ``await_ready`` before anything that needs it."""
        spawner = self._ends.spawner(node, pauses_with_vm)
        process = ProbeProcess(name, spawner, argv, self._ends.folder / name)
        self._processes[name] = process
        self._starting.append(process)

    def await_ready(self, timeout_s: float = 10.0) -> None:
        """Return when all that were begun are ready. ProbeError when one is not."""
        while self._starting:
            self._starting.pop(0).wait_ready(timeout_s)

    def stop(self) -> Logs:
        """End all; their logs."""
        for process in self._processes.values():
            process.ask_to_end()
        for process in self._processes.values():
            process.wait(STOP_BOUND_S)
        return {name: process.read() for name, process in self._processes.items()}

    def kill(self) -> None:
        """End all at once."""
        for process in self._processes.values():
            process.kill()


def rows_of(windows: Windows, time_column: str, columns: Mapping[str, Any]) -> Columns:
    """The rows whose time lies in a window or just beside it, with the window's trial. Times ascend."""
    times = columns[time_column]
    parts: dict[str, list[np.ndarray[Any, Any]]] = {"trial": [], **{name: [] for name in columns}}
    for trial, (start_s, end_s) in windows:
        low, high = np.searchsorted(times, (start_s - WINDOW_SLACK_S, end_s + WINDOW_SLACK_S))
        parts["trial"].append(np.full(high - low, trial, np.int32))
        for name, values in columns.items():
            parts[name].append(values[low:high])
    return {name: np.concatenate(pieces) if pieces else np.empty(0) for name, pieces in parts.items()}
