"""hot-l2-v6: what does a hot move cost when the VM keeps its IPv6 addresses and MAC? (Q2)

Question   As hot-l2, on IPv6: what is lost, duplicated, reordered, and for how long is each direction dark? Does the
           VM keep its global and its link-local address, and what does neighbour discovery do at the attachment?
Varies     The path of the move relative to the peer, as in hot-l2. With parameters also policy, rates, port type.
Held fixed The topology (IPv4 and IPv6 side by side, an IPv4 underlay), the peer, the traffic: IPv6 only. Neighbour
           solicitations are answered at the NVE; the new place is announced by RARP and by an unsolicited neighbour
           advertisement of each IPv6 address.
Answer     One row a path with medians and 95 % intervals, beside null trials. ``discovery_packets`` counts what the
           VM's own stack sent of ND and MLD (a guest that noticed the move would ask for duplicates anew),
           ``tentative_addresses_count`` what it may not use at the trial's end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from emulation.addressing import tentative
from experiments.designs import moving_vm
from experiments.designs.moving_vm import go_round
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.parameters import QUICK, Parameter, ParameterError, choice, with_defaults
from experiments.running.run import Run
from experiments.running.sentences import BOTH_WAYS, measured, moves_cost, packets, stalls
from topologies.model import Topology

PARAMETERS: tuple[Parameter, ...] = (
    *with_defaults(moving_vm.PARAMETERS, topology="dual_stack"),
    choice("family", "ipv6", "IP version of the traffic", ("ipv6",)),
    QUICK,
)
DISCOVERY = ("OutRouterSolicits", "OutNeighborSolicits", "OutNeighborAdvertisements", "OutMLDv2Reports")


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As hot-l2's; and both VMs need an IPv6 address."""
    each = Gathered()
    with each:
        moving_vm.check(values, topology)
    for parameter in ("vm", "peer"):
        with each:
            _check_ipv6(values, topology, parameter)
    each.tell()


def _check_ipv6(values: Mapping[str, Any], topology: Topology, parameter: str) -> None:
    if moving_vm.vm_of(topology, parameter, values[parameter]).ipv6 is None:
        with_one = ", ".join(vm.name for vm in topology.vms if vm.ipv6 is not None) or "none"
        raise ParameterError(
            f"{parameter}={values[parameter]}: has no IPv6 address in topology {topology.name} "
            f"(VMs with one: {with_one}); choose another VM or another topology"
        )


def discovery_packets(snmp6: str) -> int:
    """Packets of neighbour discovery and MLD that a namespace has sent, from its /proc/net/snmp6."""
    counters = dict(line.split() for line in snmp6.splitlines())
    return sum(int(counters.get(f"Icmp6{name}", 0)) for name in DISCOVERY)


def watch_discovery(run: Run) -> Callable[[], dict[str, float]]:
    """From now until the returned function is called: what the VM's own neighbour discovery did."""
    folder = Path(f"/proc/{run.laboratory.network[run.values['vm']].pid}/net")
    before = discovery_packets((folder / "snmp6").read_text())

    def measures() -> dict[str, float]:
        sent = discovery_packets((folder / "snmp6").read_text()) - before
        return {
            "discovery_packets": float(sent),
            "tentative_addresses_count": float(len(tentative((folder / "if_inet6").read_text()))),
        }

    return measures


def trials(run: Run) -> None:
    """hot-l2's, with an eye on neighbour discovery."""
    run.observe = partial(watch_discovery, run)
    go_round(run, run.laboratory.network.location[run.values["peer"]])


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """As hot-l2's, and what neighbour discovery did."""
    tentative_count = sum(measured(trials, "tentative_addresses_count"))
    return (
        f"{moves_cost(trials, BOTH_WAYS)}{stalls(trials, BOTH_WAYS)} The VM's own stack sent "
        f"{packets(measured(trials, 'discovery_packets'))} packets of neighbour discovery and MLD in a trial (without "
        f"a move {packets(measured(trials, 'discovery_packets', null=True))}). "
        f"Addresses that it could not use after a move: {tentative_count:.0f}."
    )


EXPERIMENT = Experiment(
    name="hot-l2-v6",
    questions=("Q2",),
    question="What does a hot move cost when the VM keeps its IPv6 addresses and its MAC?",
    answer="as hot-l2, on IPv6",
    parameters=PARAMETERS,
    trials=trials,
    check=check,
    conclude=conclude,
)
