"""What a VM's attachment may say: the CLASSIFY, ANTI_SPOOF and OUTPUT flows of its ports at one NVE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controller.model import VM, Gateway, Ports, State
from controller.pipeline import (
    ALL_BYTES,
    ANNOUNCEMENT,
    ANTI_SPOOF,
    CLASSIFY,
    DHCP_ANSWER,
    FORGED_DISCOVERY,
    FORGED_LEASE,
    FORWARD,
    LOCAL,
    ORIGIN,
    OUT,
    OUTPUT,
    RESOLVE,
    VNI,
    Flow,
    Output,
    SetField,
    ToNva,
    Value,
    drop,
    flow,
)
from wire import ethernet, ip, nd

Match = dict[str, Value]


@dataclass(frozen=True)
class Surroundings:
    """What a VM's network offers it: its gateway, and the DHCP server's name and MAC."""

    gateway: Gateway | None = None
    dhcp_server: str | None = None
    dhcp_mac: str | None = None


def surroundings(state: State, vni: int) -> Surroundings:
    """Return what a network offers its VMs."""
    network = state.networks[vni]
    server = None if network.dhcp_server is None else state.vms[network.dhcp_server]
    return Surroundings(network.gateway, network.dhcp_server, None if server is None else server.mac)


def ways_out(ports: Ports) -> Iterator[Flow]:
    """Yield the ways out to a VM's ports."""
    for number in ports.numbers():
        yield flow(OUTPUT, 100, {OUT: number}, (Output(number),))


def attachment_flows(vm: VM, ports: Ports, around: Surroundings) -> Iterator[Flow]:
    """Yield the way in: only the direct port, checked against the VM's addresses."""
    port = ports.direct
    origin = (SetField(VNI, vm.vni), SetField(ORIGIN, LOCAL))
    yield flow(CLASSIFY, 100, {"in_port": port}, origin, ANTI_SPOOF)
    said: Match = {"in_port": port, "eth_src": vm.mac}
    yield flow(ANTI_SPOOF, 100, {**said, "eth_type": ethernet.RARP}, (ToNva(ANNOUNCEMENT),))
    # A marker from the VM to itself goes the way that frames for the VM go now: it finds out what is before it.
    yield flow(ANTI_SPOOF, 100, {**said, "eth_dst": vm.mac, "eth_type": ethernet.MARKER}, (), FORWARD)
    yield from _ipv4(vm, said, around.gateway)
    yield from _dhcp(vm, said, around)
    if vm.ipv6_addresses:
        yield from _ipv6(vm, said, around.gateway)


def _sends(said: Match, gateway: Gateway | None) -> Iterator[Flow]:
    """Yield how data goes on: to the gateway it is routed, to anybody else forwarded."""
    yield flow(ANTI_SPOOF, 100, said, (), FORWARD)
    if gateway is not None:
        yield flow(ANTI_SPOOF, 101, {**said, "eth_dst": gateway.mac}, (), RESOLVE)


def _ipv4(vm: VM, said: Match, gateway: Gateway | None) -> Iterator[Flow]:
    # 0.0.0.0 is the sender address of an ARP probe (RFC 5227 section 2.1.1).
    for address in (vm.ipv4, "0.0.0.0"):
        arp: Match = {"eth_type": ethernet.ARP, "arp_sha": vm.mac, "arp_spa": address}
        yield flow(ANTI_SPOOF, 100, {**said, **arp}, (), RESOLVE)
    yield from _sends({**said, "eth_type": ethernet.IPV4, "ipv4_src": vm.ipv4}, gateway)


def _dhcp(vm: VM, said: Match, around: Surroundings) -> Iterator[Flow]:
    """Yield what becomes of DHCP's broadcasts (RFC 2131 section 4.1); its unicasts are data like any other.

    A client's goes to the server's MAC, wherever that VM is. The server's own goes to the NVA, which reads
    from the message which client is meant.
    """
    broadcast: Match = {**said, "eth_type": ethernet.IPV4, "ip_proto": ip.UDP, "ipv4_dst": "255.255.255.255"}
    request: Match = {**broadcast, "udp_src": 68, "udp_dst": 67}
    if vm.name == around.dhcp_server:
        answer: Match = {**broadcast, "ipv4_src": vm.ipv4, "udp_src": 67, "udp_dst": 68}
        yield flow(ANTI_SPOOF, 110, answer, (ToNva(DHCP_ANSWER, ALL_BYTES),))
        return
    if around.dhcp_mac is None:
        # Nobody answers: FORWARD drops broadcast.
        yield flow(ANTI_SPOOF, 100, {**request, "ipv4_src": "0.0.0.0"}, (), FORWARD)
        return
    for source in ("0.0.0.0", vm.ipv4):
        to_server = (SetField("eth_dst", around.dhcp_mac),)
        yield flow(ANTI_SPOOF, 110, {**request, "ipv4_src": source}, to_server, FORWARD)
    # Only the server may answer.
    forged: Match = {**said, "eth_type": ethernet.IPV4, "ip_proto": ip.UDP, "udp_src": 67, "udp_dst": 68}
    yield drop(ANTI_SPOOF, 109, forged, FORGED_LEASE)


def _ipv6(vm: VM, said: Match, gateway: Gateway | None) -> Iterator[Flow]:
    said = {**said, "eth_type": ethernet.IPV6}
    discovery: Match = {**said, "ip_proto": ip.ICMPV6}
    solicitation: Match = {**discovery, "icmpv6_type": nd.SOLICITATION}
    # The unspecified address is the sender of duplicate address detection (RFC 4862 section 5.4.2).
    yield flow(ANTI_SPOOF, 110, {**solicitation, "ipv6_src": "::"}, (), RESOLVE)
    for address in vm.ipv6_addresses:
        yield flow(ANTI_SPOOF, 110, {**solicitation, "ipv6_src": address}, (), RESOLVE)
        # Nobody's solicitation reaches a VM, so what it advertises is unsolicited (RFC 4861 section 7.2.6).
        own: Match = {
            **discovery,
            "icmpv6_type": nd.ADVERTISEMENT,
            "ipv6_src": address,
            "ipv6_nd_target": address,
            "ipv6_nd_tll": vm.mac,
        }
        yield flow(ANTI_SPOOF, 120, own, (ToNva(ANNOUNCEMENT),))
        # From a link-local address nothing is routed (RFC 4291 section 2.5.6).
        yield from _sends({**said, "ipv6_src": address}, None if address == vm.link_local else gateway)
    # A VM is no router, and its neighbours learn from the NVE alone (RA guard: RFC 6105).
    for forbidden in (nd.ROUTER_ADVERTISEMENT, nd.SOLICITATION, nd.ADVERTISEMENT, nd.REDIRECT):
        yield drop(ANTI_SPOOF, 105, {**discovery, "icmpv6_type": forbidden}, FORGED_DISCOVERY)
