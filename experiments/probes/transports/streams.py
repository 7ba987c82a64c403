"""Transports of connections that carry bytes in order: TCP with any congestion control, MPTCP, SCTP, QUIC.

Each connection is used in one direction and opened by one of the two ends; a receiver logs every read.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from experiments.probes.log_format import read_counters
from experiments.probes.logs import NS_PER_S, ProbeLog
from experiments.probes.measures import Measure, Window
from experiments.probes.tcp import (
    PROTOCOLS,
    TcpStream,
    Timeline,
    info_argv,
    info_measures,
    parse_info,
    parse_stream,
    stream_argv,
    tcp_measures,
    timeline,
)
from experiments.probes.transports.base import (
    WHOLE,
    Columns,
    Ends,
    Files,
    Logs,
    Outcome,
    Probes,
    Progress,
    Scope,
    Transport,
    Windows,
    rows_of,
)
from vocabulary.moves import DIRECTIONS

PORT = 5201
INITIATORS = ("by_peer", "by_vm")
ALIVE_S = 0.3
"""A connection from which its receiver reads nothing in a window's last so long has not gone on."""


@dataclass(frozen=True)
class Connection:
    """One connection: which way data goes and who opened it."""

    direction: str
    initiator: str
    port: int

    @property
    def name(self) -> str:
        """As measures name it."""
        return f"{self.direction}_{self.initiator}"


FOUR = tuple(
    Connection(direction, initiator, PORT + number)
    for number, (direction, initiator) in enumerate(product(DIRECTIONS, INITIATORS))
)
"""One connection for each direction and each initiator."""


TWO = (FOUR[0], FOUR[3])
"""One for each direction, opened by whoever sends: for ends that take much of a processor."""


@dataclass(frozen=True)
class Protocol:
    """What carries a stream. ``name`` begins the names of its measures.

    ``polled``: the kernel has a tcp_info of it. ``ready_s``: how long an end may take to start.
    """

    name: str
    polled: bool = False
    ready_s: float = 10.0


TCP, MPTCP, SCTP = Protocol("tcp", polled=True), Protocol("mptcp", polled=True), Protocol("sctp")
QUIC = Protocol("quic", ready_s=90.0)  # its libraries load slowly on an emulated processor


def ending(sent: Mapping[str, int], received: Mapping[str, int]) -> str:
    """How a connection ended, from the counters of its ends; whoever was told of an error is named. Pure."""
    told = []
    for who, counters in (("sender", sent), ("receiver", received)):
        if number := counters.get("broken_errno", 0):
            told.append(f"{who}: {os.strerror(number)}")
        elif number := counters.get("broken_error", 0):
            told.append(f"{who}: QUIC error {number:#x}")
    return ", ".join(told) or "closed"


def lacking(protocol: str, congestion_control: str | None = None) -> str | None:
    """Why this kernel cannot carry such a stream, with such a congestion control; None when it can."""
    if protocol not in PROTOCOLS:
        return None  # it needs UDP alone
    what = protocol.upper()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, PROTOCOLS[protocol]) as tried:
            if congestion_control is not None:
                what = f"{what} with {congestion_control}"
                tried.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion_control.encode())
    except OSError:
        return f"{what}: not on this kernel (it is in the VM image)"
    return None


