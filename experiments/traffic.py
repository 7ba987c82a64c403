"""The traffic of an experiment between a VM that moves and one that stays, and what it says of a window.

UDP, one stream each way; TCP, one connection for each direction and each initiator (four).
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emulation.network import EmulatedNetwork
from topologies.model import Topology, UnknownNameError

from .beside import ANY_ADDRESS, leaked_packets
from .probes.logs import ProbeLog
from .probes.measures import Measure, Window, udp_measures, with_direction
from .probes.packets import Packets
from .probes.process import ProbeProcess, Spawn
from .probes.tcp import (
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
from .probes.udp import UdpProbe, UdpStream

DIRECTIONS = ("to_vm", "from_vm")
FAMILIES = ("ipv4", "ipv6")
UDP_PORT, TCP_PORT = 5001, 5201
ALIVE_S = 0.3
"""A TCP connection from which its receiver reads nothing in a window's last so long has not gone on."""
WINDOW_SLACK_S = 0.2  # samples kept on either side of a trial's window, for the picture


@dataclass(frozen=True)
class TrafficPlan:
    """How much of what. Rates are per direction; a TCP rate of 0 means no TCP. ``family``: see FAMILIES.

    ``directions``: which way UDP goes.
    """

    vm: str
    peer: str
    udp_pps: float
    udp_payload_bytes: int
    tcp_bps: float
    congestion_control: str = "cubic"
    family: str = "ipv4"
    directions: tuple[str, ...] = DIRECTIONS


@dataclass(frozen=True)
class _Connection:
    """One TCP connection: which way data goes and who opened it."""

    direction: str
    initiator: str
    port: int

    @property
    def name(self) -> str:
        return f"tcp_{self.direction}_{self.initiator}"


_CONNECTIONS = tuple(
    _Connection(direction, initiator, TCP_PORT + number)
    for number, (direction, initiator) in enumerate(
        (direction, initiator) for direction in DIRECTIONS for initiator in ("by_peer", "by_vm")
    )
)


def address_of(topology: Topology, vm: str, family: str) -> str:
    """A VM's or outside client's address of one IP version; UnknownNameError for one without."""
    clients = {} if topology.outside is None else {one.name: one for one in topology.outside.clients}
    node = clients.get(vm) or topology.vm(vm)
    address = node.ipv4 if family == "ipv4" else node.ipv6
    if address is None:
        raise UnknownNameError(f"{vm} has no {family} address in topology {topology.name}; give it one there")
    return str(address)


