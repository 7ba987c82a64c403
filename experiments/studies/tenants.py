"""tenants: do tenants with the same addresses stay apart while a VM moves, and does routing follow it? (Q24)

Question   Two tenants use the same IP and MAC addresses on the same NVEs. Does a packet of one ever reach the other
           before, during or after a move? Does traffic between two networks of one tenant, through their gateway,
           follow the VM? Does anything pass between networks that the topology does not route to each other?
Varies     The path of the move relative to the peer, as in hot-l2; one of the two VMs with the same addresses moves.
Held fixed The traffic: the VM that moves and its peer (UDP and TCP); the two VMs of the other tenant with the very
           same addresses and ports; the VM and one in another network of its tenant, both ways; and a flow to a
           tenant that it is not routed to. Every UDP packet says which flow it is of.
Answer     One row a path: packets of one flow that came to a receiver of another (must be 0), packets that
           arrived where nothing is routed (must be 0), what was lost within the network, by the other tenant,
           and across the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.designs import moving_vm
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
from experiments.running.sentences import BOTH_WAYS, measured, moves_cost, stalls
from experiments.running.traffic import FAMILIES, UDP_PORT, address_of
from topologies.model import Topology, Vm

PARAMETERS: tuple[Parameter, ...] = (
    *with_defaults(
        moving_vm.PARAMETERS, topology="two_tenants", peer="peer3", rate_pps=2000, tcp_rate=2_000_000
    ),
    choice("family", "ipv4", "IP version of the traffic", FAMILIES),
    text("twin", "red1", "VM of another tenant with the addresses of vm"),
    text("twin_peer", "red3", "VM of that tenant with the addresses of peer"),
    text("routed", "green2", "VM in another network of vm's tenant"),
    text("unrouted", "amber2", "VM in a network that vm's is not routed to"),
    whole("side_pps", 500, "UDP packets per second of each flow beside the VM's own", 100, 5000),
    QUICK,
)
ROUTED_PORT, UNROUTED_PORT = UDP_PORT + 100, UDP_PORT + 200


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As hot-l2's; and the VMs beside must be what their parameters say. All that is not is told at once."""
    each = Gathered()
    with each:
        moving_vm.check(values, topology)
    known = {vm.name: vm for vm in topology.vms}
    vm, peer = known.get(values["vm"]), known.get(values["peer"])
    if vm is not None and peer is not None:
        for role in _roles(topology, vm, peer, known.get(values["twin"])):
            with each:
                role.check(values, topology)
    else:  # what the others must be follows from these two
        for name in ("twin", "twin_peer", "routed", "unrouted"):
            with each:
                moving_vm.vm_of(topology, name, values[name])
    for name in ("vm", "peer", "routed", "unrouted"):
        if values[name] in known:
            with each:
                address_of(topology, values[name], values["family"])
    each.tell()


@dataclass(frozen=True)
class _Role:
    """A VM beside the one that moves: what it must be, and which VMs of the topology are."""

    name: str
    wanted: str
    fits: Callable[[Vm], bool]

    def check(self, values: Mapping[str, Any], topology: Topology) -> None:
        """Raises ParameterError with what the VM is for and which ones would do."""
        given = values[self.name]
        if any(vm.name == given and self.fits(vm) for vm in topology.vms):
            return
        fitting = ", ".join(vm.name for vm in topology.vms if self.fits(vm))
        there = "" if any(vm.name == given for vm in topology.vms) else f" there is no VM {given!r};"
        raise ParameterError(
            f"{self.name}={given}:{there} it must be {self.wanted} (topology {topology.name} has: "
            f"{fitting or 'none; two_tenants is an example'})"
        )


