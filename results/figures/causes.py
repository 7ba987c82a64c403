"""Loss by cause: what the trials' `causes` say, group by group. Pure; shared by table, report and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.figures.display import count_text
from results.figures.grouping import groups_of, named, null_groups
from results.figures.statistics import Trials
from results.record.reading import Record

MEANINGS: Mapping[str, tuple[str, str]] = {
    "in_flight": (
        "in flight at the stop",
        "sent before the VM stopped hearing at its old NVE, there too late",
    ),
    "misdirected": ("misdirected", "sent to the old NVE after the VM had left"),
    "early": ("early", "at the new NVE before the VM was, and nothing held it"),
    "new_nve_unprogrammed": ("new NVE unprogrammed", "the new NVE had no rule for the VM"),
    "neighbour_unresolved": (
        "neighbour unresolved",
        "never left: its sender was asking for the neighbour's address",
    ),
    "held_and_dropped": ("held and dropped", "a holder, or a port behind it, was full"),
    "policy_drop": ("policy drop", "the old NVE's policy took it"),
    "spoof_drop": ("spoof drop", "an NVE refused its source address"),
    "stopped": ("sender stopped", "left the VM while it was attached nowhere"),
    "too_large": ("too large", "larger than anything that passed there"),
    "underlay": ("underlay", "between two NVEs"),
    "nva_not_asked": ("NVA not asked", "its NVE had no mapping and may not ask the NVA so often"),
    "nve_overrun": ("NVE overrun", "in a queue of an NVE, whose rules dropped nothing"),
    "sender": ("probe's own sender", "said to be sent, never left its host"),
    "receiver": ("receiver", "handed to its host, never to the receiver"),
    "two_copies": ("two copies of the VM", "both copies of the VM sent it"),
    "path_change": ("change of path", "it and the one that overtook it went different ways"),
    "released_behind": ("released late", "a holder let it out behind a later one"),
    "same_path": ("same path", "overtaken on the same way, by another processor"),
    "unobserved": ("unobserved", "the taps themselves lost frames at that time"),
    "unknown": ("unknown", "nothing that was seen explains it"),
}
"""Cause -> (its name, what it means)."""

FATES = ("lost", "duplicated", "reordered")
DIRECTIONS: Mapping[str, str] = {"to_vm": "→", "from_vm": "←"}


@dataclass(frozen=True)
class CauseRow:
    """The packets of one group that met one fate, by cause, most frequent first; over its valid trials."""

    group: str
    fate: str
    direction: str
    packets: int
    trials: int
    causes: tuple[tuple[str, int], ...]

    @property
    def text(self) -> str:
        """'misdirected 200 (76 %), in flight at the stop 62 (24 %)'."""
        return ", ".join(
            f"{MEANINGS.get(cause, (cause,))[0]} {count:,} ({_percent(count / self.packets)})"
            for cause, count in self.causes
        )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "<1 %"


def direction_text(direction: str) -> str:
    """→ to the VM, ← from it; of a flow beside, its label."""
    return DIRECTIONS.get(direction, direction.replace("_", " "))


def _ways(trials: Trials) -> list[str]:
    """All directions that were followed, the VM's own first."""
    return list(dict.fromkeys(way for trial in attributed(trials) for way in trial["causes"]["directions"]))


def attributed(trials: Trials) -> list[Mapping[str, Any]]:
    """The valid trials whose packets got causes."""
    return [trial for trial in trials if trial["valid"] and trial.get("causes")]


def counted(trials: Trials, fate: str, direction: str | None = None) -> Counter[str]:
    """Cause -> packets of valid trials that met a fate; both ways, or one."""
    found: Counter[str] = Counter()
    for trial in attributed(trials):
        for way in trial["causes"]["directions"]:
            if direction in (None, way):
                found.update(trial["causes"][way].get(fate, {}))
    return found


def cause_rows(record: Record) -> list[CauseRow]:
    """A row for each group, fate and direction with any such packet; null trials last."""
    found = []
    groups = [*groups_of(record.trials, record.group_by), *null_groups(record.trials, record.group_by)]
    for group, name in named(groups):
        for fate in FATES:
            for direction in _ways(group.trials):
                causes = counted(group.trials, fate, direction)
                if causes:
                    number = len(attributed(group.trials))
                    ranked = tuple(sorted(causes.items(), key=lambda one: (-one[1], one[0])))
                    row = CauseRow(name, fate, direction, causes.total(), number, ranked)
                    found.append(row)
    return found


def meanings_of(rows: Sequence[CauseRow]) -> list[tuple[str, str]]:
    """(name, meaning) of the causes that occur, in the order of MEANINGS."""
    occurring = {cause for row in rows for cause, _ in row.causes}
    return [MEANINGS[cause] for cause in MEANINGS if cause in occurring]


def cause_sentence(record: Record) -> str:
    """All lost packets of the valid moves by cause, in one sentence; '' when none was followed."""
    moves = [trial for trial in attributed(record.trials) if not trial["null"]]
    if not moves:
        return ""
    causes = counted(moves, "lost")
    if not causes:
        return f"Every packet was followed: none lost in {count_text(len(moves), 'move')}."
    ranked = sorted(causes.items(), key=lambda one: (-one[1], one[0]))
    told = CauseRow("", "lost", "", causes.total(), len(moves), tuple(ranked)).text
    return f"Of {causes.total():,} packets lost in {count_text(len(moves), 'move')}: {told}."
