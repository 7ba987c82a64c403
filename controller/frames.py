"""Reads and builds the few frames the NVA itself deals with. Pure; a frame may be cut short anywhere."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from controller.pipeline import ETH_IPV4, ETH_IPV6, ICMP, ICMPV6

ETHERNET_BYTES = 14
UDP_BYTES = 8
CHADDR = 28
"""Where a DHCP message has the client's hardware address (RFC 2131 section 2)."""


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of a MAC address."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(octets: bytes) -> str:
    """Return a MAC address as text."""
    return octets.hex(":")


def ethertype(frame: bytes) -> int:
    """Return the ethertype; 0 for a frame too short to have one."""
    return int.from_bytes(frame[12:14], "big")


def sender_mac(frame: bytes) -> str:
    """Return the source MAC."""
    return mac_text(frame[6:12])


def destination_mac(frame: bytes) -> str:
    """Return the destination MAC."""
    return mac_text(frame[:6])


def with_destination(frame: bytes, mac: str) -> bytes:
    """Return the frame with another destination MAC."""
    return mac_bytes(mac) + frame[6:]


def dhcp_client_mac(frame: bytes) -> str | None:
    """Return the hardware address of the client a DHCP message (in IPv4, UDP) is about, None when there is none."""
    ip = frame[ETHERNET_BYTES:]
    if not ip:
        return None
    message = ip[(ip[0] & 0x0F) * 4 + UDP_BYTES :]
    # Hardware type 1 is Ethernet, with six bytes of address (RFC 2131 section 2, RFC 1700).
    if len(message) < CHADDR + 6 or message[1] != 1 or message[2] != 6:
        return None
    return mac_text(message[CHADDR : CHADDR + 6])


# Destination unreachable

ICMP_QUOTE_BYTES = 548
"""An ICMP error is at most 576 bytes long (RFC 1812 section 4.3.2.3); what the NVA is sent of a frame is less."""


@dataclass(frozen=True)
class Reporter:
    """Who sends an ICMP error: MAC and addresses of the network's gateway, or of the VM that has left."""

    mac: str
    ipv4: str | None
    ipv6: str | None


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data.ljust(len(data) + len(data) % 2, b"\0")))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def unreachable(frame: bytes, to_mac: str, reporter: Reporter) -> bytes | None:
    """Return the frame that tells a packet's sender its destination cannot be reached.

    IPv4: type 3 code 1, host unreachable (RFC 792). IPv6: type 1 code 3, address unreachable (RFC 4443 section 3.1).
    None where no error may be sent: about an error, to nobody in particular, for a later fragment (RFC 1122
    section 3.2.2, RFC 4443 section 2.4e), or without an address to send from.
    """
    ip, kind = frame[ETHERNET_BYTES:], ethertype(frame)
    ethernet = mac_bytes(to_mac) + mac_bytes(reporter.mac)
    if kind == ETH_IPV4 and reporter.ipv4 is not None:
        packet = _unreachable_v4(ip, IPv4Address(reporter.ipv4))
    elif kind == ETH_IPV6 and reporter.ipv6 is not None:
        packet = _unreachable_v6(ip, IPv6Address(reporter.ipv6))
    else:
        return None
    return None if packet is None else ethernet + kind.to_bytes(2, "big") + packet


def _unreachable_v4(ip: bytes, source: IPv4Address) -> bytes | None:
    if len(ip) < 20:
        return None
    header = (ip[0] & 0x0F) * 4
    about_icmp = ip[9] == ICMP and ip[header : header + 1] not in (b"\x08", b"\x00")
    later_fragment = int.from_bytes(ip[6:8], "big") & 0x1FFF
    sender = IPv4Address(ip[12:16])
    if (
        about_icmp
        or later_fragment
        or sender.is_unspecified
        or sender.is_multicast
        or ip[12:16] == b"\xff" * 4
    ):
        return None
    quote = ip[: min(ICMP_QUOTE_BYTES, int.from_bytes(ip[2:4], "big"))]
    body = bytes([3, 1, 0, 0]) + bytes(4) + quote
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    head = (
        struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(body), 0, 0, 64, ICMP, 0)
        + source.packed
        + sender.packed
    )
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def _unreachable_v6(ip: bytes, source: IPv6Address) -> bytes | None:
    if len(ip) < 40:
        return None
    sender = IPv6Address(ip[8:24])
    about_error = ip[6] == ICMPV6 and (len(ip) < 41 or ip[40] < 128)
    if about_error or sender.is_unspecified or sender.is_multicast or IPv6Address(ip[24:40]).is_multicast:
        return None
    body = bytes([1, 3, 0, 0]) + bytes(4) + ip[: min(ICMP_QUOTE_BYTES, 40 + int.from_bytes(ip[4:6], "big"))]
    addresses = source.packed + sender.packed
    pseudo_header = addresses + struct.pack("!II", len(body), ICMPV6)
    body = body[:2] + checksum(pseudo_header + body).to_bytes(2, "big") + body[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 64) + addresses + body


# Neighbour discovery

ALL_NODES = IPv6Address("ff02::1")
_SOLICITATION, _ADVERTISEMENT, _TARGET_LINK_LAYER_ADDRESS = 135, 136, 2


def solicited_target(frame: bytes) -> str | None:
    """Return whom a neighbour solicitation asks for (RFC 4861 section 4.3), None for any other frame."""
    ip = frame[ETHERNET_BYTES:]
    if ethertype(frame) != ETH_IPV6 or len(ip) < 64 or ip[6] != ICMPV6 or ip[40] != _SOLICITATION:
        return None
    return str(IPv6Address(ip[48:64]))


def advertisement(solicitation: bytes, mac: str, flags: int) -> bytes:
    """Return the neighbour advertisement that answers a solicitation (RFC 4861 sections 4.4 and 7.2.4).

    It goes to the asker's MAC; its IPv6 destination is the asker, or all nodes when the asker has no address yet.
    """
    ip = solicitation[ETHERNET_BYTES:]
    target, asker = ip[48:64], IPv6Address(ip[8:24])
    addresses = target + (ALL_NODES if asker.is_unspecified else asker).packed
    option = bytes([_TARGET_LINK_LAYER_ADDRESS, 1]) + mac_bytes(mac)
    body = bytes([_ADVERTISEMENT, 0, 0, 0]) + flags.to_bytes(4, "big") + target + option
    pseudo_header = addresses + struct.pack("!II", len(body), ICMPV6)
    body = body[:2] + checksum(pseudo_header + body).to_bytes(2, "big") + body[4:]
    packet = struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 255) + addresses + body
    return solicitation[6:12] + mac_bytes(mac) + ETH_IPV6.to_bytes(2, "big") + packet


def ip_sender(frame: bytes) -> str | None:
    """Return the sender's IP address, None for a frame without one."""
    ip, kind = frame[ETHERNET_BYTES:], ethertype(frame)
    if kind == ETH_IPV4 and len(ip) >= 20:
        return str(IPv4Address(ip[12:16]))
    if kind == ETH_IPV6 and len(ip) >= 40:
        return str(IPv6Address(ip[8:24]))
    return None
