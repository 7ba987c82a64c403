"""external-client: what does a client outside, which knows nothing of the NVA, notice of a move? (Q16)

Question   An Internet client talks to a VM through a gateway NVE. Nobody can tell the client that the VM has moved.
           Is it enough that the gateway's mapping changes, and what do connections that either end opened notice?
Varies     The path of the move relative to the gateway NVE: from it, between two others (the gateway is then the
           third party whose mapping alone decides where the client's packets go), and back to it.
Held fixed The client, its router and their routes; UDP and TCP between client and VM, both ways, TCP opened by the
           client (``by_peer``) and by the VM (``by_vm``); no NAT.
Answer     One row a path: loss, reordering, blackout, TCP stall of each initiator; flow-mods at the gateway NVE and
           at all others; routes outside that differ after the move (must be 0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from emulation import commands
from emulation.outside import ROUTER
from experiments.designs import moving_vm
from experiments.designs.moving_vm import check_movable, vm_of
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.parameters import QUICK, Parameter, ParameterError, choice, with_defaults
from experiments.running.run import Run
from experiments.running.sentences import (
    BOTH_WAYS,
    all_went_on,
    counted,
    measured,
    moves_cost,
    sentences,
    stalls,
)
from experiments.running.side_measures import flow_mods
from experiments.running.traffic import FAMILIES, address_of
from topologies.model import Topology

PARAMETERS: tuple[Parameter, ...] = (
    *with_defaults(moving_vm.PARAMETERS, topology="outside", peer="client1", rate_pps=2000),
    choice("family", "ipv4", "IP version of the traffic", FAMILIES),
    QUICK,
)


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """The peer is a client outside, and the VM's network is one that it reaches."""
    each, outside = Gathered(), topology.outside
    clients = [] if outside is None else [client.name for client in outside.clients]
    with each:
        check_movable(values, topology)
    with each:
        if values["peer"] not in clients:
            raise ParameterError(
                f"peer={values['peer']}: is no client outside in topology {topology.name} (clients: "
                f"{', '.join(clients) or 'none; take topology=outside'})"
            )
        address_of(topology, values["peer"], values["family"])
    with each:
        vm = vm_of(topology, "vm", values["vm"])
        if outside is not None and vm.virtual_network not in outside.reaches:
            raise ParameterError(
                f"vm={vm.name}: clients outside do not reach its network {vm.virtual_network} (they reach "
                f"{', '.join(outside.reaches)}); choose a VM there"
            )
        address_of(topology, vm.name, values["family"])
    each.tell()


def routes_outside(run: Run) -> set[str]:
    """All routes of the client and of its router."""
    network, found = run.laboratory.network, set()
    for node in (run.values["peer"], ROUTER):
        for version in ("-4", "-6"):
            said = commands.run(["ip", version, "route", "show"], pid=network[node].pid, node=node)
            found |= {f"{node} {line.strip()}" for line in said.splitlines()}
    return found


def watch(run: Run, gateway: str) -> Callable[[], dict[str, float]]:
    """Flow-mods at the gateway NVE and elsewhere, and routes outside that differ at the trial's end."""
    routes, mods = routes_outside(run), flow_mods(run)

    def measures() -> dict[str, float]:
        counted = mods()
        at_gateway = counted[f"flow_mods_count_{gateway}"]
        return {
            **counted,
            "flow_mods_count_gateway": at_gateway,
            "flow_mods_count_others": counted["flow_mods_count"] - at_gateway,
            "changed_routes_count": float(len(routes ^ routes_outside(run))),
        }

    return measures


def trials(run: Run) -> None:
    """hot-l2's path around the gateway NVE."""
    outside = run.laboratory.topology.outside
    assert outside is not None  # checked
    run.observe = partial(watch, run, outside.nve)
    moving_vm.go_round(run, outside.nve)


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """What client and VM lost, TCP by initiator, and where something changed."""
    flows = {"to_vm": "from the client to the VM", "from_vm": "back"}
    ends = {
        f"{way}_{who}": f"{words}, opened by the {end}"
        for way, words in BOTH_WAYS.items()
        for who, end in (("by_peer", "client"), ("by_vm", "VM"))
    }

    def flow_mods_at(where: str) -> str:
        """Where the gateway NVE is neither the old NVE nor the new one; its own VM's ports would count as well."""
        return counted(measured(trials, f"flow_mods_count_{where}", path="remote to remote"), "flow-mod")

    gateway = (
        f"a move between two other NVEs takes {flow_mods_at('gateway')} at the gateway NVE and "
        f"{flow_mods_at('others')} at those two; "
        f"{counted(measured(trials, 'changed_routes_count'), 'route')} outside changed"
    )
    return f"{moves_cost(trials, flows)}{stalls(trials, ends)} {sentences([all_went_on(trials), gateway])}"


EXPERIMENT = Experiment(
    name="external-client",
    questions=("Q16",),
    question="What does an Internet client that knows nothing of the NVA notice when the VM it talks to moves?",
    answer="as hot-l2 through the gateway NVE, by initiator; flow-mods at the gateway; changes outside (0)",
    parameters=PARAMETERS,
    trials=trials,
    check=check,
    conclude=conclude,
    shown_measures=(
        *(
            f"{name}_{way}_vm"
            for name in ("lost_packets", "reordered_packets", "duplicated_packets", "blackout_s")
            for way in ("to", "from")
        ),
        *(f"tcp_stall_s_{way}_vm_{who}" for who in ("by_peer", "by_vm") for way in ("to", "from")),
        "went_on_connections_count",
        "ended_connections_count",
        "silent_connections_count",
        "flow_mods_count_gateway",
        "flow_mods_count_others",
        "changed_routes_count",
        "call_to_last_barrier_s",
    ),
)
