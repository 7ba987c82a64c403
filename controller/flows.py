"""The flows of an NVE as a pure function of the mapping: the stage table of DESIGN.md in code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from controller.attachment import attachment_flows
from controller.model import NVE, VM, Move, Ports, State
from controller.pipeline import (
    CLASSIFY,
    FORWARD,
    LOCAL,
    ORIGIN,
    OUT,
    OUTPUT,
    TUNNEL,
    VNI,
    Flow,
    Output,
    SetField,
    Value,
    flow,
)
from controller.policies import OLD_NVE_FLOWS, OldNve, to_tunnel
from controller.resolve import COMPLETE_ADVERTISEMENT, answers, own_questions

__all__ = ["Flow", "delta", "desired_flows", "diff"]

Delta = tuple[frozenset[Flow], frozenset[Flow]]
"""Flows to add and flows to delete; an add with the key of an existing flow replaces it."""


def _deliver(vm: VM, origin: int, port: int, tunnel_source: str | None = None) -> Flow:
    match: dict[str, Value] = {VNI: vm.vni, ORIGIN: origin, "eth_dst": vm.mac}
    if tunnel_source is not None:
        match["tun_ipv4_src"] = tunnel_source
    return flow(FORWARD, 100 if tunnel_source is None else 110, match, (SetField(OUT, port),), OUTPUT)


def _at_new_nve(vm: VM, nve: NVE, old: NVE, stage: str, ports: Ports | None) -> Iterator[Flow]:
    if ports is not None:
        yield _deliver(vm, TUNNEL, ports.direct)
        if ports.redirected is not None:
            yield _deliver(vm, TUNNEL, ports.redirected, old.underlay_ip)
    if stage != "committed":
        yield to_tunnel(vm.vni, vm.mac, LOCAL, old.underlay_ip, nve.tunnel_port)
    elif ports is not None:
        yield _deliver(vm, LOCAL, ports.direct)


def _at_old_nve(vm: VM, nve: NVE, new: NVE, move: Move, ports: Ports | None) -> Iterator[Flow]:
    policy = OLD_NVE_FLOWS[move.policy]
    place = OldNve(vm.vni, vm.mac, nve.tunnel_port, new.underlay_ip)
    if move.stage == "prepared":
        if ports is not None:
            yield _deliver(vm, LOCAL, ports.direct)
            yield _deliver(vm, TUNNEL, ports.direct)
    elif move.stage == "redirected":
        yield from policy(place, (LOCAL, TUNNEL))
    else:
        yield to_tunnel(vm.vni, vm.mac, LOCAL, new.underlay_ip, nve.tunnel_port)
        yield from policy(place, (TUNNEL,))


@lru_cache(maxsize=65536)
def _vm_flows(
    vm: VM, nve: NVE, home: NVE, move: Move | None, old: NVE | None, new: NVE | None
) -> frozenset[Flow]:
    """Return the flows of one VM at one NVE that has a member of its network."""
    found = set(answers(vm))
    here = nve.name in ((home.name,) if move is None else (move.old_nve, move.new_nve))
    ports = vm.ports_at(nve.name) if here else None
    if ports is not None:
        found.update(attachment_flows(vm, ports))
        found.update(own_questions(vm, ports))
    if move is None or old is None or new is None:
        if not here:
            found.add(to_tunnel(vm.vni, vm.mac, LOCAL, home.underlay_ip, nve.tunnel_port))
        elif ports is not None:
            found.update((_deliver(vm, LOCAL, ports.direct), _deliver(vm, TUNNEL, ports.direct)))
    elif nve == new:
        found.update(_at_new_nve(vm, nve, old, move.stage, ports))
    elif nve == old:
        found.update(_at_old_nve(vm, nve, new, move, ports))
    else:
        towards = new if move.stage == "committed" else old
        found.add(to_tunnel(vm.vni, vm.mac, LOCAL, towards.underlay_ip, nve.tunnel_port))
    return frozenset(found)


@lru_cache(maxsize=4096)
def _tunnel_flows(nve: NVE, vnis: frozenset[int]) -> frozenset[Flow]:
    """Frames from the tunnel, and into it. Back into it only after FORWARD said so (a redirect)."""
    port = nve.tunnel_port
    found = {
        flow(OUTPUT, 100, {OUT: port}, (Output(port),)),
        flow(OUTPUT, 110, {OUT: port, "in_port": port}, (Output("in_port"),)),
    }
    found.add(COMPLETE_ADVERTISEMENT)
    for vni in vnis:
        origin = (SetField(VNI, vni), SetField(ORIGIN, TUNNEL))
        found.add(flow(CLASSIFY, 100, {"in_port": port, "tunnel_id": vni}, origin, FORWARD))
    return frozenset(found)


def _parts(state: State, nve_name: str) -> dict[str, frozenset[Flow]]:
    """Return an NVE's flows in parts that change together: the tunnel's and each VM's."""
    nve = state.nves[nve_name]
    vnis = state.members[nve_name]
    parts = {"": _tunnel_flows(nve, vnis)}
    for vm in state.vms.values():
        if vm.vni not in vnis:
            continue
        move = state.moves.get(vm.name)
        old, new = (None, None) if move is None else (state.nves[move.old_nve], state.nves[move.new_nve])
        parts[vm.name] = _vm_flows(vm, nve, state.nves[vm.nve], move, old, new)
    return parts


def desired_flows(state: State, nve_name: str) -> frozenset[Flow]:
    """Return every flow the NVE is to have. Raises KeyError for an unknown NVE."""
    return frozenset().union(*_parts(state, nve_name).values())


def diff(old: Iterable[Flow], new: Iterable[Flow]) -> Delta:
    """Return (adds, deletes) that turn a table with ``old`` into one with ``new``."""
    old, new = frozenset(old), frozenset(new)
    adds = new - old
    replaced = {entry.key for entry in adds}
    return adds, frozenset(entry for entry in old - new if entry.key not in replaced)


def delta(old: State, new: State, nve_name: str) -> Delta:
    """Return the same as ``diff`` of both desired sets, looking only at the VMs that changed."""
    before = _parts(old, nve_name) if nve_name in old.nves else {}
    after = _parts(new, nve_name)
    gone: set[Flow] = set()
    come: set[Flow] = set()
    for part in before.keys() | after.keys():
        was, now = before.get(part, frozenset()), after.get(part, frozenset())
        if was is not now:
            gone |= was
            come |= now
    return diff(gone, come)
