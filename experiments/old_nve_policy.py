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

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobility.options import MoveOptions
from mobility.policies import POLICIES, check_forwarding
from topologies.model import Topology
from topologies.units import format_duration

from . import hot_l2
from .experiment import Experiment
from .probes.counters import counters
from .running.comparing import Group, check_family, checker, comparison, traffic_parameters
from .running.parameters import ParameterError, choice, duration_s
from .running.run import Observe, Run
from .running.sentences import figure, groups_tried, measured, milliseconds, packets
from .running.traffic import FAMILIES

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
    check_family(values, topology)
    checker(groups)(values, topology)
    if values["downtime"] >= values["long_downtime"]:
        raise ParameterError(
            f"long_downtime={format_duration(values['long_downtime'])}: must be longer than "
            f"downtime={format_duration(values['downtime'])}"
        )
    if values["family"] == "ipv4":
        check_forwarding(topology, values["vm"])


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

    def of(measure: str, policy: str, downtime_s: float) -> list[float]:
        return measured(trials, measure, policy=policy, downtime_s=downtime_s)

    short_s = min((downtime_s for _, downtime_s in kinds), default=0.0)
    short = [name for name in POLICIES if (name, short_s) in kinds]
    lost = ", ".join(f"{name} {packets(of('lost_packets_to_vm', name, short_s))}" for name in short)
    waits = ", ".join(f"{name} {milliseconds(of('tcp_stall_s_to_vm', name, short_s))}" for name in short)
    left_out = "" if "forward" in short else f" {NO_FORWARD}"
    floor = milliseconds(measured(trials, "tcp_stall_s_to_vm", null=True))
    alive = measured(trials, "alive_connections_count")
    most = max(alive, default=0)
    return (
        f"Packets to a VM that stands still for {milliseconds([short_s])}, lost: {lost}. Tunnel and forward carry "
        "packets on but keep none, so they lose what comes before the VM runs at its new NVE; policies that drop also "
        f"what comes until the peers are told.{left_out} TCP to the VM waits: {waits} (without a move "
        f"{floor}). {_backoff(of, kinds)}All {most:.0f} TCP connections went on in "
        f"{sum(one == most for one in alive)} of {len(alive)} moves: an ICMP error is a soft one (RFC 5461)."
    )


IPV6_CODES = "; Linux does so for ICMPv6 'no route', not for 'address unreachable', which the NVE sends"
NO_FORWARD = (
    "Forward was left out: without the overlay header a packet needs an underlay of its own IP version."
)


def _backoff(of: Callable[..., list[float]], kinds: set[tuple[Any, ...]]) -> str:
    """What ICMP errors did to senders that had backed off, told by the longer downtime."""
    long_s = max((downtime_s for _, downtime_s in kinds), default=0.0)
    if not {(name, long_s) for name in DROPPING} <= kinds or len({downtime_s for _, downtime_s in kinds}) < 2:
        return ""
    rto, stall, errors = "tcp_rto_max_s_to_vm_by_peer", "tcp_stall_s_to_vm", "icmp_errors_count"
    quiet, told = (of(rto, name, long_s) for name in DROPPING)
    if not quiet or not told:
        return ""
    reverted = statistics.median(told) < statistics.median(quiet)
    with_ipv6 = "forward" not in {name for name, _ in kinds}
    return (
        f"When it stands still for {milliseconds([long_s])}, a sender's RTO grows to {milliseconds(quiet)} with "
        f"silent-drop and to {milliseconds(told)} with icmp ({figure(of(errors, 'icmp', long_s), 1, '')} errors came): "
        f"{'the errors take its backoff back' if reverted else 'no backoff was seen to be taken back'} (RFC 6069"
        f"{IPV6_CODES if with_ipv6 and not reverted else ''}), "
        f"and TCP waits {milliseconds(of(stall, 'silent-drop', long_s))} and "
        f"{milliseconds(of(stall, 'icmp', long_s))}. "
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
