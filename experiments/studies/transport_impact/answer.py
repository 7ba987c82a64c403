"""The answer of transport-impact, from its trials. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.probes.tcp import RECOVERY_BIN_S
from experiments.running.sentences import figure, measured, milliseconds, sentences
from vocabulary.moves import DIRECTIONS

VOICE = "voice"
WAYS = {"buffer": "hold", "silent-drop": "drop"}
"""Policy of the old NVE, and the pause that goes with it: what is not kept in one place is not kept in the other."""
SOON_S = 0.1
WINDOW = "tcp_cwnd_min_packets"
CUT = 0.5
"""A window is called cut when it falls below this part of the smallest one without a move: what a loss alone costs."""
SATISFIED_MOS = 3.6
"""At R = 70; below it many users are dissatisfied (G.107 annex B, table B.1)."""


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """By way: up to which pause windows stay; each sender at a short and the longest pause; calls; the return."""
    valid = [trial for trial in trials if trial["valid"]]
    moves = [trial for trial in valid if not trial["null"]]
    if not moves:
        return None
    nulls = [trial for trial in valid if trial["null"]]
    short, told = [], []
    for policy, pause in WAYS.items():
        own = [trial for trial in moves if trial["parameters"]["policy"] == policy]
        meanwhile = f"packets {'kept' if pause == 'hold' else 'lost'} meanwhile ({policy})"
        if verdicts := [text for text in (_windows(own, nulls), _call(own)) if text]:
            short.append(f"with {meanwhile} {' and '.join(verdicts)}")
        if parts := [text for text in (_bulk(own), _who_waits(own)) if text]:
            told.append(f"{meanwhile}: {'; '.join(parts)}")
    return sentences(["; ".join(short), *told, _floor(nulls, _senders(moves)), _return(moves)])


def _floor(nulls: Sequence[Mapping[str, Any]], senders: Sequence[str]) -> str:
    """What senders do when nothing moves, in their own null trials."""
    parts = [
        f"{sender} stands still for {milliseconds(stalls)} with a window down to "
        f"{figure(_found(nulls, WINDOW, sender, null=True), 1, '')}"
        for sender in senders
        if (stalls := _found(nulls, "tcp_stall_s", sender, null=True))
    ]
    return f"without a move {'; '.join(parts)}" if parts else ""


def _windows(moves: Sequence[Mapping[str, Any]], nulls: Sequence[Mapping[str, Any]]) -> str:
    """The longest pause up to which no sender's window was cut; the review has it cut by any delay."""
    holds = None
    for pause_s in _pauses(moves):
        known = [
            (_values(moves, WINDOW, sender, pause_s), _found(nulls, WINDOW, sender, null=True))
            for sender in _senders(moves)
        ]
        pairs = [
            (statistics.median(here), statistics.median(there)) for here, there in known if here and there
        ]
        if not pairs:
            return ""
        if any(here < CUT * there for here, there in pairs):
            break
        holds = pause_s
    if holds is None:
        return "a sender's window fell below half of its least without a move at every pause, even none,"
    upto = "as long as there was no pause" if holds == 0 else f"up to a pause of {milliseconds([holds])}"
    return f"no sender's window fell below half of its least without a move {upto}"


def _return(moves: Sequence[Mapping[str, Any]]) -> str:
    """How soon behind a stall the rate was back, and why that says little of a long way."""
    ends = [f"_{way}_by_peer" for way in DIRECTIONS]
    behind = [
        trial["measures"][f"tcp_recovery_s{end}"] - trial["measures"][f"tcp_stall_s{end}"]
        for trial in moves
        for end in ends
        if trial["measures"].get(f"tcp_recovery_s{end}") is not None
    ]
    if not behind:
        return ""
    never = sum(trial["measures"].get(f"tcp_recovery_s{end}", 0.0) is None for trial in moves for end in ends)
    at_once = sum(waited_s <= 0 for waited_s in behind)
    told = (
        f"behind a stall the first {milliseconds([RECOVERY_BIN_S])} had 90 % of the rate of before in {at_once} of "
        f"{len(behind) + never} trials"
    )
    if later := [waited_s for waited_s in behind if waited_s > 0]:
        told += f", later ones within {milliseconds(later)}, at most {milliseconds([max(later)])}"
    if never:
        told += f", in {never} trials none did"
    if statistics.median(behind) < SOON_S:
        told += ": the round trip is that of the queue alone, so slow start is soon over (bottleneck_wan is a long way)"
    return told


