"""Every experiment of the catalog, run whole in its quick form: it ends with an answer and exit status 0.

Also what each one's own measures must be. `decision` alone is run elsewhere (`test_decision.py`): it is a sweep.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from experiments.catalog import EXPERIMENTS
from experiments.studies import transports
from results.figures.answer import answer_sentence
from results.figures.causes import attributed, counted
from results.figures.findings import UNKNOWN_SHARE, findings
from results.record.writer import load_record
from tests.documented import undocumented
from tests.root.test_run import started

pytestmark = pytest.mark.root

QUICK_BOUND_S = 90.0  # what a quick form may take on an idle machine
WAIT_BOUND_S = 3 * QUICK_BOUND_S  # before it is given up for hung: the machine may have other work
SMALL = {
    "quick": "1",
    "repeat": "1",
    "rate_pps": "500",
    "tcp_rate": "1Mbit",
    "ports": "afpacket",
    "after": "400ms",
}
LONGER = {  # until TCP has found out what happened
    "standby": {"after": "1200ms"},
    "old-nve-policy": {"after": "1s"},
}
"""Of these each experiment gets what it has: one trial of each kind, and no more traffic than it takes."""

BOTH_WAYS = ("lost_packets", "duplicated_packets", "reordered_packets", "blackout_s", "tcp_stall_s")
Trial = Mapping[str, Any]
Check = Callable[[Sequence[Trial]], None]


def _always(value: float, *names: str) -> Check:
    def check(moves: Sequence[Trial]) -> None:
        for trial in moves:
            assert {name: trial["measures"][name] for name in names} == dict.fromkeys(names, value)

    return check


def _more_than_zero(*names: str) -> Check:
    def check(moves: Sequence[Trial]) -> None:
        for trial in moves:
            assert all(trial["measures"][name] > 0 for name in names), trial["measures"]

    return check


def _every_pattern(moves: Sequence[Trial]) -> None:
    """Several moves: each pattern has all of its moves, in turn or at once, and with policy buffer loses nothing."""
    made = {"one move": 1, "back and forth": 2, "chain": 2, "two at once": 2, "towards each other": 2}
    assert {trial["parameters"]["pattern"] for trial in moves} == set(made)
    for trial in moves:
        pattern, every = trial["parameters"]["pattern"], trial.get("migrations", [trial["migration"]])
        assert len(every) == made[pattern], pattern
        assert {one["outcome"] for one in every} == {"done"}, pattern
        spans = sorted((one["phases"][0]["start_s"], one["phases"][-1]["end_s"]) for one in every)
        at_once = [start_s < end_s for (_, end_s), (start_s, _) in pairwise(spans)]
        if pattern in ("two at once", "towards each other"):
            assert {one["vm"] for one in every} == {"vm1", "vm2"}
            assert at_once == [True], spans
            assert trial["measures"]["overlap_s"] > 0
        else:
            assert {one["vm"] for one in every} == {"vm1"}
            assert not any(at_once), spans
        lost = [value for name, value in trial["measures"].items() if name.startswith("lost_packets")]
        assert len(lost) >= 6  # both ways between the two VMs, and of each with the one that stays
        assert set(lost) == {0} or not trial["valid"], (pattern, trial["measures"])


def _learnt_in_time(moves: Sequence[Trial]) -> None:
    """Stale mappings: told by push within 0.1 s, by a timeout not before most of its second, never without a word."""
    told = {
        (one["parameters"]["learning"], one["parameters"]["host"], one["parameters"]["policy"]): one[
            "measures"
        ].get("told_s")
        for one in moves
    }
    for (learning, host, policy), told_s in told.items():
        if learning == "announce, all lost":
            assert told_s is None, (learning, host, policy)
        elif learning == "timeout":
            # Its mapping was given out some 0.3 s before the move and lives for 1 s.
            assert told_s is not None and 0.2 < told_s < 1.3, (learning, host, policy, told_s)
        else:
            assert told_s is not None and told_s < 0.2, (learning, host, policy, told_s)
    assert {host for _, host, _ in told} == {"talking", "silent"}


def _takes_over(moves: Sequence[Trial]) -> None:
    """Standby: nothing is released; the gap is at least the 50 ms of detection; hot has two connections."""
    for trial in moves:
        measures, warm = trial["measures"], trial["parameters"]["standby"] == "warm"
        assert measures["lost_updates_count"] >= 0
        if warm:
            assert measures["released_count"] == 0
            assert measures["service_gap_s_udp"] >= 0.05
            # An interval of 20 or 200 ms, and some time to send the state.
            assert 0 <= measures["state_lag_s"] <= trial["parameters"]["interval_s"] + 0.1
            assert trial["classes"]["connection_end"] == "Connection reset by peer"
        assert measures["connections_count"] == (1 if warm else 2)


def _drops_and_forwards(moves: Sequence[Trial]) -> None:
    """Old-NVE policies: ICMP errors only with icmp; what forwards or buffers gets packets to the VM that drop loses."""
    for trial in moves:
        policy, measures = trial["parameters"]["policy"], trial["measures"]
        assert (measures["icmp_errors_count"] > 0) == (policy == "icmp"), (
            policy,
            measures["icmp_errors_count"],
        )
        # 50 ms or 2 s at 500 packets/s; a tenth of it for what is held or delivered before and after.
        least = 0.9 * trial["parameters"]["downtime_s"] * 500
        assert (measures["lost_packets_to_vm"] >= least) == (policy != "buffer"), (policy, measures)
        assert measures["alive_connections_count"] == 4
        if trial["parameters"]["downtime_s"] == 2.0:
            # Timeouts at 0.2, 0.6 and 1.4 s make three doublings; an error takes the last one back (RFC 6069), so
            # there is one at a time, or two when an error was late. 1,500 errors/s: three times the probe's packets.
            doublings = measures["tcp_backoff_max_count_to_vm_by_peer"]
            if policy == "silent-drop":
                assert doublings >= 3
            elif trial["parameters"]["error_limit_pps"] == 1500:
                assert doublings <= 2
        if policy == "forward":
            assert measures["redirected_frames"] > 0


def _each_transport_goes_on(moves: Sequence[Trial]) -> None:
    """Transports: every one that this kernel has; with policy buffer nothing is lost and every connection goes on."""
    have = {name for name in transports.NAMES if transports.problem(name) is None}
    assert {trial["parameters"]["transport"] for trial in moves} == have
    for trial in moves:
        name, measures = trial["parameters"]["transport"], trial["measures"]
        for way in ("to_vm", "from_vm"):
            # A hot move stops nobody; a retransmission timeout would be 200 ms.
            assert 0 < measures[f"stall_s_{way}"] < 0.2 or not trial["valid"], (name, measures)
            if name in ("udp", "voice"):
                assert measures[f"sent_packets_{way}"] > 0
                assert measures[f"lost_packets_{way}"] == 0 or not trial["valid"], (name, measures)
        if name not in ("udp", "voice"):
            assert measures["alive_connections_count"] == (2 if name == "quic" else 4), (name, measures)
        if name == "mptcp":
            assert measures["multipath_connections_count"] == 4


def _pauses_are_felt(moves: Sequence[Trial]) -> None:
    """Impact: who waits waits for the pause at least; what is lost costs a timeout; a call loses the pause's frames."""
    pauses = {trial["parameters"]["pause_s"] for trial in moves}
    assert len(pauses) >= 3  # else there is no curve
    for trial in moves:
        name, policy, pause_s = (trial["parameters"][key] for key in ("transport", "policy", "pause_s"))
        measures, frames = trial["measures"], pause_s * 50
        if name == "voice":
            if pause_s:
                # From 200 ms on: 7 of 500 frames or more, R = 93.2 - 95 x 1.4 / (0.7 + 4.3) = 67.
                assert measures["voice_mos_to_vm"] < 3.6 and measures["voice_mos_from_vm"] < 3.6
                gone = (
                    measures["lost_frames_to_vm"]
                    if policy == "silent-drop"
                    else measures["late_frames_to_vm"]
                )
                # Frames that are kept and released within the jitter buffer's 60 ms are played: 3 of them.
                assert frames - 5 <= gone <= frames + 10, (policy, pause_s, measures)
                # The VM has nothing to say while it stands still.
                assert frames - 3 <= measures["unsent_frames_from_vm"] <= frames + 5, (
                    policy,
                    pause_s,
                    measures,
                )
            elif policy == "buffer" and trial["valid"]:
                assert measures["voice_mos_to_vm"] >= 4.4
        else:
            assert measures["tcp_stall_s_to_vm"] >= 0.95 * pause_s
            assert measures["alive_connections_count"] == 1
            assert measures["tcp_before_bps_to_vm_by_peer"] > 10e6  # of 20 Mbit/s, less what headers take
            if policy == "silent-drop" and pause_s:
                assert measures["tcp_retransmitted_segments_to_vm_by_peer"] >= 1
                # A timeout takes 200 ms and the round trip, so a pause of 200 ms may end before it.
                assert measures["tcp_timeouts_count"] >= 1 or pause_s <= 0.2, measures


