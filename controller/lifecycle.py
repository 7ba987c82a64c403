"""A VM's life cycle at its NVE: allocate, start, pause, resume, stop, release. Pure transitions of the mapping.

RFC 8394 has three states of a tenant system interface (TSI) at its NVE: *init* (the NVE knows nothing of it),
*associated* (its resources are reserved, nothing is forwarded), *activated* (traffic is forwarded), and the
events of a VM that lead from one to another. A VM is in one of four states, since "associated" can come about by
allocation (or a stop) and by a pause, and only the latter keeps it in its peers' mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller.model import Refused, State, VmState, find_nve, find_vm
from controller.strategies import with_beliefs

TSI_STATES: Mapping[VmState, str] = {
    "released": "init",
    "allocated": "associated",
    "running": "activated",
    "paused": "associated",
}


@dataclass(frozen=True)
class Verb:
    """From which states it is allowed, and to which it leads."""

    before: tuple[VmState, ...]
    after: VmState


VERBS: Mapping[str, Verb] = {
    "allocate": Verb(("released",), "allocated"),
    "start": Verb(("allocated",), "running"),
    "pause": Verb(("running",), "paused"),
    "resume": Verb(("paused",), "running"),
    "stop": Verb(("running", "paused"), "allocated"),
    "release": Verb(("allocated",), "released"),
}


def _apply(state: State, verb: str, vm: str, nve: str | None = None) -> State:
    what = f"{verb} {vm!r}"
    subject, rule = find_vm(state, what, vm), VERBS[verb]
    if subject.state not in rule.before:
        tsi = TSI_STATES[subject.state]
        allowed = [name for name, other in VERBS.items() if subject.state in other.before]
        raise Refused(
            what,
            f"{vm!r} is {subject.state} (its interface is {tsi}, RFC 8394)",
            f"{verb} is allowed when it is {' or '.join(rule.before)}; "
            f"from {subject.state} allowed: {', '.join(allowed)}",
        )
    if vm in state.moves and verb in ("allocate", "release"):
        move = state.moves[vm]
        raise Refused(
            what,
            f"it is moving ({move.id!r} to {move.new_nve!r}, stage {move.stage})",
            "finish_move or abort_move first",
        )
    place = subject.nve if nve is None else find_nve(state, what, nve).name
    after = replace(subject, state=rule.after, nve=place)
    if verb == "allocate":
        after = after.with_open(place, True)
    vms = {**state.vms, vm: after}
    changed = replace(state, version=state.version + 1, vms=vms)
    if verb != "release":
        return changed
    # Nobody keeps a mapping, or counts frames, of what no longer is.
    counted = {name: nves for name, nves in changed.counted.items() if name != vm}
    return with_beliefs(replace(changed, counted=counted), vm, {})


def allocate(state: State, vm: str, nve: str | None = None) -> State:
    """Reserve a released VM's resources at an NVE (its last one, or ``nve``): nothing is forwarded yet."""
    return _apply(state, "allocate", vm, nve)


def start(state: State, vm: str) -> State:
    """Let an allocated VM send and receive; everybody's mapping has it now."""
    return _apply(state, "start", vm)


def pause(state: State, vm: str) -> State:
    """Stop forwarding for a running VM; its peers keep their mapping, frames for it are dropped at its NVE."""
    return _apply(state, "pause", vm)


def resume(state: State, vm: str) -> State:
    """Let a paused VM send and receive again."""
    return _apply(state, "resume", vm)


def stop(state: State, vm: str) -> State:
    """End a running or paused VM; its resources stay reserved."""
    return _apply(state, "stop", vm)


def release(state: State, vm: str) -> State:
    """Give a stopped VM's resources back: no NVE knows it any more, until it is allocated again."""
    return _apply(state, "release", vm)
