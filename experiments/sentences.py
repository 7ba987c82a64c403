"""Figures in the words of an answer: a median with its 95 % interval, in a unit that reads well. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from results.statistics import median_interval


def figure(values: Sequence[float], scale: float, unit: str, digits: int = 3) -> str:
    """'12.3 ms [11, 14]': median and bootstrap interval of ``values`` times ``scale``; 'not measured' without any."""
    if not values:
        return "(not measured)"
    scaled = [value * scale for value in values]
    middle = statistics.median_low(scaled)
    interval = median_interval(scaled)
    told = f"{_number(middle, digits)} {unit}".strip()
    if interval is None or interval[0] == interval[1]:
        return told
    return f"{told} [{_number(interval[0], digits)}, {_number(interval[1], digits)}]"


def milliseconds(values: Sequence[float]) -> str:
    """Seconds, told in milliseconds, or in seconds from one second on."""
    if values and statistics.median_low(values) >= 1.0:
        return figure(values, 1.0, "s")
    return figure(values, 1e3, "ms")


def packets(values: Sequence[float]) -> str:
    """A number of packets."""
    return figure(values, 1.0, "")


def _number(value: float, digits: int) -> str:
    if abs(value) >= 10 ** (digits - 1) or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
