"""Captures on request: one tcpdump a link, written beside the record, whole when ``stop`` returns.

Where to look: at the far end of each veth. An AF_XDP port takes frames before a socket at the NVE's own end can see
them, so an NVE's uplink is captured at its router and a VM's leg in the sandbox.

How it ends: tcpdump reads its ring a block at a time, and a signal ends it with the blocks of the last second unread
(measured: 1,200 of 1,200 frames lost). So it is asked for its counters (SIGUSR1) until it has read all that the
kernel gave it, and only then ended.
"""

from __future__ import annotations

import fnmatch
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from emulation import commands, legs, outside, plain
from emulation.errors import EmulationError, WaitError
from emulation.legs import DIRECT, REDIRECTED
from emulation.plan import Plan, router_interface
from topologies.model import Topology

RING_KIB = 16_384  # holds some 100,000 short frames: 5 s at 20,000 a second
READY_BOUND_S = 10.0
DRAIN_BOUND_S = 5.0  # tcpdump hands a block on after 1 s at the latest
_COUNTS = re.compile(
    r"(\d+) packets? captured[,\n]\s*(\d+) packets? received by filter[,\n]\s*(\d+) packets? dropped by kernel"
)


@dataclass(frozen=True)
class CapturePoint:
    """A link and the device at which it is captured; ``node`` None: the sandbox's own namespace."""

    link: str
    node: str | None
    device: str


@dataclass(frozen=True)
class Captured:
    """What one capture holds. ``dropped_packets``: those that tcpdump was too slow for; they are in no file."""

    link: str
    file: str
    node: str | None
    device: str
    snap_bytes: int
    packets: int
    dropped_packets: int

    def as_dict(self) -> dict[str, Any]:
        """As the record keeps it."""
        return asdict(self)


def capture_points(topology: Topology, attachment: str) -> list[CapturePoint]:
    """Every link that can be captured: NVEs' uplinks, plain and outside ports, legs, VMs, clients, routers. Pure."""
    plan = Plan(topology)
    points = [
        CapturePoint(f"{access.nve}-underlay", access.router, router_interface(access.nve))
        for access in plan.access_links.values()
    ]
    if topology.underlay.routes_tenants:
        points += [
            CapturePoint(f"{access.nve}-plain", access.router, plain.router_device(access.nve))
            for access in plan.access_links.values()
        ]
    for vm in topology.vms:
        points.append(CapturePoint(vm.name, vm.name, "eth0"))
        for nve in topology.prewired_nves(vm) if attachment == "rebind" else ():
            for which in (DIRECT, REDIRECTED):
                device = legs.leg_device(vm.name, plan.nve_number(nve), which)
                points.append(CapturePoint(f"{vm.name}-{nve}-{which}", None, device))
    if (beyond := topology.outside) is not None:
        points.append(
            CapturePoint(f"{beyond.nve}-outside", outside.ROUTER, router_interface(beyond.nve)),
        )
        points += [CapturePoint(client.name, client.name, "eth0") for client in beyond.clients]
    points += [
        CapturePoint(f"{link.left}-{link.right}", link.left, router_interface(link.right))
        for link in plan.router_links
    ]
    return _apart(points, {point.node for point in points if point.node == point.link})


def _apart(points: Sequence[CapturePoint], ends: set[str | None]) -> list[CapturePoint]:
    """Each link with a name of its own: `a-b` at `c` and `a` at `b-c` would share one. ``ends``: keep theirs."""
    taken, found = set(ends), []
    for point in points:
        link, number = point.link, 2
        while link in taken and point.node != point.link:
            link, number = f"{point.link}-{number}", number + 1
        taken.add(link)
        found.append(replace(point, link=link))
    return found


def chosen_points(points: Sequence[CapturePoint], wanted: str) -> list[CapturePoint]:
    """The points that ``wanted`` names: links or patterns such as ``nve*-underlay`` with commas or +; ``1``: all.

    Raises EmulationError with the links there are.
    """
    if wanted in ("1", "all"):
        return list(points)
    found: dict[str, CapturePoint] = {}
    for pattern in re.split("[,+]", wanted):
        own = [point for point in points if fnmatch.fnmatchcase(point.link, pattern.strip())]
        if not own:
            raise EmulationError(
                f"pcap={wanted}: there is no link {pattern.strip()!r}; pcap=1 takes all, and there are: "
                + ", ".join(point.link for point in points)
            )
        found |= {point.link: point for point in own}
    return list(found.values())


