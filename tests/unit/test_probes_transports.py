"""Transports' pure half: what they parse out of logs that are made by hand."""

from __future__ import annotations

import errno
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emulation import commands
from experiments.probes.counters import counters
from experiments.probes.emodel import delay_impairment
from experiments.probes.log_format import Header, IntegerLog
from experiments.probes.logs import record_type
from experiments.probes.packets import Packets
from experiments.probes.process import ProbeError
from experiments.probes.tcp_info import FIELDS
from experiments.probes.transports.base import Ends, Probes, Progress
from experiments.probes.transports.streams import (
    MPTCP,
    QUIC,
    SCTP,
    TCP,
    Connection,
    Protocol,
    Streams,
    lacking,
)
from experiments.probes.transports.udp import Udp
from experiments.probes.transports.voice import voice_measures
from experiments.probes.udp import RECEIVED_LAYOUT, SENT_LAYOUT

MS = 1_000_000  # ns
WINDOW = (0.5, 2.5)


def ends(folder: Path) -> Ends:
    def nothing_starts(node: str, pauses_with_vm: bool):
        raise AssertionError("parsing starts no process")

    return Ends("vm1", "peer1", {"vm1": "10.1.0.10", "peer1": "10.1.0.1"}, nothing_starts, folder)


def udp_logs(lost: range, late_ms: float = 0.0, own_drops: int = 0) -> dict[str, bytes]:
    """3,000 packets of both directions, one a ms, with 1 ms on the way; ``lost`` of those to the VM never arrive."""
    logs = {}
    for direction, missing in (("to_vm", lost), ("from_vm", range(0))):
        sent = np.zeros(3000, record_type(SENT_LAYOUT))
        sent["tx_ns"] = np.arange(1, 3001) * MS
        kept = [seq for seq in range(3000) if seq not in missing]
        received = np.zeros(len(kept), record_type(RECEIVED_LAYOUT))
        received["seq"], received["tx_ns"] = kept, sent["tx_ns"][kept]
        received["rx_ns"] = received["tx_ns"] + MS
        for side, rows, layout, counted in (
            ("sent", sent, SENT_LAYOUT, {}),
            ("received", received, RECEIVED_LAYOUT, {"own_drops": own_drops, "clock_steps": 0}),
        ):
            header = Header(layout, rows.dtype.itemsize, len(rows), True, counted)
            logs[f"{direction} {side}"] = header.encode() + rows.tobytes()
    return logs


def stream_log(folder: Path, t_ms: list[int]) -> bytes:
    """What a receiver logs that reads 1,000 bytes at each of these times."""
    log = IntegerLog(folder / "one", ("t_ns", "bytes"), ("cpu_ns",))
    log.announce()
    for at in t_ms:
        log.values.extend((at * MS, 1000))
    log.close()
    return log.path.read_bytes()


def info_log(folder: Path, rows: list[dict[str, int]]) -> bytes:
    log = IntegerLog(folder / "info", FIELDS, ("polls",))
    log.announce()
    for row in rows:
        log.values.extend(row.get(name, 0) for name in FIELDS)
    log.close()
    return log.path.read_bytes()


def test_udp_counts_what_is_lost_and_how_long_nothing_came(tmp_path: Path) -> None:
    outcome = Udp(ends(tmp_path), 1000, 64).parse(udp_logs(range(1000, 1050)))
    measures = outcome.measures(WINDOW)
    assert (measures["lost_packets_to_vm"], measures["lost_packets_from_vm"]) == (50, 0)
    stalls = outcome.stalls_s(WINDOW)
    # The arrivals around 50 packets, one a ms, lie 51 ms apart.
    assert (stalls["to_vm"], stalls["from_vm"]) == (pytest.approx(0.051), pytest.approx(0.001))
    files = outcome.samples([(7, WINDOW)])
    assert set(files) == {"udp_to_vm", "udp_from_vm"}
    assert set(files["udp_to_vm"]["trial"]) == {7}


