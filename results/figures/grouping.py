"""Trials grouped by any set of their parameters, and how a parameter's value is written. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vocabulary.lifecycle import STATES, VERBS
from vocabulary.moves import KINDS, ORDERS
from vocabulary.policies import POLICIES

NULL_LABEL = "null (floor)"
NOT_SET = "-"
SEPARATOR = " · "
FEWEST_FOR_CURVE = 3  # distinct values of a numeric parameter; two are told as well by two rows of dots
_UNITS = ("s", "ms", "us", "ns", "bytes", "bps", "pps", "packets", "share", "ratio", "count", "percent")
_TIMES_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_WRITTEN = {"nve": "NVE", "vm": "VM", "tcp": "TCP", "udp": "UDP", "nva": "NVA", "mtu": "MTU", "dhcp": "DHCP"}

_ORDER = {
    word: number
    for number, word in enumerate(
        (
            *("co-located to remote", "remote to remote", "remote to co-located"),
            *("one move", "back and forth", "chain", "two at once", "towards each other"),
            *("push", "pull", "announce by RARP", "announce by GARP", "announce by NA"),
            *("announce, all lost", "timeout"),
            *POLICIES,
            *KINDS,
            *ORDERS,
            *("fixed:50ms", "idle:5ms", "acknowledged", "flow-end"),
            *("talking", "silent"),
            *VERBS,
            *STATES,
            *("udp", "voice", "tcp cubic", "tcp reno", "tcp bbr", "tcp bulk", "mptcp", "sctp", "quic"),
        )
    )
}
"""Words in the order in which experiments declare them: trials come in random order, tables should not."""

Trials = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Group:
    """Trials that agree in some parameters; `nulls` are the null trials to hold them against."""

    label: str
    parts: tuple[str, ...]  # the value of each parameter as text, in the order they were named
    values: tuple[Any, ...]
    trials: tuple[Mapping[str, Any], ...]
    nulls: tuple[Mapping[str, Any], ...]

    @property
    def name(self) -> str:
        """The label without the parameters that are not set: shorter to read, but not always unique."""
        return without_unset(self.label)


def without_unset(label: str) -> str:
    """'pull · 50 ms' of the label 'pull · - · 50 ms'."""
    return SEPARATOR.join(part for part in label.split(SEPARATOR) if part != NOT_SET) or NOT_SET


def named(groups: Sequence[Group]) -> list[tuple[Group, str]]:
    """Groups with what each is called on a page: its name, or its label where two groups have the same name."""
    short = [group.name for group in groups]
    return [(group, group.name if short.count(group.name) == 1 else group.label) for group in groups]


def groups_of(trials: Trials, names: Sequence[str]) -> list[Group]:
    """The trials that moved something, valid or not, by the values of the named parameters.

    Numbers ascend, words come as experiments declare them, other words by the alphabet. A null trial belongs to
    every group it does not contradict: one without any of the parameters is the floor of all groups.
    """
    moves = [trial for trial in trials if not trial["null"]]
    nulls = [trial for trial in trials if trial["null"]]
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for trial in moves:
        found.setdefault(_texts(trial, names), []).append(trial)
    ranks = [_ranks(moves, name) for name in names]
    made = []
    for texts in sorted(found, key=lambda key: [rank[text] for rank, text in zip(ranks, key, strict=True)]):
        members = found[texts]
        values = tuple(members[0]["parameters"].get(name) for name in names)
        agreeing = [null for null in nulls if _agrees(null, names, texts)]
        made.append(Group(_label(names, values), texts, values, tuple(members), tuple(agreeing)))
    return made


def null_groups(trials: Trials, names: Sequence[str]) -> list[Group]:
    """The null trials, apart by those of the named parameters that they carry: mostly one group, or none.

    Their trials say `null: false`, so that whatever makes figures of moves makes the floor's of these.
    """
    nulls = [trial for trial in trials if trial["null"]]
    carried = [name for name in names if any(name in null["parameters"] for null in nulls)]
    as_moves = [{**null, "null": False} for null in nulls]
    made = []
    for group in groups_of(as_moves, carried):
        label = f"{NULL_LABEL}{SEPARATOR}{group.label}" if group.label else NULL_LABEL
        parts = [
            group.parts[carried.index(name)] if name in carried else ("" if number else NULL_LABEL)
            for number, name in enumerate(names)
        ]
        if names and names[0] in carried:
            parts[0] = f"null: {parts[0]}"
        made.append(Group(label, tuple(parts), group.values, group.trials, ()))
    return made


def numeric_parameter(trials: Trials, names: Sequence[str]) -> str | None:
    """The parameter for the horizontal axis of a curve: all its values numbers, the most different ones.

    None when no parameter has FEWEST_FOR_CURVE of them.
    """
    best, most = None, FEWEST_FOR_CURVE - 1
    for name in names:
        values = {
            trial["parameters"].get(name) for trial in trials if not trial["null"] and _plain(trial, name)
        }
        if len(values) > most and all(_is_number(value) for value in values):
            best, most = name, len(values)
    return best


def _plain(trial: Mapping[str, Any], name: str) -> bool:
    """False where the value cannot be in a set; such a parameter is no number anyway."""
    return not isinstance(trial["parameters"].get(name), list | dict)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(trial: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    return tuple(value_text(name, trial["parameters"].get(name)) for name in names)


def _agrees(null: Mapping[str, Any], names: Sequence[str], texts: Sequence[str]) -> bool:
    return all(
        name not in null["parameters"] or value_text(name, null["parameters"][name]) == text
        for name, text in zip(names, texts, strict=True)
    )


def _ranks(moves: Trials, name: str) -> dict[str, tuple[float, int, str]]:
    """Place of each value's text in the order of the groups; what is not set comes first."""
    made = {}
    for trial in moves:
        value = trial["parameters"].get(name)
        text = value_text(name, value)
        number = float(value) if _is_number(value) else float("-inf")
        made[text] = (number, -1 if value is None else _ORDER.get(text, len(_ORDER)), text)
    return made


