"""Netlink messages byte by byte, against the kernel's headers; and sockets that refuse."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

import pytest

from emulation import netlink, packet_sockets
from emulation.errors import EmulationError, SystemCallError
from emulation.netlink import TrafficControl


class FakeSocket:
    """A netlink socket: keeps what is sent, answers with what a test says."""

    def __init__(self, *answers: bytes | None) -> None:
        self.sent: list[bytes] = []
        self.answers = list(answers)

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        answer = self.answers.pop(0)
        if answer is None:
            raise TimeoutError
        return answer


def acknowledgement(code: int, sequence: int = 1) -> bytes:
    return struct.pack("=IHHII", 36, 2, 0, sequence, 0) + struct.pack("=i", code) + bytes(16)


def control(*answers: bytes | None) -> tuple[TrafficControl, FakeSocket]:
    made = TrafficControl()
    made.close()
    fake: Any = FakeSocket(*answers)
    made._socket = fake
    return made, fake


def attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        length, kind = struct.unpack_from("=HH", data)
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def test_a_redirect_is_one_message_with_one_mirred_action_for_each_target() -> None:
    made, fake = control(acknowledgement(0))
    made.redirect([(1001, 7), (1002, 8)])
    (message,) = fake.sent
    length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", message)
    assert (length, kind, sequence) == (len(message), 48, 1)  # RTM_NEWACTION
    assert flags == 0x001 | 0x004 | 0x100  # request, acknowledge, replace
    assert message[16:20] == bytes(4)  # struct tcamsg
    actions = attributes(attributes(message[20:])[1])  # TCA_ACT_TAB
    assert sorted(actions) == [1, 2]
    for place, (index, interface) in {1: (1001, 7), 2: (1002, 8)}.items():
        action = attributes(actions[place])
        assert action[1] == b"mirred\0"  # TCA_ACT_KIND
        parameters = attributes(action[2])[2]  # TCA_ACT_OPTIONS, TCA_MIRRED_PARMS
        # index, capab, action=stolen, refcnt, bindcnt, eaction=egress redirect, ifindex
        assert struct.unpack("=IIiiiiI", parameters) == (index, 0, 4, 0, 0, 1, interface)


def test_a_bucket_is_changed_in_place() -> None:
    made, fake = control(acknowledgement(0))
    made.set_bucket(5, 4_000_000_000, 4_000_000, 64 * 1024 * 1024)
    (message,) = fake.sent
    _, kind, flags, _, _ = struct.unpack_from("=IHHII", message)
    assert (kind, flags) == (36, 0x001 | 0x004)  # RTM_NEWQDISC, neither create nor replace
    family, interface, handle, parent, _ = struct.unpack_from("=BxxxiIII", message, 16)
    assert (family, interface, handle, parent) == (0, 5, 0x10000, 0xFFFFFFFF)
    found = attributes(message[36:])
    assert found[1] == b"tbf\0"
    options = attributes(found[2])
    rate = struct.unpack_from("=BBHhHI", options[1])
    limit, buffer, mtu = struct.unpack_from("=III", options[1], 24)
    assert (rate[5], limit, buffer, mtu) == (4_000_000_000, 64 * 1024 * 1024, 0, 0)
    assert len(options[1]) == 36  # struct tc_tbf_qopt
    assert struct.unpack("=I", options[6]) == (4_000_000,)  # TCA_TBF_BURST


def test_a_queues_length_is_read_from_its_statistics() -> None:
    # struct gnet_stats_queue: qlen, backlog, drops, requeues, overlimits
    stats = netlink._attribute(7, netlink._attribute(3, struct.pack("=IIIII", 12, 720, 3, 0, 9)))
    body = bytes(20) + netlink._attribute(1, b"tbf\0") + stats
    made, fake = control(struct.pack("=IHHII", 16 + len(body), 36, 0, 1, 0) + body)
    assert made.queued(5) == (12, 720, 3)
    _, kind, flags, _, _ = struct.unpack_from("=IHHII", fake.sent[0])
    assert (kind, flags) == (38, 0x001 | 0x008)  # RTM_GETQDISC, echo


def test_a_refusal_is_told_in_the_systems_words() -> None:
    made, _ = control(acknowledgement(-errno.ENODEV))
    with pytest.raises(SystemCallError, match="redirect traffic: No such device") as error:
        made.redirect([(1, 2)])
    assert error.value.errno == errno.ENODEV


def test_an_answer_that_does_not_come_is_an_error() -> None:
    made, _ = control(None)
    with pytest.raises(SystemCallError, match="change a holder's rate: Connection timed out"):
        made.set_bucket(1, 1, 1, 1)


def test_an_answer_to_something_else_is_passed_over() -> None:
    made, fake = control(acknowledgement(-errno.EPERM, sequence=99), acknowledgement(0))
    made.redirect([(1, 2)])
    assert fake.answers == []


def test_an_interface_that_is_not_there_is_named() -> None:
    with pytest.raises(SystemCallError, match="look up interface no-such-dev"):
        netlink.interface_index("no-such-dev")
    assert netlink.interface_index("lo") == socket.if_nametoindex("lo")


class Refusing:
    def __init__(self, code: int) -> None:
        self.code = code

    def send(self, frame: bytes) -> None:
        raise OSError(self.code, "x")


def test_a_full_queue_loses_a_frame_and_anything_else_is_an_error() -> None:
    sender: Any = object.__new__(packet_sockets.FrameSender)
    sender._device, sender._socket = "vm1-ho", Refusing(errno.ENOBUFS)
    sender.send(b"")
    sender._socket = Refusing(errno.ENETDOWN)
    with pytest.raises(EmulationError, match="vm1-ho: cannot send a frame"):
        sender.send(b"")
