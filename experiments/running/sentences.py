"""Figures in the words of an answer: a median with its 95 % interval, in a unit that reads well. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from results.display import begun
from results.statistics import median_interval


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