def test_udp_of_one_direction_says_nothing_of_the_other(tmp_path: Path) -> None:
    outcome = Udp(ends(tmp_path), 1000, 64, ("to_vm",)).parse(udp_logs(range(0)))
    assert not any(name.endswith("_from_vm") for name in outcome.measures(WINDOW))


def test_udp_whose_receiver_dropped_packets_gives_no_figures(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="its own socket buffer was full and dropped 3 packets"):
        Udp(ends(tmp_path), 1000, 64).parse(udp_logs(range(0), own_drops=3))


def test_streams_tell_stall_life_and_what_the_sender_sent_again(tmp_path: Path) -> None:
    steady = list(range(1, 3000))
    stalled = [at for at in steady if not 1000 < at < 1300]
    ended = [at for at in steady if at <= 2000]
    logs = {
        "tcp_to_vm_by_peer_receive": stream_log(tmp_path, stalled),
        "tcp_to_vm_by_vm_receive": stream_log(tmp_path, steady),
        "tcp_from_vm_by_peer_receive": stream_log(tmp_path, steady),
        "tcp_from_vm_by_vm_receive": stream_log(tmp_path, ended),
        "tcp_info_peer1": info_log(
            tmp_path,
            [
                {"t_ns": 600 * MS, "local_port": 5201, "total_retrans": 2, "dsack_dups": 1},
                {"t_ns": 1200 * MS, "local_port": 5201, "total_retrans": 3, "backoff": 1, "dsack_dups": 1},
                {"t_ns": 2000 * MS, "local_port": 5201, "total_retrans": 6, "dsack_dups": 3},
            ],
        ),
        "tcp_info_vm1": info_log(tmp_path, []),
    }
    outcome = Streams(ends(tmp_path), 1e6).parse(logs)
    measures = outcome.measures(WINDOW)
    assert measures["tcp_stall_s_to_vm_by_peer"] == pytest.approx(0.3)
    assert measures["tcp_stall_s_to_vm"] == pytest.approx(0.3)
    assert measures["tcp_stall_s_from_vm"] == pytest.approx(0.5)  # from 2.0 s to the window's end
    assert measures["alive_connections_count"] == 3
    assert measures["tcp_retransmitted_segments_to_vm_by_peer"] == 4
    assert measures["resent_segments_to_vm"] == 4
    assert "resent_segments_from_vm" not in measures  # nothing was polled there
    assert measures["tcp_spurious_segments_to_vm_by_peer"] == 2
    assert measures["tcp_timeouts_count_to_vm_by_peer"] == 1
    assert measures["tcp_retransmitted_segments_from_vm_by_vm"] is None  # nothing was polled
    assert outcome.stalls_s(WINDOW)["to_vm"] == measures["tcp_stall_s_to_vm"]
    files = outcome.samples([(0, WINDOW)])
    assert set(files) == {"tcp_to_vm", "tcp_from_vm", "tcp_info"}
    assert list(files["tcp_info"]["direction"]) == ["to_vm"] * 3


def test_a_connection_whose_log_is_missing_stalls_for_the_whole_window(tmp_path: Path) -> None:
    outcome = Streams(ends(tmp_path), 1e6).parse({})
    assert outcome.stalls_s(WINDOW) == {"to_vm": pytest.approx(2.0), "from_vm": pytest.approx(2.0)}
    assert outcome.measures(WINDOW)["alive_connections_count"] == 0


def test_sctp_has_measures_of_its_own_name_and_none_of_tcp_info(tmp_path: Path) -> None:
    steady = list(range(1, 3000))
    logs = {
        f"sctp_{direction}_{initiator}_receive": stream_log(tmp_path, steady)
        for direction in ("to_vm", "from_vm")
        for initiator in ("by_peer", "by_vm")
    }
    outcome = Streams(ends(tmp_path), 1e6, protocol=SCTP).parse(logs)
    measures = outcome.measures(WINDOW)
    assert measures["sctp_stall_s_to_vm"] == pytest.approx(0.001)
    assert measures["sctp_bytes_from_vm_by_vm"] == 2_000_000  # 2 s at 1,000 bytes a ms
    assert not [name for name in measures if "tcp_" in name.replace("sctp_", "")]
    assert set(outcome.samples([(0, WINDOW)])) == {"sctp_to_vm", "sctp_from_vm"}


