"""The traffic of an experiment between a VM that moves and one that stays, and what it says of a window.

It is made of transports (``probes/transports``). Without a choice: UDP, one stream each way, and TCP, one connection
for each direction and each initiator (four).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulation.network import EmulatedNetwork
from experiments.attribution.packet_fates import Flow
from experiments.probes.measures import Measure, Window
from experiments.probes.packets import Packets
from experiments.probes.process import Spawn
from experiments.probes.tap import TappedFlow
from experiments.probes.transports.base import (
    WHOLE,
    Ends,
    Files,
    Offered,
    Outcome,
    Progress,
    Scope,
    Transport,
    Windows,
)
from experiments.probes.transports.streams import Streams
from experiments.probes.transports.udp import PORT as UDP_PORT
from experiments.probes.transports.udp import Udp, UdpOutcome
from topologies.model import Topology, UnknownNameError
from vocabulary.moves import DIRECTIONS

FAMILIES = ("ipv4", "ipv6")
UDP_HEADERS_BYTES = {"ipv4": 28, "ipv6": 48}
"""UDP's 8 (RFC 768) and IPv4's 20 (RFC 791 section 3.1), or IPv6's 40 (RFC 8200 section 3)."""

Make = Callable[[Ends], Transport]
"""Makes a transport once its two ends are known."""


@dataclass(frozen=True)
class TrafficPlan:
    """How much of what. Rates are per direction; a TCP rate of 0 means no TCP. ``family``: see FAMILIES.

    ``directions``: which way UDP goes. ``transports``: what runs instead of UDP and TCP, whose fields then say nothing.
    """

    vm: str
    peer: str
    udp_pps: float = 2000.0
    udp_payload_bytes: int = 64
    tcp_bps: float = 0.0
    congestion_control: str = "cubic"
    family: str = "ipv4"
    directions: tuple[str, ...] = DIRECTIONS
    transports: tuple[Make, ...] = ()

    def made(self, ends: Ends) -> list[Transport]:
        """The transports between two ends."""
        if self.transports:
            return [make(ends) for make in self.transports]
        found: list[Transport] = [Udp(ends, self.udp_pps, self.udp_payload_bytes, self.directions)]
        if self.tcp_bps > 0:
            found.append(Streams(ends, self.tcp_bps, self.congestion_control))
        return found


_FIELDS = {
    "vm": "vm",
    "peer": "peer",
    "rate_pps": "udp_pps",
    "payload": "udp_payload_bytes",
    "tcp_rate": "tcp_bps",
    "congestion_control": "congestion_control",
    "family": "family",
}
"""Parameters of experiments, and the fields of TrafficPlan that they are."""


def traffic_plan(
    values: Mapping[str, Any], directions: Sequence[str], changes: Mapping[str, Any]
) -> TrafficPlan:
    """The traffic that an experiment's parameters ask for, UDP in these directions; ``changes``: other fields.

    With one direction alone there is no TCP, so that the other end says nothing.
    """
    named = {field: values[name] for name, field in _FIELDS.items() if name in values}
    if len(directions) < len(DIRECTIONS):
        named["tcp_bps"] = 0
    return TrafficPlan(**{**named, "directions": tuple(directions), **changes})


def address_of(topology: Topology, vm: str, family: str) -> str:
    """A VM's or outside client's address of one IP version; UnknownNameError for one without."""
    clients = {} if topology.outside is None else {one.name: one for one in topology.outside.clients}
    node = clients.get(vm) or topology.vm(vm)
    address = node.ipv4 if family == "ipv4" else node.ipv6
    if address is None:
        raise UnknownNameError(f"{vm} has no {family} address in topology {topology.name}; give it one there")
    return str(address)


def ends_are_there(topology: Topology, nodes: Collection[str]) -> bool:
    """Whether all of these are VMs or clients outside."""
    clients = [] if topology.outside is None else [client.name for client in topology.outside.clients]
    return set(nodes) <= {vm.name for vm in topology.vms} | set(clients)


