"""DHCP messages on a device, seen with the kernel's time stamps."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence

from emulation.packet_sockets import ETH_P_ALL, attach_filter
from emulation.sandbox import network_namespace
from wire import bpf
from wire.dhcp import ACK, DISCOVER, REQUEST, Message, decode

_SO_TIMESTAMPNS = 35


def confirmation(messages: Sequence[Message]) -> tuple[Message, Message] | None:
    """The first message of a client and the acknowledgement that its exchange ended with; None when none came."""
    for answer in messages:
        if answer.kind == ACK:
            own = [m for m in messages if m.transaction == answer.transaction and m.t_s <= answer.t_s]
            asked = [m for m in own if m.kind in (DISCOVER, REQUEST)]
            if asked:
                return asked[0], answer
    return None


class Listener:
    """Sees the DHCP messages that a device sends and receives, from the moment it is made."""

    def __init__(self, pid: int, device: str = "eth0") -> None:
        with network_namespace(pid):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            attach_filter(self._socket, bpf.of_dhcp())
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.bind((device, ETH_P_ALL))

    def messages(self) -> list[Message]:
        """What has passed since the last call, in order."""
        found: list[Message] = []
        offset_s = time.monotonic() - time.time()
        while True:
            try:
                frame, ancillary, _, _ = self._socket.recvmsg(2048, 64, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            seconds, nanoseconds = next(
                struct.unpack("@qq", data[:16]) for _, kind, data in ancillary if kind == _SO_TIMESTAMPNS
            )
            message = decode(frame, seconds + nanoseconds / 1e9 + offset_s)
            if message is not None:
                found.append(message)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
