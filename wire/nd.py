"""Neighbour discovery: link-local addresses, solicitations and advertisements (RFC 4861, RFC 4291). Pure."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

from wire import ethernet, ip

ROUTER_ADVERTISEMENT, SOLICITATION, ADVERTISEMENT, REDIRECT = 134, 135, 136, 137
"""ICMPv6 types (RFC 4861 section 4)."""
ALL_NODES = IPv6Address("ff02::1")
ALL_NODES_MAC = "33:33:00:00:00:01"
OVERRIDE = 0x20000000
"""Flag of an advertisement: the address in the neighbour's cache is to be replaced (RFC 4861 section 4.4)."""
_TARGET_LINK_LAYER_ADDRESS = 2
_HOP_LIMIT = 255  # whoever gets less knows that a router has been in between (RFC 4861 section 7.1)


def link_local(mac: str) -> str:
    """The address fe80::/64 that a host makes of its MAC (modified EUI-64, RFC 4291 appendix A)."""
    octets = bytearray(ethernet.mac_bytes(mac))
    octets[0] ^= 0x02
    return str(IPv6Address(bytes.fromhex("fe80000000000000") + octets[:3] + b"\xff\xfe" + octets[3:]))


def _advertisement(mac: str, source: IPv6Address, destination: IPv6Address, flags: int) -> bytes:
    """The IPv6 packet: the sender's own address as target, its MAC as option (section 4.4)."""
    option = bytes([_TARGET_LINK_LAYER_ADDRESS, 1]) + ethernet.mac_bytes(mac)
    message = struct.pack("!BBHI", ADVERTISEMENT, 0, 0, flags) + source.packed + option
    return ip.icmp_v6(source, destination, message, _HOP_LIMIT)


def unsolicited_advertisement(mac: str, address: str) -> bytes:
    """The frame that a host sends to all nodes for its own address, override set (section 7.2.6)."""
    packet = _advertisement(mac, IPv6Address(address), ALL_NODES, OVERRIDE)
    return ethernet.build(ALL_NODES_MAC, mac, ethernet.IPV6, packet)


def solicited_target(frame: bytes) -> str | None:
    """Whom a neighbour solicitation asks for (section 4.3); None for any other frame."""
    packet = frame[ethernet.HEADER_BYTES :]
    if ethernet.ethertype(frame) != ethernet.IPV6 or len(packet) < 64:
        return None
    if packet[6] != ip.ICMPV6 or packet[40] != SOLICITATION:
        return None
    return str(IPv6Address(packet[48:64]))


def answer(solicitation: bytes, mac: str, flags: int) -> bytes:
    """The frame that answers a solicitation (section 7.2.4).

    It goes to the asker's MAC; its IPv6 destination is the asker, or all nodes when the asker has no address yet.
    """
    packet = solicitation[ethernet.HEADER_BYTES :]
    target, asker = IPv6Address(packet[48:64]), IPv6Address(packet[8:24])
    told = ALL_NODES if asker.is_unspecified else asker
    return ethernet.build(
        ethernet.sender_mac(solicitation), mac, ethernet.IPV6, _advertisement(mac, target, told, flags)
    )