def test_mptcp_counts_the_connections_that_are_no_plain_tcp(tmp_path: Path) -> None:
    log = IntegerLog(tmp_path / "plain", ("t_ns", "bytes"), ("fell_back",))
    log.counters["fell_back"] = 1
    log.announce()
    log.close()
    logs = {
        "mptcp_to_vm_by_peer_receive": stream_log(tmp_path, [1]),
        "mptcp_to_vm_by_vm_receive": log.path.read_bytes(),
    }
    measures = Streams(ends(tmp_path), 1e6, protocol=MPTCP).parse(logs).measures(WINDOW)
    assert measures["multipath_connections_count"] == 1  # of two that are there, one is plain TCP


def free_port(kind: int) -> int:
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def loopback_ends(folder: Path, wrapped: Callable[[list[str]], list[str]] = list) -> Ends:
    """Both ends on the loopback; ``wrapped`` makes each probe's command line another one."""

    def spawner(node: str, pauses_with_vm: bool):
        return lambda argv: commands.spawn(wrapped(argv), stderr=subprocess.PIPE)

    return Ends("vm1", "peer1", {"vm1": "127.0.0.1", "peer1": "127.0.0.1"}, spawner, folder)


def assert_goes_on(progress: dict[str, Progress], rate_bps: float) -> None:
    """While a connection goes on it shows how far it is, and that it has not ended."""
    assert len(progress) == 2
    for one in progress.values():
        assert one.offered_bytes >= one.read_bytes > rate_bps / 8 / 2  # a second has passed
        assert time.monotonic() - one.read_at_s < 5.0
        assert (one.ended_at_s, one.ending, one.rate_bps) == (None, "", rate_bps)


def over_loopback(folder: Path, protocol: Protocol, rate_bps: float) -> dict[str, object]:
    """A second of two connections, one each way, both ends on the loopback: the measures of its middle half."""
    kind = socket.SOCK_DGRAM if protocol is QUIC else socket.SOCK_STREAM
    connections = [
        Connection(direction, initiator, free_port(kind))
        for direction, initiator in (("to_vm", "by_peer"), ("from_vm", "by_peer"))
    ]
    transport = Streams(loopback_ends(folder), rate_bps, protocol=protocol, connections=connections)
    try:
        transport.start()
        begin_s = time.monotonic()
        while time.monotonic() < begin_s + 1.0:  # the time is what is measured
            time.sleep(0.05)
        assert_goes_on(transport.progress(), rate_bps)
        outcome = transport.parse(transport.stop())
    except BaseException:
        transport.kill()
        raise
    return dict(outcome.measures((begin_s + 0.25, begin_s + 0.75)))


@pytest.mark.parametrize("protocol", [TCP, MPTCP, SCTP, QUIC], ids=lambda one: one.name)
def test_both_ways_carry_their_rate_whoever_opened_the_connection(tmp_path: Path, protocol: Protocol) -> None:
    if problem := lacking(protocol.name):
        pytest.skip(problem)
    measures = over_loopback(tmp_path, protocol, 1_600_000)
    assert measures["alive_connections_count"] == 2
    for direction in ("to_vm", "from_vm"):
        # Half a second of 1.6 Mbit/s are 100,000 bytes; a machine under test may be late by 0.1 s.
        assert measures[f"{protocol.name}_bytes_{direction}_by_peer"] == pytest.approx(100_000, abs=20_000)
        assert measures[f"{protocol.name}_stall_s_{direction}"] < 0.2
    if protocol is MPTCP:
        assert measures["multipath_connections_count"] == 2
        assert measures["mptcp_subflows_count"] == 1  # the loopback has no second address
    else:
        assert "mptcp_subflows_count" not in measures


