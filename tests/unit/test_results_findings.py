"""What a record's causes say: rows by group, one sentence, and findings of settings that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from results.figures.causes import cause_rows, cause_sentence, direction_text, meanings_of
from results.figures.findings import findings
from results.pages.report import render_report
from results.pages.table import cause_table
from results.record.reading import Record

PHASES = [{"name": "switch", "start_s": 10.0, "end_s": 10.001}]


def place(cause: str, **values: Any) -> dict[str, Any]:
    blank = {
        "direction": "to_vm",
        "stage": "reached the NVE",
        "nve": "nve2",
        "frame_bytes": 156,
        "packets": 40,
    }
    return {**blank, "cause": cause, "first_s": 10.002, "last_s": 10.04, **values}


def trial(
    index: int, lost: dict[str, int] | None = None, *, null: bool = False, **causes: Any
) -> dict[str, Any]:
    """A valid trial of a move from nve1 to nve2, or a null trial."""
    nothing: dict[str, dict[str, int]] = {"lost": {}, "duplicated": {}, "reordered": {}}
    measures = {"lost_packets_to_vm": sum((lost or {}).values()), "alive_connections_count": 4}
    return {
        "index": index,
        "valid": True,
        "invalid_reason": None,
        "null": null,
        "parameters": {} if null else {"path": "remote to remote"},
        "migration": None
        if null
        else {
            "kind": "hot",
            "old_nve": "nve1",
            "new_nve": "nve2",
            "phases": PHASES,
            "call_to_last_barrier_s": 0.01,
        },
        "measures": measures,
        "causes": {
            "directions": ["to_vm", "from_vm"],
            "to_vm": {**nothing, "lost": lost or {}},
            "from_vm": nothing,
            "lost_by_taps_frames": 0,
            "largest_on_underlay_bytes": 1500,
            "old_leg_packets": 0,
            "places": [],
            **causes,
        },
    }


def record(*trials: dict[str, Any]) -> Record:
    data = {
        "format_version": 1,
        "experiment": "hot-l2",
        "questions": ["Q1"],
        "started_utc": "2026-11-25T00:00:00+00:00",
        "ended_utc": "2026-11-25T00:01:00+00:00",
        "parameters": {},
        "topology": {},
        "environment": {},
        "trials": list(trials),
        "summary": {},
        "verdict": {"status": "answered", "why": "enough trials"},
    }
    return Record(Path("run"), data)


LOSSY = record(
    trial(0, {"misdirected": 150, "in_flight": 50}),
    trial(1, {"misdirected": 0, "in_flight": 0}),
    trial(2, null=True),
)


def test_causes_are_added_over_a_groups_trials_most_frequent_first() -> None:
    (row,) = cause_rows(LOSSY)
    assert (row.group, row.fate, row.direction, row.packets, row.trials) == (
        "remote to remote",
        "lost",
        "to_vm",
        200,
        2,
    )
    assert row.text == "misdirected 150 (75 %), in flight at the stop 50 (25 %)"
    assert [name for name, _ in meanings_of([row])] == ["in flight at the stop", "misdirected"]
    assert cause_sentence(LOSSY) == f"Of 200 packets lost in 2 moves: {row.text}."


def test_a_clean_run_has_no_finding_and_says_that_it_looked() -> None:
    clean = record(trial(0), trial(1, null=True))
    assert findings(clean) == []
    assert cause_rows(clean) == [] and cause_table(clean) is None
    assert cause_sentence(clean) == "Every packet was followed: none lost in 1 move."
    assert "Found in this run" not in render_report(clean)


def test_a_flow_beside_has_rows_of_its_own() -> None:
    beside = trial(0, directions=["to_vm", "from_vm", "near_to_vm"], near_to_vm={"lost": {"early": 3}})
    (row,) = cause_rows(record(beside))
    assert (row.direction, direction_text(row.direction), row.text) == (
        "near_to_vm",
        "near to vm",
        "early 3 (100 %)",
    )
    assert cause_sentence(record(beside)).startswith("Of 3 packets lost in 1 move")


def test_a_run_that_was_not_followed_says_nothing_of_causes() -> None:
    blind = record({**trial(0), "causes": None})
    assert (findings(blind), cause_rows(blind), cause_sentence(blind)) == ([], [], "")


def test_losses_of_ordinary_policies_are_no_finding() -> None:
    assert findings(LOSSY) == []


def test_an_unprogrammed_new_nve_is_named() -> None:
    (said,) = findings(record(trial(0, {"new_nve_unprogrammed": 40}, places=[place("new_nve_unprogrammed")])))
    assert "new NVE was not programmed" in said and "40 packets went into nve2" in said
    assert "up to 40 ms after the switch" in said


def test_with_replug_an_unprogrammed_new_nve_is_no_wrong_setting() -> None:
    replugged = trial(0, {"new_nve_unprogrammed": 40}, places=[place("new_nve_unprogrammed")])
    replugged["migration"]["attachment"] = "replug"
    assert findings(record(replugged)) == []


def test_a_small_mtu_is_named_by_what_vanished_and_what_passed() -> None:
    lost = {"too_large": 40}
    where = [place("too_large", nve="nve1", frame_bytes=1442)]
    (said,) = findings(
        record(
            trial(0, lost, places=where),
            trial(1, lost, null=True, places=where, largest_on_underlay_bytes=124),
        )
    )
    assert "MTU of the underlay is too small: 80 packets in frames of 1,442 bytes vanished at nve1" in said
    assert "in trials without a move too" in said


def test_a_small_mtu_is_named_even_when_only_tcp_is_as_large() -> None:
    dead = trial(0, largest_on_underlay_bytes=156)
    dead["measures"]["alive_connections_count"] = 0
    (said,) = findings(record(dead))
    assert "MTU of the underlay is too small: TCP stood still at the end of 1 move" in said
    assert "156 bytes" in said
    assert findings(record(dead, trial(1))) == []


def test_an_open_old_leg_is_named() -> None:
    (said,) = findings(record(trial(0, old_leg_packets=12), trial(1), trial(2, null=True)))
    assert "old leg was left open: in 1 of 2 moves the VM received 12 packets" in said and "nve1" in said


def test_too_many_unknown_or_unobserved_packets_are_a_finding() -> None:
    (said,) = findings(record(trial(0, {"unknown": 2, "misdirected": 98})))
    assert said == "2 of 100 lost packets (2.0 %) have no known cause."
    assert findings(record(trial(0, {"unknown": 1, "misdirected": 99}))) == []
    (said,) = findings(record(trial(0, {"unobserved": 3})))
    assert "taps themselves lost frames" in said


def test_invalid_trials_find_nothing() -> None:
    busy = {**trial(0, old_leg_packets=12), "valid": False, "invalid_reason": "busy"}
    assert findings(record(busy)) == []


def test_the_report_shows_findings_before_figures_and_causes_behind_them() -> None:
    page = render_report(record(trial(0, {"misdirected": 8}, old_leg_packets=12)))
    assert page.index("Found in this run") < page.index("<h2>Figures") < page.index("<h2>By cause")
    assert "misdirected 8 (100\u00a0%)" in page
