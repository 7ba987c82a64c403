"""Frames that the testbed itself sends and looks for: RARP, wiring markers; and packet sockets to do so."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import ipaddress
import select
import socket
import struct
import time

from .errors import EmulationError

ETH_P_ALL = 0x0003
ETH_P_ARP = 0x0806
ETH_P_RARP = 0x8035
ETH_P_IPV6 = 0x86DD
MARKER_TYPE = 0x88B5  # IEEE 802 local experimental ethertype 1
MINIMUM_FRAME_BYTES = 60

_ICMPV6, _ADVERTISEMENT = 58, 136  # RFC 4861 section 4.4
_SO_ATTACH_FILTER = 26
_SOL_PACKET, _PACKET_QDISC_BYPASS, _PACKET_IGNORE_OUTGOING = 263, 20, 23


def mac_bytes(mac: str) -> bytes:
    """``02:00:00:00:00:01`` as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def ethernet(destination: str, source: str, ethertype: int, payload: bytes = b"") -> bytes:
    """An Ethernet frame, padded to the smallest size (without frame check sequence)."""
    frame = mac_bytes(destination) + mac_bytes(source) + struct.pack("!H", ethertype) + payload
    return frame.ljust(MINIMUM_FRAME_BYTES, b"\0")


def rarp_announcement(mac: str) -> bytes:
    """The broadcast RARP request "who am I" (RFC 903) by which a hypervisor announces a VM's new place."""
    own = mac_bytes(mac)
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 3) + own + bytes(4) + own + bytes(4)
    return ethernet("ff:ff:ff:ff:ff:ff", mac, ETH_P_RARP, request)


def gratuitous_arp(mac: str, address: str) -> bytes:
    """The broadcast ARP request for the sender's own IPv4 address (an ARP announcement, RFC 5227 section 2.3)."""
    own, ip = mac_bytes(mac), ipaddress.IPv4Address(address).packed
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + ip + bytes(6) + ip
    return ethernet("ff:ff:ff:ff:ff:ff", mac, ETH_P_ARP, request)


def neighbour_advertisement(mac: str, address: str) -> bytes:
    """The unsolicited neighbour advertisement (RFC 4861 section 7.2.6) that a host sends for its own address.

    To all nodes, override set, hop limit 255, the target's link-layer address as option (section 4.4).
    """
    own, everybody = ipaddress.IPv6Address(address).packed, ipaddress.IPv6Address("ff02::1").packed
    override = 0x20000000
    body = struct.pack("!I", override) + own + struct.pack("!BB", 2, 1) + mac_bytes(mac)
    checked = own + everybody + struct.pack("!II", 4 + len(body), _ICMPV6)
    message = struct.pack("!BBH", _ADVERTISEMENT, 0, 0) + body
    checksum = _internet_checksum(checked + message)
    message = struct.pack("!BBH", _ADVERTISEMENT, 0, checksum) + body
    header = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255) + own + everybody
    return ethernet("33:33:00:00:00:01", mac, ETH_P_IPV6, header + message)


def _internet_checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def marker(payload: bytes, size_bytes: int = MINIMUM_FRAME_BYTES) -> bytes:
    """A frame that no stack listens to; its place in a queue says what is in front of it."""
    return ethernet("02:00:00:00:88:b5", "02:00:00:00:88:b5", MARKER_TYPE, payload).ljust(size_bytes, b"\0")


class FrameSender:
    """Sends frames on one device; ``bypass``: past the device's queueing discipline and its filters."""

    def __init__(self, device: str, *, bypass: bool) -> None:
        self._device = device
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        if bypass:
            self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        self._socket.bind((device, 0))

    def send(self, frame: bytes) -> None:
        """Send one whole frame; a full queue loses it without a word, as it does with any other. EmulationError."""
        try:
            self._socket.send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise EmulationError(f"{self._device}: cannot send a frame: {error.strerror}") from None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class MarkerListener:
    """Sees frames of one ethertype that arrive on one device, before its filters redirect them."""

    def __init__(self, device: str, ethertype: int = MARKER_TYPE) -> None:
        self.device = device
        # Bound only after the filter is in place, so that no other frame slips in.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._attach(ethertype)
        self._socket.bind((device, ETH_P_ALL))

    def _attach(self, ethertype: int) -> None:
        """Classic BPF: load the half-word at 12; equal: accept all; else: accept nothing."""
        program = b"".join(
            struct.pack("=HBBI", *instruction)
            for instruction in (
                (0x28, 0, 0, 12),
                (0x15, 0, 1, ethertype),
                (0x06, 0, 0, 65535),
                (0x06, 0, 0, 0),
            )
        )
        buffer = ctypes.create_string_buffer(program)
        self._socket.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 4, ctypes.addressof(buffer))
        )

    def next(self, timeout_s: float) -> bytes | None:
        """The next frame, or None when none came in time."""
        readable, _, _ = select.select([self._socket], [], [], max(0.0, timeout_s))
        return self._socket.recv(2048) if readable else None

    def wait_for(self, payload: bytes, timeout_s: float) -> float | None:
        """Seconds until a frame with this payload came; None when it did not."""
        start_s = time.monotonic()
        while (frame := self.next(start_s + timeout_s - time.monotonic())) is not None:
            if frame[14:].startswith(payload):
                return time.monotonic() - start_s
        return None

    def drain(self) -> None:
        """Forget what has arrived."""
        while self.next(0) is not None:
            pass

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17


def transmit_checksum_off(device: str) -> None:
    """Have the VM's kernel fill in checksums itself: a userspace datapath hands frames on as they are.

    With the offload left on TCP over a userspace datapath stands still while ping works.
    """
    value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("@16sP", device.encode(), ctypes.addressof(value)).ljust(40, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError as error:
            raise EmulationError(f"{device}: cannot switch off checksum offload: {error.strerror}") from None
