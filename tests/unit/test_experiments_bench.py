"""The made-up trial and record that speeds are measured on are what they say, and bad words are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.bench import PARTS, bench
from experiments.bench.analysis import RATE_PPS, analyse, make_logs, make_record
from experiments.parameters import ParameterError
from results.reading import load_record
from results.record import RunRecord, read_samples


def test_the_made_up_trial_is_analysed_whole(tmp_path: Path) -> None:
    make_logs(tmp_path, 2.0)
    with RunRecord.create(tmp_path / "results", "bench", [], {}, {}) as record:
        measures = analyse(tmp_path, record, 2.0)
        record.finish("answered", "a test")
    sent = 2 * RATE_PPS
    assert measures["sent_packets_to_vm"] == sent
    assert 0 < measures["lost_packets_to_vm"] < 0.005 * sent  # 1 in 1,000 on average
    assert measures["reordered_packets_to_vm"] > 0
    assert measures["tcp_bytes_3"] > 0
    assert len(read_samples(record.folder, "udp_to_vm")["seq"]) == sent


def test_the_made_up_record_has_its_trials(tmp_path: Path) -> None:
    record = load_record(make_record(tmp_path, 40))
    assert len(record.trials) == 40
    assert sum(trial["null"] for trial in record.trials) == 10
    assert len(record.trials[0]["measures"]) == 60


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="there is no part 'movs'"):
        bench(["only=movs"], tmp_path)
    assert {"analysis", "report", "sweep"} <= set(PARTS)
