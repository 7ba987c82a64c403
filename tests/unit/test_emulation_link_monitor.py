"""What the kernel says of links and neighbours: messages as it writes them, and a namespace of our own to change."""

from __future__ import annotations

import socket
import struct

from emulation.link_monitor import (
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    Changes,
    Told,
    messages,
)

UP, DOWN = 0x1 | 0x10000, 0x1  # administratively up, with and without a carrier


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def link(name: str, flags: int, index: int = 5, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 1, index, flags, 0) + attribute(3, name.encode() + b"\0")


def neighbour(address: str, state: int) -> bytes:
    six = ":" in address
    packed = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, address)
    family = socket.AF_INET6 if six else socket.AF_INET
    return struct.pack("=BxxxiHBB", family, 5, state, 0, 1) + attribute(1, packed)


def test_a_link_is_told_when_it_changes_and_not_again() -> None:
    changes = Changes()
    assert changes.take(RTM_NEWLINK, link("vm1", DOWN)) == Told("link", "vm1", "new, down")
    assert changes.take(RTM_NEWLINK, link("vm1", UP)) == Told("link", "vm1", "up")
    assert changes.take(RTM_NEWLINK, link("vm1", UP)) is None
    assert changes.take(RTM_NEWLINK, link("vm1", DOWN)) == Told("link", "vm1", "down")
    assert changes.take(RTM_DELLINK, link("vm1", DOWN)) == Told("link", "vm1", "gone")
    assert changes.take(RTM_NEWLINK, link("vm1", UP)) == Told("link", "vm1", "new, up")
    assert changes.take(RTM_NEWLINK, link("mgmt0", UP, 6, socket.AF_BRIDGE)) is None


def test_a_neighbour_that_ages_by_itself_is_no_news() -> None:
    changes = Changes()
    assert changes.take(RTM_NEWNEIGH, neighbour("10.1.0.1", 0x01)) == Told(
        "neighbour", "10.1.0.1", "incomplete"
    )
    assert changes.take(RTM_NEWNEIGH, neighbour("10.1.0.1", 0x02)) == Told(
        "neighbour", "10.1.0.1", "reachable"
    )
    assert changes.take(RTM_NEWNEIGH, neighbour("10.1.0.1", 0x04)) is None
    assert changes.take(RTM_NEWNEIGH, neighbour("10.1.0.1", 0x10)) is None
    assert changes.take(RTM_NEWNEIGH, neighbour("10.1.0.1", 0x20)) == Told("neighbour", "10.1.0.1", "failed")
    assert changes.take(RTM_DELNEIGH, neighbour("10.1.0.1", 0x20)) == Told("neighbour", "10.1.0.1", "gone")
    assert changes.take(RTM_NEWNEIGH, neighbour("fd00::1", 0x80)) == Told("neighbour", "fd00::1", "permanent")


def test_what_is_cut_short_or_foreign_is_passed_over() -> None:
    changes = Changes()
    assert changes.take(RTM_NEWLINK, b"\0" * 4) is None
    assert changes.take(24, link("vm1", UP)) is None
    one = struct.pack("=IHHII", 16 + 4, RTM_NEWLINK, 0, 0, 0) + b"abcd"
    assert [payload for _, payload in messages(one + one)] == [b"abcd", b"abcd"]
    assert list(messages(one[:10])) == []
    assert list(messages(struct.pack("=IHHII", 3, 1, 0, 0, 0))) == []  # a length that is none
