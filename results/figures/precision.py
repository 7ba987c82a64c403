"""How many more trials an interval of a wanted width would take. Pure.

The width of an interval of a median falls as 1/sqrt(n), as its standard error does (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 6). So n trials with a width w need n * (w / wanted)^2 for the wanted one.
It is a forecast from few trials: ask again when some of them are done.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from results.figures.display import label, scale, shown_measures
from results.figures.grouping import groups_of, named
from results.figures.statistics import median_interval, values_of
from results.record.contract import RecordError
from results.record.reading import Record

WORTH_TELLING = 10_000
USUAL_SHARE = 0.1  # the interval that tables speak of: within 10 % of the median on either side
_TO_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class Width:
    """A wanted interval, from end to end: a time in seconds, a number of anything else, or a share of the median.

    The share is meant on either side of the median.
    """

    time_s: float | None = None
    number: float | None = None
    share: float | None = None

    def of(self, measure: str, middle: float) -> float | None:
        """The width in the measure's unit, for a median; None where it says nothing of such a measure."""
        if self.share is not None:
            return 2 * self.share * abs(middle)
        per_ms, unit = scale(measure)
        if unit == "ms":
            return None if self.time_s is None else self.time_s * 1e3 / per_ms
        return self.number


def parse_width(text: str) -> Width:
    """`2ms`, `0.5s` of times, `10%` of the median (either side), `3` of what is no time. Raises RecordError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%|s|ms|us|ns|)\s*", text)
    if found is None or float(found[1]) <= 0:
        raise RecordError(
            f"width {text!r}: wanted more than 0, such as 2ms or 0.5s (of times), 10%, or 3 (of packets and the like)"
        )
    number, unit = float(found[1]), found[2]
    if unit == "%":
        return Width(share=number / 100)
    return Width(time_s=number * _TO_SECONDS[unit]) if unit else Width(number=number)


def more_trials(n: int, width: float, wanted: float) -> int:
    """How many trials more than n make an interval of `width` one of `wanted`; 0 when it is narrow enough."""
    if width <= wanted:
        return 0
    if wanted <= 0:
        raise ValueError("an interval of width 0 takes more trials than there are")
    return math.ceil(n * (width / wanted) ** 2) - n


@dataclass(frozen=True)
class Forecast:
    """One group and measure: its interval now, and the trials that the wanted one takes besides."""

    group: str
    measure: str
    n: int
    middle: float
    interval: list[float]
    more: int


def forecasts(record: Record, wanted: Width, names: Sequence[str] | None = None) -> list[Forecast]:
    """Of each group and measure that has an interval, and of which such a width can be asked.

    A median of 0 has no share, so it is left out there.
    """
    made = []
    shown = shown_measures(record.trials, record.shown_measures)
    groups = named(groups_of(record.trials, record.group_by))
    for name in names or [one for one in shown if not one.startswith("predicted_")]:
        for group, called in groups:
            values = values_of(group.trials, name, null=False)
            interval = median_interval(values)
            if interval is None or (wanted.share is not None and median(values) == 0):
                continue
            middle, width = median(values), interval[1] - interval[0]
            asked = wanted.of(name, middle)
            if asked is None:
                continue
            more = more_trials(len(values), width, asked)
            made.append(Forecast(called, name, len(values), middle, interval, more))
    return made


def usual_sentence(record: Record) -> str:
    """What the widest interval would take to lie within 10 % of its median; '' if no shown measure has one."""
    found = forecasts(record, Width(share=USUAL_SHARE))
    if not found:
        return ""
    widest = max(found, key=lambda one: one.more)
    if widest.more == 0:
        return "Every interval lies within 10 % of its median."
    return (
        f"For an interval within 10 % of the median, {_lower(label(widest.measure))} ({widest.group}) needs "
        f"{_some(widest.more)} more trials (it has {widest.n}); {sum(one.more == 0 for one in found)} of {len(found)} "
        "intervals are as narrow now."
    )


def lines(record: Record, wanted: Width, text: str, names: Sequence[str] | None = None) -> list[str]:
    """A line a group and measure, those that need most first."""
    found = sorted(forecasts(record, wanted, names), key=lambda one: -one.more)
    if not found:
        return [
            f"no measure that {text} can be asked of has an interval: that takes three valid trials of a group"
        ]
    made = []
    for one in found:
        factor, unit = scale(one.measure)
        low, high = (value * factor for value in one.interval)
        said = f"{_some(one.more)} more trials" if one.more else "enough"
        made.append(
            f"{label(one.measure)} ({one.group}): {one.middle * factor:.3g} [{low:.3g}, {high:.3g}] {unit}, n={one.n}; "
            f"for {text}: {said}"
        )
    return made


def _some(more: int) -> str:
    """The forecast is a guess from few trials: beyond all patience its digits mean nothing."""
    return f"some {more:,}" if more <= WORTH_TELLING else f"more than {WORTH_TELLING:,}"


def _lower(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
