"""What a run with several groups says: its lead measures, group by group or from least to most. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from results.figures.display import Column, columns_of, label, number, scale
from results.figures.grouping import (
    NULL_LABEL,
    SEPARATOR,
    Group,
    groups_of,
    named,
    null_groups,
    parameter_label,
)
from results.figures.statistics import Trials, count_trials, median_interval, values_of
from results.record.contract import DEFAULT_GROUP_BY
from results.record.reading import Record

MOST_GROUPS_TOLD = 4  # of more, the least and the most in a sentence
MOST_GROUPS_LISTED = 8  # the same in a list
LEAD = {"lost", "blackout", "TCP stall"}  # of the standard measures
_SIGNS = {"_to_vm": "→", "_from_vm": "←"}


def lead_columns(record: Record) -> list[Column]:
    """The few columns that carry a run's answer: the first two it names, else loss, blackout, TCP stall."""
    columns = columns_of(record.trials, record.shown_measures)
    if record.shown_measures is None:
        return [column for column in columns if column[0] in LEAD] or columns[:2]
    return columns[:2]


def grouped_sentence(record: Record) -> str:
    """'In 40 valid trials, by policy: lost to VM, packets, was a median 0 [0, 0] (buffer), ...'; '' if none.

    Told of the first measure the run names, in each direction; of many groups the least and the most.
    """
    groups = groups_of(record.trials, record.group_by)
    columns = columns_of(record.trials, record.shown_measures)[:1]
    valid = count_trials(record.trials)["valid"]
    told = []
    for name in (name for column in columns for name in column[1:] if name):
        found = [(group, values) for group in groups if (values := values_of(group.trials, name, null=False))]
        if not found:
            continue
        what = _lower(label(name))
        ranked = sorted(found, key=lambda item: median(item[1]))
        if len(found) > 1 and len({_figure(name, values) for _, values in found}) == 1:
            told.append(f"{what} was a median {_of(name, None, found[0][1])} in each of {len(found)} groups")
        elif len(found) > MOST_GROUPS_TOLD:
            ends = " to ".join(_of(name, group, values) for group, values in (ranked[0], ranked[-1]))
            told.append(f"{what} went from a median {ends}, {len(found)} groups in all")
        else:
            told.append(
                f"{what} was a median " + ", ".join(_of(name, group, values) for group, values in found)
            )
    if not told:
        return ""
    by = SEPARATOR.join(parameter_label(name) for name in record.group_by)
    return f"In {valid} valid trial{'s' if valid != 1 else ''}, by {by}: {'; '.join(told)}."


def lead_figures(record: Record) -> list[str]:
    """Lines such as 'lost, packets: → 0 [0, 0] ← 0 [0, 0]', of the lead measures; → is towards the VM.

    Over all paths in one; with other groups a line a group, of many the least and the most.
    """
    lines = []
    for column in lead_columns(record):
        name = column[1]
        if record.group_by == DEFAULT_GROUP_BY:
            lines.append(f"{column[0]}, {scale(name)[1]}: {_both(column, record.trials)}")
            continue
        groups = [
            group
            for group in groups_of(record.trials, record.group_by)
            if any(values_of(group.trials, one, null=False) for one in column[1:] if one)
        ]
        shown: Sequence[Group] = groups
        if len(groups) > MOST_GROUPS_LISTED and (counted := _yes_or_no(column, groups, record)):
            lines.append(counted)
            continue
        if len(groups) > MOST_GROUPS_LISTED:
            measured = [group for group in groups if values_of(group.trials, name, null=False)]
            ranked = sorted(measured, key=lambda group: median(values_of(group.trials, name, null=False)))
            shown = [ranked[0], ranked[-1]] if ranked else groups[:2]
        called = {group.label: told for group, told in named(groups)}
        lines += [
            f"{column[0]}, {scale(name)[1]}, {called[group.label]}: {_both(column, group.trials)}"
            for group in shown
        ]
        if len(shown) < len(groups):
            lines.append(f"({column[0]}: the least and the most of {len(groups)} groups)")
    return lines


def _yes_or_no(column: Column, groups: Sequence[Group], record: Record) -> str:
    """'accepted: 8 of 28 groups (verb · state)' of a count that is 0 or 1 in every trial; else ''.

    A median of such counts says nothing. A group counts in which any trial has a 1.
    """
    name = column[1]
    found = [values_of(group.trials, name, null=False) for group in groups]
    if scale(name)[1] != "count" or any(value not in (0, 1) for values in found for value in values):
        return ""
    mixed = sum(0 < sum(values) < len(values) for values in found)
    by = SEPARATOR.join(parameter_label(one) for one in record.group_by)
    told = f"{column[0]}: {sum(any(values) for values in found)} of {len(found)} groups ({by})"
    return f"{told}, in {mixed} of them not in every trial" if mixed else told


def floor_figures(record: Record) -> list[str]:
    """Lines such as 'TCP stall, ms: → 13.7, max 15.2': the lead measures in the valid null trials.

    Where these are of moves alone, the first measure shown that there is without a move.
    """
    lines = _floor(record, lead_columns(record))
    others = iter(columns_of(record.trials, record.shown_measures))
    while not lines and (column := next(others, None)) is not None:
        lines = _floor(record, [column])
    return lines


def _floor(record: Record, columns: Sequence[Column]) -> list[str]:
    lines = []
    for column in columns:
        for group in null_groups(record.trials, record.group_by):
            parts = []
            for name in (name for name in column[1:] if name):
                values = values_of(group.trials, name, null=False)  # null_groups holds them as moves
                if values:
                    sign = _sign(name) if column[2] else ""
                    parts.append(f"{sign}{number(name, median(values))}, max {number(name, max(values))}")
            of = group.label.removeprefix(NULL_LABEL).removeprefix(SEPARATOR)
            if parts:
                lines.append(
                    f"{column[0]}, {scale(column[1])[1]}{f', {of}' if of else ''}: {'; '.join(parts)}"
                )
    return lines


def _both(column: Column, trials: Trials) -> str:
    parts = []
    for name in (name for name in column[1:] if name):
        values = values_of(trials, name, null=False)
        if values:
            sign = _sign(name) if column[2] else ""
            parts.append(sign + _figure(name, values))
    return " ".join(parts) or "not measured"


def _sign(name: str) -> str:
    return next((f"{sign} " for side, sign in _SIGNS.items() if side in name), "")


def _figure(name: str, values: Sequence[float]) -> str:
    """'18.2 [16.3, 20.1]', or '18.2 (n=2)' where there are too few for an interval."""
    interval = median_interval(values)
    behind = (
        f" (n={len(values)})"
        if interval is None
        else f" [{number(name, interval[0])}, {number(name, interval[1])}]"
    )
    worst = f" max {number(name, max(values))}" if median(values) == 0 and max(values) > 0 else ""
    return number(name, median(values)) + behind + worst


def _of(name: str, group: Group | None, values: Sequence[float]) -> str:
    unit = scale(name)[1]
    behind = f" ({group.label})" if group else ""
    return f"{_figure(name, values)}{f' {unit}' if unit else ''}{behind}"


def _lower(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
