"""What senders were asked for and what they really sent, from a record's trials. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from results.record.reading import Record

MISSED_RATE, BUSY_MACHINE = "offered rate", "machine"
"""Why a trial is invalid, as its ``invalid_by`` has it."""
_ASKED, _OFFERED = "asked_pps_", "offered_pps_"
_ADVISED_SHARE = 0.9  # of what a usual trial reached


def missed(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The trials that are invalid since a sender offered less than it was asked for."""
    return [trial for trial in trials if MISSED_RATE in trial.get("invalid_by", ())]


def reached(trials: Sequence[Mapping[str, Any]]) -> tuple[float, list[float]]:
    """(asked, sent in each trial), in packets/s, of each trial's flow that fell behind most; (0, []) without any."""
    worst = []
    for trial in trials:
        asked = _rates(trial, _ASKED)
        flows = [(sent / asked[flow], sent, asked[flow]) for flow, sent in _rates(trial, _OFFERED).items()]
        worst += [min(flows)] if flows else []
    if not worst:
        return 0.0, []
    return median(asked_pps for *_, asked_pps in worst), [sent for _, sent, _ in worst]


def advice(trials: Sequence[Mapping[str, Any]]) -> str:
    """What was reached in the trials that missed their rate, and what to do; '' when none missed it."""
    asked_pps, sent_pps = reached(missed(trials))
    if not sent_pps:
        return ""
    usual = _rounded(_ADVISED_SHARE * median(sent_pps))
    return (
        f"asked were {asked_pps:,.0f} packets/s, sent were {_span(sent_pps)}: ask for at most {usual:,} (rate_pps), or "
        "take a machine with more processors"
    )


def rate_warning(record: Record) -> str:
    """What must be read before the answer of a run some of whose trials missed their rate; '' when none did."""
    bad = missed(record.trials)
    asked_pps, sent_pps = reached(bad)
    if not sent_pps:
        return ""
    _, valid_pps = reached([trial for trial in record.trials if trial["valid"]])
    rest = f"; the figures are of trials in which {_span(valid_pps)} were sent" if valid_pps else ""
    return (
        f"OFFERED RATE NOT REACHED in {len(bad)} of {len(record.trials)} trials, which are invalid: asked were "
        f"{asked_pps:,.0f} packets/s, sent were {_span(sent_pps)}{rest}."
    )


def offered_sentence(record: Record) -> str:
    """What each UDP flow was asked for and what it sent, in the valid trials; '' where nothing was measured."""
    flows: dict[tuple[str, float], list[float]] = {}
    for trial in record.trials:
        asked = _rates(trial, _ASKED)
        for flow, sent in _rates(trial, _OFFERED).items():
            if trial["valid"]:
                flows.setdefault((_WAYS.get(flow, "beside"), asked[flow]), []).append(sent)
    told = [
        f"{asked_pps:,.5g} packets/s {way} asked, {_span(sent_pps)} sent"
        for (way, asked_pps), sent_pps in flows.items()
        if way != "beside"
    ]
    return f"Offered UDP: {'; '.join(told)}." if told else ""


_WAYS = {"to_vm": "to the VM", "from_vm": "from it"}


def _rates(trial: Mapping[str, Any], stem: str) -> dict[str, float]:
    """The rates of a trial's flows whose measures begin with ``stem``."""
    measures: Mapping[str, float] = trial["measures"]
    return {name.removeprefix(stem): value for name, value in measures.items() if name.startswith(stem)}


def _span(values: Sequence[float]) -> str:
    low, high = (f"{end(values):,.0f}" for end in (min, max))
    return low if low == high else f"{low} to {high}"


def _rounded(rate_pps: float) -> int:
    """Two digits of it, downwards."""
    unit: int = 10 ** max(0, len(str(int(rate_pps))) - 2)
    return int(rate_pps // unit) * unit
