"""A VM's life cycle at its NVE (``vocabulary.lifecycle``) as pure transitions of the mapping."""

from __future__ import annotations

from dataclasses import replace

from controller.model import VM, Refused, State, find_nve, find_vm
from controller.strategies import with_beliefs
from vocabulary.lifecycle import TSI_STATES, VERBS, allowed_from


def check_allowed(what: str, verb: str, vm: VM) -> None:
    """Refuse a verb from a wrong state, in the name of ``what``; says which states and which verbs are right."""
    before = VERBS[verb].before
    if vm.state not in before:
        raise Refused(
            what,
            f"{vm.name!r} is {vm.state} (its interface is {TSI_STATES[vm.state]}, RFC 8394)",
            f"{verb} is allowed when it is {' or '.join(before)}; "
            f"from {vm.state} allowed: {', '.join(allowed_from(vm.state))}",
        )


def _apply(state: State, verb: str, vm: str, nve: str | None = None) -> State:
    what = f"{verb} {vm!r}"
    subject = find_vm(state, what, vm)
    check_allowed(what, verb, subject)
    if vm in state.moves and verb in ("allocate", "release"):
        move = state.moves[vm]
        raise Refused(
            what,
            f"it is moving ({move.id!r} to {move.new_nve!r}, stage {move.stage})",
            "finish or abort that move first",
        )
    place = subject.nve if nve is None else find_nve(state, what, nve).name
    after = replace(subject, state=VERBS[verb].after, nve=place)
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
