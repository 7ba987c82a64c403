"""The phases of a move and the steps in each, as data: what a kind, an order and a policy are made of. Pure.

    allocate  the new NVE gets a place for the VM (its legs, when it has none there)
    prepare   the NVA programs the new NVE; the peers' mapping stays
    copy      memory, in rounds while the VM runs (cold: all of it, after the stop)
    stop      the VM leaves its old place: redirect at the old NVE, hold at the new one, pause, the rest of the memory
    switch    the VM is attached to the new NVE and the old leg is cut, both ways; until here all can be undone
    resume    what was held is released: the VM's own packets, then those that came through the old NVE; it runs
    announce  RARP from the new place
    converge  the NVA changes every NVE's mapping (two-phase) and the datapaths follow
    drain     until nothing can still be on the old path, or the stop rule says so; then the redirect ends
    release   the old NVE's attachment ends

RFC 8394 section 3 has the life cycle; the phases' names are this project's. Three orders:

    stop-first    the VM stops, runs again at the new NVE, then the mapping changes
    update-first  the mapping changes while the VM still runs at the old NVE
    resume-first  the new copy runs, the mapping changes, then the old copy is cut off: for a time both run
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mobility.options import MoveOptions
from vocabulary.moves import REBIND
from vocabulary.policies import OldNvePolicy

# fmt: off
PHASES = ("allocate", "prepare", "copy", "stop", "switch", "resume", "announce", "converge", "drain", "release")
PHASES_OF: Mapping[str, tuple[str, ...]] = {
    "stop-first": PHASES,
    "update-first":
        ("allocate", "prepare", "copy", "converge", "stop", "switch", "resume", "announce", "drain", "release"),
    "resume-first":
        ("allocate", "prepare", "copy", "resume", "announce", "converge", "stop", "switch", "drain", "release"),
}
# fmt: on

Row = tuple[str, str]
"""A step and the traits that it needs, all of them: ``trait`` or ``!trait``. See ``traits``."""

_HOLD = (
    ("watch_buffer", "samples"),
    ("hold_inbound", "holds"),
    ("open_host_route", "routes"),
    ("redirect", "acts"),
)
_STOP: tuple[Row, ...] = (
    ("hold_outbound", "holds"),
    ("clear_old_path", "holds"),
    ("hold_outbound", "pauses legs hold !holds"),
    ("sink_outbound", "pauses legs drop"),
    ("cut_old", "pauses legs !freeze"),
    ("unplug", "pauses !legs drop"),
    ("freeze", "pauses"),
    ("copy_rest", "pauses !cold"),
)
_RESUME: tuple[Row, ...] = (
    ("release_outbound", "holds"),
    ("release_outbound", "pauses legs hold !holds"),
    ("release_redirected", "holds"),
    ("thaw", "pauses"),
)
_COMMON: Mapping[str, tuple[Row, ...]] = {
    "allocate": (("add_legs", "legs"),),
    "prepare": (
        ("prepare_nva", ""),
        ("close_holders", "legs"),
        ("settle_new", "legs"),
        ("open_stream", "copies_real"),
    ),
    "copy": (("copy_rounds", "copies !cold"), ("copy_all", "cold")),
    "stop": (*_HOLD, *_STOP),
    "switch": (("switch", ""),),
    "resume": _RESUME,
    "announce": (("announce", "legs"),),
    "converge": (("commit", ""),),
    "drain": (
        ("end_markers", "tunnels legs holds"),
        ("end_markers", "tunnels legs !holds acknowledged"),
        ("release_direct", "holds"),
        ("wait_for_rule", "redirects !acknowledged"),
        ("end_redirect", "ends_redirect"),
        ("observe", "ends_redirect"),
    ),
    "release": (
        ("unwatch_buffer", "samples"),
        ("straighten", "legs"),
        ("finish", ""),
        ("close_host_route", "routes"),
        ("close_stream", "copies_real"),
    ),
}
_DIFFERENT: Mapping[str, Mapping[str, tuple[Row, ...]]] = {
    "stop-first": {},
    "update-first": {"converge": (*_HOLD, ("commit", "")), "stop": _STOP},
    "resume-first": {
        "resume": (("open_both", ""),),
        "converge": (("open_host_route", "routes"), ("redirect", "acts"), ("commit", "")),
        "stop": (("silence_old", ""),),
    },
}

NEEDED = frozenset(
    {
        "release_outbound",
        "release_redirected",
        "thaw",
        "commit",
        "release_direct",
        "unwatch_buffer",
        "straighten",
        "finish",
        "close_host_route",
        "close_stream",
    }
)
"""Steps behind the switch without which the VM would not be whole at its new place, or could never move again.

After a failure they are done again until each has succeeded once, so doing one twice does no harm.
"""


@dataclass(frozen=True)
class PlannedPhase:
    """One phase and its steps, in order."""

    name: str
    steps: tuple[str, ...]


def traits(options: MoveOptions, policy: OldNvePolicy, attachment: str) -> frozenset[str]:
    """What is true of a move, in the words that the tables of this module use."""
    said = {
        "legs": attachment == REBIND,
        "acts": policy.acts,
        "redirects": policy.redirects,
        "tunnels": policy.tunnels,
        "routes": policy.redirects and not policy.tunnels,
        "holds": policy.holds,
        "pauses": options.pauses,
        "hold": options.pause == "hold",
        "drop": options.pause == "drop",
        "freeze": options.pause == "freeze",
        "cold": options.kind == "cold",
        "copies": options.copies,
        "copies_real": options.copies and options.copy_real,
        "samples": attachment == REBIND and options.sampling_s > 0,
        "acknowledged": options.drain_rule.name == "acknowledged",
        "ends_redirect": options.ends_redirect(policy),
    }
    return frozenset(name for name, true in said.items() if true)


def _applies(needs: str, true: frozenset[str]) -> bool:
    return all((need[1:] not in true) if need.startswith("!") else (need in true) for need in needs.split())


def phase_names(options: MoveOptions) -> tuple[str, ...]:
    """The phases in their order; a cold move copies after the VM has stopped."""
    names = list(PHASES_OF[options.order])
    if options.kind == "cold":
        names.remove("copy")
        names.insert(names.index("stop") + 1, "copy")
    return tuple(names)


def plan(options: MoveOptions, attachment: str) -> tuple[PlannedPhase, ...]:
    """The phases of a move with their steps. MigrationRefusedError for what cannot be done."""
    policy = options.check(attachment)
    true = traits(options, policy, attachment)
    rows = {**_COMMON, **_DIFFERENT[options.order]}
    return tuple(
        PlannedPhase(name, tuple(step for step, needs in rows[name] if _applies(needs, true)))
        for name in phase_names(options)
    )
