"""What a VM's attachment may say: the CLASSIFY, ANTI_SPOOF and OUTPUT flows of its ports at one NVE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.model import VM, Ports
from controller.pipeline import (
    ANNOUNCEMENT,
    ANTI_SPOOF,
    CLASSIFY,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MARKER,
    ETH_RARP,
    FORWARD,
    ICMPV6,
    LOCAL,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    ORIGIN,
    OUT,
    OUTPUT,
    REDIRECT,
    RESOLVE,
    ROUTER_ADVERTISEMENT,
    UDP,
    VNI,
    Flow,
    Output,
    SetField,
    ToNva,
    Value,
    flow,
)

Match = dict[str, Value]


def attachment_flows(vm: VM, ports: Ports) -> Iterator[Flow]:
    """Yield the way in (only the direct port, checked against the VM's addresses) and the ways out."""
    for number in ports.numbers():
        yield flow(OUTPUT, 100, {OUT: number}, (Output(number),))
    port = ports.direct
    origin = (SetField(VNI, vm.vni), SetField(ORIGIN, LOCAL))
    yield flow(CLASSIFY, 100, {"in_port": port}, origin, ANTI_SPOOF)
    said: Match = {"in_port": port, "eth_src": vm.mac}
    yield flow(ANTI_SPOOF, 100, {**said, "eth_type": ETH_RARP}, (ToNva(ANNOUNCEMENT),))
    # A marker from the VM to itself goes the way that frames for the VM go now: it finds out what is before it.
    yield flow(ANTI_SPOOF, 100, {**said, "eth_dst": vm.mac, "eth_type": ETH_MARKER}, (), FORWARD)
    yield from _ipv4(vm, said)
    if vm.ipv6_addresses:
        yield from _ipv6(vm, said)


def _ipv4(vm: VM, said: Match) -> Iterator[Flow]:
    # 0.0.0.0 is the sender address of an ARP probe (RFC 5227 section 2.1.1).
    for address in (vm.ipv4, "0.0.0.0"):
        arp: Match = {"eth_type": ETH_ARP, "arp_sha": vm.mac, "arp_spa": address}
        yield flow(ANTI_SPOOF, 100, {**said, **arp}, (), RESOLVE)
    yield flow(ANTI_SPOOF, 100, {**said, "eth_type": ETH_IPV4, "ipv4_src": vm.ipv4}, (), FORWARD)
    # A DHCP client without an address (RFC 2131 section 4.1). Nobody answers yet: FORWARD drops broadcast.
    dhcp: Match = {"ipv4_src": "0.0.0.0", "ipv4_dst": "255.255.255.255", "udp_src": 68, "udp_dst": 67}
    yield flow(ANTI_SPOOF, 100, {**said, "eth_type": ETH_IPV4, "ip_proto": UDP, **dhcp}, (), FORWARD)


def _ipv6(vm: VM, said: Match) -> Iterator[Flow]:
    said = {**said, "eth_type": ETH_IPV6}
    discovery: Match = {**said, "ip_proto": ICMPV6}
    solicitation: Match = {**discovery, "icmpv6_type": NEIGHBOUR_SOLICITATION}
    # The unspecified address is the sender of duplicate address detection (RFC 4862 section 5.4.2).
    yield flow(ANTI_SPOOF, 110, {**solicitation, "ipv6_src": "::"}, (), RESOLVE)
    for address in vm.ipv6_addresses:
        yield flow(ANTI_SPOOF, 110, {**solicitation, "ipv6_src": address}, (), RESOLVE)
        # Nobody's solicitation reaches a VM, so what it advertises is unsolicited (RFC 4861 section 7.2.6).
        own: Match = {
            **discovery,
            "icmpv6_type": NEIGHBOUR_ADVERTISEMENT,
            "ipv6_src": address,
            "ipv6_nd_target": address,
            "ipv6_nd_tll": vm.mac,
        }
        yield flow(ANTI_SPOOF, 120, own, (ToNva(ANNOUNCEMENT),))
        yield flow(ANTI_SPOOF, 100, {**said, "ipv6_src": address}, (), FORWARD)
    # A VM is no router, and its neighbours learn from the NVE alone (RA guard: RFC 6105).
    for forbidden in (ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, REDIRECT):
        yield flow(ANTI_SPOOF, 105, {**discovery, "icmpv6_type": forbidden})
