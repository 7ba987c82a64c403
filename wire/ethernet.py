"""Ethernet: addresses, types, and frames without their check sequence (IEEE Std 802.3). Pure."""

from __future__ import annotations

import struct

ARP = 0x0806
IPV4 = 0x0800
IPV6 = 0x86DD
RARP = 0x8035
MARKER = 0x88B5
"""Markers of the testbed: IEEE 802 Local Experimental Ethertype 1 (IEEE Std 802, clause on ethertypes)."""

HEADER_BYTES = 14
MINIMUM_FRAME_BYTES = 60
"""The smallest frame without its check sequence (64 bytes with it, IEEE Std 802.3)."""
BROADCAST = "ff:ff:ff:ff:ff:ff"


def mac_bytes(mac: str) -> bytes:
    """``02:00:00:00:00:01`` as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(octets: bytes) -> str:
    """Six bytes as ``02:00:00:00:00:01``."""
    return octets.hex(":")


def build(destination: str, source: str, ethertype: int, payload: bytes = b"") -> bytes:
    """An Ethernet frame, padded to the smallest size."""
    frame = mac_bytes(destination) + mac_bytes(source) + struct.pack("!H", ethertype) + payload
    return frame.ljust(MINIMUM_FRAME_BYTES, b"\0")


def ethertype(frame: bytes) -> int:
    """The type in a frame's header; 0 for a frame too short to have one."""
    return int.from_bytes(frame[12:14], "big")


def sender_mac(frame: bytes) -> str:
    """The source address."""
    return mac_text(frame[6:12])


def destination_mac(frame: bytes) -> str:
    """The destination address."""
    return mac_text(frame[:6])


def with_destination(frame: bytes, mac: str) -> bytes:
    """The frame with another destination address."""
    return mac_bytes(mac) + frame[6:]