def tcpdump_argv(point: CapturePoint, file: Path, snap_bytes: int) -> list[str]:
    """The command line of one capture. Pure.

    ``-Z root``: the folder is not the user tcpdump's. ``-p``: on a veth there is nothing that only promiscuity shows.
    """
    options = ["-n", "-p", "-Z", "root", "--time-stamp-precision=nano", "-B", str(RING_KIB)]
    return ["tcpdump", "-i", point.device, *options, "-s", str(snap_bytes), "-w", str(file)]


def counts(said: str) -> tuple[int, int, int] | None:
    """Packets captured, received, dropped: the last that tcpdump said of them; None if it said nothing yet. Pure."""
    found = _COUNTS.findall(said)
    return None if not found else (int(found[-1][0]), int(found[-1][1]), int(found[-1][2]))


class Capture:
    """Captures of some links. ``pid_of`` gives a node's process; ``folder`` exists."""

    def __init__(
        self,
        points: Iterable[CapturePoint],
        pid_of: Callable[[str], int],
        folder: Path,
        logs: Path,
        snap_bytes: int,
    ) -> None:
        self.points, self.snap_bytes = tuple(points), snap_bytes
        self._pid_of, self._folder, self._logs = pid_of, folder, logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start them all; returns when every one listens. EmulationError with tcpdump's own words."""
        self._logs.mkdir(parents=True, exist_ok=True)
        for point in self.points:
            argv = tcpdump_argv(point, self._folder / f"{point.link}.pcap", self.snap_bytes)
            pid = None if point.node is None else self._pid_of(point.node)
            with self._log(point).open("wb") as log:
                self._processes[point.link] = commands.spawn(argv, pid=pid, stderr=log)
        for point in self.points:
            what = f"tcpdump to listen on {point.link} ({point.device})"
            commands.wait_until(partial(self._listens, point), READY_BOUND_S, what)

    def _log(self, point: CapturePoint) -> Path:
        return self._logs / f"{point.link}.log"

    def _said(self, point: CapturePoint) -> str:
        return self._log(point).read_text(errors="replace")

    def _listens(self, point: CapturePoint) -> bool:
        if "listening on" in self._said(point):
            return True
        if self._processes[point.link].poll() is not None:
            raise EmulationError(f"the capture of {point.link} did not start: {self._said(point).strip()}")
        return False

    def stop(self) -> tuple[list[Captured], list[str]]:
        """End them all, every frame in its file; what they hold, and what went wrong with some in words."""
        troubles = []
        for point in self.points:
            try:
                self._drain(point)
            except (EmulationError, WaitError) as error:
                troubles.append(f"the end of the capture of {point.link} may be missing: {error}")
        for point in self.points:
            process = self._processes[point.link]
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(DRAIN_BOUND_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return [self._captured(point) for point in self.points], troubles

    def kill(self) -> None:
        """End them at once, for the path of an error; never raises."""
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _drain(self, point: CapturePoint) -> None:
        """Wait until tcpdump has read all that the kernel has kept for it."""
        process = self._processes[point.link]

        def drained() -> bool:
            if process.poll() is not None:
                raise EmulationError(f"tcpdump had ended before: {self._said(point).strip()}")
            before = len(_COUNTS.findall(self._said(point)))
            process.send_signal(signal.SIGUSR1)
            deadline_s = time.monotonic() + DRAIN_BOUND_S
            while len(_COUNTS.findall(self._said(point))) == before and time.monotonic() < deadline_s:
                time.sleep(0.002)
            read, received, dropped = counts(self._said(point)) or (0, 1, 0)
            return read + dropped >= received

        commands.wait_until(drained, DRAIN_BOUND_S, "tcpdump to read what the kernel has kept for it", 0.05)

    def _captured(self, point: CapturePoint) -> Captured:
        read, _, dropped = counts(self._said(point)) or (0, 0, 0)
        return Captured(
            link=point.link,
            file=f"{self._folder.name}/{point.link}.pcap",
            node=point.node,
            device=point.device,
            snap_bytes=self.snap_bytes,
            packets=read,
            dropped_packets=dropped,
        )
