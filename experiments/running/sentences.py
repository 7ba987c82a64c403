"""Figures in the words of an answer: a median with its 95 % interval, in a unit that reads well. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.probes.measures import LATER_S
from results.figures.display import begun
from results.figures.statistics import median_interval


def figure(values: Sequence[float], scale: float, unit: str, digits: int = 3) -> str:
    """'12.3 ms [11, 14]': median and bootstrap interval of ``values`` times ``scale``; 'not measured' without any."""
    if not values:
        return "(not measured)"
    scaled = [value * scale for value in values]
    middle = statistics.median(scaled)  # as tables have it, so that both say the same
    interval = median_interval(scaled)
    told = f"{_number(middle, digits)} {unit}".strip()
    if interval is None or interval[0] == interval[1]:
        return told
    return f"{told} [{_number(interval[0], digits)}, {_number(interval[1], digits)}]"


def milliseconds(values: Sequence[float]) -> str:
    """Seconds, told in milliseconds, or in seconds from one second on."""
    if values and statistics.median(values) >= 1.0:
        return figure(values, 1.0, "s")
    return figure(values, 1e3, "ms")


def packets(values: Sequence[float]) -> str:
    """A number of packets; where most are 0 and some are not, the largest too."""
    told = figure(values, 1.0, "")
    return f"{told} (at most {max(values):,.0f})" if values and told.startswith("0") and any(values) else told


def counted(values: Sequence[float], word: str) -> str:
    """'1 flow-mod', '93 [78, 93] flow-mods': a median number of things."""
    told = figure(values, 1.0, "")
    return f"{told} {word}{'' if told == '1' else 's'}"


def sentences(parts: Sequence[str]) -> str:
    """Each part a sentence, with its capital and its full stop; empty ones left out."""
    return " ".join(f"{begun(part)}." for part in parts if part)


def measured(
    trials: Sequence[Mapping[str, Any]], measure: str, *, null: bool = False, **wanted: Any
) -> list[float]:
    """Values of a measure in the valid trials that have it and these parameters; ``null``: in null trials."""
    return [
        trial["measures"][measure]
        for trial in trials
        if trial["valid"]
        and trial["null"] == null
        and trial["measures"].get(measure) is not None
        and all(trial["parameters"].get(name) == value for name, value in wanted.items())
    ]


def groups_tried(trials: Sequence[Mapping[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    """The values of these parameters that trials with a move have, in order of first appearance."""
    return list(
        dict.fromkeys(
            tuple(trial["parameters"].get(name) for name in names) for trial in trials if not trial["null"]
        )
    )


def moves_cost(trials: Sequence[Mapping[str, Any]], flows: Mapping[str, str]) -> str:
    """What was lost, duplicated, reordered in each flow (ends of measures' names -> words); short when nothing was."""
    moves = len([trial for trial in trials if trial["valid"] and not trial["null"]])
    of_moves = f"{moves:,} move{'s' if moves != 1 else ''}"
    found = [measured(trials, f"{verb}_packets_{end}") for end in flows for verb in _VERBS]
    if all(found) and not any(map(any, found)):
        return f"No packet was lost, duplicated or reordered in {of_moves} ({'; '.join(flows.values())})."
    told = []
    for end, words in flows.items():
        counts = [f"{verb} {packets(measured(trials, f'{verb}_packets_{end}'))}" for verb in _VERBS]
        told.append(f"{words}: {', '.join(counts)}")
    return f"Packets in {of_moves}, {'; '.join(told)}."


BOTH_WAYS = {"to_vm": "to the VM", "from_vm": "from it"}
"""Ends of measures' names and the words for them."""

_VERBS = ("lost", "duplicated", "reordered")


def stalls(trials: Sequence[Mapping[str, Any]], ends: Mapping[str, str]) -> str:
    """'TCP's longest pause was 12 ms to the VM (without a move 7 ms), ..'; '' where none was measured."""
    told = [
        f"{milliseconds(found)} {words} (without a move {milliseconds(measured(trials, name, null=True))})"
        for name, words in ((f"tcp_stall_s_{end}", words) for end, words in ends.items())
        if (found := measured(trials, name))
    ]
    return f" TCP's longest pause was {', '.join(told)}." if told else ""


def went_on(trials: Sequence[Mapping[str, Any]], **wanted: Any) -> list[bool]:
    """Of each valid move with connections: whether all that took part went on.

    A record from before each connection's fate was followed knows how many were read from at the window's end.
    """
    counts = [
        measured(trials, f"{fate}_connections_count", **wanted) for fate in ("went_on", "ended", "silent")
    ]
    if not counts[0]:
        alive = measured(trials, "alive_connections_count", **wanted)
        return [one == max(alive) for one in alive]
    return [some > 0 and not ended + silent for some, ended, silent in zip(*counts, strict=True)]


def all_went_on(trials: Sequence[Mapping[str, Any]], what: str = "connections") -> str:
    """'all 4 connections went on in 9 of 10 moves'; '' without any."""
    found = went_on(trials)
    seen = measured(trials, "went_on_connections_count") or measured(trials, "alive_connections_count")
    most = max(seen, default=0)
    return f"all {most:.0f} {what} went on in {sum(found)} of {len(found)} moves" if found else ""


def ends_of_connections(trials: Sequence[Mapping[str, Any]]) -> str:
    """Connections that ended or were still silent at the bound, a sentence; '' when all went on."""
    told = []
    for null, word in ((False, "move"), (True, "null trial")):
        some = [trial for trial in trials if trial["valid"] and trial["null"] == null]
        ends = [one for trial in some for one in trial.get("connections", {}).values()]
        where = f"{len(some):,} {word}{'' if len(some) == 1 else 's'}"
        hows = Counter(one["how"] for one in ends if one["fate"] == "ended")
        silent = sum(one["fate"] == "silent" for one in ends)
        if hows:
            kinds = "; ".join(f"{how}: {count}" for how, count in hows.items())
            told.append(f"in {where} {hows.total()} of {len(ends)} connections ended ({kinds})")
        if silent:
            told.append(
                f"in {where} {silent} of {len(ends)} connections were still silent when their sender's "
                "next timeout was over"
            )
    return sentences(told)


LONG_WATCH_S = 5.0
"""A trial that looked on for so long after its move says so, even when it saw nothing."""


def later_gaps(trials: Sequence[Mapping[str, Any]]) -> str:
    """Gaps that began later than the move's own; '' when nobody looked for long and none was seen."""
    looked = [trial for trial in trials if trial["valid"] and not trial["null"] and "later_s" in trial]
    watched_s = [trial["window_s"][1] - trial["later_s"] for trial in looked]
    told = []
    for way, words in BOTH_WAYS.items():
        dark = [
            (trial["measures"][f"later_blackout_s_{way}"], trial["measures"][f"later_blackout_after_s_{way}"])
            for trial in looked
            if trial["measures"].get(f"later_lost_packets_{way}")
        ]
        if dark:
            longest_s, after_s = max(dark)
            told.append(
                f"in {len(dark)} of {len(looked)} moves packets {words} were lost again, for at most "
                f"{milliseconds([longest_s])}, {LATER_S + after_s:.1f} s after the move"
            )
    if not told and max(watched_s, default=0.0) < LONG_WATCH_S:
        return ""
    lost = "; ".join(told) or "no packet was lost"
    paused = [
        f"{milliseconds(found)} {words} (without a move {milliseconds(measured(trials, name, null=True))})"
        for name, words in ((f"later_tcp_stall_s_{way}", words) for way, words in BOTH_WAYS.items())
        if (found := measured(trials, name))
    ]
    tcp = f"; TCP then paused for {', '.join(paused)}" if paused else ""
    return (
        f"Later, from {LATER_S:g} s after the VM ran at its new place and the peers were told, watched for "
        f"{milliseconds(watched_s)}: {lost}{tcp}."
    )


def stage_s(trials: Sequence[Mapping[str, Any]], first: str, last: str) -> list[float]:
    """Of each valid move: from the start of one phase to the end of another, in seconds."""
    found = []
    for trial in trials:
        if trial["valid"] and trial["migration"] is not None:
            times = {phase["name"]: phase for phase in trial["migration"]["phases"]}
            if first in times and last in times:
                found.append(times[last]["end_s"] - times[first]["start_s"])
    return found


def _number(value: float, digits: int) -> str:
    if abs(value) >= 10 ** (digits - 1) or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