def _bulk(moves: Sequence[Mapping[str, Any]]) -> str:
    """What senders went through at a short pause and at the longest."""
    pauses, told = _pauses(moves), []
    for sender in _senders(moves):
        parts = []
        for pause_s in dict.fromkeys((_short(pauses), pauses[-1])):
            window, timeouts, undone, again, vain = (
                figure(_values(moves, f"tcp_{name}", sender, pause_s), 1, "")
                for name in (
                    "cwnd_min_packets",
                    "timeouts_count",
                    "spurious_timeouts_count",
                    "retransmitted_segments",
                    "spurious_segments",
                )
            )
            parts.append(
                f"{milliseconds(_values(moves, 'tcp_stall_s', sender, pause_s))} at a pause of "
                f"{milliseconds([pause_s])} (window down to {window}, timeouts {timeouts}, taken back {undone}, "
                f"segments again {again}, in vain {vain})"
            )
        told.append(f"{sender} stands still for {', '.join(parts)}")
    return "; ".join(told)


def _who_waits(moves: Sequence[Mapping[str, Any]]) -> str:
    """Which senders a short pause leaves to their timeout and which not, where they differ."""
    pause_s = _short(_pauses(moves))
    waits: dict[bool, list[str]] = {True: [], False: []}
    for sender in _senders(moves):
        if counted := _values(moves, "tcp_timeouts_count", sender, pause_s):
            waits[statistics.median(counted) >= 1].append(sender)
    if not all(waits.values()):
        return ""
    return (
        f"at {milliseconds([pause_s])} {', '.join(waits[True])} must wait for a timeout and {', '.join(waits[False])} "
        "need not: who has packets in the queue behind the lost ones hears of the loss by them"
    )


def _call(moves: Sequence[Mapping[str, Any]]) -> str:
    """The longest pause at which a call is still good, and its score at the next one and at the longest of all."""
    scores = {pause_s: _values(moves, "voice_mos", VOICE, pause_s) for pause_s in _pauses(moves)}
    scores = {pause_s: found for pause_s, found in scores.items() if found}
    if not scores:
        return ""
    stands = [pause_s for pause_s, found in scores.items() if statistics.median(found) >= SATISFIED_MOS]
    longest_s = max(stands, default=-1.0)
    beyond = sorted(pause_s for pause_s in scores if pause_s > longest_s)
    worse = ", ".join(
        f"{figure(scores[pause_s], 1, '')} at {milliseconds([pause_s])}"
        for pause_s in dict.fromkeys((*beyond[:1], *beyond[-1:]))
    )
    if not stands:
        return f"no call has MOS {SATISFIED_MOS}: {worse}"
    upto = "without a pause only" if longest_s == 0 else f"up to a pause of {milliseconds([longest_s])}"
    return f"a call has MOS {SATISFIED_MOS} or better {upto}{f', {worse}' if worse else ''}"


def _short(pauses: Sequence[float]) -> float:
    return pauses[len(pauses) // 3]


def _pauses(moves: Sequence[Mapping[str, Any]]) -> list[float]:
    return sorted({trial["parameters"]["pause_s"] for trial in moves})


def _senders(moves: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({trial["parameters"]["transport"] for trial in moves} - {VOICE})


def _values(moves: Sequence[Mapping[str, Any]], measure: str, transport: str, pause_s: float) -> list[float]:
    return _found(moves, measure, transport, pause_s=pause_s)


def _found(
    trials: Sequence[Mapping[str, Any]], measure: str, transport: str, *, null: bool = False, **wanted: Any
) -> list[float]:
    """Of that sender: both directions of a call, the one connection of TCP."""
    names = [measure] + [f"{measure}_{way}{of}" for of in ("_by_peer", "") for way in DIRECTIONS]
    found = [measured(trials, name, null=null, transport=transport, **wanted) for name in names]
    if transport == VOICE:
        return [value for values in found for value in values]
    return next(filter(None, found), [])
