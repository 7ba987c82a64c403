"""Transports' pure half: what they parse out of logs that are made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.probes.log_format import Header, IntegerLog
from experiments.probes.logs import record_type
from experiments.probes.process import ProbeError
from experiments.probes.tcp_info import FIELDS
from experiments.probes.transports.base import Ends
from experiments.probes.transports.streams import Streams
from experiments.probes.transports.udp import Udp
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
        for side, rows, layout, counters in (
            ("sent", sent, SENT_LAYOUT, {}),
            ("received", received, RECEIVED_LAYOUT, {"own_drops": own_drops, "clock_steps": 0}),
        ):
            header = Header(layout, rows.dtype.itemsize, len(rows), True, counters)
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