class Streams(Transport):
    """Connections of one protocol at ``rate_bps`` each; 0: as fast as they go."""

    def __init__(
        self,
        ends: Ends,
        rate_bps: float,
        congestion_control: str = "cubic",
        protocol: Protocol = TCP,
        connections: Sequence[Connection] = FOUR,
    ) -> None:
        self._ends, self._rate_bps, self._congestion_control = ends, rate_bps, congestion_control
        self._protocol, self._connections = protocol, tuple(connections)
        self._probes = Probes(ends)

    def start(self) -> None:
        """Start all servers and what polls the senders, and, when they listen, all clients."""
        for connection in self._connections:
            self._begin(connection, "server")
        if self._protocol.polled:
            ports = [connection.port for connection in self._connections]
            for node in (self._ends.vm, self._ends.peer):
                name = f"tcp_info_{node}"
                argv = info_argv(ports, self._ends.folder / name)
                self._probes.begin(name, node, argv, pauses_with_vm=False)
        self._probes.await_ready(self._protocol.ready_s)
        for connection in self._connections:
            self._begin(connection, "client")
        self._probes.await_ready(self._protocol.ready_s)

    def _begin(self, connection: Connection, role: str) -> None:
        ends = self._ends
        sender, _ = ends.of(connection.direction)
        client = ends.peer if connection.initiator == "by_peer" else ends.vm
        server = ends.vm if client == ends.peer else ends.peer
        stream = TcpStream(
            ends.addresses[server],
            connection.port,
            self._rate_bps,
            self._congestion_control,
            protocol=self._protocol.name,
        )
        node = server if role == "server" else client
        duty = "send" if node == sender else "receive"
        name = self._log_name(connection, duty)
        self._probes.begin(name, node, stream_argv(stream, role, duty, ends.folder / name))

    def _log_name(self, connection: Connection, duty: str) -> str:
        return f"{self._protocol.name}_{connection.name}_{duty}"

    def stop(self) -> Logs:
        """End all, both ends of each connection at once."""
        return self._probes.stop()

    def kill(self) -> None:
        """End all at once."""
        self._probes.kill()

    def progress(self) -> dict[str, Progress]:
        """By the connection's name, from what both of its ends show."""
        return {connection.name: self._progress(connection) for connection in self._connections}

    def _progress(self, connection: Connection) -> Progress:
        sent, received = (
            read_counters(self._ends.folder / self._log_name(connection, duty))
            for duty in ("send", "receive")
        )
        ends_ns = [one["ended_ns"] for one in (sent, received) if one.get("ended_ns")]
        return Progress(
            # A sender counts what it has written after the fact: what was read was offered.
            max(sent.get("passed_bytes", 0), received.get("passed_bytes", 0)),
            received.get("passed_bytes", 0),
            received.get("last_ns", 0) / NS_PER_S,
            min(ends_ns) / NS_PER_S if ends_ns else None,
            ending(sent, received) if ends_ns else "",
            self._rate_bps,
        )

    def parse(self, logs: Logs) -> StreamsOutcome:
        """The receivers' timelines and the senders' tcp_info."""
        received = {
            connection: parse_stream(logs.get(self._log_name(connection, "receive"), b""))
            for connection in self._connections
        }
        info = {
            direction: parse_info(logs.get(f"tcp_info_{self._ends.of(direction)[0]}", b""))
            for direction in DIRECTIONS
            if self._protocol.polled
        }
        return StreamsOutcome(self._protocol, received, info)


