"""Who is where: the NVA's mapping as frozen values. How it may change: :mod:`controller.mapping` and others.

Terms: RFC 7365 (NVE, NVA), draft-ietf-nvo3-vmm (old and new NVE), RFC 8394 (life cycle).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from vocabulary.lifecycle import VmState
from vocabulary.moves import PUSH

Stage = Literal["prepared", "redirected", "committed"]

MAX_PORT = 0xFEFF
"""Highest port number Open vSwitch gives out to a port (OFPP_MAX of OpenFlow 1.0, kept by OVS)."""


class Refused(Exception):  # noqa: N818 - it is raised to say no, nothing went wrong
    """A call that does not fit the mapping as it is. ``str()`` says what, how things are, what is allowed."""

    def __init__(self, what: str, now: str, allowed: str) -> None:
        super().__init__(f"{what}: {now}; {allowed}")
        self.what = what
        self.now = now
        self.allowed = allowed


@dataclass(frozen=True)
class PlainPort:
    """A port of br-int towards the NVE's own IP stack, so to the underlay without an overlay header.

    ``mac`` is br-int's own there, ``next_hop_mac`` the IP stack's, which routes.
    """

    port: int
    mac: str
    next_hop_mac: str


@dataclass(frozen=True)
class NVE:
    """A network virtualization edge. ``tunnel_port`` is the port number of vx0 on br-int.

    ``nd_by_nva``: its datapath cannot write a neighbour advertisement, so that the NVA answers solicitations for it.
    """

    name: str
    dpid: int
    underlay_ip: str
    tunnel_port: int
    plain: PlainPort | None = None
    nd_by_nva: bool = False


@dataclass(frozen=True)
class Gateway:
    """A network's distributed gateway: the same MAC and addresses at every NVE."""

    mac: str
    ipv4: str | None = None
    ipv6: str | None = None


@dataclass(frozen=True)
class VirtualNetwork:
    """A virtual network; ``vni`` is the 24-bit number on the wire (RFC 7348 section 5).

    Without a ``gateway`` it is not routed. ``dhcp_server`` names the VM that answers its clients.
    """

    name: str
    vni: int
    gateway: Gateway | None = None
    subnet_v4: str | None = None
    subnet_v6: str | None = None
    dhcp_server: str | None = None


@dataclass(frozen=True)
class Outside:
    """The way out of the overlay: a port of the gateway NVE's br-int behind which hosts know nothing of the NVA.

    ``mac`` is the gateway's own there, ``next_hop_mac`` the router's on the other side. Networks in ``vnis`` reach
    the ``subnets`` and are reached from them.
    """

    nve: str
    port: int
    mac: str
    next_hop_mac: str
    subnets: tuple[str, ...]
    vnis: tuple[int, ...]


@dataclass(frozen=True)
class Ports:
    """A VM's port numbers on one NVE. A closed attachment keeps its numbers but gets no flows."""

    direct: int
    redirected: int | None = None
    open: bool = True

    def numbers(self) -> tuple[int, ...]:
        """Return the port numbers in use, direct first."""
        return (self.direct,) if self.redirected is None else (self.direct, self.redirected)


@dataclass(frozen=True)
class VM:
    """A VM, the NVE it is at, and its ports per NVE (sorted by NVE name, so that equal VMs compare equal).

    ``ipv6`` None: it does not speak IPv6, and ``link_local`` is None too.
    """

    name: str
    vni: int
    mac: str
    ipv4: str
    nve: str
    ports: tuple[tuple[str, Ports], ...] = ()
    ipv6: str | None = None
    link_local: str | None = None
    state: VmState = "running"

    @property
    def present(self) -> bool:
        """Tell whether other NVEs know it: it runs or is paused."""
        return self.state in ("running", "paused")

    @property
    def ipv6_addresses(self) -> tuple[str, ...]:
        """Return its IPv6 addresses, the routable one first."""
        return tuple(address for address in (self.ipv6, self.link_local) if address is not None)

    def ports_at(self, nve: str) -> Ports | None:
        """Return the ports at an NVE, or None when it has none or they are closed."""
        for name, ports in self.ports:
            if name == nve:
                return ports if ports.open else None
        return None

    def with_ports(self, nve: str, ports: Ports | None) -> VM:
        """Return the VM with its ports at one NVE replaced, or forgotten (None)."""
        kept = {name: p for name, p in self.ports if name != nve}
        if ports is not None:
            kept[nve] = ports
        return replace(self, ports=tuple(sorted(kept.items())))

    def with_open(self, nve: str, is_open: bool) -> VM:
        """Return the VM with its attachment at an NVE opened or closed; without one, the same VM."""
        ports = dict(self.ports).get(nve)
        return self if ports is None else self.with_ports(nve, replace(ports, open=is_open))


