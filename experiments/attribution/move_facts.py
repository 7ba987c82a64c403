"""What a move did to packets, and when, from its record and the events of its trial. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.attribution.causes import Hold, MoveFacts
from vocabulary.policies import POLICIES

EMPTYING_S = 0.1
"""A holder that was opened lets its frames out at its own pace; what comes meanwhile queues behind them."""


@dataclass(frozen=True)
class Event:
    """One event of a trial, as it goes into ``events.jsonl``."""

    t_s: float
    kind: str
    fields: Mapping[str, Any]


def move_facts(migration: Mapping[str, Any], events: Sequence[Event]) -> MoveFacts:
    """The facts of one move; ``migration`` as in a record, ``events`` of the whole trial."""
    phases = {phase["name"]: phase for phase in migration["phases"]}
    start_s, end_s = migration["phases"][0]["start_s"], migration["phases"][-1]["end_s"]
    inside = [event for event in events if start_s <= event.t_s <= end_s and _may_be_of(event, migration)]
    # Another VM may move the same way at the same time: its switch is in a phase of its own.
    switch = phases["switch"]
    switched = [one for one in inside if one.kind == "switch" and _is_of(one, migration)]
    within_s = [one.t_s for one in switched if switch["start_s"] <= one.t_s <= switch["end_s"]]
    switch_s = max(within_s, default=switch["end_s"])
    wired = migration["attachment"] == "rebind"
    both_run = migration.get("order") == "resume-first"
    paused_s, pause = migration["paused_s"], migration["pause"]
    left_s = switch_s if paused_s is None or pause == "freeze" else min(paused_s, switch_s)
    if not wired:
        left_s = min(left_s, phases["switch"]["start_s"])
    policy = POLICIES[migration["policy"]]
    began = "redirect" if policy.acts else "commit_move"
    called = [one for one in inside if one.kind == "northbound" and one.fields["method"] == began]
    return MoveFacts(
        vm=migration["vm"],
        old_nve=migration["old_nve"],
        new_nve=migration["new_nve"],
        start_s=start_s,
        left_s=left_s,
        there_s=phases["resume"]["start_s"] if both_run else switch_s,
        policy_s=called[0].t_s if called else math.inf,
        over_s=migration.get("redirect_ended_s") or end_s,
        redirects=policy.redirects,
        wired=wired,
        both_run=both_run,
        holds=tuple(_holds(inside, end_s)),
    )


def stays_until_s(move: MoveFacts, moves: Sequence[MoveFacts], end_s: float) -> float:
    """Until when the VM is where a move took it: its next move begins, or what is looked at ends (``end_s``)."""
    return min(
        (one.start_s for one in moves if one.vm == move.vm and one.start_s > move.start_s), default=end_s
    )


def _is_of(event: Event, migration: Mapping[str, Any]) -> bool:
    return (event.fields.get("old_nve"), event.fields.get("new_nve")) == (
        migration["old_nve"],
        migration["new_nve"],
    )


def _may_be_of(event: Event, migration: Mapping[str, Any]) -> bool:
    """Whether an event is of that VM's move, or does not say (as in runs before 2026-11-27)."""
    return bool(event.fields.get("vm", migration["vm"]) == migration["vm"])


def _holds(events: Sequence[Event], end_s: float) -> list[Hold]:
    """Each time that a holder of the VM kept frames."""
    found = []
    for event in events:
        if event.kind == "hold":
            holder = event.fields["holder"]
            released = [
                one.t_s
                for one in events
                if one.kind == "release" and one.fields["holder"] == holder and one.t_s >= event.t_s
            ]
            until_s = min(released[0] + EMPTYING_S, end_s) if released else end_s
            found.append(Hold(holder, event.t_s, until_s))
    return found
