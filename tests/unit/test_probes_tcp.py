"""TCP measures on timelines made by hand, and the two ends over the loopback."""

from __future__ import annotations

import errno
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from emulation import commands
from experiments.probes import tcp_info
from experiments.probes.build import FLAGS, STREAM_SOURCE
from experiments.probes.log_format import read_counters
from experiments.probes.logs import ProbeLog, record_type
from experiments.probes.process import ProbeError, ProbeProcess
from experiments.probes.tcp import (
    INFO_LAYOUT,
    TcpStream,
    Timeline,
    info_argv,
    info_measures,
    parse_info,
    parse_stream,
    stream_argv,
    tcp_measures,
    timeline,
)
from experiments.probes.transports.streams import ending

MS = 0.001


def reads(t_s: np.ndarray, n_bytes: int = 1000) -> Timeline:
    return Timeline(t_s, np.full(len(t_s), n_bytes))


def steady_with_stall() -> Timeline:
    """1000 bytes each ms from 0 to 3 s, but none after 1.0 s until 1.3 s."""
    t_s = np.arange(1, 3000) * MS
    return reads(t_s[(t_s <= 1.0) | (t_s >= 1.3)])


def test_stall_is_the_longest_gap() -> None:
    measured = tcp_measures(steady_with_stall(), (0.8, 2.5))
    assert measured["tcp_stall_s"] == pytest.approx(0.3)
    assert measured["tcp_recovery_s"] == pytest.approx(0.3)
    # From 0.8 to 2.5 s are 1700 ms, of which 299 (1.001 to 1.299) have no read.
    assert measured["tcp_bytes"] == pytest.approx((1700 - 299) * 1000, abs=2000)


def test_a_slow_return_takes_longer_than_the_stall() -> None:
    # After the stall one read each 2 ms until 1.7 s, half the rate; then as before.
    fast = np.arange(1, 1000) * MS
    t_s = np.concatenate((fast, np.arange(650, 850) * 2 * MS, np.arange(1701, 3000) * MS))
    measured = tcp_measures(reads(t_s), (0.8, 3.0))
    recovery_s = measured["tcp_recovery_s"]
    assert isinstance(recovery_s, float)
    # The 0.1 s from 1.68 s have 10 slow reads and 79 fast ones: 89 %. From 1.7 s on all are fast.
    assert recovery_s == pytest.approx(1.7 - 0.999, abs=0.021)


def test_a_later_stall_is_told_by_itself() -> None:
    t_s = np.arange(1, 5000) * MS
    one = reads(t_s[((t_s <= 1.0) | (t_s >= 1.3)) & ((t_s <= 3.0) | (t_s >= 3.6))])
    assert tcp_measures(one, (0.8, 4.5))["tcp_stall_s"] == pytest.approx(0.6)
    measured = tcp_measures(one, (0.8, 4.5), later_s=2.0)
    assert measured["tcp_stall_s"] == pytest.approx(0.3)
    assert measured["tcp_recovery_s"] == pytest.approx(0.3)
    assert measured["later_tcp_stall_s"] == pytest.approx(0.6)
    # One that began before goes on past the moment: it is the earlier one's.
    assert tcp_measures(one, (0.8, 4.5), later_s=3.2)["tcp_stall_s"] == pytest.approx(0.6)
    assert tcp_measures(one, (0.8, 4.5), later_s=3.7)["later_tcp_stall_s"] == pytest.approx(0.001)


def test_a_stall_that_outlasts_the_window_counts_in_full() -> None:
    assert tcp_measures(steady_with_stall(), (0.8, 1.1))["tcp_stall_s"] == pytest.approx(0.3)


def test_a_stall_that_began_before_the_window_counts_from_its_start() -> None:
    assert tcp_measures(steady_with_stall(), (1.2, 2.0))["tcp_stall_s"] == pytest.approx(0.1)


