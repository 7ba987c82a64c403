"""Packet sockets: send frames past a device's queue, see markers arrive, and keep a VM's checksums whole."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import select
import socket
import struct
import time
from collections.abc import Sequence

from emulation.errors import EmulationError
from wire import bpf, ethernet

ETH_P_ALL = 0x0003
_SO_ATTACH_FILTER = 26
_SOL_PACKET, _PACKET_QDISC_BYPASS, _PACKET_IGNORE_OUTGOING = 263, 20, 23


def attach_filter(packet_socket: socket.socket, program: Sequence[bpf.Instruction]) -> None:
    """Have the kernel drop what the program does not keep; before ``bind``, so that no other frame slips in."""
    buffer = ctypes.create_string_buffer(bpf.packed(program))
    packet_socket.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(buffer))
    )


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

    def __init__(self, device: str, ethertype: int = ethernet.MARKER) -> None:
        self.device = device
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        attach_filter(self._socket, bpf.of_ethertype(ethertype))
        self._socket.bind((device, ETH_P_ALL))

    def next(self, timeout_s: float) -> bytes | None:
        """The next frame, or None when none came in time."""
        readable, _, _ = select.select([self._socket], [], [], max(0.0, timeout_s))
        return self._socket.recv(2048) if readable else None

    def wait_for(self, payload: bytes, timeout_s: float) -> float | None:
        """Seconds until a frame with this payload came; None when it did not."""
        start_s = time.monotonic()
        while (frame := self.next(start_s + timeout_s - time.monotonic())) is not None:
            if frame[ethernet.HEADER_BYTES :].startswith(payload):
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
