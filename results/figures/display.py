"""How measures are written for people: labels, units, intervals. Pure; shared by table and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results.figures.statistics import LAST_BARRIER, Trials, measures_of
from results.record.contract import UNIT_WORDS

# (heading, measure towards the VM, measure from the VM); a measure without direction stands alone
Column = tuple[str, str, str | None]
STANDARD: tuple[Column, ...] = (
    ("lost", "lost_packets_to_vm", "lost_packets_from_vm"),
    ("blackout", "blackout_s_to_vm", "blackout_s_from_vm"),
    ("duplicated", "duplicated_packets_to_vm", "duplicated_packets_from_vm"),
    ("reordered", "reordered_packets_to_vm", "reordered_packets_from_vm"),
    ("TCP stall", "tcp_stall_s_to_vm", "tcp_stall_s_from_vm"),
    ("call to last barrier", LAST_BARRIER, None),
)
_WRITTEN = {
    word: word.upper()
    for word in ["dhcp", "icmp", "mptcp", "nva", "nve", "quic", "rto", "rtt", "sctp", "tcp", "udp", "vm"]
}
_TIME_TO_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
NOT_MEASURED = "–"


def unit_word(measure: str) -> str:
    """The word of a measure's name that is its unit ('' if there is none)."""
    return next((word for word in measure.split("_") if word in UNIT_WORDS), "")


def scale(measure: str) -> tuple[float, str]:
    """(factor, unit) for showing: times become ms, everything else stays as it is."""
    unit = unit_word(measure)
    return (_TIME_TO_MS[unit], "ms") if unit in _TIME_TO_MS else (1.0, unit)


def label(measure: str) -> str:
    """`tcp_stall_s_to_vm` as 'TCP stall to VM'."""
    words = measure.split("_")
    unit = unit_word(measure)
    if unit in words:
        words.remove(unit)
    return begun(" ".join(_WRITTEN.get(word, word) for word in words))


def begun(text: str) -> str:
    """The text with a capital in front, as a sentence begins."""
    return text[:1].upper() + text[1:]


def count_text(number: int, word: str) -> str:
    """'1 move', '2 moves'."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def columns_of(trials: Trials, shown: Sequence[str] | None = None) -> list[Column]:
    """What tables, charts and answers show, in order: the measures of `shown`, else the standard ones.

    Only measures that some trial has; every measure when it has none of those. The two directions of a
    measure make one column.
    """
    have = measures_of(trials)
    if shown is None:
        there = [
            column
            for column in STANDARD
            if any(name in have for name in column[1:]) and (column[2] or column[1] in have)
        ]
        return there or paired(have)
    return paired([name for name in shown if name in have] or have)


def shown_measures(trials: Trials, shown: Sequence[str] | None = None) -> list[str]:
    """The measures of `columns_of` one by one, those that some trial has."""
    have = measures_of(trials)
    return [name for column in columns_of(trials, shown) for name in column[1:] if name in have]


def paired(names: Sequence[str]) -> list[Column]:
    """Columns of any measures: `x_to_vm` with `x_from_vm` where both are named, first seen first."""
    made: list[Column] = []
    for name in names:
        other = name.replace("_to_vm", "_from_vm") if "_to_vm" in name else None
        if other in names:
            made.append((_heading(name.replace("_to_vm", "")), name, other))
        elif "_from_vm" not in name or name.replace("_from_vm", "_to_vm") not in names:
            made.append((_heading(name), name, None))
    return made


def _heading(measure: str) -> str:
    """'delay max', 'TCP stall': the label as it stands inside a heading."""
    standard = {column[1].replace("_to_vm", ""): column[0] for column in STANDARD}
    text = label(measure)
    return standard.get(measure) or (text if text[1:2].isupper() else text[:1].lower() + text[1:])


def three_digits(value: float) -> str:
    """'8.3', '0.507', '1,009', '<0.001': three digits where there are, and never an exponent."""
    if value and abs(value) < 0.001:
        return "<0.001"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def number(measure: str, value: float | None, *, digits: int = 3) -> str:
    """A value in the shown unit, without the unit: whole numbers as such, else about three digits."""
    if value is None:
        return NOT_MEASURED
    shown = value * scale(measure)[0]
    if shown == 0 or (scale(measure)[1] != "ms" and float(shown).is_integer()):
        return f"{shown:,.0f}"
    size = abs(shown)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else digits
    return f"{shown:,.{decimals}f}"


def median_text(measure: str, figures: Mapping[str, Any], *, with_max: bool = True) -> str:
    """'24.0 [22.1, 26.5]': the median and its 95 % interval; '–' when nothing was measured.

    A median of 0 with larger values among the trials has ' max 12' behind it.
    """
    if not figures or figures.get("n", 0) == 0:
        return NOT_MEASURED
    interval = figures.get("ci95")
    text = number(measure, figures["median"])
    if interval is None:
        # too few for an interval: the values themselves, so that a loss cannot hide in their median
        between = f"{number(measure, figures['min'])} to {number(measure, figures['max'])}, "
        return f"{text} ({between if figures['min'] != figures['max'] else ''}n={figures['n']})"
    text = f"{text} [{number(measure, interval[0])}, {number(measure, interval[1])}]"
    if (
        with_max and figures["median"] == 0 and figures["max"] > 0
    ):  # a rare loss must not vanish behind a median of 0
        text += f" max {number(measure, figures['max'])}"
    return text


def spread_text(measure: str, figures: Mapping[str, Any]) -> str:
    """'p95 31, max 40' as far as n allows; '' when every value is the same."""
    if not figures.get("n") or figures["min"] == figures["max"]:
        return ""
    parts = [
        f"{key} {number(measure, figures[key])}" for key in ("p95", "p99") if figures.get(key) is not None
    ]
    parts.append(f"max {number(measure, figures['max'])}")
    return ", ".join(parts)


def heading(name: str, measure: str) -> str:
    """'lost, packets', 'blackout, ms'."""
    return f"{name}, {scale(measure)[1]}"
