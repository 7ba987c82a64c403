"""Logs: the header, what is missing from a damaged one, and joining the two ends of a flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.probes.log_format import HEADER_BYTES, Header, IntegerLog, LogError, decode_header
from experiments.probes.logs import ProbeLog, read_log, record_type
from experiments.probes.packets import match
from experiments.probes.udp import RECEIVED_LAYOUT, SENT_LAYOUT

LAYOUT = "t_ns:<i8,bytes:<i8"


@pytest.fixture
def written(tmp_path: Path) -> bytes:
    log = IntegerLog(tmp_path / "log", ("t_ns", "bytes"), ("late",))
    log.announce()
    log.values.extend((10, 1, 20, 2, 30, 3))
    log.counters["late"] = 7
    log.close()
    return (tmp_path / "log").read_bytes()


def test_what_is_written_is_read(written: bytes) -> None:
    log = read_log(written, LAYOUT)
    assert log.complete
    assert log.records["t_ns"].tolist() == [10, 20, 30]
    assert log.counters == {"late": 7}


@pytest.mark.parametrize(
    ("keep", "records", "problem"),
    [
        (0, 0, "the log is empty"),
        (100, 0, "ends after 100 bytes"),
        (HEADER_BYTES, 0, "3 of 3 records are missing"),
        (HEADER_BYTES + 20, 1, "ends within record 1"),
        (HEADER_BYTES + 32, 2, "1 of 3 records are missing"),
    ],
)
def test_a_cut_log_gives_what_is_there_and_says_what_is_not(
    written: bytes, keep: int, records: int, problem: str
) -> None:
    log = read_log(written[:keep], LAYOUT)
    assert len(log.records) == records
    assert log.records.dtype == record_type(LAYOUT)
    assert problem in log.problem


def test_a_probe_that_was_killed_is_noticed(tmp_path: Path) -> None:
    IntegerLog(tmp_path / "log", ("t_ns", "bytes")).announce()
    assert "did not end in order" in read_log((tmp_path / "log").read_bytes(), LAYOUT).problem


def test_other_files_are_refused(written: bytes) -> None:
    with pytest.raises(LogError, match="not a probe's log"):
        read_log(b"PNG" + written[3:], LAYOUT)
    with pytest.raises(LogError, match="wanted were 't_ns:<i8'"):
        read_log(written, "t_ns:<i8")
    with pytest.raises(LogError, match="version 9"):
        read_log(written[:8] + b"\x09" + written[9:], LAYOUT)


def test_a_header_that_does_not_fit_is_refused() -> None:
    with pytest.raises(LogError, match="do not fit"):
        Header("x" * 300, 8).encode()
    assert decode_header(Header(LAYOUT, 16).encode()).layout == LAYOUT


def sent_log(tx_ns: list[int], errors: list[int] | None = None, problem: str = "") -> ProbeLog:
    records = np.zeros(len(tx_ns), record_type(SENT_LAYOUT))
    records["tx_ns"] = tx_ns
    if errors:
        records["error"] = errors
    return ProbeLog(records, {}, problem)


def received_log(rows: list[tuple[int, int, int]], stream: int = 0) -> ProbeLog:
    """Rows of (seq, tx_ns, rx_ns)."""
    return ProbeLog(np.array([(stream, 64, *row) for row in rows], record_type(RECEIVED_LAYOUT)))


def test_match_joins_losses_copies_and_order() -> None:
    sent = sent_log([100, 200, 300, 400])
    # Arrivals: 0, 2, 1, 2 again; 3 is lost.
    received = received_log([(0, 100, 110), (2, 300, 310), (1, 200, 320), (2, 300, 330)])
    packets = match(sent, received)
    assert packets.seq.tolist() == [0, 1, 2, 3]
    assert packets.copies.tolist() == [1, 1, 2, 0]
    assert packets.order.tolist() == [0, 2, 1, -1]
    np.testing.assert_allclose(packets.rx_s, [110e-9, 320e-9, 310e-9, np.nan])
    assert packets.arrival.tolist() == [0, 2, 1]
    assert set(packets.columns()) == {"seq", "tx_s", "rx_s", "copies", "order"}


def test_refused_packets_have_no_row() -> None:
    packets = match(
        sent_log([100, 200, 300], errors=[0, 101, 0]), received_log([(0, 100, 110), (2, 300, 310)])
    )
    assert packets.seq.tolist() == [0, 2]
    np.testing.assert_allclose(packets.refused_s, [200e-9])


def test_packets_of_another_sender_or_stream_are_left_out() -> None:
    sent = sent_log([100, 200])
    received = received_log([(0, 99, 110), (1, 200, 210), (5, 600, 610), (-1, 0, 1)])
    assert match(sent, received).order.tolist() == [-1, 0]
    assert match(sent, received_log([(0, 100, 110)], stream=3)).order.tolist() == [-1, -1]


def test_a_sender_log_cut_short_is_completed_from_the_arrivals() -> None:
    packets = match(
        sent_log([100], problem="cut"), received_log([(0, 100, 110), (1, 200, 210), (3, 400, 410)])
    )
    assert packets.seq.tolist() == [0, 1, 3]
    np.testing.assert_allclose(packets.tx_s, [100e-9, 200e-9, 400e-9])


def test_nothing_sent_nothing_received() -> None:
    assert len(match(sent_log([]), received_log([])).seq) == 0
    assert match(sent_log([100, 200]), received_log([])).order.tolist() == [-1, -1]
