"""Two runs held against each other: what moved, each run seen against its own control. Pure.

A time is never compared as such: the machine of one run may be slower than that of the other. It is divided by what the
null trials of its own run show of the same measure, or, where they show nothing of it (nothing moved), by their round
trip; what is compared is the ratio of those two ratios, group by group, and over the groups their geometric mean.
A count is divided by the null trials' too where they have one; where a figure is 0 in most trials (lost packets,
blackout), the shares of trials in which it is more are compared (Fisher's exact test). Those can be compared where each
group has too few trials for an interval, as in short forms, as long as all groups together could show a difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.figures.display import label, shown_measures, unit_word
from results.figures.grouping import Group, groups_of
from results.figures.statistics import MINIMUM_FOR_INTERVAL, values_of
from results.record.contract import RecordError
from results.record.reading import Record

if TYPE_CHECKING:
    import numpy as np

    Values = np.ndarray[Any, np.dtype[np.float64]]

TOLERANCE = 1.10
"""A ratio that may lie within this factor of 1 has not moved, however surely it is measured."""
ALPHA = 0.05  # of a whole comparison; each measure gets its part (Bonferroni)
RESAMPLES = 9_999
MUST_AGREE = ("accelerator", "datapath", "port_type")
ROUND_TRIP = ("delay_median_s_to_vm", "delay_median_s_from_vm")
_TIMES = ("s", "ms", "us", "ns")
_LARGER_IS_BETTER = {"mos", "bps", "pps", "rate", "alive", "went", "multipath", "right"}
"""A word of the measure's name: scores, rates, connections that go on, advice that was right."""
_NOT_OF_THE_RESULT = {"repeat", "seed"}


class NotComparableError(RecordError):
    """The two runs say nothing of each other; the text says why."""


@dataclass(frozen=True)
class Change:
    """One measure: `ratio` of B to A, each against its own control, with its interval; `verdict` in a word."""

    measure: str
    ratio: float | None
    interval: tuple[float, float] | None
    control: str
    verdict: str
    detail: str

    @property
    def moved(self) -> bool:
        """Whether B differs from A."""
        return self.verdict in ("worse", "better")


@dataclass(frozen=True)
class Comparison:
    """All measures, what the two runs do not have in common, and measures without enough moves to be compared."""

    changes: list[Change]
    unequal: list[str]
    groups: list[str]
    too_few: list[str]

    @property
    def worse(self) -> list[Change]:
        """What got worse."""
        return [change for change in self.changes if change.verdict == "worse"]


def compare(a: Record, b: Record, *, tolerance: float = TOLERANCE, seed: int = 0) -> Comparison:
    """Compare run B with run A. Raises NotComparableError: other experiment, machine kind, or nothing in common."""
    refuse_unlike(a, b)
    groups = _common(a, b)
    both = [*shown_measures(a.trials, a.shown_measures), *shown_measures(b.trials, b.shown_measures)]
    names = list(dict.fromkeys(both))
    found = {
        name: _change(name, groups, ALPHA / len(names), tolerance, seed + number)
        for number, name in enumerate(names)
    }
    changes = [change for change in found.values() if change is not None]
    if not changes:
        raise NotComparableError(
            f"{a.name} and {b.name}: no measure has {MINIMUM_FOR_INTERVAL} valid moves in both; "
            "run more trials (repeat=N)"
        )
    too_few = [name for name, change in found.items() if change is None]
    return Comparison(changes, unequal_parameters(a, b), [one.label for one, _ in groups], too_few)


def refuse_unlike(a: Record, b: Record) -> None:
    """Raise NotComparableError where a difference would not be one of what is measured."""
    pair = f"{a.name} and {b.name} cannot be compared"
    if a.experiment != b.experiment:
        raise NotComparableError(
            f"{pair}: one is {a.experiment}, the other {b.experiment}; choose two of one experiment"
        )
    for record in (a, b):
        if not record.trials:
            raise NotComparableError(f"{pair}: {record.name} has no trials ({record.why}); run it again")
        if record.status == "failed":
            raise NotComparableError(f"{pair}: {record.name} did not end well ({record.why}); run it again")
    for key in MUST_AGREE:
        one, other = a.environment.get(key), b.environment.get(key)
        if one != other:
            raise NotComparableError(
                f"{pair}: {key.replace('_', ' ')} is {one or 'not known'} in the first and "
                f"{other or 'not known'} in the second; run both in the same kind of place"
            )
    if a.group_by != b.group_by:
        raise NotComparableError(
            f"{pair}: one is grouped by {', '.join(a.group_by)}, the other by {', '.join(b.group_by)}"
        )


