"""The taps: the filter on frames of an independent library (scapy), the command line, what is read from a log."""

from __future__ import annotations

import math
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from emulation import commands
from experiments.attribution.causes import Facts, Sighting
from experiments.attribution.packet_fates import (
    AttributionError,
    Flow,
    check_sums,
    counted,
    packet_causes,
    places,
)
from experiments.attribution.seen import Seen
from experiments.attribution.tap_points import Point, Role, Stage
from experiments.probes.build import FLAGS, TAP_SOURCE, probe_binary
from experiments.probes.logs import record_type
from experiments.probes.packets import Packets
from experiments.probes.tap import NOBODY, SEEN_LAYOUT, Kind, TappedDevice, TappedFlow, tap_argv
from experiments.probes.tap_filter import SNAP_BYTES, Instruction, filter_program

PORT, TUNNEL = 5001, 4789
PROGRAM = filter_program([PORT, 7000], TUNNEL)
MAC = "02:00:00:00:00:01"
ETHER = Ether(src=MAC, dst=MAC)  # else scapy would ask this machine's own network for one


def kept_bytes(program: list[Instruction], frame: bytes) -> int:
    """What the kernel's filter machine would return: an interpreter of the instructions used here."""
    at, accumulator = 0, 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == 0x06:
            return k
        if code in (0x28, 0x30):
            size = 2 if code == 0x28 else 1
            if k + size > len(frame):
                return 0  # a load behind the end drops the frame
            accumulator = int.from_bytes(frame[k : k + size], "big")
        elif code == 0x15:
            at += yes if accumulator == k else no
        elif code == 0x45:
            at += yes if accumulator & k else no
        else:
            raise AssertionError(f"instruction {code:#x}")


def probe(port: int = PORT, version: int = 4) -> Packet:
    head = (
        IP(src="10.1.0.1", dst="10.1.0.10") if version == 4 else IPv6(src="2001:db8::1", dst="2001:db8::10")
    )
    return ETHER / head / UDP(sport=40000, dport=port) / Raw(bytes(64))


def tunnelled(inner: Packet, port: int = TUNNEL) -> Packet:
    return (
        ETHER / IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=50000, dport=port) / VXLAN(vni=5001) / inner
    )


TCP_SYN = ETHER / IP() / TCP(flags="S")
KEPT = {
    "a probe": probe(),
    "the other port": probe(7000),
    "IPv6": probe(version=6),
    "ARP": ETHER / ARP(),
    "ICMP": ETHER / IP() / ICMP(type=3, code=4),
    "solicitation": ETHER / IPv6() / ICMPv6ND_NS(),
    "SYN": TCP_SYN,
    "SYN of IPv6": ETHER / IPv6() / TCP(flags="SA"),
}
DROPPED = {
    "another port": probe(5002),
    "IPv6 to another port": probe(5002, 6),
    "TCP's data": ETHER / IP() / TCP(flags="A") / Raw(bytes(500)),
    "a marker": Ether(src=MAC, dst=MAC, type=0x88B5) / Raw(bytes(60)),
    "too short": Raw(bytes(10)),
}


@pytest.mark.parametrize("inside", [False, True], ids=["plain", "in a tunnel"])
def test_the_filter_keeps_what_explains_a_loss_and_nothing_else(inside: bool) -> None:
    wrap = tunnelled if inside else (lambda frame: frame)
    found = {name: kept_bytes(PROGRAM, bytes(wrap(frame))) for name, frame in {**KEPT, **DROPPED}.items()}
    assert found == dict.fromkeys(KEPT, SNAP_BYTES) | dict.fromkeys(DROPPED, 0)


def test_only_the_tunnels_port_is_looked_into() -> None:
    assert kept_bytes(PROGRAM, bytes(tunnelled(probe(), port=4790))) == 0


def test_every_jump_of_the_filter_stays_within_it_and_goes_forward() -> None:
    assert len(PROGRAM) < 256
    for number, (_, yes, no, _) in enumerate(PROGRAM):
        assert number + 1 + max(yes, no) < len(PROGRAM) + (PROGRAM[number][0] == 0x06)
        assert min(yes, no) >= 0


def test_the_tap_compiles_without_a_warning(tmp_path: Path) -> None:
    commands.run(["cc", *FLAGS, "-Werror", "-o", str(tmp_path / "tap"), str(TAP_SOURCE)])


