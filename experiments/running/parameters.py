"""The parameters of an experiment: names, defaults, what is allowed; read from ``NAME=value`` words."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from topologies.model import Topology, Vm
from topologies.units import format_duration, format_rate, parse_duration, parse_rate
from vocabulary.errors import OverlandError


class ParameterError(OverlandError, ValueError):
    """Parameters that do not exist, values that are not allowed; says what is. ``mistakes``: each by itself."""

    def __init__(self, *mistakes: str, there: str = "") -> None:
        self.mistakes = mistakes
        lines = list(mistakes)
        if len(mistakes) > 1:
            lines = [f"{len(mistakes)} things are wrong:", *(f"  {mistake}" for mistake in mistakes)]
        super().__init__(("\n" if len(mistakes) > 1 else " ").join([*lines, there] if there else lines))


@dataclass(frozen=True)
class OfVm:
    """A default that the topology's file gives: a key of the VM that moves. ``else_``: for a file without the key."""

    key: str
    value: Callable[[Vm], Any]
    text: Callable[[Vm], str]
    else_: Any

    def given_for(self, vm: Vm) -> bool:
        """Whether the file has the key."""
        return self.key in {type(vm).model_fields[name].alias for name in vm.model_fields_set}


@dataclass(frozen=True)
class Parameter:
    """One parameter; ``read`` turns its text into a value or raises ValueError, ``show`` turns it back."""

    name: str
    default: Any
    meaning: str
    read: Callable[[str], Any]
    allowed: str
    show: Callable[[Any], str] = str
    words: tuple[str, ...] = ()  # all that is allowed, where it is one of a few words
    of_vm: OfVm | None = (
        None  # what the topology says of the VM is the default, which is None until it is known
    )


def text(name: str, default: str, meaning: str, allowed: str = "text") -> Parameter:
    """A parameter that is taken as it is written."""
    return Parameter(name, default, meaning, str, allowed)


