"""The answer of transport-impact, from its trials. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from .probes.transports.base import DIRECTIONS
from .running.sentences import figure, measured, milliseconds

VOICE = "voice"
WAYS = {"buffer": "hold", "silent-drop": "drop"}
"""Policy of the old NVE, and the pause that goes with it: what is not kept in one place is not kept in the other."""
SOON_S = 0.1
SATISFIED_MOS = 3.6
"""At R = 70; below it many users are dissatisfied (G.107 annex B, table B.1)."""


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """By way: each sender's stall at a short and at the longest pause; the longest pause a call stands; the return."""
    moves = [trial for trial in trials if trial["valid"] and not trial["null"]]
    if not moves:
        return None
    told = []
    for policy, pause in WAYS.items():
        own = [trial for trial in moves if trial["parameters"]["policy"] == policy]
        parts = [text for text in (_bulk(own), _who_waits(own), _call(own)) if text]
        told.append(
            f"Packets {'kept' if pause == 'hold' else 'lost'} meanwhile ({policy}): {'; '.join(parts)}."
        )
    return " ".join((*told, *_return(moves)))


def _return(moves: Sequence[Mapping[str, Any]]) -> list[str]:
    """How soon behind a stall the rate was back, and why that says little of a long way."""
    ends = [f"_{way}_by_peer" for way in DIRECTIONS]
    behind = [
        trial["measures"][f"tcp_recovery_s{end}"] - trial["measures"][f"tcp_stall_s{end}"]
        for trial in moves
        for end in ends
        if trial["measures"].get(f"tcp_recovery_s{end}") is not None
    ]
    if not behind:
        return []
    never = sum(trial["measures"].get(f"tcp_recovery_s{end}", 0.0) is None for trial in moves for end in ends)
    told = (
        f"Behind a stall the rate was back within {milliseconds(behind)}, at most {milliseconds([max(behind)])}"
        f"{f', in {never} trials not at all' if never else ''}"
    )
    if statistics.median(behind) < SOON_S:
        told += ": the round trip is that of the queue alone, so slow start is soon over"
    return [f"{told}."]


def _bulk(moves: Sequence[Mapping[str, Any]]) -> str:
    """What senders went through at a short pause and at the longest."""
    pauses, told = _pauses(moves), []
    for sender in sorted({trial["parameters"]["transport"] for trial in moves} - {VOICE}):
        parts = []
        for pause_s in dict.fromkeys((_short(pauses), pauses[-1])):
            timeouts, again, vain = (
                figure(_values(moves, f"tcp_{name}", sender, pause_s), 1, "")
                for name in ("timeouts_count", "retransmitted_segments", "spurious_segments")
            )
            parts.append(
                f"{milliseconds(_values(moves, 'tcp_stall_s', sender, pause_s))} at a pause of "
                f"{milliseconds([pause_s])} (timeouts {timeouts}, segments again {again}, in vain {vain})"
            )
        told.append(f"{sender} stands still for {', '.join(parts)}")
    return "; ".join(told)


def _who_waits(moves: Sequence[Mapping[str, Any]]) -> str:
    """Which senders a short pause leaves to their timeout and which not, where they differ."""
    pause_s = _short(_pauses(moves))
    waits: dict[bool, list[str]] = {True: [], False: []}
    for sender in sorted({trial["parameters"]["transport"] for trial in moves} - {VOICE}):
        if counted := _values(moves, "tcp_timeouts_count", sender, pause_s):
            waits[statistics.median(counted) >= 1].append(sender)
    if not all(waits.values()):
        return ""
    return (
        f"at {milliseconds([pause_s])} {', '.join(waits[True])} must wait for a timeout and {', '.join(waits[False])} "
        "need not: who has packets in the queue behind the lost ones hears of the loss by them"
    )


def _call(moves: Sequence[Mapping[str, Any]]) -> str:
    """The longest pause at which a call is still good, and its score at the longest pause of all."""
    scores = {pause_s: _values(moves, "voice_mos", VOICE, pause_s) for pause_s in _pauses(moves)}
    scores = {pause_s: found for pause_s, found in scores.items() if found}
    if not scores:
        return ""
    longest_s = max(scores)
    stands = [pause_s for pause_s, found in scores.items() if statistics.median(found) >= SATISFIED_MOS]
    worst = f"{figure(scores[longest_s], 1, '')} at {milliseconds([longest_s])}"
    if not stands:
        return f"no call has MOS {SATISFIED_MOS}, the last one {worst}"
    return f"a call has MOS {SATISFIED_MOS} or better up to a pause of {milliseconds([max(stands)])}, and {worst}"


def _short(pauses: Sequence[float]) -> float:
    return pauses[len(pauses) // 3]


def _pauses(moves: Sequence[Mapping[str, Any]]) -> list[float]:
    return sorted({trial["parameters"]["pause_s"] for trial in moves})


def _values(moves: Sequence[Mapping[str, Any]], measure: str, transport: str, pause_s: float) -> list[float]:
    """Of that sender and pause: both directions of a call, the one connection of TCP."""
    names = [measure] + [f"{measure}_{way}{of}" for of in ("_by_peer", "") for way in DIRECTIONS]
    found = [measured(moves, name, transport=transport, pause_s=pause_s) for name in names]
    if transport == VOICE:
        return [value for values in found for value in values]
    return next(filter(None, found), [])