def test_points_that_cannot_be_opened_end_the_tap_with_one_line(tmp_path: Path) -> None:
    points = [TappedDevice(0, f"nothing{number}") for number in range(20)]
    log = tmp_path / "log"
    argv = tap_argv(probe_binary(TAP_SOURCE, tmp_path), points, [], [], TUNNEL, log)
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert re.fullmatch(r"packet_tap: --point 0,nothing\d+: there is no device nothing\d+\n", done.stderr), (
        done.stderr
    )
    assert not log.exists()


def test_the_command_line_names_points_flows_and_nves_in_order() -> None:
    argv = tap_argv(
        Path("tap"),
        [TappedDevice(0, "vm1-p"), TappedDevice(17, "eth0")],
        [TappedFlow("10.1.0.10", PORT), TappedFlow("2001:db8::1", PORT, 3)],
        ["192.0.2.1", "192.0.2.2"],
        TUNNEL,
        Path("log"),
    )
    pairs = list(zip(argv[1::2], argv[2::2], strict=True))
    assert [value for key, value in pairs if key == "--point"] == ["0,vm1-p", "17,eth0"]
    assert [value for key, value in pairs if key == "--flow"] == ["10.1.0.10,5001,0", "2001:db8::1,5001,3"]
    assert [value for key, value in pairs if key == "--nve"] == ["192.0.2.1", "192.0.2.2"]


POINTS = [
    Point(TappedDevice(1, "eth0"), Role.VM, "peer1", leads_out=False),
    Point(TappedDevice(2, "to-nve1"), Role.UNDERLAY, "nve1"),
    Point(TappedDevice(0, "vm1-l2"), Role.LEG, "nve2", which="direct"),
    Point(TappedDevice(0, "vm1-p"), Role.VM, "vm1"),
]


def seen_of(*rows: dict[str, int], full: bool = False) -> Seen:
    blank = {"flow": 0, "kind": Kind.PROBE, "sender": NOBODY, "target": NOBODY, "bytes": 106}
    records = np.zeros(len(rows), record_type(SEEN_LAYOUT))
    for number, row in enumerate(rows):
        for name, value in (blank | row).items():
            records[name][number] = value
    return Seen(records, POINTS, ["to_vm", "from_vm"], ["nve1", "nve2"], full=full)


def test_a_log_that_is_full_says_nothing_of_what_came_later() -> None:
    row = {"t_ns": 2 * 10**9, "seq": 1, "point": 0, "outgoing": 1}
    assert seen_of(row, full=True).until_s == 1.8
    assert seen_of(row).until_s == math.inf


def test_sightings_are_in_order_of_time_whatever_the_order_of_the_log() -> None:
    seen = seen_of(
        {"t_ns": 3_000_000, "seq": 7, "point": 2, "outgoing": 0},
        {"t_ns": 1_000_000, "seq": 7, "point": 0, "outgoing": 1},
        {"t_ns": 2_000_000, "seq": 7, "point": 1, "outgoing": 0, "sender": 0, "target": 1, "bytes": 156},
        {"t_ns": 4_000_000, "seq": 7, "point": 3, "outgoing": 1},
        {"t_ns": 1_500_000, "seq": 7, "point": 3, "outgoing": 0, "flow": 1},  # the other direction's number 7
        {"t_ns": 1_600_000, "seq": 8, "point": 0, "outgoing": 1},
    )
    found = seen.sightings("to_vm", [7, 9])
    assert found[9] == ()
    assert found[7] == (
        Sighting(0.001, Stage.LEFT_VM, bytes=106),
        Sighting(0.002, Stage.ON_UNDERLAY, "nve1", other="nve2", bytes=156),
        Sighting(0.003, Stage.OUT_OF_NVE, "nve2", "direct", bytes=106),
        Sighting(0.004, Stage.TO_VM, bytes=106),
    )
    assert seen.largest_bytes()[Stage.ON_UNDERLAY, "nve1"] == 156
    assert list(seen.through_leg("to_vm", "nve2", (0.0, 1.0))) == [7]
    assert list(seen.through_leg("to_vm", "nve2", (0.0035, 1.0))) == []


