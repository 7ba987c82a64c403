"""The UDP prober of one direction: command lines, processes, logs. It knows no namespaces: see ``Spawn``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.probes.build import probe_binary
from experiments.probes.log_format import HEADER_BYTES, decode_header, read_counters
from experiments.probes.logs import ProbeLog, read_log, seconds
from experiments.probes.measures import Window
from experiments.probes.packets import Packets, match
from experiments.probes.process import ProbeError, ProbeProcess, Spawn

SENT_LAYOUT = "tx_ns:<i8,error:<i4,late_ns:<i4"
RECEIVED_LAYOUT = "stream:<u4,bytes:<u4,seq:<i8,tx_ns:<i8,rx_ns:<i8"
DRAIN_S = 0.2
ANY_ADDRESS = {"ipv4": "0.0.0.0", "ipv6": "::"}


@dataclass(frozen=True)
class UdpStream:
    """One flow of probe packets to a numeric address, IPv4 or IPv6; ``payload_bytes`` is what UDP carries."""

    target: str
    port: int
    rate_pps: float = 2000.0
    payload_bytes: int = 64
    stream: int = 0

    @property
    def period_s(self) -> float:
        """Time between two packets, in seconds: the resolution of what is measured."""
        return 1.0 / self.rate_pps


def sender_argv(binary: Path, flow: UdpStream, log_path: Path, seconds: float | None = None) -> list[str]:
    """The command line of a sender; without ``seconds`` it sends until SIGTERM (an hour at most)."""
    argv = [
        str(binary),
        "send",
        "--to",
        flow.target,
        "--port",
        str(flow.port),
        "--rate",
        f"{flow.rate_pps:.9g}",
    ]
    argv += ["--size", str(flow.payload_bytes), "--stream", str(flow.stream), "--out", str(log_path)]
    return argv if seconds is None else [*argv, "--seconds", f"{seconds:.9g}"]


def receiver_argv(binary: Path, bind: str, port: int, log_path: Path) -> list[str]:
    """The command line of a receiver on ``bind`` (an address, or 0.0.0.0 or ::); it runs until SIGTERM."""
    return [str(binary), "recv", "--bind", bind, "--port", str(port), "--out", str(log_path)]


def parse_sent(data: bytes) -> ProbeLog:
    """Read a sender's log: record i is packet i: ``tx_ns``, ``error`` (errno, 0: sent), ``late_ns``."""
    return read_log(data, SENT_LAYOUT)


def parse_received(data: bytes) -> ProbeLog:
    """Read a receiver's log, in order of arrival; ``rx_ns`` is the kernel's stamp on the monotonic clock."""
    return read_log(data, RECEIVED_LAYOUT)


def joined(name: str, sent: ProbeLog, received: ProbeLog, stream: int = 0) -> Packets:
    """What was sent joined with what arrived. Pure.

    ProbeError, with the probe's ``name``, when the figures would be wrong: a log is incomplete, or the receiver itself
    dropped packets.
    """
    for side, log in (("sender", sent), ("receiver", received)):
        if not log.complete:
            raise ProbeError(f"{name} {side}: {log.problem}")
    if received.counters["own_drops"]:
        raise ProbeError(
            f"{name} receiver: its own socket buffer was full and dropped "
            f"{received.counters['own_drops']} packets; lower the rate or free a CPU"
        )
    if received.counters["clock_steps"]:
        raise ProbeError(f"{name} receiver: the host's clock was set during the run; run again")
    return match(sent, received, stream)


def leaked_packets(received: Iterable[tuple[ProbeLog, int]], window: Window) -> int:
    """Records of receivers' logs, each with the stream that belongs there, that are of another stream."""
    total = 0
    for log, own in received:
        arrived_s = seconds(log.records["rx_ns"])
        inside = (arrived_s >= window[0]) & (arrived_s < window[1])
        total += int(np.sum(inside & (log.records["stream"] != own)))
    return total


class UdpProbe:
    """A sender and a receiver of one flow. ``start``, then ``stop``, then ``packets``."""

    def __init__(self, name: str, flow: UdpStream, folder: Path, bind: str = "0.0.0.0") -> None:
        self.name, self.flow, self.bind = name, flow, bind
        self.sent_path, self.received_path = folder / f"{name}.sent", folder / f"{name}.received"
        self._sender: ProbeProcess | None = None
        self._receiver: ProbeProcess | None = None

    def start(self, spawn_sender: Spawn, spawn_receiver: Spawn, seconds: float | None = None) -> None:
        """Start the receiver and, once it listens, the sender; ProbeError or BuildError when one cannot."""
        binary = probe_binary()
        argv = receiver_argv(binary, self.bind, self.flow.port, self.received_path)
        try:
            self._receiver = ProbeProcess(f"{self.name} receiver", spawn_receiver, argv, self.received_path)
            self._receiver.wait_ready()
            argv = sender_argv(binary, self.flow, self.sent_path, seconds)
            self._sender = ProbeProcess(f"{self.name} sender", spawn_sender, argv, self.sent_path)
            self._sender.wait_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """End it in order, see ``stop_together``."""
        stop_together([self], drain_s)

    def stop_sender(self) -> None:
        """The first half: nothing more is sent."""
        if self._sender is None:
            raise ProbeError(f"{self.name}: stop without start")
        self._sender.stop()

    def stop_receiver(self) -> None:
        """The second half: nothing more is received."""
        if self._receiver is None:
            raise ProbeError(f"{self.name}: stop without start")
        self._receiver.stop()

    def kill(self) -> None:
        """End both at once; for the path of an error."""
        for process in (self._sender, self._receiver):
            if process is not None:
                process.kill()

    def received_so_far(self) -> int:
        """How many packets the receiver has logged; grows every half second while it runs."""
        with contextlib.suppress(FileNotFoundError), self.received_path.open("rb") as file:
            return decode_header(file.read(HEADER_BYTES)).records
        return 0

    def offered_so_far(self) -> tuple[float, int]:
        """The monotonic time and how many packets the sender has offered by then.

        Without those that its host had no room for; with those that it refused for another reason.
        """
        return time.monotonic(), read_counters(self.sent_path).get("offered", 0)

    def read(self) -> tuple[bytes, bytes]:
        """The bytes of the sender's and the receiver's log; empty where there is none."""
        sent, received = (
            path.read_bytes() if path.exists() else b"" for path in (self.sent_path, self.received_path)
        )
        return sent, received

    def logs(self) -> tuple[ProbeLog, ProbeLog]:
        """The sender's and the receiver's log."""
        sent, received = self.read()
        return parse_sent(sent), parse_received(received)

    def packets(self) -> Packets:
        """What was sent joined with what arrived, see ``joined``."""
        return joined(self.name, *self.logs(), self.flow.stream)


def stop_together(probes: Iterable[UdpProbe], drain_s: float = DRAIN_S) -> None:
    """End all senders, give what is still on its way ``drain_s`` to arrive, end all receivers.

    ``drain_s`` is part of the definition of lost: not there that long after the last packet was sent. ProbeError when
    one did not end in order; then all are killed.
    """
    own = tuple(probes)
    try:
        for probe in own:
            probe.stop_sender()
        time.sleep(drain_s)
        for probe in own:
            probe.stop_receiver()
    except BaseException:
        for probe in own:
            probe.kill()
        raise
