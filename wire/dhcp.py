"""DHCP messages in Ethernet frames, decoded as far as a lease needs (RFC 2131, RFC 2132). Pure; frames may be cut."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from wire import ethernet

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE = range(1, 8)  # RFC 2132 section 9.6
UDP_HEADER_BYTES = 8
_FIXED_BYTES = 236
"""Fields of fixed length in front of the options (RFC 2131 section 2)."""
_CLIENT_MAC_AT, _ADDRESS_AT, _TRANSACTION_AT = 28, 16, 4
_MAGIC = b"\x63\x82\x53\x63"
_MESSAGE_TYPE, _LEASE_TIME, _PAD, _END = 53, 51, 0, 255


@dataclass(frozen=True)
class Message:
    """One message: when (CLOCK_MONOTONIC), its type, whose MAC, the address that is given, the lease in seconds."""

    t_s: float
    kind: int
    transaction: int
    mac: str
    address: str
    lease_s: int | None


def _body(frame: bytes) -> bytes:
    packet = frame[ethernet.HEADER_BYTES :]
    return packet[(packet[0] & 0x0F) * 4 + UDP_HEADER_BYTES :] if packet else b""


def client_mac(frame: bytes) -> str | None:
    """The hardware address of the client a message (in IPv4, UDP) is about; None when there is none."""
    body = _body(frame)
    # Hardware type 1 is Ethernet, with six bytes of address (RFC 2131 section 2, RFC 1700).
    if len(body) < _CLIENT_MAC_AT + 6 or body[1] != 1 or body[2] != 6:
        return None
    return ethernet.mac_text(body[_CLIENT_MAC_AT : _CLIENT_MAC_AT + 6])


def decode(frame: bytes, t_s: float) -> Message | None:
    """The message in an Ethernet frame; None when there is none."""
    body = _body(frame)
    if len(body) < _FIXED_BYTES + len(_MAGIC) or not body[_FIXED_BYTES:].startswith(_MAGIC):
        return None
    options = _options(body[_FIXED_BYTES + len(_MAGIC) :])
    if len(options.get(_MESSAGE_TYPE, b"")) != 1:
        return None
    lease = options.get(_LEASE_TIME, b"")
    return Message(
        t_s=t_s,
        kind=options[_MESSAGE_TYPE][0],
        transaction=struct.unpack_from("!I", body, _TRANSACTION_AT)[0],
        mac=ethernet.mac_text(body[_CLIENT_MAC_AT : _CLIENT_MAC_AT + 6]),
        address=str(IPv4Address(body[_ADDRESS_AT : _ADDRESS_AT + 4])),
        lease_s=struct.unpack("!I", lease)[0] if len(lease) == 4 else None,
    )


def _options(text: bytes) -> Mapping[int, bytes]:
    """Options by number (RFC 2132 section 2); a list that is cut off ends early."""
    options, at = {}, 0
    while at + 1 < len(text) and text[at] != _END:
        if text[at] == _PAD:
            at += 1
            continue
        length = text[at + 1]
        options[text[at]] = text[at + 2 : at + 2 + length]
        at += 2 + length
    return options