HELD_BACK = 'until [ -e "$0" ]; do sleep 0.005; done; exec "$@"'
ENDS_WITH_THE_OTHERS = """
trap 'touch "$0.end"; until [ "$(ls "$(dirname "$0")" | grep -c end)" -ge 2 ]; do sleep 0.005; done; exit 0' TERM
touch "$0"
while :; do sleep 0.005; done
"""


def test_the_ends_of_all_connections_start_side_by_side(tmp_path: Path) -> None:
    """No server runs before all were asked for, and no client either: one after the other would wait for ever."""
    asked: list[str] = []

    def wrapped(argv: list[str]) -> list[str]:
        role = next((word for word in argv if word in ("server", "client")), "poller")
        asked.append(role)
        if asked.count(role) == 2:
            (tmp_path / f"{role}s may").touch()
        return ["sh", "-c", HELD_BACK, str(tmp_path / f"{role}s may"), *argv]

    connections = [
        Connection(direction, "by_peer", free_port(socket.SOCK_STREAM)) for direction in ("to_vm", "from_vm")
    ]
    quick_to_give_up = Protocol("tcp", polled=True, ready_s=3.0)
    transport = Streams(
        loopback_ends(tmp_path, wrapped), 1e6, protocol=quick_to_give_up, connections=connections
    )
    try:
        transport.start()
        transport.stop()
    finally:
        transport.kill()
    assert asked == ["server"] * 2 + ["poller"] * 2 + ["client"] * 2


def test_all_probes_of_a_transport_are_asked_to_end_before_one_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.probes.transports.base.STOP_BOUND_S", 3.0)
    probes = Probes(loopback_ends(tmp_path))
    try:
        for name in ("one", "other"):
            probes.begin(name, "vm1", ["sh", "-c", ENDS_WITH_THE_OTHERS, str(tmp_path / name)])
        probes.await_ready()
        assert probes.stop() == {"one": b"", "other": b""}
    finally:
        probes.kill()


def test_what_a_kernel_has_not_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    assert lacking("tcp") is None
    assert lacking("quic") is None  # it needs nothing of the kernel
    monkeypatch.setattr(socket, "socket", refuse)
    assert lacking("sctp") == "SCTP: not on this kernel (it is in the VM image)"


SLOT_S = 0.020


def call(lost: range = range(0), late: range = range(0), late_s: float = 1.0, unsent: range = range(0)):
    """Ten seconds of frames with 5 ms on the way; some lost, some late by ``late_s``, some never sent."""
    slots = np.array([slot for slot in range(500) if slot not in unsent])
    tx_s = 100.0 + slots * SLOT_S
    rx_s = tx_s + 0.005 + np.where(np.isin(slots, late), late_s, 0.0)
    gone = np.isin(slots, lost)
    rx_s[gone] = np.nan
    order = np.full(len(slots), -1)
    order[np.argsort(rx_s)[: (~gone).sum()]] = np.arange((~gone).sum())
    return Packets(np.arange(len(slots)), tx_s, rx_s, (~gone).astype(np.int16), order, np.empty(0))


def heard(packets: Packets, buffer_s: float = 0.06, talk_s: float = 3.0):
    return voice_measures(packets, (102.0, 105.0), buffer_s, talk_s)


def test_a_call_without_trouble_is_as_good_as_g711_can_be() -> None:
    measures = heard(call())
    assert [measures[name] for name in ("lost_frames", "late_frames", "unsent_frames")] == [0, 0, 0]
    assert measures["silence_s"] == 0
    # R = 93.2: 1 + 0.035 x 93.2 + 93.2 x 33.2 x 6.8 x 7e-6 = 4.41
    assert measures["voice_mos"] == pytest.approx(4.41, abs=0.005)