@dataclass(frozen=True)
class Move:
    """A move in progress."""

    id: str
    vm: str
    old_nve: str
    new_nve: str
    policy: str
    stage: Stage
    ended: bool = False
    """The redirect has been ended before the move."""
    announced: bool = False
    """The VM has announced itself from the new NVE before the commit."""


@dataclass(frozen=True)
class State:
    """The whole mapping. ``moves`` is keyed by VM name: one move per VM. Never changed in place."""

    version: int = 0
    nves: Mapping[str, NVE] = field(default_factory=dict)
    networks: Mapping[int, VirtualNetwork] = field(default_factory=dict)
    vms: Mapping[str, VM] = field(default_factory=dict)
    moves: Mapping[str, Move] = field(default_factory=dict)
    routes: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """For each network those it is routed to; if a is in routes[b], b is in routes[a]."""
    outside: Outside | None = None
    strategy: str = PUSH
    mapping_age_s: int = 60
    packet_in_limit_pps: int = 500
    believed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For each VM the NVEs whose mapping is out of date, and where they send its frames instead."""
    counted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """For each VM the NVEs it has left at which frames that still come for it are counted."""

    def nves_of(self, vm: VM) -> tuple[str, ...]:
        """Return where the VM may send and receive: its NVE, or old and new NVE while it moves."""
        move = self.moves.get(vm.name)
        return (vm.nve,) if move is None else (move.old_nve, move.new_nve)

    @cached_property
    def members(self) -> Mapping[str, frozenset[int]]:
        """For each NVE the virtual networks that have a VM there which runs or is paused."""
        found: dict[str, set[int]] = {name: set() for name in self.nves}
        for vm in self.vms.values():
            for nve in self.nves_of(vm) if vm.present else ():
                found[nve].add(vm.vni)
        return {name: frozenset(vnis) for name, vnis in found.items()}

    @cached_property
    def reached(self) -> Mapping[str, frozenset[int]]:
        """For each NVE the virtual networks its VMs (or the outside) may send to, so where it knows all VMs."""
        found = {}
        for nve, vnis in self.members.items():
            found[nve] = vnis.union(*(self.routes.get(vni, frozenset()) for vni in vnis))
            if self.outside is not None and self.outside.nve == nve:
                found[nve] |= frozenset(self.outside.vnis)
        return found

    @cached_property
    def watched(self) -> Mapping[str, frozenset[str]]:
        """For each NVE the VMs that have left it and whose frames are still expected or counted there."""
        found: dict[str, set[str]] = {name: set() for name in self.nves}
        for vm, peers in self.believed.items():
            for where in peers.values():
                found[where].add(vm)
        for vm, nves in self.counted.items():
            for nve in nves:
                found[nve].add(vm)
        return {nve: frozenset(vms) for nve, vms in found.items()}

    @cached_property
    def from_tunnel(self) -> Mapping[str, frozenset[int]]:
        """For each NVE the virtual networks whose frames it takes from the tunnel."""
        found = {}
        for nve, vnis in self.members.items():
            found[nve] = vnis | {self.vms[vm].vni for vm in self.watched[nve]}
            if self.outside is not None and self.outside.nve == nve:
                found[nve] |= frozenset(self.outside.vnis)
        return found

    def domain(self, vni: int) -> tuple[VirtualNetwork, ...]:
        """Return a network with a gateway and those it is routed to, by VNI; nothing without a gateway."""
        if self.networks[vni].gateway is None:
            return ()
        return tuple(self.networks[other] for other in sorted({vni, *self.routes.get(vni, ())}))


def names(found: Iterable[str]) -> str:
    """Return names for a message, sorted."""
    return ", ".join(sorted(found)) or "none"


def find_vm(state: State, what: str, name: str) -> VM:
    """Return the VM, or refuse in the name of ``what``."""
    if name not in state.vms:
        raise Refused(what, f"there is no VM {name!r}", f"VMs are: {names(state.vms)}")
    return state.vms[name]


def find_nve(state: State, what: str, name: str) -> NVE:
    """Return the NVE, or refuse in the name of ``what``."""
    if name not in state.nves:
        raise Refused(what, f"there is no NVE {name!r}", f"NVEs are: {names(state.nves)}")
    return state.nves[name]


def find_move(state: State, what: str, migration_id: str) -> Move:
    """Return the move in progress with this id, or refuse in the name of ``what``."""
    for move in state.moves.values():
        if move.id == migration_id:
            return move
    going = names(m.id for m in state.moves.values())
    raise Refused(what, f"no move {migration_id!r} is in progress", f"moves in progress: {going}")
