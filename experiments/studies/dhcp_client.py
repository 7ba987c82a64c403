"""dhcp-client: does a client that asks for its address again after a move get it, and how soon? (Q22)

Question   A VM has leased its IPv4 address from a DHCP server elsewhere. It moves and asks for the same address again.
           Is the lease kept with the same MAC and IP, how long does the confirmation take, and what does its traffic
           notice?
Varies     The path of the move relative to the server's NVE; by parameter, how the client asks: *renew* (a unicast
           request, RFC 2131 section 4.4.5) or *restart* (the client begins anew and names the address it had).
Held fixed dnsmasq as server, udhcpc as client, one address reserved for the VM's MAC; UDP and TCP between the VM and
           a peer on IPv4, so on the leased address.
Answer     One row a path: seconds from the request to the acknowledgement, from the switch to it, DHCP messages, how
           often address or MAC changed (must be 0), packets lost. Null trials ask without a move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from emulation.commands import wait_until
from emulation.dhcp_messages import Listener, confirmation
from experiments.designs import moving_vm
from experiments.designs.schedules import NULL, Schedule, path_of
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.parameters import (
    QUICK,
    Parameter,
    ParameterError,
    choice,
    repetitions,
    with_defaults,
)
from experiments.running.run import Run
from experiments.running.sentences import BOTH_WAYS, measured, milliseconds, moves_cost, stalls
from mobility.migration import MigrationRecord
from topologies.model import Topology
from wire.dhcp import Message

CONFIRMED_BOUND_S = 3.0
WAYS = ("renew", "restart")

PARAMETERS: tuple[Parameter, ...] = (
    *with_defaults(moving_vm.PARAMETERS, topology="dhcp", peer="peer2", rate_pps=2000, tcp_rate=2_000_000),
    choice("confirm", "renew", "how the client asks for its address again", WAYS),
    QUICK,
)


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As hot-l2's; and the VM leases its address."""
    each = Gathered()
    with each:
        moving_vm.check(values, topology)
    with each:
        _check_leases(values, topology)
    each.tell()


def _check_leases(values: Mapping[str, Any], topology: Topology) -> None:
    if moving_vm.vm_of(topology, "vm", values["vm"]).address != "dhcp":
        leasing = ", ".join(vm.name for vm in topology.vms if vm.address == "dhcp") or "none"
        raise ParameterError(
            f"vm={values['vm']}: has a static address in topology {topology.name} (VMs with address: dhcp: {leasing}); "
            "choose one of these, or topology=dhcp"
        )


class Confirmer:
    """Asks for the VM's address again and says what came of it."""

    def __init__(self, run: Run) -> None:
        self._dhcp, self._vm = run.laboratory.network.dhcp, run.values["vm"]
        self._restart = run.values["confirm"] == "restart"
        model = run.laboratory.topology.vm(self._vm)
        self._lease = (str(model.ipv4), model.mac)
        self._listener = Listener(run.laboratory.network[self._vm].pid)
        self._seen: list[Message] = []
        self.switched_s: float | None = None
        self.alone = False  # the next trial has no move, and asks all the same

    def confirm(self) -> None:
        """Ask, and wait for the acknowledgement."""
        self._dhcp.confirm(self._vm, restart=self._restart)

        def acknowledged() -> bool:
            self._seen += self._listener.messages()
            return confirmation(self._seen) is not None

        wait_until(acknowledged, CONFIRMED_BOUND_S, f"{self._vm}'s lease to be confirmed")

    def watch(self) -> Callable[[], dict[str, float]]:
        """Begin a trial; what is returned gives the trial's measures."""
        self._listener.messages()
        self._seen, self.switched_s = [], None
        if self.alone:
            self.confirm()
        return self._measures

    def _measures(self) -> dict[str, float]:
        self._seen += self._listener.messages()
        found = confirmation(self._seen)
        if found is None:
            return {"dhcp_messages_count": float(len(self._seen))}
        asked, answer = found
        now = set(self._dhcp.addresses(self._vm))
        kept = (answer.address, answer.mac) == self._lease and now == {self._lease[0]}
        measures = {
            "confirm_s": answer.t_s - asked.t_s,
            "dhcp_messages_count": float(len(self._seen)),
            "changed_leases_count": 0.0 if kept else 1.0,
            "lease_time_s": float(answer.lease_s or 0),
        }
        if self.switched_s is not None:
            measures["switch_to_confirmed_s"] = answer.t_s - self.switched_s
        return measures


def rehearse(run: Any) -> None:
    """The same path; to ask for the address takes some ms."""
    moving_vm.go_round(run, _home(run))


def _home(run: Run) -> str:
    server = run.laboratory.topology.network_of(run.values["vm"]).dhcp_server
    assert server is not None  # the topology's own check
    return run.laboratory.network.location[server]


def trials(run: Run) -> None:
    """hot-l2's path around the server's NVE; each trial asks for the address again."""
    laboratory, values = run.laboratory, run.values
    vm, home = values["vm"], _home(run)
    cycle = [home, *[name for name in laboratory.network.nves if name != home][:2]]
    schedule = Schedule(cycle, home, repetitions(values), values["seed"])
    run.expect(schedule.wanted())
    confirmer = Confirmer(run)
    run.observe = confirmer.watch

    def moved(new_nve: str) -> MigrationRecord:
        record = laboratory.move(vm, new_nve, policy=values["policy"])
        confirmer.switched_s = next(phase.start_s for phase in record.phases if phase.name == "switch")
        confirmer.confirm()
        return record

    with run.traffic():
        if laboratory.network.location[vm] != home:
            laboratory.move(vm, home, policy=values["policy"])
        for new_nve in schedule.steps():
            here = laboratory.network.location[vm]
            kind = NULL if new_nve is None else path_of(here, new_nve, home)
            confirmer.alone = new_nve is None
            move = None if new_nve is None else partial(moved, new_nve)
            schedule.count(kind, run.trial({} if move is None else {"path": kind}, move))


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """Whether the lease was kept, how soon that was confirmed, and what traffic lost meanwhile."""
    changed = measured(trials, "changed_leases_count")
    kept = sum(one == 0 for one in changed)
    return (
        f"IP, MAC and lease were the same in {kept} of {len(changed)} moves, confirmed "
        f"{milliseconds(measured(trials, 'confirm_s'))} after the client asked (without a move "
        f"{milliseconds(measured(trials, 'confirm_s', null=True))}) and "
        f"{milliseconds(measured(trials, 'switch_to_confirmed_s'))} after the switch. "
        f"{moves_cost(trials, BOTH_WAYS)}{stalls(trials, BOTH_WAYS)}"
    )


EXPERIMENT = Experiment(
    name="dhcp-client",
    questions=("Q22",),
    question="Does a DHCP client that asks for its address again after a move get it, and how soon?",
    answer="time to confirm, lease, MAC and IP kept (0 changes), loss meanwhile",
    parameters=PARAMETERS,
    trials=trials,
    rehearse=rehearse,
    check=check,
    conclude=conclude,
    shown_measures=(
        "confirm_s",
        "switch_to_confirmed_s",
        "changed_leases_count",
        "dhcp_messages_count",
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "reordered_packets_to_vm",
        "tcp_stall_s_to_vm",
        "tcp_stall_s_from_vm",
        "call_to_last_barrier_s",
    ),
)