class StreamsOutcome(Outcome):
    """The progress of each connection and, where the kernel tells, what its sender went through."""

    def __init__(
        self,
        protocol: Protocol,
        received: Mapping[Connection, ProbeLog],
        info: Mapping[str, ProbeLog],
    ) -> None:
        self._protocol, self._info = protocol, info
        self._timelines: dict[Connection, Timeline] = {
            connection: timeline(log) for connection, log in received.items()
        }
        multipath = [
            log for log in received.values() if log.complete and not log.counters.get("fell_back", 0)
        ]
        self._multipath = len(multipath)
        self._subflows = max((log.counters.get("subflows", 0) for log in multipath), default=0)

    def measures(self, window: Window, scope: Scope = WHOLE) -> dict[str, Measure]:
        """Per connection (its name behind the measure's) stall, bytes and recovery, retransmits and timeouts.

        ``tcp_stall_s_to_vm`` and ``_from_vm`` are the longest of that direction's connections,
        ``resent_segments_to_vm`` the sum of theirs;
        ``alive_connections_count``: those that go on. Of another protocol than TCP the names begin with its name;
        ``multipath_connections_count``: those that ask for MPTCP and are not plain TCP; ``mptcp_subflows_count``: of
        how many subflows each of them consisted, the most when they differ.
        """
        found: dict[str, Measure] = {}
        resent: dict[str, int] = {}
        for connection, progress in self._taking_part(scope.left_out):
            own = tcp_measures(progress, window, later_s=scope.later_s)
            if self._info:
                own |= info_measures(self._info[connection.direction], window, connection.port)
            found |= {f"{self._named(name)}_{connection.name}": value for name, value in own.items()}
            again = own.get("tcp_retransmitted_segments")
            if isinstance(again, int):
                resent[connection.direction] = resent.get(connection.direction, 0) + again
        found |= {f"resent_segments_{direction}": again for direction, again in resent.items()}
        for direction, stall_s in self.stalls_s(window, scope).items():
            found[self._named(f"tcp_stall_s_{direction}")] = stall_s
        for connection, _ in self._taking_part(scope.left_out):
            of_all = self._named(f"later_tcp_stall_s_{connection.direction}")
            later_s = found.get(self._named(f"later_tcp_stall_s_{connection.name}"))
            if isinstance(later_s, float):
                found[of_all] = max(later_s, float(found.get(of_all) or 0.0))
        found["alive_connections_count"] = sum(
            one.read_between(window[1] - ALIVE_S, window[1]) for one in self._timelines.values()
        )
        if self._protocol == MPTCP:
            found["multipath_connections_count"] = self._multipath
            if self._subflows:
                found["mptcp_subflows_count"] = self._subflows
        return found

    def _named(self, measure: str) -> str:
        return measure.replace("tcp", self._protocol.name, 1)

    def _taking_part(self, left_out: frozenset[str]) -> list[tuple[Connection, Timeline]]:
        return [
            (connection, one)
            for connection, one in self._timelines.items()
            if connection.name not in left_out
        ]

    def stalls_s(self, window: Window, scope: Scope = WHOLE) -> dict[str, float | None]:
        """The longest time in which a receiver read nothing, of that direction's connections the longest."""
        found: dict[str, float | None] = {}
        for connection, progress in self._taking_part(scope.left_out):
            stall_s = tcp_measures(progress, window, later_s=scope.later_s)["tcp_stall_s"]
            found[connection.direction] = max(found.get(connection.direction) or 0.0, float(stall_s or 0.0))
        return found

    def samples(self, windows: Windows) -> Files:
        """The reads and the senders' tcp_info, of each direction's first connection."""
        first: dict[str, Connection] = {}
        for connection in self._timelines:
            first.setdefault(connection.direction, connection)
        files: Files = {}
        for direction in DIRECTIONS:
            if direction in first:
                progress = self._timelines[first[direction]]
                columns = {"t_s": progress.t_s, "bytes": progress.n_bytes}
                files[f"{self._protocol.name}_{direction}"] = rows_of(windows, "t_s", columns)
        if self._info:
            parts = [
                _info_rows(self._info[direction], first[direction], windows)
                for direction in DIRECTIONS
                if direction in first
            ]
            files["tcp_info"] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return files


def _info_rows(log: ProbeLog, connection: Connection, windows: Windows) -> Columns:
    records = log.records
    own = records[(records["local_port"] == connection.port) | (records["remote_port"] == connection.port)]
    columns = {
        "t_s": own["t_ns"] / 1e9,
        "cwnd": own["cwnd"],
        "ssthresh": own["ssthresh"],
        "rto_s": own["rto_us"] / 1e6,
        "rtt_s": own["rtt_us"] / 1e6,
        "retrans_total": own["total_retrans"],
        "backoff": own["backoff"],
        "ca_state": own["ca_state"],
    }
    rows = rows_of(windows, "t_s", columns)
    return {**rows, "direction": np.full(len(rows["trial"]), connection.direction)}
