"""How the other NVEs learn that a VM has moved. Pure: who is out of date after which step.

``push``: the commit changes every NVE. The others change only old and new NVE with it; the rest go on sending to
where they believe the VM (:attr:`controller.model.State.believed`) until they learn better: ``pull``: by a notice
that the old NVE causes when it gets a misdirected frame; ``announce``: when the VM's announcement comes from its new
NVE; ``timeout``: when their mapping has expired (its flows have a hard timeout) and they ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from controller.model import Move, Refused, State, find_nve, find_vm
from vocabulary.moves import ANNOUNCE, PUSH

Beliefs = Mapping[str, str]
"""NVE -> where it sends a VM's frames."""


def with_beliefs(state: State, vm: str, beliefs: Beliefs) -> State:
    """Return the state with a VM's beliefs replaced; one that is true is none."""
    move, home = state.moves.get(vm), state.vms[vm].nve
    expected = move.old_nve if move is not None and move.stage != "committed" else home
    never = (move.old_nve, move.new_nve) if move is not None else (home,)
    kept = {nve: at for nve, at in beliefs.items() if at != expected and nve not in never}
    others = {name: found for name, found in state.believed.items() if name != vm}
    if kept:
        others[vm] = kept
    return state if others == state.believed else replace(state, believed=others)


def after_commit(state: State, move: Move) -> State:
    """Return the state (already committed) with the beliefs that the strategy leaves behind."""
    if state.strategy == PUSH or (state.strategy == ANNOUNCE and move.announced):
        return with_beliefs(state, move.vm, {})
    vni = state.vms[move.vm].vni
    before = state.believed.get(move.vm, {})
    peers = [nve for nve, vnis in state.reached.items() if vni in vnis]
    return with_beliefs(state, move.vm, {nve: before.get(nve, move.old_nve) for nve in peers})


def learn(state: State, vm: str, nves: Iterable[str], cause: str) -> State:
    """Bring these NVEs' mapping of a VM up to date; ``cause`` is for the journal and the events."""
    what = f"learn ({cause}) of {vm!r}"
    find_vm(state, what, vm)
    gone = {find_nve(state, what, nve).name for nve in nves}
    beliefs = {nve: at for nve, at in state.believed.get(vm, {}).items() if nve not in gone}
    return replace(with_beliefs(state, vm, beliefs), version=state.version + 1)


def announced(state: State, vm: str, nve: str) -> State:
    """Take a VM's announcement from an NVE: before the commit it is noted, after it everybody learns."""
    what = f"announcement of {vm!r} at {nve!r}"
    subject, move = find_vm(state, what, vm), state.moves.get(vm)
    if nve != (subject.nve if move is None else move.new_nve):
        raise Refused(what, "the VM is not there", "only announcements from its NVE count")
    if move is not None and move.stage != "committed":
        moves = {**state.moves, vm: replace(move, announced=True)}
        return replace(state, version=state.version + 1, moves=moves)
    return replace(with_beliefs(state, vm, {}), version=state.version + 1)