def _label(names: Sequence[str], values: Sequence[Any]) -> str:
    """'tunnel · downtime 50 ms': numbers and truth values with the parameter's name, words without."""
    told = []
    for name, value in zip(names, values, strict=True):
        text = value_text(name, value)
        told.append(
            f"{parameter_label(name)} {text}" if isinstance(value, bool) or _is_number(value) else text
        )
    return SEPARATOR.join(told)


def label_of(trial: Mapping[str, Any], names: Sequence[str]) -> str:
    """The label of the group that a trial belongs to; 'null' for one in which nothing moved."""
    return "null" if trial["null"] else _label(names, [trial["parameters"].get(name) for name in names])


def parameter_label(name: str) -> str:
    """`downtime_s` as 'downtime': the name in words, without its unit."""
    words = name.split("_")
    if len(words) > 1 and words[-1] in _UNITS:
        words.pop()
    return " ".join(_WRITTEN.get(word, word) for word in words)


def value_text(name: str, value: Any) -> str:
    """A parameter's value for people, in the unit its name ends in; no digit of a number is dropped."""
    if value is None:
        return NOT_SET
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value_text("", item) for item in value)
    if not _is_number(value):
        return str(value)
    unit = name.rsplit("_", 1)[-1] if "_" in name else ""
    if unit in _TIMES_S:
        return _duration(value * _TIMES_S[unit])
    if unit == "bytes":
        return _scaled(value, "B", (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)), whole=True)
    if unit == "bps":
        return _scaled(value, "bit/s", (("Gbit/s", 10**9), ("Mbit/s", 10**6), ("kbit/s", 10**3)), whole=False)
    text = f"{value:,}" if isinstance(value, int) else f"{value:.12g}"
    return text + {"pps": " packets/s", "packets": " packets", "percent": " %"}.get(unit, "")


def _duration(seconds: float) -> str:
    size = abs(seconds)
    if size == 0 or size >= 1:
        return f"{seconds:.12g} s"
    return f"{seconds * 1e3:.12g} ms" if size >= 1e-3 else f"{seconds * 1e6:.12g} µs"


def _scaled(value: float, plain: str, units: Sequence[tuple[str, int]], *, whole: bool) -> str:
    for unit, size in units:
        if abs(value) >= size and not (whole and value % size):
            return f"{value / size:.12g} {unit}"
    return f"{value:,} {plain}"
