"""ARP and RARP: how a VM's new place is announced with IPv4. Pure."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from wire import ethernet

_REQUEST, _REVERSE_REQUEST = 1, 3  # RFC 826; RFC 903


def _request(operation: int, mac: str, sender_ip: bytes, target_mac: bytes, target_ip: bytes) -> bytes:
    """Hardware type 1 (Ethernet, addresses of 6 bytes), protocol type IPv4 (addresses of 4 bytes); RFC 826."""
    head = struct.pack("!HHBBH", 1, ethernet.IPV4, 6, 4, operation)
    return head + ethernet.mac_bytes(mac) + sender_ip + target_mac + target_ip


def rarp_announcement(mac: str) -> bytes:
    """The broadcast RARP request "who am I" (RFC 903) by which a hypervisor announces a VM's new place."""
    request = _request(_REVERSE_REQUEST, mac, bytes(4), ethernet.mac_bytes(mac), bytes(4))
    return ethernet.build(ethernet.BROADCAST, mac, ethernet.RARP, request)


def gratuitous_arp(mac: str, address: str) -> bytes:
    """The broadcast ARP request for the sender's own IPv4 address (an ARP announcement, RFC 5227 section 2.3)."""
    own = IPv4Address(address).packed
    return ethernet.build(ethernet.BROADCAST, mac, ethernet.ARP, _request(_REQUEST, mac, own, bytes(6), own))