def _roles(topology: Topology, vm: Vm, peer: Vm, twin: Vm | None) -> list[_Role]:
    mine, subnet = vm.virtual_network, topology.network_of(vm).subnet_v4

    def same_addresses(other: Vm, original: Vm) -> bool:
        return (other.ipv4, other.ipv6) == (original.ipv4, original.ipv6) and other.virtual_network != mine

    def beside(other: Vm) -> bool:
        """In another network, and with an address by which nobody in the VM's own is meant."""
        return other.virtual_network != mine and other.ipv4 not in subnet

    def twin_of_peer(other: Vm) -> bool:
        fits = twin is None or not same_addresses(twin, vm) or other.virtual_network == twin.virtual_network
        return same_addresses(other, peer) and fits

    def addresses(original: Vm) -> str:
        return ", ".join(str(one) for one in (original.ipv4, original.ipv6) if one is not None)

    return [
        _Role(
            "twin",
            f"a VM with {vm.name}'s addresses ({addresses(vm)}) in another virtual network, to see that neither gets "
            "the other's packets",
            lambda other: same_addresses(other, vm),
        ),
        _Role(
            "twin_peer",
            f"a VM with {peer.name}'s addresses ({addresses(peer)}) in the twin's network, for the twin to talk to",
            twin_of_peer,
        ),
        _Role(
            "routed",
            f"a VM in another network that is routed to {vm.name}'s ({mine}), for the traffic through the gateway",
            lambda other: beside(other) and topology.may_route(mine, other.virtual_network),
        ),
        _Role(
            "unrouted",
            f"a VM in another network that is not routed to {vm.name}'s ({mine}), with an address outside {subnet}, to "
            "see that nothing arrives there",
            lambda other: beside(other) and not topology.may_route(mine, other.virtual_network),
        ),
    ]


def flows(values: Mapping[str, Any], topology: Topology) -> list[SideFlow]:
    """The flows beside the VM's own, which are stream 0."""
    vm, twin, twin_peer, routed, unrouted = (
        values[name] for name in ("vm", "twin", "twin_peer", "routed", "unrouted")
    )

    def flow(
        label: str, sender: str, receiver: str, stream: int, port: int, forbidden: bool = False
    ) -> SideFlow:
        address = address_of(topology, receiver, values["family"])
        return SideFlow(label, sender, receiver, address, stream, port, values["side_pps"], forbidden)

    return [
        flow("to_twin", twin_peer, twin, 1, UDP_PORT),
        flow("from_twin", twin, twin_peer, 2, UDP_PORT),
        flow("routed_to_vm", routed, vm, 3, ROUTED_PORT),
        flow("routed_from_vm", vm, routed, 4, ROUTED_PORT),
        flow("unrouted", vm, unrouted, 5, UNROUTED_PORT, forbidden=True),
    ]


def trials(run: Run) -> None:
    """hot-l2's path, with the other flows beside it."""
    peer_nve = run.laboratory.network.location[run.values["peer"]]
    moving_vm.go_round(run, peer_nve, flows(run.values, run.laboratory.topology))


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """What came to the wrong tenant, and what the VM's own, its twin's and the routed traffic lost."""
    moves = measured(trials, "leaked_packets")
    flows = {
        "to_vm": "to the VM",
        "from_vm": "from it",
        "to_twin": "to its twin of the other tenant, which stays",
        "from_twin": "from the twin",
        "routed_to_vm": "through the gateway to the VM",
        "routed_from_vm": "back",
    }
    return (
        f"In {len(moves)} moves {sum(moves):,.0f} packets came to a VM of another tenant with the same address, and of "
        f"{sum(measured(trials, 'sent_packets_unrouted')):,.0f} sent to a network that the topology does not route to "
        f"{sum(measured(trials, 'arrived_packets_unrouted')):,.0f} arrived. {moves_cost(trials, flows)}"
        f"{stalls(trials, BOTH_WAYS)}"
    )


EXPERIMENT = Experiment(
    name="tenants",
    questions=("Q24",),
    question="Do tenants with the same addresses stay apart during a move, and does routing follow the VM?",
    answer="leaked packets (0), packets where nothing is routed (0), loss in the network, beside it and routed",
    parameters=PARAMETERS,
    trials=trials,
    check=check,
    conclude=conclude,
    shown_measures=(
        "leaked_packets",
        "arrived_packets_unrouted",
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "lost_packets_routed_to_vm",
        "lost_packets_routed_from_vm",
        "lost_packets_to_twin",
        "lost_packets_from_twin",
        "reordered_packets_routed_to_vm",
        "blackout_s_routed_to_vm",
        "call_to_last_barrier_s",
    ),
)
