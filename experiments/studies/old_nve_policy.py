"""old-nve-policy: what should the old NVE do with packets for a VM that has left? (Q4)

Question   The draft has the old NVE drop silently, drop with ICMP, forward, or tunnel, each in turn. What does
           each cost a VM that stands still for a moment while it moves? Does an ICMP error end an established
           connection, and does it hold the sender's backoff down (RFC 6069)?
Varies     The policy at the old NVE: silent-drop, icmp, forward, tunnel, buffer. And the downtime: a short one, and
           for the two that drop a long one, in which the senders back off several times. With icmp and the long one
           also how many errors an NVE may send: as many as it refuses packets, or fewer, as routers do (RFC 1812
           section 4.3.2.8). Errors that are rationed go to who sends most, here the UDP probe.
Held fixed The path (between two NVEs at which the peer is not), the traffic: UDP and TCP both ways.
Answer     Per policy: packets lost, TCP stall, retransmission timeouts and the longest RTO, ICMP errors that the peer
           received, connections that went on, beside null trials. With family=ipv6 all but forward, which needs an
           IPv4 packet: the underlay is IPv4.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.deciding.model import until_timeout_s
from experiments.designs import moving_vm
from experiments.designs.comparing import Group, check_family, checker, comparison, traffic_parameters
from experiments.probes.counters import counters
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.parameters import ParameterError, choice, duration_s
from experiments.running.run import Observe, Run
from experiments.running.sentences import (
    all_went_on,
    groups_tried,
    measured,
    milliseconds,
    packets,
    sentences,
)
from experiments.running.traffic import FAMILIES
from mobility.options import MoveOptions
from mobility.policies import check_forwarding
from topologies.model import Topology
from topologies.units import format_duration
from vocabulary.policies import DROPPING, POLICIES

RECOVERED_S = 1.5
"""Time of a trial after the first timeout behind a long downtime."""
LATER_TIMEOUTS = 1.1
"""A timeout is some 204 ms and not 200, and the first one may follow a probe for the tail's loss (RFC 8985)."""
RATIONED_PPS = 500
"""The NVA's own limit; less than the probes send."""


def groups(values: Mapping[str, Any]) -> Sequence[Group]:
    """Every policy there is with the short downtime, those that drop with the long one, too."""
    names = [name for name in POLICIES if name != "forward" or values["family"] == "ipv4"]

    def group(name: str, downtime_s: float, after_s: float | None, limit_pps: int | None = None) -> Group:
        options = MoveOptions(policy=name, downtime_s=downtime_s, pause=values["pause"], announcements=1)
        own: dict[str, Any] = {"policy": name, "downtime_s": downtime_s}
        if limit_pps is not None:
            own["error_limit_pps"] = limit_pps
        return Group(own, options, after_s, packet_in_limit_pps=limit_pps)

    long_s = values["long_downtime"]
    heard_s = RECOVERED_S + until_timeout_s(LATER_TIMEOUTS * long_s) - long_s
    limits_pps = sorted({RATIONED_PPS, every_error_pps(values)})
    return [
        *(
            group(name, values["downtime"], None, limits_pps[-1] if name == "icmp" else None)
            for name in names
        ),
        group("silent-drop", long_s, heard_s),
        *(group("icmp", long_s, heard_s, limit_pps) for limit_pps in limits_pps),
    ]


def every_error_pps(values: Mapping[str, Any]) -> int:
    """A limit that rations nothing: twice what the UDP probe sends, and something for TCP's last windows."""
    return 2 * int(values["rate_pps"]) + RATIONED_PPS


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As every comparison's; and both VMs need an address of the family."""
    each = Gathered()
    with each:
        check_family(values, topology)
    with each:
        checker(groups)(values, topology)
    with each:
        if values["downtime"] >= values["long_downtime"]:
            raise ParameterError(
                f"long_downtime={format_duration(values['long_downtime'])}: must be longer than "
                f"downtime={format_duration(values['downtime'])}"
            )
    with each:
        if values["family"] == "ipv4":
            check_forwarding(topology, moving_vm.vm_of(topology, "vm", values["vm"]).name)
    each.tell()