def test_a_question_without_an_answer_is_remembered_and_the_taps_own_losses_are() -> None:
    ask = {"point": 0, "outgoing": 1, "flow": NOBODY, "kind": Kind.QUESTION}
    answer = {"point": 0, "outgoing": 0, "flow": NOBODY, "kind": Kind.ANSWER}
    drops = {"t_ns": 5 * 10**9, "seq": 40, "point": 1, "flow": NOBODY, "kind": Kind.OWN_DROPS}
    seen = seen_of(
        {"t_ns": 10**9, **ask}, {"t_ns": 10**9 + 10**6, **answer}, {"t_ns": 3 * 10**9, **ask}, drops
    )
    assert seen.unanswered_s() == {"peer1": [3.0], "vm1": []}
    assert seen.blind_s() == [(4.8, 5.0)]
    assert (seen.lost_by_taps((4.9, 6.0)), seen.lost_by_taps((5.1, 6.0))) == (40, 0)


def packets(copies: list[int], order: list[int]) -> Packets:
    """Packets a millisecond apart from 1 s on."""
    seq = np.arange(len(copies))
    tx_s = 1.0 + 1e-3 * seq
    rx_s = np.where(np.array(order) < 0, np.nan, tx_s + 1e-4)
    return Packets(seq, tx_s, rx_s, np.array(copies, np.int16), np.array(order), np.empty(0))


def test_each_packet_that_is_not_once_and_in_order_has_one_row_and_the_rows_add_up() -> None:
    flow = Flow("to_vm", "peer1", "vm1", TappedFlow("10.1.0.10", PORT))
    own = packets([1, 0, 3, 1, 1], [0, -1, 1, 3, 2])  # 1 is lost, 2 came three times, 3 came behind 4
    rows = packet_causes(flow, own, (1.0, 2.0), Facts(), seen_of())
    assert [(row["what"], row["seq"], row["count"]) for row in rows] == [
        ("lost", 1, 1),
        ("duplicated", 2, 2),
        ("reordered", 3, 1),
    ]
    counts = {"directions": ["to_vm"], "to_vm": counted(rows)}
    measures = {"lost_packets_to_vm": 1, "duplicated_packets_to_vm": 2, "reordered_packets_to_vm": 1}
    check_sums(counts, measures, 0)
    with pytest.raises(
        AttributionError, match=r"trial 4: 2 packets lost to_vm, but the causes .* add up to 1"
    ):
        check_sums(counts, {**measures, "lost_packets_to_vm": 2}, 4)
    assert places(rows)[0] | {"packets": 1, "cause": "sender", "first_s": None} == places(rows)[0]
    assert packet_causes(flow, own, (1.004, 2.0), Facts(), seen_of()) == []


def test_how_long_others_took_in_an_nve_is_asked_of_those_next_to_a_moment() -> None:
    into, out = {"point": 1, "outgoing": 1}, {"point": 1, "outgoing": 0}
    took_ms = {1: 0.1, 2: 30.0, 3: 40.0}
    rows: list[dict[str, int]] = []
    for number, milliseconds in took_ms.items():
        at_ns = number * 10**9
        rows += [{"t_ns": at_ns, "seq": number, **into}]
        rows += [{"t_ns": at_ns + int(milliseconds * 1e6), "seq": number, **out}]
    seen = seen_of(*rows, {"t_ns": int(2.5e9), "seq": 9, **into})  # 9 went in and never came out
    assert seen.queue_s("to_vm", "nve1", 2.5) == pytest.approx(0.030)
    assert seen.queue_s("to_vm", "nve1", 1.5) == pytest.approx(0.0001)
    assert seen.queue_s("to_vm", "nve1", 3.5) == pytest.approx(0.040)
    assert seen.queue_s("to_vm", "nve2", 2.5) == 0.0


def test_the_packet_in_front_that_got_through_is_one_that_came_in_at_the_same_place() -> None:
    by_nve2, by_nobody = {"point": 1, "outgoing": 1, "sender": 1}, {"point": 1, "outgoing": 1}
    out = {"point": 1, "outgoing": 0}
    seen = seen_of(
        {"t_ns": 10**9, "seq": 1, **by_nve2},
        {"t_ns": 10**9 + 10**5, "seq": 1, **out},
        {"t_ns": 2 * 10**9, "seq": 2, **by_nve2},  # never came out
        {"t_ns": 3 * 10**9, "seq": 3, **by_nobody},
        {"t_ns": 3 * 10**9 + 10**5, "seq": 3, **out},
    )
    last = Sighting(4.0, Stage.AT_NVE, "nve1", other="nve2")
    assert seen.passed_s("to_vm", last) == 1.0
    assert seen.passed_s("to_vm", replace(last, other="")) == 3.0
    assert seen.passed_s("to_vm", replace(last, t_s=0.5)) == -math.inf
    assert seen.passed_s("from_vm", last) == -math.inf
