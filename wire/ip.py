"""IPv4 and IPv6: protocol numbers, headers without options, the Internet checksum. Pure."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from wire import ethernet

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
"""Protocol numbers (RFC 5237's registry)."""
V4_HEADER_BYTES, V6_HEADER_BYTES = 20, 40
_NETWORK_CONTROL = 0xC0
"""Precedence of ICMP errors: internetwork control (RFC 1812 section 4.3.2.5)."""


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); an odd last byte counts as if a zero followed it."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data.ljust(len(data) + len(data) % 2, b"\0")))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def icmp_v4(source: IPv4Address, destination: IPv4Address, message: bytes) -> bytes:
    """An IPv4 packet with an ICMP message (RFC 792) whose checksum field, bytes 2 and 3, is filled in here."""
    body = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    head = (
        struct.pack("!BBHHHBBH", 0x45, _NETWORK_CONTROL, V4_HEADER_BYTES + len(body), 0, 0, 64, ICMP, 0)
        + source.packed
        + destination.packed
    )
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def icmp_v6(source: IPv6Address, destination: IPv6Address, message: bytes, hop_limit: int) -> bytes:
    """An IPv6 packet with an ICMPv6 message whose checksum, over the pseudo-header too, is filled in here.

    RFC 4443 section 2.3, RFC 8200 section 8.1. The checksum field of ``message`` has to be zero.
    """
    addresses = source.packed + destination.packed
    pseudo_header = addresses + struct.pack("!II", len(message), ICMPV6)
    body = message[:2] + checksum(pseudo_header + message).to_bytes(2, "big") + message[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, hop_limit) + addresses + body


def sender(frame: bytes) -> str | None:
    """The sender's IP address of a frame, None for a frame without one."""
    packet, kind = frame[ethernet.HEADER_BYTES :], ethernet.ethertype(frame)
    if kind == ethernet.IPV4 and len(packet) >= V4_HEADER_BYTES:
        return str(IPv4Address(packet[12:16]))
    if kind == ethernet.IPV6 and len(packet) >= V6_HEADER_BYTES:
        return str(IPv6Address(packet[8:24]))
    return None
