"""DHCP messages on a device: seen with the kernel's time stamps, decoded as far as a lease needs (RFC 2131, 2132)."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .frames import ETH_P_ALL
from .sandbox import network_namespace

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE = range(1, 8)  # RFC 2132 section 9.6
_MAGIC = b"\x63\x82\x53\x63"
_MESSAGE_TYPE, _LEASE_TIME, _PAD, _END = 53, 51, 0, 255
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS = 26, 35
_DHCP_AT = 42  # Ethernet 14, IPv4 without options 20, UDP 8


@dataclass(frozen=True)
class Message:
    """One message: when (CLOCK_MONOTONIC), its type, whose MAC, the address that is given, the lease in seconds."""

    t_s: float
    kind: int
    transaction: int
    mac: str
    address: str
    lease_s: int | None


def decode(frame: bytes, t_s: float) -> Message | None:
    """The message in an Ethernet frame; None when there is none."""
    body = frame[_DHCP_AT:]
    if len(body) < 240 or body[236:240] != _MAGIC:
        return None
    options, at = {}, 240
    while at + 1 < len(body) and body[at] != _END:
        if body[at] == _PAD:
            at += 1
            continue
        length = body[at + 1]
        options[body[at]] = body[at + 2 : at + 2 + length]
        at += 2 + length
    if len(options.get(_MESSAGE_TYPE, b"")) != 1:
        return None
    lease = options.get(_LEASE_TIME, b"")
    return Message(
        t_s=t_s,
        kind=options[_MESSAGE_TYPE][0],
        transaction=struct.unpack_from("!I", body, 4)[0],
        mac=body[28:34].hex(":"),
        address=str(ipaddress.IPv4Address(body[16:20])),
        lease_s=struct.unpack("!I", lease)[0] if len(lease) == 4 else None,
    )


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
            self._attach()
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.bind((device, ETH_P_ALL))

    def _attach(self) -> None:
        """Classic BPF: IPv4, UDP, source port 67 or 68."""
        program = b"".join(
            struct.pack("=HBBI", *instruction)
            for instruction in (
                (0x28, 0, 0, 12),
                (0x15, 0, 6, 0x0800),
                (0x30, 0, 0, 23),
                (0x15, 0, 4, 17),
                (0x28, 0, 0, 34),
                (0x15, 1, 0, 67),
                (0x15, 0, 1, 68),
                (0x06, 0, 0, 65535),
                (0x06, 0, 0, 0),
            )
        )
        buffer = ctypes.create_string_buffer(program)
        value = struct.pack("@HP", 9, ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, value)

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