def unequal_parameters(a: Record, b: Record) -> list[str]:
    """'rate_pps: 1000 and 2000' for each parameter of the runs that differs, number of trials and seed apart."""
    ours, theirs = a.parameters, b.parameters
    names = [name for name in dict.fromkeys((*ours, *theirs)) if name not in _NOT_OF_THE_RESULT]
    return [
        f"{name}: {ours.get(name, 'not set')} and {theirs.get(name, 'not set')}"
        for name in names
        if ours.get(name) != theirs.get(name)
    ]


def _common(a: Record, b: Record) -> list[tuple[Group, Group]]:
    theirs = {group.label: group for group in groups_of(b.trials, b.group_by)}
    pairs = [
        (group, theirs[group.label]) for group in groups_of(a.trials, a.group_by) if group.label in theirs
    ]
    if not pairs:
        raise NotComparableError(
            f"{a.name} and {b.name} cannot be compared: they have no group of trials in common"
        )
    return pairs


def _change(
    name: str, groups: Sequence[tuple[Group, Group]], alpha: float, tolerance: float, seed: int
) -> Change | None:
    moves = [tuple(values_of(group.trials, name, null=False) for group in pair) for pair in groups]
    kept = [
        (pair, values)
        for pair, values in zip(groups, moves, strict=True)
        if all(len(own) >= MINIMUM_FOR_INTERVAL for own in values)
    ]
    if not kept:
        ours, theirs = ([value for pair in moves for value in pair[side]] for side in (0, 1))
        rare = _mostly_nothing(ours) and _mostly_nothing(theirs)
        return (
            _by_share(name, groups, alpha) if rare and _could_differ(len(ours), len(theirs), alpha) else None
        )
    if any(_mostly_nothing(own) for _, values in kept for own in values):
        return _by_share(name, [pair for pair, _ in kept], alpha)
    sides = [_controlled(name, pair, values) for pair, values in kept]
    usable = [side for side in sides if side is not None]
    if not usable:
        return Change(
            name, None, None, "none", "not known", "no control in the null trials, or a median of 0"
        )
    control = usable[0][1]
    ratio, low, high = _ratio([four for four, _ in usable], alpha, seed)
    worse, better = (low > tolerance, high < 1 / tolerance)
    if _larger_is_better(name):
        worse, better = better, worse
    verdict = "worse" if worse else "better" if better else "same"
    detail = f"{ratio:.2f} [{low:.2f}, {high:.2f}] times, {len(usable)} of {len(groups)} groups"
    return Change(name, ratio, (low, high), control, verdict, detail)


def _larger_is_better(name: str) -> bool:
    return bool(_LARGER_IS_BETTER & set(name.split("_")))


def _mostly_nothing(values: Sequence[float]) -> bool:
    return 2 * sum(value == 0 for value in values) >= len(values)


Four = tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]


def _controlled(
    name: str, pair: tuple[Group, Group], moves: Sequence[Sequence[float]]
) -> tuple[Four, str] | None:
    """(moves of A, control of A, moves of B, control of B) and what the control is; None without one."""
    is_time = unit_word(name) in _TIMES
    for control, what in ((_own_floor, "null trials"), (_round_trip, "round trip of null trials")):
        if control is _round_trip and not is_time:
            break
        ours, theirs = (control(name, group) for group in pair)
        if all(len(own) >= MINIMUM_FOR_INTERVAL and _middle(own) > 0 for own in (ours, theirs)):
            return (
                ((moves[0], ours, moves[1], theirs), what) if all(_middle(own) > 0 for own in moves) else None
            )
    if not is_time and all(_middle(own) > 0 for own in moves):
        return (moves[0], (1.0,), moves[1], (1.0,)), "nothing: a count needs no control"
    return None