def icmp_received(table: str) -> int:
    """Destination-unreachable errors received, of both IP versions, from the text of /proc/net/snmp and snmp6. Pure."""
    found = counters(table)
    return found.get("Icmp.InDestUnreachs", 0) + found.get("Icmp6InDestUnreachs", 0)


def icmp_at_peer(run: Run) -> Observe:
    """Counts the errors that the peer receives within a trial."""
    folder = Path(f"/proc/{run.laboratory.network[run.values['peer']].pid}/net")

    def received() -> int:
        return icmp_received("\n".join((folder / name).read_text() for name in ("snmp", "snmp6")))

    def begin() -> Callable[[], Mapping[str, float]]:
        before = received()
        return lambda: {"icmp_errors_count": received() - before}

    return begin


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """Lost and TCP stall per policy; what the errors did to the backoff; connections that ended."""
    kinds = set(groups_tried(trials, "policy", "downtime_s"))
    short_s = min((downtime_s for _, downtime_s in kinds), default=0.0)
    short = [name for name in POLICIES if (name, short_s) in kinds]

    def of(measure: str, policy: str) -> list[float]:
        return measured(trials, measure, policy=policy, downtime_s=short_s)

    lost = ", ".join(f"{name} {packets(of('lost_packets_to_vm', name))}" for name in short)
    waits = ", ".join(f"{name} {milliseconds(of('tcp_stall_s_to_vm', name))}" for name in short)
    left_out = "" if "forward" in short else f" {NO_FORWARD}"
    floor = milliseconds(measured(trials, "tcp_stall_s_to_vm", null=True))
    alive = (
        f"{told} "
        if (told := sentences([all_went_on(trials, "TCP connections, established before,")]))
        else ""
    )
    return (
        f"Packets to a VM that stands still for {milliseconds([short_s])}, lost: {lost}. {_why_lost(of, short)}"
        f"{left_out} TCP to the VM waits: {waits} (without a move {floor}). {_backoff(trials)}"
        f"{alive}{ESTABLISHED_ALONE}"
    )


ESTABLISHED_ALONE = (
    "That is of host unreachable alone (ICMP type 3 code 1, ICMPv6 type 1 code 3); connections that are being opened, "
    "which RFC 5461 is about, were not tried."
)


NO_FORWARD = (
    "Forward was left out: without the overlay header a packet needs an underlay of its own IP version."
)


def _why_lost(of: Callable[[str, str], list[float]], short: Sequence[str]) -> str:
    """How much of the traffic each kind of policy loses, and why."""

    def gap(*names: str) -> str:
        return milliseconds(
            [value for name in names if name in short for value in of("blackout_s_to_vm", name)]
        )

    return (
        "Tunnel and forward carry packets on but have nowhere to keep them: they lose all that comes to the new NVE "
        f"before the VM runs there, {gap('tunnel', 'forward')} of the traffic. Policies that drop also lose what comes "
        f"until the peers are told, together {gap(*DROPPING)}. Only buffer keeps them."
    )


