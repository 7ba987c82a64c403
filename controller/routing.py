"""The distributed gateway and the way outside: RESOLVE flows that route, and what they need elsewhere.

Every NVE is the gateway of its VMs' networks, with one MAC (RFC 9135 calls it an anycast gateway). The NVE where
a packet comes in routes it, to the VM's own address rather than to a subnet, and tunnels it with the VNI of the
network it goes to (RFC 9135 section 4, asymmetric). So a route says nothing about where a VM is, and a move
changes none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from controller.model import VM, Gateway, Outside, State, VirtualNetwork
from controller.pipeline import (
    ANTI_SPOOF,
    CLASSIFY,
    FORWARD,
    INSIDE_SOURCE,
    LOCAL,
    ORIGIN,
    OUT,
    OUTPUT,
    OUTSIDE_VNI,
    RESOLVE,
    ROUTED,
    TUNNEL,
    VNI,
    CopyField,
    DecTtl,
    Flow,
    Output,
    SetField,
    Value,
    drop,
    flow,
)
from controller.policies import to_tunnel
from controller.resolve import arp_answer, nd_answers
from wire import ethernet, ip, nd

Match = dict[str, Value]


@dataclass(frozen=True)
class Door:
    """Where packets that are to be routed come in: a network (or the outside) and the MAC they are sent to."""

    vni: int
    mac: str


OutsideAt = tuple[Outside, str, int]
"""The outside, its NVE's underlay address, and the tunnel port of the NVE the flows are for."""


def doors(state: State, nve: str, vni: int) -> tuple[Door, ...]:
    """Return from where at an NVE the VMs of a network can be reached by routing."""
    found = [
        Door(network.vni, network.gateway.mac)
        for network in state.domain(vni)
        if network.vni in state.members[nve] and network.gateway is not None
    ]
    outside = state.outside
    if outside is not None and outside.nve == nve and vni in outside.vnis:
        found.append(Door(OUTSIDE_VNI, outside.mac))
    return tuple(found)


def _ip(address: str) -> Match:
    if ":" in address:
        return {"eth_type": ethernet.IPV6, "ipv6_dst": address}
    return {"eth_type": ethernet.IPV4, "ipv4_dst": address}


def routes_to(vm: VM, gateway: Gateway, come_in: tuple[Door, ...]) -> Iterator[Flow]:
    """Yield the host routes to a VM (RFC 9135 section 5: to its MAC and VNI), one for each door."""
    rewrite = (
        SetField(VNI, vm.vni),
        SetField("eth_src", gateway.mac),
        SetField("eth_dst", vm.mac),
        DecTtl(),
    )
    for door in come_in:
        for address in (vm.ipv4, vm.ipv6):
            if address is not None:
                match = {VNI: door.vni, "eth_dst": door.mac, **_ip(address)}
                yield flow(RESOLVE, 100, match, rewrite, FORWARD)
        if door.vni == OUTSIDE_VNI:
            # A host outside that takes the VM's subnet for a link of its own is answered too.
            yield arp_answer(OUTSIDE_VNI, vm.ipv4, door.mac)
            if vm.ipv6 is not None:
                yield from nd_answers(OUTSIDE_VNI, vm.ipv6, door.mac)


def _echo(door: Door, address: str) -> Flow:
    """Return the flow that answers a ping (RFC 792, RFC 4443 section 4) to a gateway's address."""
    if ":" in address:
        ask, answer, version = (
            {"ip_proto": ip.ICMPV6, "icmpv6_type": 128},
            SetField("icmpv6_type", 129),
            "ipv6",
        )
    else:
        ask, answer, version = {"ip_proto": ip.ICMP, "icmpv4_type": 8}, SetField("icmpv4_type", 0), "ipv4"
    actions = (
        CopyField("eth_src", "eth_dst"),
        SetField("eth_src", door.mac),
        CopyField(f"{version}_src", f"{version}_dst"),
        SetField(f"{version}_src", address),
        answer,
        Output("in_port"),
    )
    return flow(RESOLVE, 120, {VNI: door.vni, "eth_dst": door.mac, **_ip(address), **ask}, actions)


