"""old-nve-policy: what should the old NVE do with packets for a VM that has left? (Q4)

Question   The draft has the old NVE drop silently, drop with ICMP, forward, or tunnel, each in turn. What does
           each cost a VM that stands still for a moment while it moves? Does an ICMP error end a connection (RFC
           5461 calls it soft), and does it hold the sender's backoff down (RFC 6069)?
Varies     The policy at the old NVE: silent-drop, icmp, forward, tunnel, buffer. And the downtime: a short one, and
           for the two that drop a long one, in which the senders back off several times.
Held fixed The path (between two NVEs at which the peer is not), the traffic: UDP and TCP both ways.
Answer     Per policy: packets lost, TCP stall, retransmission timeouts and the longest RTO, ICMP errors that the peer
           received, connections that went on, beside null trials. With family=ipv6 all but forward, which needs an
           IPv4 packet: the underlay is IPv4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobility.options import MoveOptions
from mobility.policies import POLICIES, check_forwarding
from topologies.model import Topology, UnknownNameError

from . import hot_l2
from .comparing import Group, checker, comparison, traffic_parameters
from .experiment import Experiment
from .parameters import ParameterError, choice, duration_s
from .run import Observe, Run
from .sentences import figure, milliseconds
from .traffic import FAMILIES, address_of

DROPPING = ("silent-drop", "icmp")
RECOVERED_S = 2.5  # after a long downtime the next retransmission may be as far away as the downtime was long


def groups(values: Mapping[str, Any]) -> Sequence[Group]:
    """Every policy there is with the short downtime, those that drop with the long one, too."""
    names = [name for name in POLICIES if name != "forward" or values["family"] == "ipv4"]

    def group(name: str, downtime_s: float, after_s: float | None) -> Group:
        options = MoveOptions(policy=name, downtime_s=downtime_s, pause=values["pause"], announcements=1)
        return Group({"policy": name, "downtime_s": downtime_s}, options, after_s)

    return [
        *(group(name, values["downtime"], None) for name in names),
        *(group(name, values["long_downtime"], values["long_downtime"] + RECOVERED_S) for name in DROPPING),
    ]


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As every comparison's; and both VMs need an address of the family."""
    for name in ("vm", "peer"):
        hot_l2.vm_of(topology, name, values[name])
        try:
            address_of(topology, values[name], values["family"])
        except UnknownNameError as error:
            raise ParameterError(f"family={values['family']}: {error}") from None
    checker(groups)(values, topology)
    if values["family"] == "ipv4":
        check_forwarding(topology, values["vm"])


def icmp_received(table: str) -> int:
    """Destination-unreachable errors received, of both IP versions, from the text of /proc/net/snmp and snmp6. Pure."""
    total = 0
    heads: list[str] = []
    for line in table.splitlines():
        words = line.split()
        if words[:1] == ["Icmp:"]:
            if heads:
                total += int(words[heads.index("InDestUnreachs")])
            heads = words
        elif words[:1] == ["Icmp6InDestUnreachs"]:
            total += int(words[1])
    return total


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
    """Per policy and downtime: lost, stall, RTO, errors; connections that ended."""

    def of(measure: str, parameters: Mapping[str, Any]) -> list[float]:
        return [
            trial["measures"][measure]
            for trial in trials
            if trial["valid"]
            and trial["parameters"] == parameters
            and trial["measures"].get(measure) is not None
        ]

    kinds = {tuple(trial["parameters"].items()): trial["parameters"] for trial in trials if not trial["null"]}
    told = [
        f"{one['policy']} ({milliseconds([one['downtime_s']])}) {figure(of('lost_packets_to_vm', one), 1, '')} lost, "
        f"TCP waits {milliseconds(of('tcp_stall_s_to_vm', one))}, RTO at most "
        f"{milliseconds(of('tcp_rto_max_s_to_vm_by_peer', one))}, "
        f"{figure(of('icmp_errors_count', one), 1, '')} ICMP errors"
        for one in sorted(kinds.values(), key=lambda one: (one["downtime_s"], one["policy"]))
    ]
    moves = [trial for trial in trials if trial["valid"] and not trial["null"]]
    alive = [trial["measures"]["alive_connections_count"] for trial in moves]
    most = max(alive, default=0)
    return (
        f"Packets to the VM, by policy (downtime): {'; '.join(told)}. All {most} TCP connections went on in "
        f"{sum(one == most for one in alive)} of {len(alive)} moves."
    )


EXPERIMENT = Experiment(
    name="old-nve-policy",
    questions=("Q4",),
    question="What should the old NVE do with packets for a VM that has left?",
    answer="per policy: packets lost, TCP stall, timeouts, ICMP errors, connections that go on",
    parameters=(
        *traffic_parameters(rate_pps=2000, repeat=10, after=1.0),
        duration_s("downtime", 0.05, "how long the VM stands still"),
        duration_s("long_downtime", 1.0, "the same for policies that drop, to see senders back off"),
        choice("family", "ipv4", "IP version of the traffic; with ipv6 there is no policy forward", FAMILIES),
        hot_l2.PAUSE,
    ),
    trials=comparison(groups, icmp_at_peer),
    check=check,
    conclude=conclude,
    group_by=("policy", "downtime_s"),
    shown_measures=(
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "blackout_s_to_vm",
        "reordered_packets_to_vm",
        "tcp_stall_s_to_vm",
        "tcp_stall_s_from_vm",
        "tcp_timeouts_count_to_vm_by_peer",
        "tcp_rto_max_s_to_vm_by_peer",
        "icmp_errors_count",
        "alive_connections_count",
        "packets_at_old_nve",
        "held_frames_peak",
    ),
)