def choice(name: str, default: str, meaning: str, choices: Sequence[str]) -> Parameter:
    """One of a few words."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError
        return value

    return Parameter(name, default, meaning, read, "one of " + ", ".join(choices), words=tuple(choices))


def whole(name: str, default: int, meaning: str, low: int, high: int) -> Parameter:
    """A whole number within bounds, both included."""

    def read(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return Parameter(name, default, meaning, read, f"a whole number from {low:,} to {high:,}")


def duration_s(name: str, default: float, meaning: str) -> Parameter:
    """A duration such as 20ms, held in seconds."""
    return Parameter(
        name, default, meaning, parse_duration, "a duration such as 300ms or 1.5s", format_duration
    )


def rate_bps(name: str, default: int, meaning: str, *, above_zero: bool = False) -> Parameter:
    """A rate such as 10Mbit, held in bits per second."""

    def read(value: str) -> int:
        rate = parse_rate(value)
        if above_zero and rate == 0:
            raise ValueError
        return rate

    allowed = f"a rate {'above 0 ' if above_zero else ''}such as 10Mbit"
    return Parameter(name, default, meaning, read, allowed, format_rate)


def with_topology(
    known: Sequence[Parameter], values: Mapping[str, Any], topology: Topology
) -> dict[str, Any]:
    """The same values, those that nobody gave as the topology says of the VM, or as the experiment says itself.

    So too for a VM that there is not: it is for the experiment's check to refuse.
    """
    vm = next((one for one in topology.vms if one.name == values.get("vm")), None)
    return dict(values) | {
        one.name: one.of_vm.value(vm) if vm is not None and one.of_vm.given_for(vm) else one.of_vm.else_
        for one in known
        if one.of_vm is not None and values[one.name] is None
    }


def origins(known: Sequence[Parameter], values: Mapping[str, Any], topology: Topology) -> list[str]:
    """A line for each parameter that the topology may give: what it is, and where that comes from."""
    found = with_topology(known, values, topology)
    lines = []
    for one, vm in _of_vm(known, values, topology):
        assert one.of_vm is not None
        says = f"topology {topology.name} says {one.of_vm.key}: {one.of_vm.text(vm)} of {vm.name}"
        if values[one.name] is not None:
            why = f"as given; {says}" if one.of_vm.given_for(vm) else "as given"
        elif one.of_vm.given_for(vm):
            why = f"as {says}"
        else:
            why = f"the experiment's own; topology {topology.name} says no {one.of_vm.key} of {vm.name}"
        lines.append(f"{one.name}={one.show(found[one.name])} ({why})")
    return lines


def _of_vm(
    known: Sequence[Parameter], values: Mapping[str, Any], topology: Topology
) -> list[tuple[Parameter, Vm]]:
    """The parameters that the topology may give, and the VM that moves. UnknownNameError for one that is none."""
    return [(one, topology.vm(values["vm"])) for one in known if one.of_vm is not None]


QUICK = whole("quick", 0, "1: at most two repetitions, for a look in less than 90 s", 0, 1)
QUICK_REPEAT = 2


def repetitions(values: Mapping[str, Any]) -> int:
    """How often each group of trials is wanted: ``repeat``, or less with ``quick``."""
    wanted: int = values["repeat"]
    return min(wanted, QUICK_REPEAT) if values.get("quick") else wanted


def with_defaults(known: Sequence[Parameter], **defaults: Any) -> tuple[Parameter, ...]:
    """The same parameters with other defaults."""
    return tuple(replace(p, default=defaults[p.name]) if p.name in defaults else p for p in known)


def read_parameters(known: Sequence[Parameter], words: Sequence[str]) -> dict[str, Any]:
    """Values of all known parameters, those in ``words`` overruling the defaults.

    Raises ParameterError that names every mistake, a line each, with what is allowed.
    """
    by_name = {parameter.name: parameter for parameter in known}
    values = {parameter.name: parameter.default for parameter in known}
    mistakes, unknown = [], False
    for word in words:
        name, equals, value = word.partition("=")
        name = name.lower()
        if not equals:
            mistakes.append(f"{word!r} is not a parameter: write NAME=value, such as {_example(known)}")
        elif name not in by_name:
            mistakes.append(
                f"there is no parameter {name!r}{nearest(name, by_name) or _ELSEWHERE.get(name, '')}"
            )
            unknown = True
        else:
            try:
                values[name] = by_name[name].read(value)
            except ValueError:
                told = f"{name}={value}: allowed is {by_name[name].allowed}"
                mistakes.append(told + nearest(value, by_name[name].words))
    if not mistakes:
        return values
    raise ParameterError(*mistakes, there=f"(there are: {', '.join(by_name)})" if unknown else "")


def taken(words: Sequence[str], name: str, default: str) -> tuple[str, list[str]]:
    """The value of NAME=value among the words, in either case, and the other words, their names in small letters."""
    found, rest = default, []
    for word in words:
        key, is_pair, value = word.partition("=")
        if is_pair and key.lower() == name:
            found = value
        else:
            rest.append(f"{key.lower()}={value}" if is_pair else word)
    return found, rest


def plan_only(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether ``plan=only`` is among the words, and the others. ParameterError for another value."""
    value, rest = taken(words, "plan", "")
    if value not in ("", "only"):
        raise ParameterError(
            f"plan={value}: allowed is plan=only, which says what a run will be and begins nothing"
        )
    return value == "only", rest


_ELSEWHERE = {
    "plan": "; plan=only goes with make EXPERIMENT and make sweep: it says how long that will take, and does nothing",
    "exp": "; make list, sweep and image-run take EXP=NAME, else an experiment is a target itself: make cold",
    "topo": "; make cli and validate take TOPO=NAME in capitals, experiments topology=name",
    "node": "; make shell takes NODE=NAME",
    "jobs": "; make sweep takes JOBS=N",
    "resume": "; make sweep takes RESUME=FOLDER",
    "accel": "; ACCEL=kvm or tcg goes with the VM image: make image-run EXP=NAME",
    "run": "; RUN= says which record make report, gate, precision, pcap and topology read",
}
"""Names that belong to other targets, and where they do."""


def _example(known: Sequence[Parameter]) -> str:
    return f"{known[0].name}={known[0].default}" if known else "NAME=value"


def nearest(given: str, there: Iterable[str]) -> str:
    """'; did you mean 'policy'?', '' when nothing is near."""
    near = difflib.get_close_matches(given, list(there), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def as_words(known: Sequence[Parameter], values: Mapping[str, Any]) -> list[str]:
    """The words that differ from the defaults, to run the same again."""
    return [f"{p.name}={p.show(values[p.name])}" for p in known if values[p.name] != p.default]
