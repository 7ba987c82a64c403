"""Destination unreachable, as the old NVE tells a sender whose packet ends there. Pure; a frame may be cut short."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from wire import ethernet, ip

QUOTE_BYTES = 548
"""What an error quotes at most: it is at most 576 bytes long itself (RFC 1812 section 4.3.2.3)."""
_QUERIES = (8, 0)  # echo request and reply: ICMP that is no error (RFC 792)
_HOP_LIMIT = 64


@dataclass(frozen=True)
class Reporter:
    """Who sends an ICMP error: MAC and addresses of the network's gateway, or of the VM that has left."""

    mac: str
    ipv4: str | None
    ipv6: str | None


def unreachable(frame: bytes, to_mac: str, reporter: Reporter) -> bytes | None:
    """The frame that tells a packet's sender its destination cannot be reached.

    IPv4: type 3 code 1, host unreachable (RFC 792). IPv6: type 1 code 3, address unreachable (RFC 4443 section 3.1).
    None where no error may be sent: about an error, to nobody in particular, for a later fragment (RFC 1122
    section 3.2.2, RFC 4443 section 2.4e), or without an address to send from.
    """
    packet, kind = frame[ethernet.HEADER_BYTES :], ethernet.ethertype(frame)
    if kind == ethernet.IPV4 and reporter.ipv4 is not None:
        error = _unreachable_v4(packet, IPv4Address(reporter.ipv4))
    elif kind == ethernet.IPV6 and reporter.ipv6 is not None:
        error = _unreachable_v6(packet, IPv6Address(reporter.ipv6))
    else:
        return None
    return None if error is None else ethernet.build(to_mac, reporter.mac, kind, error)


def _unreachable_v4(packet: bytes, source: IPv4Address) -> bytes | None:
    if len(packet) < ip.V4_HEADER_BYTES:
        return None
    header = (packet[0] & 0x0F) * 4
    about_error = packet[9] == ip.ICMP and (len(packet) <= header or packet[header] not in _QUERIES)
    later_fragment = int.from_bytes(packet[6:8], "big") & 0x1FFF
    sender = IPv4Address(packet[12:16])
    to_nobody = sender.is_unspecified or sender.is_multicast or sender == IPv4Address("255.255.255.255")
    if about_error or later_fragment or to_nobody:
        return None
    quote = packet[: min(QUOTE_BYTES, int.from_bytes(packet[2:4], "big"))]
    return ip.icmp_v4(source, sender, bytes([3, 1, 0, 0]) + bytes(4) + quote)


def _unreachable_v6(packet: bytes, source: IPv6Address) -> bytes | None:
    if len(packet) < ip.V6_HEADER_BYTES:
        return None
    sender, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    about_error = packet[6] == ip.ICMPV6 and (len(packet) < 41 or packet[40] < 128)
    if about_error or sender.is_unspecified or sender.is_multicast or destination.is_multicast:
        return None
    quote = packet[: min(QUOTE_BYTES, ip.V6_HEADER_BYTES + int.from_bytes(packet[4:6], "big"))]
    return ip.icmp_v6(source, sender, bytes([1, 3, 0, 0]) + bytes(4) + quote, _HOP_LIMIT)
