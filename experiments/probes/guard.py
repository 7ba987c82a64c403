"""The load guard: was the machine undisturbed during a trial? It reads machine signals, never a result.

Three signals. *Scheduling lag*: how late a process of normal priority that sleeps most of the time wakes up,
pinned to each CPU; it shows any load, stolen time and long interrupts. *Steal*: time the hypervisor gave to
others. *Softnet drops*: frames the kernel dropped because a CPU's input queue was full
(``netdev_max_backlog``); the counters of /proc/net/softnet_stat are the host's, the same in every network
namespace.

The bounds. Open vSwitch in user space forwards only while it is scheduled; a ring or a socket buffer holds
what arrives meanwhile. So a lag shorter than those queues last costs delay, a longer one packets that the
network would not have lost. On two cores with three ovs-vswitchd in a row and 5,000 packets/s each way, an
otherwise idle machine showed 100 ms maxima of 0.9 ms (median), 6.8 ms (99 %) and 13.8 ms (largest of 30 s): a
bound of 10 ms would refuse 1 half second in 30, one of 15 ms none. The default of 20 ms lies above that and
below the 50 ms which a socket buffer of 212 kB (some 270 small frames) holds at that rate. For higher rates
with such ports, lower it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from emulation.commands import PATIENCE
from experiments.probes.build import probe_binary
from experiments.probes.logs import ProbeLog, read_log, seconds
from experiments.probes.measures import Window
from experiments.probes.process import ProbeError, ProbeProcess, Spawn

LAG_LAYOUT = "t_ns:<i8,lag_ns:<i8,cpu:<i4,is_event:<i4"
COVER_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Bounds:
    """What a valid trial may see at most, on any one CPU."""

    lag_s: float = 0.020
    steal_share: float = 0.10
    """Stolen part of a CPU's time; the kernel counts it in ticks of 10 ms, of which one more is allowed."""
    softnet_drops: int = 0


EMULATED_LAG_S = 0.100
"""The bound on lag where processors are emulated (TCG), which no quiet machine would keep below 20 ms.

There the kernel's datapath forwards whatever processes do, so that a process that waits loses nothing, and frames
that a processor could not take are counted (softnet drops, still 0). Counts hold; times are no truer than this.
"""


def bounds_on(accelerator: str | None) -> Bounds:
    """The bounds of a machine whose processors are real (None, "kvm") or emulated ("tcg")."""
    return Bounds(lag_s=EMULATED_LAG_S) if accelerator == "tcg" else Bounds()


class Verdict(NamedTuple):
    """Whether a window is valid, and if not, which signal passed which bound."""

    valid: bool
    reason: str


@dataclass(frozen=True)
class Snapshot:
    """Counters of the machine at one moment: seconds stolen per CPU, frames dropped by all CPUs."""

    t_s: float
    steal_s: Mapping[int, float] = field(default_factory=dict)
    softnet_drops: int = 0


def parse_lag(data: bytes) -> ProbeLog:
    """Read the log of ``udp_probe lag``: ``t_ns`` (woken), ``lag_ns``, ``cpu``, and ``is_event``.

    ``is_event`` 1 is one wake-up later than the threshold, 0 the maximum of the 0.02 s before ``t_ns``.
    """
    return read_log(data, LAG_LAYOUT)


def parse_steal(text: str, tick_s: float = 0.01) -> dict[int, float]:
    """Return each CPU's stolen seconds from the text of /proc/stat (proc(5): the eighth figure)."""
    stolen = {}
    for line in text.splitlines():
        name, *figures = line.split()
        if name.startswith("cpu") and name != "cpu" and len(figures) >= 8:
            stolen[int(name[3:])] = int(figures[7]) * tick_s
    return stolen


def parse_softnet_drops(text: str) -> int:
    """Return the sum of drops from the text of /proc/net/softnet_stat (hexadecimal, the second column)."""
    return sum(int(line.split()[1], 16) for line in text.splitlines() if line.strip())


