"""The only ways in which the mapping may change by a move.

Every transition takes a :class:`State` and returns the next one; a call that does not fit raises
:class:`Refused` and changes nothing. The values are those of :mod:`controller.model`.
"""

from __future__ import annotations

from dataclasses import replace

from controller.lifecycle import check_allowed
from controller.model import MAX_PORT, NVE, VM, Move, Ports, Refused, State, find_move, find_nve, find_vm
from controller.strategies import after_commit, with_beliefs
from vocabulary.lifecycle import MOVE
from vocabulary.policies import DROPPING, POLICIES


def _next(state: State, vm: VM | None = None, move: Move | None = None, end: str | None = None) -> State:
    vms = state.vms if vm is None else {**state.vms, vm.name: vm}
    moves = {name: m for name, m in state.moves.items() if name != end}
    if move is not None:
        moves[move.vm] = move
    return replace(state, version=state.version + 1, vms=vms, moves=moves)


def _uncounted(state: State, vm: str, *nves: str) -> State:
    """Return the state with no count of misdirected frames at these NVEs: the VM is (again) there."""
    left = state.counted.get(vm, frozenset()) - set(nves)
    counted = {name: found for name, found in state.counted.items() if name != vm}
    if left:
        counted[vm] = left
    return state if counted == state.counted else replace(state, counted=counted)


def _check_forward(state: State, what: str, vm: VM, new_nve: str) -> None:
    """Refuse policy ``forward`` where the plain underlay cannot carry the VM's packets."""
    other = "choose another policy: tunnel, buffer, icmp or silent-drop"
    for name in (vm.nve, new_nve):
        if state.nves[name].plain is None:
            raise Refused(what, f"policy forward: NVE {name!r} has no port to the plain underlay", other)
    for second in state.vms.values():
        if second.ipv4 == vm.ipv4 and second.name != vm.name:
            network = state.networks[second.vni].name
            now = f"policy forward: {second.name!r} of network {network!r} has the address {vm.ipv4} too"
            raise Refused(what, f"{now}, and without the overlay header nothing tells them apart", other)
    if vm.ipv4 in {nve.underlay_ip for nve in state.nves.values()}:
        raise Refused(what, f"policy forward: {vm.ipv4} is an NVE's address in the underlay", other)


def prepare(state: State, migration_id: str, vm: str, new_nve: str, policy: str) -> State:
    """Start a move: the new NVE accepts the VM, nobody else changes. Known ports there are opened."""
    what = f"prepare_move {migration_id!r} of {vm!r} to {new_nve!r}"
    subject = find_vm(state, what, vm)
    find_nve(state, what, new_nve)
    check_allowed(what, MOVE, subject)
    if policy not in POLICIES:
        raise Refused(what, f"policy {policy!r} is unknown", f"policies are: {', '.join(POLICIES)}")
    if vm in state.moves:
        going = state.moves[vm]
        raise Refused(
            what,
            f"{vm!r} is moving already ({going.id!r} to {going.new_nve!r}, stage {going.stage})",
            "finish or abort that one first",
        )
    for other in state.moves.values():
        if other.id == migration_id:
            raise Refused(what, f"that id is the running move of {other.vm!r}", "use a new migration_id")
    if subject.nve == new_nve:
        raise Refused(what, f"{vm!r} is at {new_nve!r} already", "name another NVE")
    if POLICIES[policy].is_plain:
        _check_forward(state, what, subject, new_nve)
    move = Move(migration_id, vm, subject.nve, new_nve, policy, "prepared")
    moving = _next(_uncounted(state, vm, new_nve), subject.with_open(new_nve, True), move)
    return with_beliefs(moving, vm, state.believed.get(vm, {}))


def redirect(state: State, migration_id: str) -> State:
    """Apply the policy at the old NVE: from here on the VM's frames go through, or end there."""
    what = f"redirect {migration_id!r}"
    move = find_move(state, what, migration_id)
    if move.stage != "prepared":
        raise Refused(what, f"the move is at stage {move.stage}", "redirect is allowed at stage prepared")
    return _next(state, None, replace(move, stage="redirected"))