def path_mtu_bytes(topology: Topology, nodes: Collection[str]) -> int:
    """The smallest MTU of the networks that VMs, or clients outside, of these names are in or behind."""
    networks = {vm.virtual_network for vm in topology.vms if vm.name in nodes}
    outside = topology.outside
    if outside is not None and any(client.name in nodes for client in outside.clients):
        networks |= set(outside.reaches)
    return min(topology.network(name).mtu_bytes for name in networks)


class Traffic:
    """Start it, do the trials, stop it; then ask for measures and samples of windows."""

    def __init__(self, network: EmulatedNetwork, plan: TrafficPlan, folder: Path) -> None:
        self._network, self.plan, self._folder = network, plan, folder
        addresses = {name: address_of(network.topology, name, plan.family) for name in (plan.vm, plan.peer)}
        self._ends = Ends(plan.vm, plan.peer, addresses, self.spawner, folder)
        self._transports = plan.made(self._ends)
        self._outcomes: list[Outcome] = []

    def spawner(self, node: str, pauses_with_vm: bool = True) -> Spawn:
        """What starts a probe in a node; one that only looks at the VM goes on while the VM stands still."""
        return lambda argv: self._network.spawn(
            node, argv, pauses_with_vm=pauses_with_vm, stderr=subprocess.PIPE
        )

    def start(self) -> None:
        """Start all probes; returns when all of them run."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for transport in self._transports:
            transport.start()

    def stop(self) -> None:
        """End all probes in order and read what they logged."""
        logs = [transport.stop() for transport in self._transports]
        pairs = zip(self._transports, logs, strict=True)
        self._outcomes = [transport.parse(log) for transport, log in pairs]

    def kill(self) -> None:
        """End all probes at once; for the path of an error."""
        for transport in self._transports:
            transport.kill()

    def progress(self) -> dict[str, Progress]:
        """How far each connection is by now, by name."""
        return {name: one for transport in self._transports for name, one in transport.progress().items()}

    def offered(self) -> dict[str, Offered]:
        """What each flow of a fixed packet rate has offered by now, by direction."""
        return {name: one for transport in self._transports for name, one in transport.offered().items()}

    def measures(self, window: Window, scope: Scope = WHOLE) -> dict[str, Measure]:
        """All measures of one window, with the contract's names; of what is in ``scope``.

        Of chosen transports also ``stall_s_to_vm`` and ``_from_vm``, which are one notion for all of them: the
        longest time in which the receiver got nothing.
        """
        found: dict[str, Measure] = {}
        for outcome in self._outcomes:
            found |= outcome.measures(window, scope)
            if self.plan.transports:
                stalls_s = outcome.stalls_s(window, scope)
                found |= {f"stall_s_{way}": stall_s for way, stall_s in stalls_s.items()}
        return found

    def numbered_flows(self) -> list[Flow]:
        """The flows whose packets are numbered, so that each one's fate can be followed."""
        return [
            Flow(direction, *self._ends.of(direction), TappedFlow(flow.target, flow.port, flow.stream))
            for transport in self._transports
            if isinstance(transport, Udp)
            for direction, flow in transport.flows.items()
        ]

    def numbered_packets(self) -> dict[str, Packets]:
        """What became of their packets, by direction."""
        return {
            direction: packets
            for outcome in self._outcomes
            if isinstance(outcome, UdpOutcome)
            for direction, packets in outcome.packets.items()
        }

    def leaked_packets(self, window: Window) -> int:
        """Packets of flows beside this one that its receivers got within the window."""
        return sum(outcome.leaked_packets(window) for outcome in self._outcomes)

    def samples(self, windows: Windows) -> Files:
        """The rows of all windows (with some slack for pictures), by sample file, with their trial's index."""
        files: Files = {}
        for outcome in self._outcomes:
            files |= outcome.samples(windows)
        return files


__all__ = ["UDP_PORT", "Make", "Traffic", "TrafficPlan", "address_of", "path_mtu_bytes", "traffic_plan"]