def _own_floor(name: str, group: Group) -> list[float]:
    return values_of(group.nulls, name, null=True)


def _round_trip(_name: str, group: Group) -> list[float]:
    both = [values_of(group.nulls, name, null=True) for name in ROUND_TRIP]
    return [one + other for one, other in zip(*both, strict=True)] if len(both[0]) == len(both[1]) else []


def _middle(values: Sequence[float]) -> float:
    from statistics import median

    return median(values)


def _ratio(groups: Sequence[Four], alpha: float, seed: int) -> tuple[float, float, float]:
    """Geometric mean over groups of (B moves / B control) / (A moves / A control), and its bootstrap interval."""
    import numpy as np

    random = np.random.default_rng(seed)
    total = np.zeros(RESAMPLES)
    point = 0.0
    for a_moves, a_control, b_moves, b_control in groups:
        for values, sign in ((b_moves, 1), (b_control, -1), (a_moves, -1), (a_control, 1)):
            array = np.asarray(values, float)
            point += sign * math.log(float(np.median(array)))
            drawn = array[random.integers(0, array.size, (RESAMPLES, array.size))]
            middles: Values = np.median(drawn, axis=1)
            # a resample may have a median of 0 where some values are; it then says "very small", not minus infinity
            total += sign * np.log(np.maximum(middles, array[array > 0].min() / 2))
    low, high = np.quantile(total / len(groups), (alpha / 2, 1 - alpha / 2))
    return math.exp(point / len(groups)), math.exp(float(low)), math.exp(float(high))


def _could_differ(a_all: int, b_all: int, alpha: float) -> bool:
    """Whether so many trials can show a difference at all: every one of B with some, none of A."""
    from scipy.stats import fisher_exact

    return bool(fisher_exact([[0, a_all], [b_all, 0]]).pvalue < alpha)


def _by_share(name: str, groups: Sequence[tuple[Group, Group]], alpha: float) -> Change:
    """Trials with any against trials with none, over all groups; the null trials' own share is the control."""
    from scipy.stats import fisher_exact

    def tally(side: int, null: bool) -> tuple[int, int]:
        seen: dict[int, float] = {}
        for pair in groups:
            group = pair[side]
            for trial in group.nulls if null else group.trials:
                for value in values_of([trial], name, null=null):
                    seen[trial["index"]] = value
        return sum(value != 0 for value in seen.values()), len(seen)

    (a_some, a_all), (b_some, b_all) = tally(0, False), tally(1, False)
    (a_null, a_nulls), (b_null, b_nulls) = tally(0, True), tally(1, True)
    p_value = float(fisher_exact([[a_some, a_all - a_some], [b_some, b_all - b_some]]).pvalue)
    floor = (b_null / b_nulls if b_nulls else 0.0) - (a_null / a_nulls if a_nulls else 0.0)
    shift = b_some / b_all - a_some / a_all - floor
    more = "better" if _larger_is_better(name) else "worse"
    less = "worse" if more == "better" else "better"
    verdict = "same" if p_value >= alpha or shift == 0 else more if shift > 0 else less
    detail = f"above 0 in {a_some} of {a_all} and {b_some} of {b_all} trials (p = {p_value:.2g})"
    if not (a_nulls or b_nulls):
        return Change(name, None, None, "none (null trials do not have it)", verdict, detail)
    detail += f"; null trials {a_null} of {a_nulls} and {b_null} of {b_nulls}"
    return Change(name, None, None, "null trials", verdict, detail)


def comparison_lines(found: Comparison, a: Record, b: Record) -> list[str]:
    """What the terminal shows."""
    lines = [f"A {a.name}", f"B {b.name}"]
    lines += [f"unequal parameter, {text}" for text in found.unequal]
    lines += [
        f"{change.verdict:>9}  {label(change.measure)}: {change.detail}; against {change.control}"
        for change in found.changes
    ]
    if found.too_few:
        few = ", ".join(label(name) for name in found.too_few)
        lines.append(f"not compared, fewer than {MINIMUM_FOR_INTERVAL} valid moves a group: {few}")
    return lines
