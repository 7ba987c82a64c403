"""Reads and builds the few frames the NVA itself deals with. Pure; a frame may be cut short anywhere."""

from __future__ import annotations

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