def judge(
    bounds: Bounds, lag: npt.NDArray[np.void], before: Snapshot, after: Snapshot, window: Window
) -> Verdict:
    """Judge a window, given the lag records of all CPUs and snapshots that enclose it. Pure."""
    start_ns, end_ns = (int(moment_s * 1e9) for moment_s in window)
    # An event covers the time from when the process should have run until it ran.
    late = lag[(lag["is_event"] == 1) & (lag["t_ns"] >= start_ns) & (lag["t_ns"] - lag["lag_ns"] <= end_ns)]
    if len(late):
        worst = late[int(late["lag_ns"].argmax())]
        if worst["lag_ns"] > bounds.lag_s * 1e9:
            return Verdict(
                False,
                f"scheduling lag {worst['lag_ns'] / 1e6:.1f} ms on CPU {worst['cpu']} "
                f"(bound {bounds.lag_s * 1e3:g} ms)",
            )
    for cpu in sorted(after.steal_s):
        stolen_s = after.steal_s[cpu] - before.steal_s.get(cpu, 0.0)
        length_s = after.t_s - before.t_s
        if stolen_s > bounds.steal_share * length_s + 0.0101:
            return Verdict(
                False,
                f"{stolen_s * 1e3:.0f} ms of {length_s:.2f} s stolen from CPU {cpu} "
                f"(bound {bounds.steal_share * 100:g} %)",
            )
    dropped = after.softnet_drops - before.softnet_drops
    if dropped > bounds.softnet_drops:
        return Verdict(
            False, f"the host's input queues dropped {dropped} frames (bound {bounds.softnet_drops})"
        )
    return Verdict(True, "")


class LoadGuard:
    """Watches the machine: ``start``; ``snapshot`` before and ``judge`` after each trial; ``stop``."""

    def __init__(self, folder: Path, bounds: Bounds | None = None, cpus: Sequence[int] | None = None) -> None:
        self.folder = folder
        self.bounds = bounds or Bounds()
        self.cpus = tuple(sorted(os.sched_getaffinity(0)) if cpus is None else cpus)
        self._threshold_s = min(0.001, self.bounds.lag_s)
        self._processes: list[ProbeProcess] = []
        self._snapshots: list[Snapshot] = []

    def start(self, spawn: Spawn, interval_s: float = 0.002) -> None:
        """Start one lag meter for each CPU. A lag is measured short by up to ``interval_s``.

        Raises ProbeError or BuildError when a meter cannot start.
        """
        binary = probe_binary()
        try:
            for cpu in self.cpus:
                path = self.folder / f"lag.{cpu}"
                argv = [str(binary), "lag", "--cpu", str(cpu), "--out", str(path)]
                argv += ["--interval-us", f"{interval_s * 1e6:.0f}"]
                argv += ["--threshold-us", f"{self._threshold_s * 1e6:.0f}"]
                self._processes.append(ProbeProcess(f"lag meter of CPU {cpu}", spawn, argv, path))
            for process in self._processes:
                process.wait_ready()
        except BaseException:
            self.kill()
            raise
        self.snapshot()

    def snapshot(self) -> Snapshot:
        """Read the machine's counters now (some 0.1 ms); a trial's window lies between two snapshots."""
        stat, softnet = (Path(path).read_text() for path in ("/proc/stat", "/proc/net/softnet_stat"))
        steal_s = parse_steal(stat, 1.0 / os.sysconf("SC_CLK_TCK"))
        taken = Snapshot(time.monotonic(), steal_s, parse_softnet_drops(softnet))
        self._snapshots.append(taken)
        return taken

    def lag(self) -> npt.NDArray[np.void]:
        """The lag records of all CPUs so far, see ``parse_lag``."""
        return np.concatenate([parse_lag(process.read()).records for process in self._processes])

    def judge(self, window: Window) -> Verdict:
        """Judge a window that is over and began after a snapshot.

        Waits until the lag logs reach its end, usually 0.02 s; a log that does not within 2 s is itself a sign
        of a disturbed machine and makes the window invalid.
        """
        earlier = [taken for taken in self._snapshots if taken.t_s <= window[0]]
        if not earlier:
            raise ProbeError("load guard: no snapshot was taken before the window's start")
        later = [taken for taken in self._snapshots if taken.t_s >= window[1]]
        after = later[0] if later else self.snapshot()
        deadline_s = time.monotonic() + COVER_TIMEOUT_S * PATIENCE
        while True:
            lag = self.lag()
            reached_s = [seconds(lag["t_ns"][lag["cpu"] == cpu]).max(initial=0.0) for cpu in self.cpus]
            if min(reached_s) >= window[1]:
                return judge(self.bounds, lag, earlier[-1], after, window)
            if time.monotonic() > deadline_s:
                cpu = self.cpus[int(np.argmin(reached_s))]
                return Verdict(
                    False, f"the lag meter of CPU {cpu} wrote nothing for {COVER_TIMEOUT_S * PATIENCE:g} s"
                )
            time.sleep(0.005)

    def stop(self) -> None:
        """End the lag meters; their logs stay readable."""
        for process in self._processes:
            process.stop()

    def kill(self) -> None:
        """End the lag meters at once; for the path of an error."""
        for process in self._processes:
            process.kill()