def _backoff(trials: Sequence[Mapping[str, Any]]) -> str:
    """What ICMP errors did to senders that had backed off, told by the longer downtime."""
    kinds = groups_tried(trials, "policy", "downtime_s")
    long_s = max((downtime_s for _, downtime_s in kinds), default=0.0)
    quiet = partial(measured, trials, downtime_s=long_s, policy="silent-drop")
    told = partial(measured, trials, downtime_s=long_s, policy="icmp")
    tried = groups_tried(trials, "policy", "downtime_s", "error_limit_pps")
    limits_pps = [limit for policy, downtime_s, limit in tried if (policy, downtime_s) == ("icmp", long_s)]
    parts = [
        _under_errors(partial(told, error_limit_pps=limit_pps), limit_pps, quiet(BACKOFF), long_s)
        for limit_pps in sorted(limits_pps, reverse=True)
        if told(BACKOFF, error_limit_pps=limit_pps)
    ]
    if len({downtime_s for _, downtime_s in kinds}) < 2 or not quiet(BACKOFF) or not parts:
        return ""
    no_ipv4 = "forward" not in {policy for policy, _ in kinds}
    return (
        f"When it stands still for {milliseconds([long_s])}, a sender that hears nothing (silent-drop) has up to "
        f"{packets(quiet(BACKOFF))} doublings of its RTO in force, {milliseconds(quiet(RTO))}, and TCP goes on "
        f"{_later(quiet('tcp_stall_s_to_vm'), long_s)}. With icmp {'; '.join(parts)}. An error about a retransmission "
        "takes the last doubling back (RFC 6069); where errors are rationed, most go to whoever sends most."
        f"{f' {IPV6_CODES}' if no_ipv4 else ''} "
    )


BACKOFF, RTO = "tcp_backoff_max_count_to_vm_by_peer", "tcp_rto_max_s_to_vm_by_peer"
IPV6_CODES = (
    "On IPv6 Linux takes a backoff back for ICMPv6 'no route' alone, not for 'address unreachable', which the "
    "NVE sends."
)


def _under_errors(
    of: Callable[[str], list[float]], limit_pps: int, quiet: Sequence[float], long_s: float
) -> str:
    """What the errors did at one limit: doublings, in how many moves there were fewer, how long TCP still waited."""
    doublings = of(BACKOFF)
    fewer = sum(one < statistics.median(quiet) for one in doublings)
    return (
        f"and at most {limit_pps:,} errors/s ({packets(of('icmp_errors_count'))} came for "
        f"{packets(of('lost_packets_to_vm'))} UDP packets and some of TCP) up to {packets(doublings)}, "
        f"{milliseconds(of(RTO))}, fewer than without errors in {fewer} of {len(doublings)} moves, and TCP goes on "
        f"{_later(of('tcp_stall_s_to_vm'), long_s)}"
    )


def _later(stalls_s: Sequence[float], downtime_s: float) -> str:
    return f"{milliseconds([stall_s - downtime_s for stall_s in stalls_s])} after the VM"


EXPERIMENT = Experiment(
    name="old-nve-policy",
    questions=("Q4",),
    question="What should the old NVE do with packets for a VM that has left?",
    answer="per policy: packets lost, TCP stall, timeouts, ICMP errors, connections that go on",
    parameters=(
        # At 2,000 errors/s the NVA itself would keep the machine too busy for a valid trial.
        *traffic_parameters(rate_pps=1000, repeat=10, after=1.0),
        duration_s("downtime", 0.05, "how long the VM stands still"),
        # Between Linux's timeouts 1.4 s and 3 s after the last acknowledgment: who backs off waits another second.
        duration_s("long_downtime", 2.0, "the same for policies that drop, to see senders back off"),
        choice("family", "ipv4", "IP version of the traffic; with ipv6 there is no policy forward", FAMILIES),
        moving_vm.PAUSE,
    ),
    trials=comparison(groups, icmp_at_peer),
    check=check,
    conclude=conclude,
    group_by=("policy", "downtime_s", "error_limit_pps"),
    shown_measures=(
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "blackout_s_to_vm",
        "reordered_packets_to_vm",
        "tcp_stall_s_to_vm",
        "tcp_stall_s_from_vm",
        "tcp_timeouts_count_to_vm_by_peer",
        BACKOFF,
        RTO,
        "icmp_errors_count",
        "went_on_connections_count",
        "ended_connections_count",
        "silent_connections_count",
        "packets_at_old_nve",
        "held_frames_peak",
    ),
)
