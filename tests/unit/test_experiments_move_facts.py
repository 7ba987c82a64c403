"""What a move did, and when, read from its record and its events; and Open vSwitch's table counters."""

from __future__ import annotations

import math
from typing import Any

import pytest

from experiments.attribution.causes import Cause, Hold
from experiments.attribution.move_facts import Event, move_facts, stays_until_s
from experiments.attribution.rule_drops import Meter, meter_of, unmatched
from experiments.running.mistakes import check
from experiments.running.parameters import ParameterError
from results.figures.causes import MEANINGS
from topologies import load_topology, topology_file

PHASES = [
    {"name": name, "start_s": start_s, "end_s": start_s + 1.0}
    for name, start_s in (("prepare", 1.0), ("stop", 2.0), ("switch", 3.0), ("resume", 4.0), ("release", 5.0))
]
TOPOLOGY = load_topology(topology_file("two_racks"))
RECORD: dict[str, Any] = {
    "vm": "vm1",
    "old_nve": "nve1",
    "new_nve": "nve2",
    "policy": "buffer",
    "attachment": "rebind",
    "order": "stop-first",
    "paused_s": None,
    "pause": None,
    "redirect_ended_s": None,
    "phases": PHASES,
}
EVENTS = [
    Event(2.1, "northbound", {"method": "redirect"}),
    Event(2.2, "hold", {"holder": "direct"}),
    Event(3.5, "switch", {"old_nve": "nve1", "new_nve": "nve2"}),
    Event(4.1, "release", {"holder": "direct"}),
    Event(4.2, "northbound", {"method": "commit_move"}),
    Event(9.0, "switch", {"old_nve": "nve1", "new_nve": "nve2"}),  # of another move
]


def test_a_vm_that_moves_back_may_use_its_old_leg_again() -> None:
    """There and back: only until it sets out again must nothing come through the leg of the first old NVE."""
    there = move_facts(RECORD, EVENTS)
    later = [phase | {"start_s": phase["start_s"] + 10.0, "end_s": phase["end_s"] + 10.0} for phase in PHASES]
    back = move_facts(RECORD | {"old_nve": "nve2", "new_nve": "nve1", "phases": later}, EVENTS)
    other = move_facts(RECORD | {"vm": "vm2", "phases": later}, EVENTS)
    assert stays_until_s(there, [there, back, other], 99.0) == 11.0
    assert stays_until_s(back, [there, back, other], 99.0) == 99.0
    assert stays_until_s(there, [there, other], 99.0) == 99.0


def test_a_moves_times_come_from_its_events() -> None:
    facts = move_facts(RECORD, EVENTS)
    assert (facts.start_s, facts.left_s, facts.there_s, facts.over_s) == (1.0, 3.5, 3.5, 6.0)
    assert (facts.policy_s, facts.redirects, facts.wired, facts.both_run) == (2.1, True, True, False)
    assert facts.holds == (Hold("direct", 2.2, 4.1 + 0.1),)
    assert facts.holding(3.0, "direct") and not facts.holding(3.0, "redirected")


def test_another_vms_switch_at_the_same_time_is_not_taken_for_this_ones() -> None:
    earlier = Event(2.9, "switch", {"old_nve": "nve1", "new_nve": "nve2"})
    assert move_facts(RECORD, [earlier, *EVENTS]).there_s == 3.5
    assert move_facts(RECORD, [earlier]).there_s == 4.0  # none of its own: the end of its phase


def test_what_another_vms_move_held_at_the_same_time_is_not_this_ones() -> None:
    """Two VMs that change places: the other one's holder is closed earlier and opened later."""
    own = [Event(one.t_s, one.kind, {**one.fields, "vm": "vm1"}) for one in EVENTS]
    other = [
        Event(1.5, "hold", {"holder": "direct", "vm": "vm2"}),
        Event(1.6, "northbound", {"method": "redirect", "vm": "vm2"}),
        Event(3.2, "switch", {"old_nve": "nve1", "new_nve": "nve2", "vm": "vm2"}),
        Event(3.9, "release", {"holder": "direct", "vm": "vm2"}),
    ]
    alone, together = move_facts(RECORD, own), move_facts(RECORD, [*other, *own])
    assert together == alone
    assert together.holds == (Hold("direct", 2.2, 4.1 + 0.1),)


def test_the_vm_stops_hearing_when_it_is_paused_but_for_freeze() -> None:
    assert move_facts({**RECORD, "paused_s": 2.5, "pause": "hold"}, EVENTS).left_s == 2.5
    assert move_facts({**RECORD, "paused_s": 2.5, "pause": "freeze"}, EVENTS).left_s == 3.5


def test_silent_drop_begins_with_the_commit_and_never_without_one() -> None:
    assert move_facts({**RECORD, "policy": "silent-drop"}, EVENTS).policy_s == 4.2
    assert move_facts({**RECORD, "policy": "silent-drop"}, []).policy_s == math.inf


def test_with_resume_first_the_new_copy_hears_before_the_switch() -> None:
    facts = move_facts({**RECORD, "order": "resume-first"}, EVENTS)
    assert (facts.both_run, facts.there_s, facts.left_s) == (True, 4.0, 3.5)


DUMP = """OFPST_TABLE reply (OF1.3) (xid=0x2):
  table 0:
    active=3, lookup=20, matched=18

  table 1:
    active=12, lookup=15, matched=15

  tables 2...3: ditto

  table 4:
    active=1, lookup=9, matched=2

  table 5: ditto
"""


def test_lookups_without_a_match_are_read_table_by_table() -> None:
    assert unmatched(DUMP) == {0: 2, 1: 0, 2: 0, 3: 0, 4: 7, 5: 7}


METERS = """OFPST_METER reply (OF1.3) (xid=0x2):
meter:controller flow_count:0 packet_in_count:950 byte_in_count:48000 duration:3.141s bands:
0: packet_count:57 byte_count:5700
"""


def test_what_a_meter_dropped_is_not_what_came_to_it() -> None:
    assert meter_of(METERS) == Meter(57, 3.141)
    assert meter_of("OFPST_METER reply (OF1.3) (xid=0x2):\n") == Meter()


def test_a_meter_made_anew_counts_from_nothing() -> None:
    """The NVA makes it anew whenever it is configured, as before each trial of another strategy."""
    before = Meter(57, 3.0)
    assert Meter(60, 5.0).since(before, 2.0) == 3
    assert Meter(57, 1.9).since(before, 2.0) == 57
    assert Meter(0, 1.0).since(before, 2.0) == 0


def test_every_cause_has_a_name_and_a_meaning() -> None:
    assert list(MEANINGS) == [cause.value for cause in Cause]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"fault": "old-leg-open", "policy": "buffer"},
            "policy=buffer the old NVE sends nothing into its leg",
        ),
        (
            {"fault": "new-nve-unprogrammed", "policy": "silent-drop", "attachment": "replug"},
            "needs attachment=rebind",
        ),
    ],
)
def test_a_mistake_that_could_not_show_is_refused(values: dict[str, str], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        check(values, TOPOLOGY)
    check({**values, "fault": "none"}, TOPOLOGY)