def gateway_flows(door: Door, gateway: Gateway | None, pinged: tuple[VirtualNetwork, ...]) -> Iterator[Flow]:
    """Yield what makes an NVE the gateway of a network's VMs; it also answers pings to networks' routed to."""
    for network in pinged:
        for address in (network.gateway.ipv4, network.gateway.ipv6) if network.gateway else ():
            if address is not None:
                yield _echo(door, address)
    if gateway is not None and gateway.ipv4 is not None:
        yield arp_answer(door.vni, gateway.ipv4, door.mac)
    if gateway is not None and gateway.ipv6 is not None:
        yield from nd_answers(door.vni, gateway.ipv6, door.mac, router=True)


def to_outside(network: VirtualNetwork, here: str, at: OutsideAt, sends: bool) -> Iterator[Flow]:
    """Yield the way from a network to the outside at one NVE; ``sends``: it has VMs of the network."""
    outside, underlay_ip, tunnel_port = at
    at_gateway = here == outside.nve
    if sends and network.gateway is not None:
        rewrite = (
            SetField(ORIGIN, ROUTED),
            SetField("eth_src", outside.mac),
            SetField("eth_dst", outside.next_hop_mac),
            DecTtl(),
        )
        for subnet in outside.subnets:
            match = {VNI: network.vni, "eth_dst": network.gateway.mac, **_prefix("dst", subnet)}
            yield flow(RESOLVE, 50, match, rewrite, FORWARD)
        if not at_gateway:
            yield to_tunnel(network.vni, outside.next_hop_mac, ROUTED, underlay_ip, tunnel_port)
    if at_gateway:
        for origin in (ROUTED, TUNNEL):
            match = {VNI: network.vni, ORIGIN: origin, "eth_dst": outside.next_hop_mac}
            yield flow(FORWARD, 100, match, (SetField(OUT, outside.port),), OUTPUT)


def _prefix(end: str, subnet: str) -> Match:
    """Return the match on a subnet; of everything only the IP version is left."""
    network = ip_network(subnet)
    match: Match = {"eth_type": ethernet.IPV4 if network.version == 4 else ethernet.IPV6}
    if network.prefixlen:
        match[f"ipv{network.version}_{end}"] = subnet
    return match


def outside_port(outside: Outside, inside: tuple[VirtualNetwork, ...]) -> Iterator[Flow]:
    """Yield the outside port's flows at the gateway NVE: its senders are outside, never in a network."""
    port = outside.port
    yield flow(OUTPUT, 100, {OUT: port}, (Output(port),))
    origin = (SetField(VNI, OUTSIDE_VNI), SetField(ORIGIN, LOCAL))
    yield flow(CLASSIFY, 100, {"in_port": port}, origin, ANTI_SPOOF)
    for subnet in outside.subnets:
        match: Match = {"in_port": port, "eth_dst": outside.mac, **_prefix("src", subnet)}
        yield flow(ANTI_SPOOF, 100, match, (), RESOLVE)
    for network in inside:
        for own in (network.subnet_v4, network.subnet_v6):
            if own is not None:
                yield drop(ANTI_SPOOF, 110, {"in_port": port, **_prefix("src", own)}, INSIDE_SOURCE)
    yield from _questions(port)
    for network in inside:
        if network.gateway is not None:
            gateway = Gateway(outside.mac, network.gateway.ipv4, network.gateway.ipv6)
            yield from gateway_flows(Door(OUTSIDE_VNI, outside.mac), gateway, (network,))


def _questions(port: int) -> Iterator[Flow]:
    yield flow(ANTI_SPOOF, 120, {"in_port": port, "eth_type": ethernet.ARP}, (), RESOLVE)
    solicitation: Match = {"eth_type": ethernet.IPV6, "ip_proto": ip.ICMPV6, "icmpv6_type": nd.SOLICITATION}
    yield flow(ANTI_SPOOF, 120, {"in_port": port, **solicitation}, (), RESOLVE)