def test_a_connection_that_never_comes_back() -> None:
    measured = tcp_measures(reads(np.arange(1, 1000) * MS), (0.8, 2.0))
    assert measured["tcp_stall_s"] == pytest.approx(2.0 - 0.999)
    assert measured["tcp_recovery_s"] is None


def test_a_receiver_that_read_nothing() -> None:
    measured = tcp_measures(reads(np.empty(0)), (0.0, 2.0))
    assert measured == {
        "tcp_stall_s": 2.0,
        "tcp_bytes": 0,
        "tcp_before_bps": 0.0,
        "tcp_recovery_s": None,
    }


def polled(*rows: dict[str, int]) -> ProbeLog:
    records = np.zeros(len(rows), record_type(INFO_LAYOUT))
    for record, row in zip(records, rows, strict=True):
        for name, value in row.items():
            record[name] = value
    return ProbeLog(records)


def test_info_measures_are_within_the_window_and_per_connection() -> None:
    one = {"local_port": 5, "remote_port": 80, "cwnd": 10, "rto_us": 200_000}
    other = {"local_port": 6, "remote_port": 80, "cwnd": 20, "rto_us": 200_000, "total_retrans": 100}
    second = 1_000_000_000
    log = polled(
        {**one, "t_ns": 1 * second},
        {**other, "t_ns": 1 * second},
        {**one, "t_ns": 2 * second, "backoff": 1, "cwnd": 1, "total_retrans": 1, "rto_us": 400_000},
        {**other, "t_ns": 2 * second},
        {**one, "t_ns": 3 * second, "backoff": 2, "cwnd": 1, "total_retrans": 2, "rto_us": 800_000},
        {**one, "t_ns": 4 * second, "total_retrans": 3, "dsack_dups": 2},
        {**one, "t_ns": 9 * second, "total_retrans": 50},
    )
    assert info_measures(log, (0.5, 5.0), 80) == {
        "tcp_retransmitted_segments": 3,
        "tcp_spurious_segments": 2,
        "tcp_timeouts_count": 2,
        "tcp_backoff_max_count": 2,
        "tcp_cwnd_min_packets": 1,
        "tcp_rto_max_s": 0.8,
    }
    assert set(info_measures(log, (0.5, 5.0), 81).values()) == {None}
    assert set(info_measures(parse_info(b""), (0.5, 5.0), 80).values()) == {None}


def test_an_answer_without_tcp_info_gives_no_row() -> None:
    assert tcp_info.row(1, bytes(72)) is None
    cut = bytes(72) + struct.pack("=HH", 12, tcp_info.INET_DIAG_INFO) + bytes(8)
    assert tcp_info.row(1, cut) is None


def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    commands.run(["cc", *FLAGS, "-Werror", "-o", str(tmp_path / "stream"), str(STREAM_SOURCE)])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def started() -> Iterator[list[ProbeProcess]]:
    processes: list[ProbeProcess] = []
    yield processes
    for process in processes:
        process.kill()


def spawn(argv: list[str]) -> subprocess.Popen[bytes]:
    return commands.spawn(argv, stderr=subprocess.PIPE)


