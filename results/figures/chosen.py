"""Which trials' timelines a report shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from results.figures.grouping import groups_of, named
from results.figures.statistics import value_of
from results.record.reading import Record

MOST_GROUPS_WHOLE = 4  # with more groups, only those that fared worst have a timeline
MOST_GROUPS_SHOWN = 6


def chosen_trials(record: Record) -> list[tuple[int, str]]:
    """(index, why) of the trials whose timelines are shown: a typical and the worst of each group, one null.

    Worst has most lost, then duplicated, then reordered packets, then the longest TCP stall; typical has the
    median stall of the others. Of many groups only the worst trials of the worst groups. Invalid trials only
    where there is no valid one at all.
    """
    chosen: dict[int, list[str]] = {}
    ranked_groups = []
    for group, called in named(groups_of(record.trials, record.group_by)):
        ranked = sorted((trial for trial in group.trials if trial["valid"]), key=_badness)
        if ranked:
            ranked_groups.append((called, ranked))
    if len(ranked_groups) > MOST_GROUPS_WHOLE:
        ranked_groups.sort(key=lambda item: _badness(item[1][-1]), reverse=True)
        ranked_groups = [(name, ranked[-1:]) for name, ranked in ranked_groups[:MOST_GROUPS_SHOWN]]
    for name, ranked in ranked_groups:
        by_stall = sorted(ranked[:-1], key=lambda trial: _badness(trial)[-1])
        if by_stall:
            chosen.setdefault(by_stall[(len(by_stall) - 1) // 2]["index"], []).append(f"typical for {name}")
        chosen.setdefault(ranked[-1]["index"], []).append(f"the worst of {name}")
    nulls = [trial["index"] for trial in record.trials if trial["null"] and trial["valid"]]
    if nulls:
        chosen.setdefault(nulls[0], []).append("a null trial for comparison")
    if not chosen and record.trials:
        chosen[record.trials[0]["index"]] = ["the first trial; none is valid"]
    return [(index, " and ".join(why)) for index, why in chosen.items()]


def _badness(trial: Mapping[str, Any]) -> tuple[float, ...]:
    sides = ("to_vm", "from_vm")
    kinds = ("lost_packets", "duplicated_packets", "reordered_packets", "tcp_stall_s")
    return tuple(sum(value_of(trial, f"{kind}_{side}") or 0.0 for side in sides) for kind in kinds)
