"""l3-host-route: what does a move into another subnet cost when the VM keeps its address by a host route? (Q11)

Question   A VM moves to an NVE whose other VMs are in another subnet, and keeps its address. Every NVE routes to it by
           an entry of its own (a host route: RFC 9135 section 5), so its peers in other subnets and those in its own
           must find it there. What does that cost compared with a move inside a subnet?
Varies     The path relative to the peer, a VM of the other subnet: *remote to co-located* is the move to the NVE
           where the other subnet is at home, *co-located to remote* the way back.
Held fixed The peer in the other subnet, with UDP and TCP across the gateway, both ways and both initiators; beside
           it a peer in the VM's own subnet, bridged.
Answer     One row a path with loss, reordering, duplicates, blackout and TCP stall across subnets; the same for
           UDP in its own subnet; the flow-mods a move takes, of all NVEs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from experiments.designs import moving_vm
from experiments.designs.moving_vm import check_movable, vm_of
from experiments.running.beside import SideFlow
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.parameters import (
    QUICK,
    Parameter,
    ParameterError,
    choice,
    text,
    whole,
    with_defaults,
)
from experiments.running.run import Run
from experiments.running.sentences import BOTH_WAYS, counted, measured, moves_cost, stalls
from experiments.running.side_measures import flow_mods
from experiments.running.traffic import FAMILIES, UDP_PORT, address_of
from topologies.model import Topology

PARAMETERS: tuple[Parameter, ...] = (
    *with_defaults(moving_vm.PARAMETERS, topology="two_tenants", peer="green2", rate_pps=2000),
    choice("family", "ipv4", "IP version of the traffic", FAMILIES),
    text("near", "peer1", "a VM in the subnet of the one that moves"),
    whole("near_pps", 1000, "UDP packets per second with that VM, each way", 100, 5000),
    QUICK,
)
NEAR_PORT = UDP_PORT + 100


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """The peer is in a routed network, the other one in the VM's own; all have addresses of the family."""
    each = Gathered()
    with each:
        check_movable(values, topology)
    with each:
        vm, peer = (vm_of(topology, name, values[name]) for name in ("vm", "peer"))
        if not topology.may_route(vm.virtual_network, peer.virtual_network):
            raise ParameterError(
                f"peer={peer.name}: its network {peer.virtual_network} is not routed to {vm.name}'s, "
                f"{vm.virtual_network}; choose a VM in another network of the same tenant, both with gateways"
            )
    with each:
        vm, near = (vm_of(topology, name, values[name]) for name in ("vm", "near"))
        if near.virtual_network != vm.virtual_network or near.name == vm.name:
            raise ParameterError(
                f"near={near.name}: must be another VM of {vm.name}'s network {vm.virtual_network}"
            )
    for name in ("vm", "peer", "near"):
        with each:
            address_of(topology, vm_of(topology, name, values[name]).name, values["family"])
    each.tell()


def trials(run: Run) -> None:
    """hot-l2's path around the NVE of the other subnet, with a flow in the VM's own subnet beside it."""
    values, topology = run.values, run.laboratory.topology
    vm, near = values["vm"], values["near"]

    def flow(label: str, sender: str, receiver: str, stream: int) -> SideFlow:
        address = address_of(topology, receiver, values["family"])
        return SideFlow(label, sender, receiver, address, stream, NEAR_PORT, values["near_pps"])

    run.observe = partial(flow_mods, run)
    beside = [flow("near_to_vm", near, vm, 1), flow("near_from_vm", vm, near, 2)]
    moving_vm.go_round(run, run.laboratory.network.location[values["peer"]], beside)


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """What crossed the gateway and what stayed in the VM's own subnet; what a move takes."""
    flows = {"to_vm": "from the other subnet to the VM", "from_vm": "back"}
    near = {"near_to_vm": "from its own subnet", "near_from_vm": "back"}
    return (
        f"{moves_cost(trials, flows | near)}{stalls(trials, BOTH_WAYS)} A move takes "
        f"{counted(measured(trials, 'flow_mods_count'), 'flow-mod')} at all NVEs together."
    )


EXPERIMENT = Experiment(
    name="l3-host-route",
    questions=("Q11",),
    question="What does a move into another subnet cost when the VM keeps its address by a host route?",
    answer="as hot-l2 across subnets, beside the VM's own subnet; flow-mods per move",
    parameters=PARAMETERS,
    trials=trials,
    check=check,
    conclude=conclude,
    shown_measures=(
        *(
            f"{name}_{way}_vm"
            for name in (
                "lost_packets",
                "reordered_packets",
                "duplicated_packets",
                "blackout_s",
                "tcp_stall_s",
            )
            for way in ("to", "from")
        ),
        "lost_packets_near_to_vm",
        "lost_packets_near_from_vm",
        "leaked_packets",
        "flow_mods_count",
        "call_to_last_barrier_s",
    ),
)