EXPECTED: Mapping[str, Sequence[Check]] = {
    "hot-l2-v6": [_always(0, "tentative_addresses_count")],
    "several-moves": [
        _every_pattern,
        _always(0, "leaked_packets"),
        _more_than_zero("sent_packets_stays_to_peer", "sent_packets_stays_from_vm"),
    ],
    "tenants": [
        _always(0, "leaked_packets", "arrived_packets_unrouted"),
        _more_than_zero("sent_packets_unrouted"),  # else nothing could have arrived
    ],
    "l3-host-route": [_always(0, "leaked_packets"), _more_than_zero("flow_mods_count")],
    "external-client": [
        _always(0, "changed_routes_count"),
        _more_than_zero("flow_mods_count_gateway"),  # the one mapping that must change
    ],
    "stale-mapping": [_learnt_in_time],
    "standby": [_takes_over],
    "lifecycle": [_always(0, "wrong_count", "misreached_count")],
    "old-nve-policy": [_drops_and_forwards],
    "transports": [_each_transport_goes_on],
    "transport-impact": [_pauses_are_felt],
    "dhcp-client": [_always(0, "changed_leases_count"), _more_than_zero("confirm_s")],
}


def assert_complete(folder: Path, record: Mapping[str, Any]) -> None:
    """What every run has that moves round the three paths: the contract's measures, samples, events, report."""
    kinds = sorted(trial["parameters"].get("path", "null") for trial in record["trials"] if trial["valid"])
    assert kinds == ["co-located to remote", "null", "remote to co-located", "remote to remote"]
    names = {f"{name}_{way}_vm" for name in BOTH_WAYS for way in ("to", "from")}
    for trial in record["trials"]:
        assert names <= set(trial["measures"]), names - set(trial["measures"])
    samples = {path.stem for path in (folder / "samples").iterdir()}
    assert samples >= {"udp_to_vm", "udp_from_vm", "tcp_to_vm", "tcp_from_vm"}
    assert "<html" in (folder / "report.html").read_text()[:1000].lower()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert {"phase", "flow_mods", "barrier", "northbound", "switch"} <= {event["kind"] for event in events}


