"""Whether a run's valid trials are enough for an answer. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from results.figures.grouping import label_of, without_unset
from results.figures.offered import advice
from results.figures.offered import missed as missed_by

MOST_GROUPS_NAMED = 6  # in the verdict; of more only the fewest trials are told
CHANCE = 0.15


def too_few_valid(valid: int, done: int) -> bool:
    """Whether so few of a kind's trials are valid that they are no answer.

    Fewer than half, and that few would be rarer than ``CHANCE`` if every second trial came out valid (binomial). Where
    one valid trial is wanted, half alone would refuse one in nine kinds of which two trials in three are valid.
    """
    return 2 * valid < done and sum(math.comb(done, k) for k in range(valid + 1)) / 2**done < CHANCE


def verdict(trials: list[dict[str, Any]], group_by: Sequence[str] = ("path",)) -> tuple[str, str]:
    """``answered`` when one trial in two is valid, and of every group and the null trials enough, else ``invalid``."""
    groups: dict[str, list[bool]] = {}
    for trial in trials:
        groups.setdefault(label_of(trial, group_by), []).append(trial["valid"])
    if not groups:
        return "invalid", "no trial was done"
    poor = [
        f"{without_unset(group)}: {sum(valid)} of {len(valid)} valid"
        for group, valid in groups.items()
        if not any(valid) or too_few_valid(sum(valid), len(valid))
    ]
    valid_trials = sum(trial["valid"] for trial in trials)
    if not poor and 2 * valid_trials < len(trials):
        poor = [f"{valid_trials} of all {len(trials)} trials valid"]
    if poor:
        return "invalid", why_invalid(trials, poor)
    counts = ", ".join(f"{without_unset(group)} {sum(valid)}" for group, valid in groups.items())
    if len(groups) > MOST_GROUPS_NAMED:
        counts = f"at least {min(map(sum, groups.values()))} in each of {len(groups)} groups"
    bad = sum(not ok for valid in groups.values() for ok in valid)
    return "answered", f"valid trials: {counts}; invalid and repeated: {bad}"


def why_invalid(trials: Sequence[Mapping[str, Any]], poor: Sequence[str]) -> str:
    """What spoilt too many trials, in which groups, and what to do. Pure."""
    missed = len(missed_by(trials))
    invalid = sum(not trial["valid"] for trial in trials)
    if not missed:
        return f"the machine was too busy ({'; '.join(poor)}); run it again when it is idle"
    besides = f"; in {invalid - missed} others the machine was too busy" if invalid > missed else ""
    return (
        f"the offered rate was not reached in {missed} of {len(trials)} trials: {advice(trials)} ({'; '.join(poor)})"
        f"{besides}"
    )
