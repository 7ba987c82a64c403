"""A VM that moves under traffic: the parameters such experiments share, what they refuse, and a way round the NVEs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from emulation.preflight import PORT_TYPES
from experiments.designs.schedules import NULL, Schedule, path_of
from experiments.running import mistakes
from experiments.running.beside import SideFlow
from experiments.running.gathering import Gathered
from experiments.running.parameters import (
    Parameter,
    ParameterError,
    choice,
    duration_s,
    rate_bps,
    repetitions,
    text,
    whole,
)
from experiments.running.run import Run
from experiments.running.traffic import UDP_HEADERS_BYTES, ends_are_there, path_mtu_bytes
from mobility.policies import check_forwarding, policy_for
from topologies.model import Topology, UnknownNameError, Vm
from vocabulary.moves import ATTACHMENTS, PAUSES
from vocabulary.policies import POLICIES

PAUSE = choice(
    "pause", PAUSES[0], "how the VM stands still; freeze (its processes alone) is not faithful", PAUSES
)
"""For experiments in which the VM stands still for a time."""

PARAMETERS: tuple[Parameter, ...] = (
    text("topology", "two_racks", "topology of topologies/, or the path of a file"),
    text("vm", "vm1", "the VM that moves"),
    text("peer", "peer1", "the VM it talks to"),
    choice("policy", "buffer", "what the old NVE does with packets for a VM that has left", tuple(POLICIES)),
    choice("attachment", "rebind", "how the VM is attached", ATTACHMENTS),
    choice("ports", "auto", "how NVEs attach to their ports", PORT_TYPES),
    whole("rate_pps", 5000, "UDP packets per second, each way", 100, 50_000),
    whole("payload", 64, "bytes in each UDP packet; the network's MTU has the last word", 32, 65507),
    rate_bps("tcp_rate", 5_000_000, "rate of each of the four TCP connections; 0 for no TCP"),
    choice("congestion_control", "cubic", "TCP's congestion control", ("cubic", "reno", "bbr")),
    choice("attribution", "on", "whether every packet that is lost gets a cause", ("on", "off")),
    whole("repeat", 10, "valid trials of each group, and null trials", 1, 10_000),
    whole("seed", 1, "where the null trials fall among the moves", 0, 2**31),
    duration_s("before", 0.25, "time of a trial before the move"),
    duration_s("after", 0.4, "time of a trial after the move began"),
)


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """Refuse what this topology cannot do (ParameterError) or this attachment cannot (MigrationRefusedError)."""
    each = Gathered()
    for name in ("vm", "peer"):
        with each:
            vm_of(topology, name, values[name])
    with each:
        check_partner(topology, values["vm"], values["peer"])
    with each:
        check_movable(values, topology)
    with each:
        mistakes.check(values, topology)
    each.tell()


def check_partner(topology: Topology, vm_name: str, peer_name: str) -> None:
    """The peer is another VM of the VM's network; says nothing of names that are no VM's. Raises ParameterError."""
    known = {one.name: one for one in topology.vms}
    vm, peer = known.get(vm_name), known.get(peer_name)
    if vm is None or peer is None:
        return
    if vm.name == peer.name:
        others = ", ".join(one.name for one in topology.vms if one.name != vm.name)
        raise ParameterError(
            f"peer={peer.name}: is the VM that moves itself; choose another (there are: {others})"
        )
    if vm.virtual_network != peer.virtual_network:
        raise ParameterError(
            f"peer={peer.name}: is in virtual network {peer.virtual_network} and {vm.name} in {vm.virtual_network}, "
            "and this stays within one network; choose two VMs of one, or make l3-host-route"
        )


def check_movable(values: Mapping[str, Any], topology: Topology) -> Vm:
    """The VM that moves; refuses (as ``check`` does) when it cannot move in this topology."""
    each = Gathered()
    with each:
        policy_for(values["policy"], values["attachment"])
    with each:
        if len(topology.nves) < 2:
            raise ParameterError(f"topology={values['topology']}: has one NVE; a move needs two at least")
    with each:
        vm = vm_of(topology, "vm", values["vm"])
        if values["attachment"] == "rebind" and not topology.prewired_nves(vm):
            raise ParameterError(
                f"attachment=rebind: {vm.name} is not pre-wired in topology {topology.name}; give it `prewired: all` "
                "there, or use attachment=replug policy=silent-drop"
            )
    with each:
        if POLICIES[values["policy"]].is_plain:
            vm = vm_of(topology, "vm", values["vm"])
            check_forwarding(topology, vm.name, values.get("family", "ipv4"))
    with each:
        if "payload" in values and ends_are_there(topology, (values["vm"], values["peer"])):
            check_payload(values, topology)
    each.tell()
    return topology.vm(values["vm"])


def check_payload(values: Mapping[str, Any], topology: Topology) -> None:
    """Refuse UDP packets that do not fit into the MTU between the VM and its peer whole (ParameterError)."""
    family, ends = values.get("family", "ipv4"), (values["vm"], values["peer"])
    mtu_bytes = path_mtu_bytes(topology, ends)
    most = mtu_bytes - UDP_HEADERS_BYTES[family]
    if values["payload"] > most:
        raise ParameterError(
            f"payload={values['payload']}: with UDP's and {family.replace('ip', 'IP')}'s headers of "
            f"{UDP_HEADERS_BYTES[family]} bytes a packet has {values['payload'] + UDP_HEADERS_BYTES[family]:,}, and "
            f"the MTU between {' and '.join(ends)} is {mtu_bytes:,} in topology {topology.name}; choose at most "
            f"payload={most}, or give their network a larger mtu there"
        )


def vm_of(topology: Topology, parameter: str, name: str) -> Vm:
    """The VM a parameter names. Raises ParameterError with the names there are."""
    try:
        return topology.vm(name)
    except UnknownNameError as error:
        raise ParameterError(f"{parameter}={name}: {error}") from None


def go_round(run: Run, peer_nve: str, beside: Sequence[SideFlow] = (), **choices: Any) -> None:
    """Move the VM around a cycle of NVEs that starts at one; ``choices``: fields of MoveOptions."""
    vm = run.values["vm"]
    choices = {"policy": run.values["policy"], **choices}
    others = [name for name in run.laboratory.network.nves if name != peer_nve]
    cycle = [peer_nve, *others[:2]]
    schedule = Schedule(cycle, peer_nve, repetitions(run.values), run.values["seed"])
    run.expect(schedule.wanted())
    with run.traffic(beside):
        if run.laboratory.network.location[vm] != peer_nve:
            run.laboratory.move(vm, peer_nve, **choices)
        for new_nve in schedule.steps():
            old_nve = run.laboratory.network.location[vm]
            kind = NULL if new_nve is None else path_of(old_nve, new_nve, peer_nve)
            move = None if new_nve is None else partial(run.laboratory.move, vm, new_nve, **choices)
            schedule.count(kind, run.trial({} if move is None else {"path": kind}, move))