def test_lost_frames_leave_silence_and_cost_quality() -> None:
    measures = heard(call(lost=range(150, 153)))
    assert measures["lost_frames"] == 3
    assert measures["silence_s"] == pytest.approx(0.06)
    # 3 of 150 slots are 2 %, in one burst: BurstR 3 x 0.98 = 2.94. Ie,eff = 95 x 2 / (2 / 2.94 + 4.3) = 38.15,
    # R = 55.05: 1 + 0.035 x 55.05 + 55.05 x (-4.95) x 44.95 x 7e-6 = 2.84
    assert measures["voice_mos"] == pytest.approx(2.84, abs=0.01)


def test_a_call_is_rated_by_the_whole_talk() -> None:
    # 9 of 500 slots of 10 s are 1.8 %, BurstR 9 x 0.982 = 8.84: Ie,eff = 95 x 1.8 / (1.8 / 8.84 + 4.3) = 38.0,
    # R = 55.2: 1 + 0.035 x 55.2 + 55.2 x (-4.8) x 44.8 x 7e-6 = 2.85
    assert heard(call(lost=range(150, 159)), talk_s=10.0)["voice_mos"] == pytest.approx(2.85, abs=0.01)


def test_what_comes_within_the_jitter_buffer_is_played_and_later_is_not() -> None:
    within, beyond = (heard(call(late=range(150, 155), late_s=late_s)) for late_s in (0.059, 0.061))
    assert (within["late_frames"], within["silence_s"]) == (0, 0)
    assert (beyond["late_frames"], beyond["silence_s"]) == (5, pytest.approx(0.1))
    assert heard(call(late=range(150, 155), late_s=0.061), buffer_s=0.08)["late_frames"] == 0


def test_a_sender_that_stands_still_is_heard_as_silence() -> None:
    measures = heard(call(unsent=range(150, 200)))
    assert (measures["lost_frames"], measures["late_frames"], measures["unsent_frames"]) == (0, 0, 50)
    assert measures["silence_s"] == pytest.approx(1.0)
    assert measures["voice_mos"] == 1.0  # a third of three seconds is gone


def test_without_a_frame_nothing_is_said() -> None:
    empty = Packets(*(np.empty(0) for _ in range(6)))
    assert set(voice_measures(empty, (0.0, 1.0), 0.06).values()) == {None}


@pytest.mark.parametrize(("delay_s", "taken"), [(0.1, 0.0), (0.2, 3.04), (0.4, 24.0)])
def test_delay_takes_from_the_rating_beyond_a_tenth_of_a_second(delay_s: float, taken: float) -> None:
    # X = log2(Ta / 100 ms). At 200 ms X = 1: 25 (2^(1/6) - 3 (1 + 3^-6)^(1/6) + 2) = 25 (1.1225 - 3.0007 + 2) = 3.04.
    # At 400 ms X = 2: 25 (65^(1/6) - 3 (1 + (2/3)^6)^(1/6) + 2) = 25 (2.0052 - 3.0421 + 2) = 24.1.
    assert delay_impairment(delay_s) == pytest.approx(taken, abs=0.1)


NETSTAT = """TcpExt: SyncookiesSent TCPSpuriousRTOs TCPDSACKRecv
TcpExt: 0 3 7
IpExt: InNoRoutes
IpExt: 1
"""
SCTP_SNMP = "SctpCurrEstab                   \t4\nSctpT3RtxExpireds               \t2\n"


def test_the_kernels_counters_are_read_from_either_kind_of_table() -> None:
    assert counters(NETSTAT)["TcpExt.TCPSpuriousRTOs"] == 3
    assert counters(NETSTAT)["IpExt.InNoRoutes"] == 1
    assert counters(SCTP_SNMP) == {"SctpCurrEstab": 4, "SctpT3RtxExpireds": 2}
    assert counters("") == {}