@pytest.mark.parametrize("server_sends", [True, False], ids=["server sends", "client sends"])
def test_both_initiators_over_loopback(
    tmp_path: Path, started: list[ProbeProcess], server_sends: bool
) -> None:
    stream = TcpStream("127.0.0.1", free_port(), rate_bps=8e6, congestion_control="reno")
    server, client = ("send", "receive") if server_sends else ("receive", "send")
    info = tmp_path / "info"
    started.append(ProbeProcess("tcp_info", spawn, info_argv([stream.port], info), info))
    started[0].wait_ready()
    for role, direction in (("server", server), ("client", client)):
        argv = stream_argv(stream, role, direction, tmp_path / direction)
        started.append(ProbeProcess(role, spawn, argv, tmp_path / direction))
        started[-1].wait_ready()
    addresses = ["sport", "=", str(stream.port), "or", "dport", "=", str(stream.port)]

    def shown() -> str:
        """What ss says, once enough came for the poller to have noticed (it searches every 0.1 s)."""
        text = commands.run(["ss", "-tniO", *addresses])
        received = [int(number) for number in re.findall(r"bytes_received:(\d+)", text)]
        return text if max(received, default=0) > 300_000 else ""  # 0.3 s at 8 Mbit/s

    assert commands.wait_until(shown, 10, "data on the connection").count(" reno ") == 2
    sender = 1 if server_sends else 2
    started[sender].stop()
    started[3 - sender].wait(5)  # the receiver ends by itself at the sender's end
    started[0].stop()
    sent, received = (parse_stream((tmp_path / name).read_bytes()) for name in ("send", "receive"))
    assert sent.complete
    assert received.complete
    # The signal may come after the last write and before its record.
    surplus = int(timeline(received).n_bytes.sum() - sent.records["bytes"].sum())
    assert 0 <= surplus < 100_000
    rows = parse_info(info.read_bytes()).records
    assert len(rows)
    assert stream.port in (rows["local_port"][0], rows["remote_port"][0])
    assert rows["cwnd"].min() > 0


def test_a_client_without_a_server_says_so(tmp_path: Path, started: list[ProbeProcess]) -> None:
    port = free_port()
    argv = stream_argv(TcpStream("127.0.0.1", port), "client", "send", tmp_path / "log")
    started.append(ProbeProcess("tcp client", spawn, argv, tmp_path / "log"))
    with pytest.raises(ProbeError, match=f"127.0.0.1 port {port}: Connection refused"):
        started[0].wait_ready()


def test_an_unknown_congestion_control_is_an_error(tmp_path: Path, started: list[ProbeProcess]) -> None:
    stream = TcpStream("127.0.0.1", free_port(), congestion_control="hyperspeed")
    argv = stream_argv(stream, "server", "send", tmp_path / "log")
    started.append(ProbeProcess("tcp server", spawn, argv, tmp_path / "log"))
    with pytest.raises(ProbeError, match="No such file or directory"):
        started[0].wait_ready()


def test_a_broken_connection_is_a_result(tmp_path: Path, started: list[ProbeProcess]) -> None:
    stream = TcpStream("127.0.0.1", free_port(), rate_bps=8e6)
    argv = stream_argv(stream, "server", "send", tmp_path / "log")
    started.append(ProbeProcess("tcp server", spawn, argv, tmp_path / "log"))
    started[0].wait_ready()
    with socket.create_connection(("127.0.0.1", stream.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with RST
        client.recv(1)
    started[0].wait(5)
    log = parse_stream((tmp_path / "log").read_bytes())
    assert log.counters["broken_errno"] in (errno.ECONNRESET, errno.EPIPE)


def test_a_receiver_whose_sender_closes_has_ended_too(tmp_path: Path, started: list[ProbeProcess]) -> None:
    stream = TcpStream("127.0.0.1", free_port(), rate_bps=8e6)
    argv = stream_argv(stream, "server", "receive", tmp_path / "log")
    started.append(ProbeProcess("tcp server", spawn, argv, tmp_path / "log"))
    started[0].wait_ready()
    assert not read_counters(tmp_path / "log")["ended_ns"]
    with socket.create_connection(("127.0.0.1", stream.port)) as client:
        client.sendall(bytes(1000))
        commands.wait_until(lambda: read_counters(tmp_path / "log")["last_ns"], 10, "the bytes")
        shown = read_counters(tmp_path / "log")
        assert shown["passed_bytes"] == 1000
        assert not shown["ended_ns"]
    started[0].wait(5)
    counters = read_counters(tmp_path / "log")
    assert counters["ended_ns"] > counters["last_ns"]
    assert ending({}, counters) == "closed"
    assert ending({"broken_errno": errno.ETIMEDOUT}, counters) == "sender: Connection timed out"
