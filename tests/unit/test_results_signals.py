"""What a timeline shows of TCP's retransmissions and timeouts and of a late machine."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from results.pictures.panels import to_png, to_svg
from results.record.writer import RunRecord, load_record
from results.timeline.data import build, gather
from results.timeline.picture import draw_timeline
from results.timeline.signals import Lag, lags_of, resent_of

SYNTHETIC = runpy.run_path(str(Path(__file__).parents[1] / "data/records/synthetic.py"))
POLL_S = 0.005


def polls(start_s, direction, retrans, backoff, state):
    """Poller rows of one connection, 5 ms apart."""
    count = len(retrans)
    return {
        "t_s": start_s + POLL_S * np.arange(count),
        "direction": np.array([direction] * count, dtype=object),
        "retrans_total": np.array(retrans, np.int32),
        "backoff": np.array(backoff, np.int8),
        "ca_state": np.array(state, np.int8),
    }


def joined(*parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_a_timeout_is_a_backoff_or_the_loss_state_and_no_retransmit_beside():
    columns = joined(
        # to the VM: two fast retransmissions (recovery is 3), then a timeout, then a second one
        polls(10.0, "to_vm", [0, 0, 2, 2, 3, 3, 4], [0, 0, 0, 0, 1, 1, 2], [0, 0, 3, 3, 4, 4, 4]),
        # from it: the state alone tells the timeout, its backoff was over between two polls
        polls(10.0, "from_vm", [7, 7, 8], [0, 0, 0], [0, 0, 4]),
    )
    found = resent_of(columns, 10.0)
    assert found["to_vm"].retransmit_ms == pytest.approx([10.0])
    assert found["to_vm"].rto_ms == pytest.approx([20.0, 30.0])
    assert found["from_vm"].rto_ms == pytest.approx([10.0])
    assert found["from_vm"].retransmit_ms == []


def test_two_connections_of_one_direction_are_kept_apart():
    """Their counters differ; alternating rows taken as one series would show a retransmission at each."""
    one = polls(10.0, "to_vm_by_peer", [5, 5, 5], [0] * 3, [0] * 3)
    other = polls(10.0001, "to_vm_by_vm", [0, 0, 1], [0] * 3, [0] * 3)
    assert resent_of(joined(one, other), 10.0)["to_vm"].retransmit_ms == pytest.approx([10.1])
    same = joined(one | {"direction": other["direction"]}, other)
    same["connection"] = np.array([1] * 3 + [2] * 3)
    assert resent_of(same, 10.0)["to_vm"].retransmit_ms == pytest.approx([10.1])


def test_no_rows_or_other_directions_are_no_error():
    assert resent_of({}, 0.0) == {}
    assert resent_of(polls(1.0, "sideways", [0, 1], [0, 0], [0, 0]), 0.0) == {}
    assert resent_of({"direction": np.array([], dtype=object)}, 0.0) == {}


def test_a_lag_lasts_from_due_to_woken():
    columns = {
        "t_s": np.array([10.012, 10.5, 9.0]),
        "cpu": np.array([1, 0, 0]),
        "lag_s": np.array([0.004, 0.001, 0.002]),
    }
    assert [
        (lag.cpu, round(lag.start_ms, 6), round(lag.end_ms, 6)) for lag in lags_of(columns, 10.0, (-5, 20))
    ] == [(1, 8.0, 12.0)]
    assert len(lags_of(columns, 10.0, (-2000, 2000))) == 3
    assert lags_of({}, 10.0, (-5, 20)) == []


def make_run(results_dir):
    """One trial of the synthetic run with a poller's log and the lag meters' beside it."""
    source = load_record(SYNTHETIC["make_run"](results_dir / "source", trials=5))
    made = gather(source, 4)
    with RunRecord.create(results_dir / "made", "hot-l2", ["Q1"], {"rate_pps": 5000}, {}) as record:
        for event in source_events(source):
            record.event(event.pop("t_s"), event.pop("kind"), **event)
        from results.record.writer import read_samples

        for name in ("udp_to_vm", "udp_from_vm", "tcp_to_vm", "tcp_from_vm"):
            record.add_samples(name, read_samples(source.folder, name, trial=4))
        start_s = made.zero_s - 0.06
        retrans = np.r_[np.zeros(14), np.full(4, 3), np.full(12, 5)]
        backoff = np.r_[np.zeros(18), np.ones(4), np.zeros(8)]
        state = np.r_[np.zeros(14), np.full(4, 3), np.full(4, 4), np.zeros(8)]
        rows = joined(
            polls(start_s, "to_vm_by_peer", retrans, backoff, state),
            polls(start_s, "from_vm_by_peer", np.r_[np.zeros(16), np.ones(14)], np.zeros(30), np.zeros(30)),
        )
        record.add_samples("tcp_info", {"trial": np.full(60, 4, np.int32)} | rows)
        record.add_samples(
            "lag",
            {
                "t_s": made.zero_s + np.array([-0.02, 0.004, 0.011, 0.0125, 5.0]),
                "cpu": np.array([0, 1, 0, 1, 1], np.int32),
                "lag_s": np.array([0.0012, 0.0041, 0.002, 0.0011, 0.3]),
            },
        )
        record.add_trial(source.trials[4])
        record.finish("answered", "one move")
    return record.folder


def source_events(source):
    from results.record.writer import read_events

    return [event for event in read_events(source.folder) if event["trial"] == 4]


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return load_record(make_run(tmp_path_factory.mktemp("signals")))


def test_timeouts_retransmits_and_lags_are_in_the_picture(record):
    made = gather(record, 4)
    assert len(made.resent["to_vm"].retransmit_ms) == 1
    assert len(made.resent["to_vm"].rto_ms) == 1
    assert len(made.resent["from_vm"].retransmit_ms) == 1
    assert [lag.cpu for lag in made.lags] == [0, 0, 1, 1]
    svg = to_svg(draw_timeline(made), salt="x")
    for text in (
        "to VM 1 retransmit and 1 RTO",
        "from VM 1 retransmit",
        "machine: scheduling lag, a bar from due to woken; longest 4.1 ms",
        "CPU 1",
    ):
        assert text in svg, text
    outside = to_svg(draw_timeline(made, (-40.0, -30.0)), salt="x")
    assert "no late wake-up" in outside
    assert "RTO" not in outside


def test_without_them_the_picture_is_as_before(record):
    svg = to_svg(draw_timeline(build(record.trials[0], [], {})), salt="x")
    assert "machine: scheduling lag" not in svg
    assert "retransmit" not in svg


def test_of_many_cpus_the_latest_have_a_row():
    trial = {"index": 0, "valid": True, "null": True, "parameters": {}, "migration": None, "measures": {}}
    trial["invalid_reason"] = None
    lag = {"t_s": np.full(20, 5.0), "cpu": np.arange(20), "lag_s": np.linspace(0.001, 0.02, 20)}
    event = {"t_s": 5.0, "kind": "flow_mods", "nve": "nve1", "count": 1}
    made = build(trial, [event], {"lag": lag})
    assert made.lags[0] == Lag(0, pytest.approx(-1.0), pytest.approx(0.0))
    svg = to_svg(draw_timeline(made), salt="x")
    assert "CPU 19" in svg
    assert "CPU 11<" not in svg
    assert to_png(draw_timeline(made), dpi=30).startswith(b"\x89PNG")