def commit(state: State, migration_id: str) -> State:
    """Make the new NVE the VM's place for everybody. Only a policy that drops may skip the redirect."""
    what = f"commit_move {migration_id!r}"
    move = find_move(state, what, migration_id)
    if move.stage == "committed":
        raise Refused(what, "the move is at stage committed", "finish_move or abort_move is next")
    if move.stage == "prepared" and POLICIES[move.policy].redirects:
        raise Refused(
            what,
            f"the move is at stage prepared with policy {move.policy}",
            f"redirect first (only {' and '.join(sorted(DROPPING))} may commit without it)",
        )
    vm = replace(state.vms[move.vm], nve=move.new_nve)
    committed = replace(move, stage="committed")
    return after_commit(_next(state, vm, committed), committed)


def end_redirect(state: State, migration_id: str) -> State:
    """End the old NVE's policy before the move: from now on what comes there is dropped and counted."""
    what = f"end_redirect {migration_id!r}"
    move = find_move(state, what, migration_id)
    if move.stage != "committed" or move.ended:
        now = "it has been ended already" if move.ended else f"the move is at stage {move.stage}"
        raise Refused(what, now, "allowed once, at stage committed")
    counted = {**state.counted, move.vm: state.counted.get(move.vm, frozenset()) | {move.old_nve}}
    return replace(_next(state, None, replace(move, ended=True)), counted=counted)


def finish(state: State, migration_id: str) -> State:
    """End a committed move: the old NVE forgets the VM, its port there is closed."""
    what = f"finish_move {migration_id!r}"
    move = find_move(state, what, migration_id)
    if move.stage != "committed":
        raise Refused(what, f"the move is at stage {move.stage}", "commit_move first, or abort_move")
    done = _next(state, state.vms[move.vm].with_open(move.old_nve, False), end=move.vm)
    return with_beliefs(done, move.vm, state.believed.get(move.vm, {}))


def abort(state: State, migration_id: str) -> State:
    """Take a move back at any stage: the VM is at its old NVE as if nothing had been.

    After a commit the caller must have put the VM itself back before.
    """
    move = find_move(state, f"abort_move {migration_id!r}", migration_id)
    vm = replace(state.vms[move.vm], nve=move.old_nve)
    vm = vm.with_open(move.old_nve, True).with_open(move.new_nve, False)
    back = _next(_uncounted(state, move.vm, move.old_nve, move.new_nve), vm, end=move.vm)
    return with_beliefs(back, move.vm, state.believed.get(move.vm, {}))


def set_port(state: State, vm: str, nve: str, direct: int, redirected: int | None = None) -> State:
    """Tell at which ports a VM is plugged into an NVE; opens the attachment.

    A number that a closed attachment of another VM still remembers is taken from it: the switch has
    given it out anew.
    """
    what = f"set_port of {vm!r} at {nve!r}"
    subject = find_vm(state, what, vm)
    ports = Ports(direct, redirected)
    check_ports(what, find_nve(state, what, nve), ports)
    vms = dict(state.vms)
    for other in state.vms.values():
        known = dict(other.ports).get(nve)
        if other.name == vm or known is None or not set(known.numbers()) & set(ports.numbers()):
            continue
        if known.open:
            raise Refused(what, f"{other.name!r} has that port there", "use a free port number")
        vms[other.name] = other.with_ports(nve, None)
    vms[vm] = subject.with_ports(nve, ports)
    return replace(state, version=state.version + 1, vms=vms)


def check_ports(what: str, nve: NVE, ports: Ports) -> None:
    """Refuse port numbers no VM can have at this NVE."""
    for port in ports.numbers():
        if not 0 < port <= MAX_PORT:
            raise Refused(what, f"port {port} is no port number", f"allowed is 1 to {MAX_PORT}")
        if port == nve.tunnel_port:
            raise Refused(what, f"port {port} is the tunnel port of {nve.name!r}", "use another number")
    if ports.direct == ports.redirected:
        raise Refused(what, f"direct and redirected are both {ports.direct}", "give two ports, or null")


def close_port(state: State, vm: str, nve: str) -> State:
    """Close a VM's port at an NVE it is not at, or at the old NVE of its move."""
    what = f"close_port of {vm!r} at {nve!r}"
    subject = find_vm(state, what, vm)
    find_nve(state, what, nve)
    move = state.moves.get(vm)
    if nve == (subject.nve if move is None else move.new_nve):
        raise Refused(
            what,
            f"{vm!r} is at {nve!r}" if move is None else f"{vm!r} is moving to {nve!r}",
            "allowed are NVEs the VM is not at, and the old NVE of its move",
        )
    return _next(state, subject.with_open(nve, False))