class Traffic:
    """Start it, do the trials, stop it; then ask for measures and samples of windows."""

    def __init__(self, network: EmulatedNetwork, plan: TrafficPlan, folder: Path) -> None:
        self._network, self.plan, self._folder = network, plan, folder
        self._addresses = {
            name: address_of(network.topology, name, plan.family) for name in (plan.vm, plan.peer)
        }
        self._udp = {direction: self._udp_probe(direction) for direction in plan.directions}
        self._processes: list[ProbeProcess] = []
        self._receivers: dict[str, ProbeProcess] = {}
        self._pollers: dict[str, ProbeProcess] = {}
        self._info: dict[str, ProbeLog] = {}
        self._packets: dict[str, Packets] = {}
        self._timelines: dict[str, Timeline] = {}

    def _ends(self, direction: str) -> tuple[str, str]:
        """Who sends and who receives."""
        plan = self.plan
        return (plan.peer, plan.vm) if direction == "to_vm" else (plan.vm, plan.peer)

    def _udp_probe(self, direction: str) -> UdpProbe:
        _, receiver = self._ends(direction)
        flow = UdpStream(self._addresses[receiver], UDP_PORT, self.plan.udp_pps, self.plan.udp_payload_bytes)
        return UdpProbe(f"udp_{direction}", flow, self._folder, bind=ANY_ADDRESS[self.plan.family])

    def spawner(self, node: str, pauses_with_vm: bool = True) -> Spawn:
        """What starts a probe in a node; one that only looks at the VM goes on while the VM stands still."""
        return lambda argv: self._network.spawn(
            node, argv, pauses_with_vm=pauses_with_vm, stderr=subprocess.PIPE
        )

    def start(self) -> None:
        """Start all probes; returns when all of them run."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for direction, probe in self._udp.items():
            sender, receiver = self._ends(direction)
            probe.start(self.spawner(sender), self.spawner(receiver))
        if self.plan.tcp_bps > 0:
            for connection in _CONNECTIONS:
                self._start_connection(connection)
            ports = [connection.port for connection in _CONNECTIONS]
            for node in (self.plan.vm, self.plan.peer):
                name = f"tcp_info_{node}"
                self._pollers[node] = self._start(
                    name, node, info_argv(ports, self._folder / name), pauses_with_vm=False
                )

    def _start_connection(self, connection: _Connection) -> None:
        sender, receiver = self._ends(connection.direction)
        client = self.plan.peer if connection.initiator == "by_peer" else self.plan.vm
        server = self.plan.vm if client == self.plan.peer else self.plan.peer
        stream = TcpStream(
            self._addresses[server], connection.port, self.plan.tcp_bps, self.plan.congestion_control
        )
        for node, role in ((server, "server"), (client, "client")):
            duty = "send" if node == sender else "receive"
            name = f"{connection.name}_{duty}"
            process = self._start(name, node, stream_argv(stream, role, duty, self._folder / name))
            if node == receiver:
                self._receivers[connection.name] = process

    def _start(self, name: str, node: str, argv: list[str], pauses_with_vm: bool = True) -> ProbeProcess:
        spawner = self.spawner(node, pauses_with_vm)
        process = ProbeProcess(name, spawner, argv, self._folder / name)
        self._processes.append(process)
        process.wait_ready()
        return process

    def stop(self) -> None:
        """End all probes in order and read what they logged."""
        for probe in self._udp.values():
            probe.stop()
        for process in reversed(self._processes):
            process.stop()
        self._packets = {direction: probe.packets() for direction, probe in self._udp.items()}
        self._timelines = {
            name: timeline(parse_stream(process.read())) for name, process in self._receivers.items()
        }
        self._info = {node: parse_info(process.read()) for node, process in self._pollers.items()}

    def kill(self) -> None:
        """End all probes at once; for the path of an error."""
        for probe in self._udp.values():
            probe.kill()
        for process in self._processes:
            process.kill()

    def measures(self, window: Window) -> dict[str, Measure]:
        """All measures of one window, with the contract's names.

        ``tcp_stall_s_to_vm`` and ``_from_vm`` are the longer of the two connections of that direction;
        the connection's own has its initiator behind the name. ``alive_connections_count``: those that go on.
        """
        found: dict[str, Measure] = {}
        for direction, packets in self._packets.items():
            own = udp_measures(packets, window, 1.0 / self.plan.udp_pps)
            found |= with_direction(own, direction)
        for connection in _CONNECTIONS if self._timelines else ():
            own = tcp_measures(self._timelines[connection.name], window)
            stall = f"tcp_stall_s_{connection.direction}"
            found |= {f"{name}_{connection.direction}_{connection.initiator}": v for name, v in own.items()}
            found[stall] = max(found.get(stall) or 0.0, float(own["tcp_stall_s"] or 0.0))
        if self._timelines:
            found |= self._info_measures(window)
            found["alive_connections_count"] = sum(
                one.read_between(window[1] - ALIVE_S, window[1]) for one in self._timelines.values()
            )
        return found

    def leaked_packets(self, window: Window) -> int:
        """Packets of flows beside this one that its receivers got within the window."""
        return leaked_packets(((probe.logs()[1], probe.flow.stream) for probe in self._udp.values()), window)

    def _info_measures(self, window: Window) -> dict[str, Measure]:
        """Retransmits and timeouts of each direction's senders."""
        found: dict[str, Measure] = {}
        for connection in _CONNECTIONS:
            sender, _ = self._ends(connection.direction)
            for name, value in info_measures(self._info[sender], window, connection.port).items():
                found[f"{name}_{connection.direction}_{connection.initiator}"] = value
        return found

    def _info_samples(self, windows: list[tuple[int, Window]]) -> dict[str, np.ndarray[Any, Any]]:
        """The senders' tcp_info of the connections that peers opened, one direction after the other."""
        parts = []
        for connection in _CONNECTIONS:
            if connection.initiator == "by_peer":
                sender, _ = self._ends(connection.direction)
                parts.append(_info_rows(self._info[sender].records, connection, windows))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def samples(self, windows: list[tuple[int, Window]]) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
        """The rows of all windows (with some slack for pictures), by sample file, with their trial's index."""
        files: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
        for direction, packets in self._packets.items():
            files[f"udp_{direction}"] = _rows_of(windows, "tx_s", packets.columns())
        for direction in DIRECTIONS if self._timelines else ():
            progress = self._timelines[f"tcp_{direction}_by_peer"]
            files[f"tcp_{direction}"] = _rows_of(
                windows, "t_s", {"t_s": progress.t_s, "bytes": progress.n_bytes}
            )
        if self._timelines:
            files["tcp_info"] = self._info_samples(windows)
        return files


def _info_rows(
    records: np.ndarray[Any, Any], connection: _Connection, windows: list[tuple[int, Window]]
) -> dict[str, np.ndarray[Any, Any]]:
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
    rows = _rows_of(windows, "t_s", columns)
    return {**rows, "direction": np.full(len(rows["trial"]), connection.direction)}


def _rows_of(
    windows: list[tuple[int, Window]], time_column: str, columns: dict[str, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    times = columns[time_column]
    parts: dict[str, list[np.ndarray[Any, Any]]] = {"trial": [], **{name: [] for name in columns}}
    for trial, (start_s, end_s) in windows:
        low, high = np.searchsorted(times, (start_s - WINDOW_SLACK_S, end_s + WINDOW_SLACK_S))
        parts["trial"].append(np.full(high - low, trial, np.int32))
        for name, values in columns.items():
            parts[name].append(values[low:high])
    return {name: np.concatenate(pieces) if pieces else np.empty(0) for name, pieces in parts.items()}
