"""results/FORMAT.md names what a record holds; the check that says so can fail."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np

from results.record.writer import RunRecord
from tests.documented import is_named, undocumented, without_flows

SYNTHETIC = runpy.run_path(str(Path(__file__).parents[1] / "data/records/synthetic.py"))


def test_a_run_holds_nothing_that_is_not_described(tmp_path: Path) -> None:
    assert undocumented(SYNTHETIC["make_run"](tmp_path)) == []


def test_what_is_not_described_is_named_with_its_place(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path, "hot-l2", ["Q1"], {}, {})
    record.event(1.0, "earthquake")
    record.event(1.0, "switch", strength=3)
    record.add_samples("seismograph", {"trial": np.zeros(1, np.int32), "richter": np.zeros(1)})
    record.set_environment({"weather": "fine"})
    trial = {
        "index": 0,
        "valid": True,
        "invalid_reason": None,
        "null": True,
        "parameters": {},
        "migration": None,
    }
    record.add_trial({**trial, "measures": {"aftershocks_count": 1, "lost_packets_to_vm": 0}, "mood": "calm"})
    record.finish("answered", "a test")
    (record.folder / "notes.txt").write_text("")
    path = record.folder / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "author": "nobody"}))
    assert undocumented(record.folder) == [
        "environment: weather",
        "event switch: strength",
        "event: earthquake",
        "file: notes.txt",
        "measure: aftershocks_count",
        "record: author",
        "samples seismograph: richter",
        "samples: seismograph",
        "trial: mood",
    ]


def test_direction_initiator_and_flow_may_stand_behind_a_name() -> None:
    assert is_named("tcp_recovery_s_to_vm_by_peer")
    assert is_named("misdirected_packets_gap_10ms")
    assert is_named("lost_packets_from_vm")
    assert not is_named("tcp_recovery_ms_to_vm_by_peer")
    assert not is_named("nothing_s")
    measures = [
        "sent_packets_to_vm",
        "delay_max_s_to_vm",
        "sent_packets_stays_to_vm",
        "delay_max_s_stays_to_vm",
    ]
    assert without_flows(measures) == [
        "sent_packets_to_vm",
        "delay_max_s_to_vm",
        "sent_packets",
        "delay_max_s",
    ]
