"""Whether a trial's senders offered what they were asked for: thin flows, standstills, and what a run says then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.probes.transports.base import Offered
from experiments.running.offered import (
    missed_reason,
    offered_measures,
    offered_rates,
)
from experiments.running.validity import verdict
from results.figures.answer import answer_sentence, where_sentence
from results.figures.offered import advice
from results.record.reading import Record

PAUSED = {"vm": "vm1", "paused_s": 10.2, "resumed_s": 12.2}


def rates(packets: int, asked_pps: float, length_s: float = 1.0, *, moves: Any = (), stall_s: float = 0.0):
    before = {"from_vm": Offered(10.0, 7, asked_pps, "vm1")}
    after = {"from_vm": Offered(10.0 + length_s, 7 + packets, asked_pps, "vm1")}
    return offered_rates(before, after, list(moves), stall_s)


@pytest.mark.parametrize(
    ("packets", "asked_pps", "missed"),
    [
        (40_000, 40_000, False),
        (38_100, 40_000, False),
        (37_900, 40_000, True),
        (21_300, 40_000, True),
        (48, 50, False),  # voice: a packet more or less at either end is no 5 %
        (45, 50, True),
        (18, 20, False),
        (16, 20, True),
        (0, 1, False),  # one packet was due, or none
        (0, 0.1, False),
    ],
)
def test_a_rate_is_missed_by_five_percent_and_not_by_an_edge(
    packets: int, asked_pps: float, missed: bool
) -> None:
    assert rates(packets, asked_pps)["from_vm"].missed is missed


def test_who_stands_still_sends_nothing_and_misses_nothing() -> None:
    one = rates(1000, 1000.0, 3.0, moves=[PAUSED])["from_vm"]
    assert not one.missed
    assert one.offered_pps == pytest.approx(1000.0)
    assert rates(1000, 1000.0, 3.0, moves=[{**PAUSED, "vm": "vm2"}])["from_vm"].missed, (
        "another VM stood still"
    )
    assert rates(1000, 1000.0, 3.0, moves=[{**PAUSED, "resumed_s": None}])["from_vm"].missed
    assert rates(930, 1000.0, 3.0, moves=[PAUSED])["from_vm"].missed


def test_a_sender_that_stood_still_all_the_time_has_no_rate() -> None:
    assert rates(0, 1000.0, 1.0, moves=[{**PAUSED, "paused_s": 9.0}]) == {}


def test_a_stop_that_the_guard_lets_pass_on_emulated_processors_is_no_miss() -> None:
    assert rates(170, 200.0)["from_vm"].missed
    assert not rates(180, 200.0, stall_s=0.08)["from_vm"].missed
    assert rates(150, 200.0, stall_s=0.08)["from_vm"].missed


def test_the_measures_and_the_reason_name_the_flow() -> None:
    found = rates(30_000, 40_000)
    assert offered_measures(found) == {"asked_pps_from_vm": 40_000, "offered_pps_from_vm": 30_000}
    assert missed_reason(found) == (
        "offered rate missed by 25%: 30,000 of 40,000 packets/s (from_vm) (bound 5%)"
    )
    assert missed_reason(rates(40_000, 40_000)) == ""


def trial(offered_pps: float, *reasons: str, null: bool = False) -> dict[str, Any]:
    return {
        "valid": not reasons,
        "null": null,
        "parameters": {} if null else {"path": "remote to remote"},
        "invalid_by": list(reasons),
        "measures": {
            "asked_pps_to_vm": 40_000,
            "offered_pps_to_vm": offered_pps,
            "asked_pps_from_vm": 40_000,
            "offered_pps_from_vm": 39_000,
        },
    }


def test_a_run_that_never_reaches_its_rate_says_what_it_reached_and_what_to_do() -> None:
    trials = [
        trial(15_000, "offered rate"),
        trial(30_000, "offered rate", "machine"),
        trial(22_000, "offered rate"),
    ]
    assert advice(trials) == (
        "asked were 40,000 packets/s, sent were 15,000 to 30,000: ask for at most 19,000 (rate_pps), or take a "
        "machine with more processors"
    )
    status, why = verdict([*trials, trial(39_900, "machine", null=True)])
    assert status == "invalid"
    assert why.startswith(
        "the offered rate was not reached in 3 of 4 trials: asked were 40,000 packets/s, sent were"
    )
    assert why.endswith("in 1 others the machine was too busy")


def test_the_two_reasons_are_told_apart() -> None:
    status, why = verdict([trial(39_900, "machine"), trial(39_900, "machine", null=True)])
    assert status == "invalid"
    assert why.startswith("the machine was too busy (")
    assert advice([trial(39_900)]) == ""


def record(trials: list[dict[str, Any]], status: str = "answered", why: str = "valid trials: all") -> Record:
    data = {
        "experiment": "hot-l2",
        "trials": [
            {**one, "migration": None, "index": n, "invalid_reason": None} for n, one in enumerate(trials)
        ],
        "verdict": {"status": status, "why": why},
        "answer": "It cost nothing.",
        "environment": {},
        "parameters": {},
    }
    return Record(Path("folder"), data)


def test_the_answers_first_line_says_what_was_asked_and_what_was_sent() -> None:
    some = record([trial(39_500), trial(39_200, null=True), trial(36_000, "offered rate")])
    assert answer_sentence(some) == (
        "OFFERED RATE NOT REACHED in 1 of 3 trials, which are invalid: asked were 40,000 packets/s, sent were 36,000; "
        "the figures are of trials in which 39,000 were sent. It cost nothing."
    )
    assert "Offered UDP: 40,000 packets/s to the VM asked, 39,200 to 39,500 sent; 40,000 packets/s from" in (
        where_sentence(some)
    )
    assert answer_sentence(record([trial(39_500)])) == "It cost nothing."
    status, why = verdict([trial(15_000, "offered rate")])
    assert answer_sentence(record([trial(15_000, "offered rate")], status, why)).startswith(
        "No answer: the offered rate was not reached in 1 of 1 trials: asked were 40,000 packets/s, sent were 15,000: "
        "ask for at most 13,000 (rate_pps)"
    )
    assert where_sentence(record([{**trial(1.0), "measures": {}}])) == ""
