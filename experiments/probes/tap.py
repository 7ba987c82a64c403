"""Taps on devices along the probes' way: command line, process, log. ``experiments.attribution.seen`` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from experiments.probes.build import TAP_SOURCE, probe_binary
from experiments.probes.logs import ProbeLog, read_log
from experiments.probes.process import ProbeError, ProbeProcess, Spawn
from experiments.probes.tap_filter import filter_program

SEEN_LAYOUT = (
    "t_ns:<i8,seq:<u4,vni:<u4,point:<u1,flow:<u1,kind:<u1,outgoing:<u1,sender:<u1,target:<u1,bytes:<u2"
)
NOBODY = 255
"""As ``flow``, ``sender``, ``target``: none of those that the tap was told."""


class Kind(IntEnum):
    """What a record of the tap is about; ``packet_tap.c`` says what ``seq`` and ``vni`` mean then."""

    PROBE = 0
    QUESTION = 1
    ANSWER = 2
    ICMP_ERROR = 3
    OTHER = 4
    OWN_DROPS = 5


@dataclass(frozen=True)
class TappedFlow:
    """One flow of probe packets: where they go, and their stream."""

    address: str
    port: int
    stream: int = 0


@dataclass(frozen=True)
class TappedDevice:
    """A device, and a process whose network namespace it is in (0: the one that the tap starts in)."""

    pid: int
    device: str


def tap_argv(
    binary: Path,
    devices: Sequence[TappedDevice],
    flows: Sequence[TappedFlow],
    nves: Sequence[str],
    tunnel_port: int,
    log_path: Path,
) -> list[str]:
    """The command line of a tap; ``nves``: underlay addresses, whose places are the numbers in the records."""
    program = filter_program(sorted({flow.port for flow in flows}), tunnel_port)
    argv = [str(binary), "--out", str(log_path), "--tunnel-port", str(tunnel_port)]
    argv += ["--filter", ";".join(",".join(map(str, instruction)) for instruction in program)]
    for one in devices:
        argv += ["--point", f"{one.pid},{one.device}"]
    for flow in flows:
        argv += ["--flow", f"{flow.address},{flow.port},{flow.stream}"]
    for address in nves:
        argv += ["--nve", address]
    return argv


def parse_seen(data: bytes) -> ProbeLog:
    """Read a tap's log."""
    return read_log(data, SEEN_LAYOUT)


class PacketTap:
    """The taps of one run of traffic. ``start`` before the probes, ``stop`` after them, then ``log``."""

    def __init__(self, log_path: Path) -> None:
        self.log_path = log_path
        self._process: ProbeProcess | None = None

    def start(
        self,
        spawn: Spawn,
        devices: Sequence[TappedDevice],
        flows: Sequence[TappedFlow],
        nves: Sequence[str],
        tunnel_port: int,
    ) -> None:
        """Start them; they look when this returns. ProbeError or BuildError when they cannot."""
        argv = tap_argv(probe_binary(TAP_SOURCE), devices, flows, nves, tunnel_port, self.log_path)
        self._process = ProbeProcess("the packet tap", spawn, argv, self.log_path)
        self._process.wait_ready()

    def stop(self) -> None:
        """End them in order."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End them at once; for the path of an error."""
        if self._process is not None:
            self._process.kill()

    def log(self) -> ProbeLog:
        """What they saw, once: the file, which lies in memory, goes.

        ProbeError when it is not whole, or the clock was set meanwhile.
        """
        log = parse_seen(self.log_path.read_bytes() if self.log_path.exists() else b"")
        self.log_path.unlink(missing_ok=True)
        if not log.complete:
            raise ProbeError(f"the packet tap: {log.problem}")
        if log.counters["clock_steps"]:
            raise ProbeError("the packet tap: the host's clock was set during the run; run again")
        return log
