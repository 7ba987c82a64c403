"""What ``migrate`` of the console understands, and how it tells of several moves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.console.mininet_console import ConsoleError, starting
from experiments.running.parameters import (
    Parameter,
    choice,
    duration_s,
    rate_bps,
    read_parameters,
    text,
    whole,
)
from mobility.migration import MigrationRecord
from mobility.options import ANNOUNCEMENTS
from mobility.several import Itinerary, Outcome, at_once_s
from vocabulary.moves import ANNOUNCED_WITH, KINDS, ORDERS, PAUSES
from vocabulary.policies import POLICIES

AUTO = "auto"
USAGE = (
    f"usage: migrate VM NVE [NVE ...] [, VM NVE [NVE ...]] [{'|'.join(KINDS)}] [policy=NAME] [NAME=value ...] "
    "(help migrate explains)"
)


@dataclass(frozen=True)
class Wanted:
    """The moves of one command; kind, policy and ``choices`` (fields of MoveOptions) hold for all of them."""

    itineraries: tuple[Itinerary, ...]
    kind: str
    policy: str
    choices: Mapping[str, Any]


_FIELDS = {
    "order": "order",
    "pause": "pause",
    "downtime": "downtime_s",
    "bandwidth": "bandwidth_bps",
    "real": "copy_real",
    "drain": "drain",
    "announce": "announce_with",
    "announcements": "announcements",
}
"""What may be said of a move besides its policy, and the field of MoveOptions that it is."""


def read_moves(line: str, policy: str = AUTO) -> Wanted:
    """What a command asks for. Names are not looked up here. Raises ConsoleError, ParameterError."""
    itineraries: list[Itinerary] = []
    kinds: list[str] = []
    given: list[str] = []
    for part in line.split(","):
        words = part.split()
        names = [word for word in words if "=" not in word and word not in KINDS]
        if len(names) < 2:
            raise ConsoleError(USAGE)
        if kinds or given:
            raise ConsoleError(
                f"migrate {names[0]}: {' '.join([*kinds, *given])} stands before it; kind and policy come last and "
                "hold for all moves of the command"
            )
        kinds = [word for word in words if word in KINDS]
        given = [word for word in words if "=" in word]
        itineraries.append(Itinerary(names[0], tuple(names[1:])))
    if len(kinds) > 1:
        raise ConsoleError(f"migrate: {' '.join(kinds[1:])!r} is too much; one kind holds for all moves")
    read = read_parameters(move_parameters(policy), given)
    named = {word.partition("=")[0].lower() for word in given}
    choices = {field: read[name] for name, field in _FIELDS.items() if name in named}
    return Wanted(tuple(itineraries), kinds[0] if kinds else KINDS[0], read["policy"], choices)


def move_parameters(policy: str = AUTO) -> tuple[Parameter, ...]:
    """What may stand behind the NVEs as NAME=value."""
    return (
        choice(
            "policy", policy, "what the old NVE does with packets for a VM that has left", (AUTO, *POLICIES)
        ),
        choice("order", ORDERS[0], "what comes first: stop, mapping update or resume", ORDERS),
        choice("pause", PAUSES[0], "how the VM stands still; freeze is not faithful", PAUSES),
        duration_s("downtime", 0.0, "how long the VM stands still, imposed"),
        rate_bps("bandwidth", 0, "rate of the memory's copy"),
        whole("real", 0, "1: copy real bytes over the underlay instead of waiting as long", 0, 1),
        text(
            "drain",
            "acknowledged",
            "when the tunnel stops; idle and flow-end wait 10 s at most for that",
            "acknowledged, fixed:TIME, idle:TIME or flow-end",
        ),
        choice("announce", "all", "what the VM's new place is announced with", ANNOUNCED_WITH),
        whole("announcements", ANNOUNCEMENTS, "how many; 0: a silent host", 0, 100),
    )


def choice_lines() -> list[tuple[str, str]]:
    """(NAME=, meaning) of each choice but the policy, for help."""
    return [(f"{one.name}=", f"{one.meaning} ({one.allowed})") for one in move_parameters()[1:]]


def completions(
    text: str, before: str, vms: Iterable[str], nves: Sequence[str], here: dict[str, str]
) -> list[str]:
    """Words that may stand after ``before``, the line from behind the verb on: VM, NVEs, then kind and policy."""
    words = before.rpartition(",")[2].split()
    named = {part.split()[0] for part in before.split(",") if part.split()}
    if not words:
        return starting(text, [vm for vm in vms if vm not in named])
    at = words[-1] if len(words) > 1 else here.get(words[0])
    given = {word.partition("=")[0] for word in words}
    options = [*KINDS, *(f"policy={policy}" for policy in (*POLICIES, AUTO))] if len(words) > 1 else []
    options += (
        [f"order={one}" for one in ORDERS] + [f"pause={one}" for one in PAUSES] if len(words) > 1 else []
    )
    options += [f"{name}=" for name in _FIELDS if name not in ("order", "pause")] if len(words) > 1 else []
    further = [] if given & {*KINDS, "policy", *_FIELDS} else [nve for nve in nves if nve != at]
    missing = [] if given & set(KINDS) else [word for word in options if word in KINDS]
    missing += [word for word in options if "=" in word and word.partition("=")[0] not in given]
    return starting(text, [*further, *missing])


def summary_line(done: Sequence[MigrationRecord]) -> str:
    """One line about several moves: how many, of how many VMs, how long, how long at once."""
    vms = len({record.vm for record in done})
    begin_s = min(record.phases[0].start_s for record in done)
    end_s = max(record.phases[-1].end_s for record in done)
    text = f"{len(done)} moves of {vms} VM{'s' if vms > 1 else ''} in {(end_s - begin_s) * 1e3:.2f} ms"
    return text + (
        f", {at_once_s(done) * 1e3:.2f} ms of it at once." if vms > 1 else ", one after the other."
    )


def trouble_lines(outcome: Outcome, location: dict[str, str]) -> list[str]:
    """What went wrong, a line a VM, and which moves were therefore not begun."""
    lines = []
    for vm, error in outcome.failed.items():
        if isinstance(error, KeyboardInterrupt):
            lines.append(f"interrupted: the move was taken back, {vm} stays at {location[vm]}")
        else:
            why = "; ".join(getattr(error, "__notes__", [])) or str(
                error
            )  # a move's own note has the reason in it
            lines.append(f"{vm} is at {location[vm]}: {why}")
    lines += [
        f"{vm} did not go on to {', '.join(nves)}; it is at {location[vm]}"
        for vm, nves in outcome.not_begun.items()
    ]
    return lines
