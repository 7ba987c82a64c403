"""stage-order: which comes first, the mapping's update, the stop, or the resume? (Q7)

Question   The draft jumbles the order of the stages. What does each order cost?
Varies     The order: stop-first (the VM stops, runs at the new NVE, then the peers are told), update-first (the
           peers are told while it still runs at the old one), resume-first (the new copy runs before the old
           one is cut off); and the policy at the old NVE.
Held fixed The path, no downtime of the VM itself, the traffic.
Answer     Per order and policy: lost, duplicated, reordered packets, TCP stall, beside null trials.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from experiments.designs.comparing import Group, checker, comparison, traffic_parameters
from experiments.running.experiment import Experiment
from experiments.running.sentences import groups_tried, measured, milliseconds, packets
from mobility.options import MoveOptions
from mobility.policies import MigrationRefusedError
from vocabulary.moves import ORDERS

POLICIES_COMPARED = ("silent-drop", "tunnel", "buffer")


def groups(_values: Mapping[str, Any]) -> Sequence[Group]:
    """Every order with every policy that goes with it."""
    found = []
    for order in ORDERS:
        for policy in POLICIES_COMPARED:
            options = MoveOptions(policy=policy, order=order, announcements=1)
            try:
                options.check("rebind")
            except MigrationRefusedError:
                continue  # such as resume-first with buffer: there is nobody to hold packets for
            found.append(Group({"order": order, "policy": policy}, options))
    return found


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """Per order and policy what was lost, duplicated, reordered; why orders without a holder lose."""
    told = []
    tried = set(groups_tried(trials, "order", "policy"))
    for order, policy in [(o, p) for o in ORDERS for p in POLICIES_COMPARED if (o, p) in tried]:
        of = partial(measured, trials, order=order, policy=policy)
        both = [
            f"{verb} {packets(of(f'{verb}_packets_to_vm'))} to the VM, {packets(of(f'{verb}_packets_from_vm'))} from it"
            for verb in ("lost", "duplicated", "reordered")
            if any(of(f"{verb}_packets_to_vm") + of(f"{verb}_packets_from_vm"))
        ]
        stall = milliseconds(of("tcp_stall_s_to_vm"))
        told.append(
            f"{order} with {policy}: {'; '.join(both) or 'none lost, duplicated or reordered'}; TCP {stall}"
        )
    floor = milliseconds(measured(trials, "tcp_stall_s_to_vm", null=True))
    return (
        f"{_lost(trials, tried)} TCP's longest pause to the VM is {floor} without a move. {'. '.join(told)}. "
        "Stop-first loses "
        "what comes to the old NVE before the peers are told, update-first what comes to the new NVE before the VM is "
        "there; only a buffer there keeps it. Resume-first has two copies that both send, so peers get packets twice"
        f"{f'; {NO_HOLDER}' if ('resume-first', 'buffer') not in tried else ''}. {ONE_STACK}"
    )


NO_HOLDER = "it does not go with buffer, since both copies run and there is nobody to hold packets for"
ONE_STACK = (
    "Both copies were one network stack with a leg at each NVE; the states of two real ones drift apart."
)


def _lost(trials: Sequence[Mapping[str, Any]], tried: Collection[tuple[Any, ...]]) -> str:
    """'Packets lost to the VM: with buffer 0 (stop-first), 0 (update-first); with ..'."""

    def by_order(policy: str) -> str:
        return ", ".join(
            f"{packets(measured(trials, 'lost_packets_to_vm', order=order, policy=policy))} ({order})"
            for order in ORDERS
            if (order, policy) in tried
        )

    told = [f"with {policy} {found}" for policy in reversed(POLICIES_COMPARED) if (found := by_order(policy))]
    return f"Packets lost to the VM: {'; '.join(told)}."


EXPERIMENT = Experiment(
    name="stage-order",
    questions=("Q7",),
    question="Which comes first: the mapping's update, the stop, or the resume?",
    answer="per order and policy: lost, duplicated, reordered packets, TCP stall",
    parameters=traffic_parameters(rate_pps=5000, repeat=10, after=0.6),
    trials=comparison(groups),
    check=checker(groups),
    conclude=conclude,
    group_by=("order", "policy"),
    shown_measures=(
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "duplicated_packets_to_vm",
        "duplicated_packets_from_vm",
        "reordered_packets_to_vm",
        "reordered_packets_from_vm",
        "tcp_stall_s_to_vm",
        "tcp_stall_s_from_vm",
        "move_total_s",
    ),
)