def assert_explained(trials: Sequence[Trial]) -> None:
    """Where packets were followed at most 1 in 100 lost ones has no cause (the run itself has checked the sums)."""
    lost = counted(attributed(trials), "lost")
    assert lost["unknown"] <= UNKNOWN_SHARE * lost.total(), lost


def run_once(name: str, folder: Path) -> tuple[int, str, str, dict[str, Any], float]:
    """Exit status, stdout, stderr, the record and the run's time in seconds."""
    has = {parameter.name for parameter in EXPERIMENTS[name].parameters}
    words = [f"{key}={value}" for key, value in (SMALL | LONGER.get(name, {})).items() if key in has]
    begin_s = time.monotonic()
    with started(folder, name, *words) as run:
        status, stdout, stderr = run.ended(WAIT_BOUND_S)
        record = json.loads((folder / "latest" / "record.json").read_text())
        return status, stdout, stderr, record, time.monotonic() - begin_s


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "decision"])
def test_the_quick_form_answers(name: str, tmp_path: Path) -> None:
    assert "quick" in {parameter.name for parameter in EXPERIMENTS[name].parameters}
    for attempt in ("first", "second", "third"):
        folder = tmp_path / attempt
        status, stdout, stderr, record, took_s = run_once(name, folder)
        if record["verdict"]["status"] != "invalid":  # that is: the machine was too busy, says the load guard
            break
    assert (status, stderr) == (0, ""), stdout
    assert record["verdict"]["status"] == "answered", record["verdict"]
    loaded = load_record(folder / "latest")
    assert findings(loaded) == []
    assert_explained(loaded.trials)
    assert undocumented(loaded.folder) == []  # results/FORMAT.md names all that a run leaves
    told = answer_sentence(loaded)
    assert told.endswith((".", ".)")), told
    moves = [trial for trial in record["trials"] if not trial["null"]]
    assert {trial["migration"]["outcome"] for trial in moves if trial["migration"] is not None} <= {"done"}
    for check in EXPECTED.get(name, ()):
        assert len(moves) >= 3
        check(moves)
    if name == "hot-l2":
        assert_complete((folder / "latest").resolve(), record)
    print(f"{name}: {took_s:.0f} s")
