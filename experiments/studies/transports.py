"""transports: what does a hot move cost each transport that holds addresses? (Q18)

Question   SCTP, UDP, RTP and QUIC hold addresses as TCP does. Packets lost, how long a receiver gets nothing, and does
           every connection go on, when a VM moves and keeps its addresses?
Varies     The transport: UDP; RTP-like voice; TCP with cubic, reno and bbr at a constant rate, and as fast as it goes;
           MPTCP; SCTP where the kernel has it; QUIC. One at a time, each beside null trials of its own.
Held fixed The path (between two NVEs at which the peer is not, the peer behind a link of 20 Mbit/s), the policy, and
           that the VM runs on (nothing is copied): the figures are the network's share of a move.
Answer     Per transport: packets lost, duplicated, reordered; the longest time without anything for the receiver,
           beside that without a move (a call has a frame each 20 ms, bulk connections wait for each other in the
           queue of the slow link); segments sent again; connections that go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.designs.by_transport import compare, rounds_of
from experiments.designs.comparing import Group, check_family, checker, traffic_parameters
from experiments.probes.counters import counters
from experiments.probes.transports.base import Ends, Transport
from experiments.probes.transports.streams import MPTCP, QUIC, SCTP, TWO, Streams, lacking
from experiments.probes.transports.udp import Udp
from experiments.probes.transports.voice import TALK_S, Voice
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.parameters import choice, duration_s, rate_bps, repetitions
from experiments.running.run import Observe, Run
from experiments.running.sentences import groups_tried, measured, milliseconds, sentences, went_on
from experiments.running.traffic import FAMILIES, Make
from mobility.options import MoveOptions
from topologies.model import Topology
from vocabulary.moves import DIRECTIONS
from vocabulary.policies import POLICIES

ALL = "all"
ROUNDS = 2
CONTROLS = ("cubic", "reno", "bbr")


def makes(values: Mapping[str, Any]) -> dict[str, Make]:
    """What makes each transport, by its name in the table."""
    rate = values["tcp_rate"]

    def udp(ends: Ends) -> Transport:
        return Udp(ends, values["rate_pps"], values["payload"])

    def voice(ends: Ends) -> Transport:
        return Voice(ends, values["jitter_buffer"], values["talk"])

    paced = {f"tcp {name}": partial(Streams, rate_bps=rate, congestion_control=name) for name in CONTROLS}
    return {
        "udp": udp,
        "voice": voice,
        **paced,
        "tcp bulk": partial(Streams, rate_bps=0.0, congestion_control=values["congestion_control"]),
        "mptcp": partial(
            Streams, rate_bps=rate, congestion_control=values["congestion_control"], protocol=MPTCP
        ),
        "sctp": partial(Streams, rate_bps=rate, protocol=SCTP),
        "quic": partial(Streams, rate_bps=values["quic_rate"], protocol=QUIC, connections=TWO),
    }


NAMES = ("udp", "voice", *(f"tcp {name}" for name in CONTROLS), "tcp bulk", "mptcp", "sctp", "quic")


def problem(name: str) -> str | None:
    """Why this kernel has not got a transport; None when it has."""
    word, _, control = name.partition(" ")
    if word in ("udp", "voice"):
        return None
    return lacking(word, control if control in CONTROLS else None)


def groups(values: Mapping[str, Any], name: str = "udp") -> Sequence[Group]:
    """The one way in which the VM moves under a transport."""
    return [Group({"transport": name}, MoveOptions(policy=values["policy"], announcements=1))]


def sctp_counters(run: Run) -> Observe:
    """Counts the sender's timeouts and retransmissions of SCTP at both ends, from /proc/net/sctp/snmp."""
    nodes = [run.laboratory.network[run.values[name]] for name in ("vm", "peer")]
    files = [Path(f"/proc/{node.pid}/net/sctp/snmp") for node in nodes]

    def read() -> tuple[int, int]:
        tables = [counters(file.read_text()) for file in files if file.exists()]
        timeouts = sum(table.get("SctpT3RtxExpireds", 0) for table in tables)
        resent = ("SctpT3Retransmits", "SctpFastRetransmits")
        return timeouts, sum(table.get(name, 0) for table in tables for name in resent)

    def begin() -> Callable[[], Mapping[str, float]]:
        before = read()

        def end() -> Mapping[str, float]:
            timeouts, resent = read()
            return {
                "sctp_timeouts_count": timeouts - before[0],
                "sctp_retransmits_count": resent - before[1],
            }

        return end

    return begin


def trials(run: Run) -> None:
    """Moves and null trials under each transport that this kernel has; the others are named."""
    values = run.values
    wanted = {
        name: make for name, make in makes(values).items() if values["only"] in (ALL, name.replace(" ", "-"))
    }
    missing = {name: why for name in wanted if (why := problem(name))}
    for name, why in missing.items():
        run.remark(f"{why}.")
        del wanted[name]
    compare(
        run,
        wanted,
        partial(groups, values),
        rounds_of(repetitions(values), ROUNDS),
        observe=lambda name: sctp_counters(run) if name == "sctp" else None,
    )


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """Per transport: lost packets, the longest time without anything, also without a move; connections that ended."""

    names = [name for (name,) in groups_tried([one for one in trials if one["valid"]], "transport")]
    told, lost, sent = [], 0.0, 0.0
    for name in sorted(names, key=NAMES.index):
        moved, still = (
            " / ".join(
                milliseconds(measured(trials, f"stall_s_{way}", null=null, transport=name))
                for way in DIRECTIONS
            )
            for null in (False, True)
        )
        multipath = measured(trials, "multipath_connections_count", transport=name)
        plain = (
            f", {sum(one < 4 for one in multipath)} of {len(multipath)} with plain TCP" if multipath else ""
        )
        told.append(f"{name} {moved} (without a move {still}{plain})")
        for way in DIRECTIONS:
            lost += sum(measured(trials, f"lost_packets_{way}", transport=name))
            sent += sum(measured(trials, f"sent_packets_{way}", transport=name))
    if not told:
        return None
    subflows = subflows_sentence(measured(trials, "mptcp_subflows_count", transport="mptcp"))
    alive = went_on(trials)
    ended = [f"all connections went on in {sum(alive)} of {len(alive)} moves"] if alive else []
    losses = [f"{lost:,.0f} of {sent:,.0f} packets of udp and voice were lost"] if sent else []
    short = "; ".join([*losses, *ended])
    stalls = f"Longest time without anything for the receiver in a hot move, to the VM / from it: {'; '.join(told)}"
    return sentences([short, stalls, subflows])


def subflows_sentence(counts: Sequence[float]) -> str:
    """Of how many subflows MPTCP connections consisted; with one they have nowhere to go but the leg that moves."""
    if not counts:
        return ""
    if max(counts) > 1:
        return f"an MPTCP connection had up to {max(counts):.0f} subflows"
    return (
        "each MPTCP connection had 1 subflow: a second address is missing, as a VM has one interface here, so its "
        "figures are of one path that moves and say nothing of MPTCP's handover to another one"
    )


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As every comparison's; and both VMs need an address of the family."""
    each = Gathered()
    with each:
        check_family(values, topology)
    with each:
        checker(groups)(values, topology)
    each.tell()


EXPERIMENT = Experiment(
    name="transports",
    questions=("Q18",),
    question="What does a hot move cost UDP, voice, TCP, MPTCP, SCTP and QUIC?",
    answer="per transport: packets lost, longest time without anything, sent again, connections that go on",
    parameters=(
        *traffic_parameters(topology="bottleneck", peer="peer3", rate_pps=2000, before=0.3, after=0.4),
        choice(
            "policy", "buffer", "what the old NVE does with packets for a VM that has left", tuple(POLICIES)
        ),
        choice(
            "only", ALL, "all transports, or one alone", (ALL, *(name.replace(" ", "-") for name in NAMES))
        ),
        rate_bps(
            "quic_rate", 2_000_000, "rate of each of the two QUIC connections; their ends take much processor"
        ),
        choice("family", "ipv4", "IP version of the traffic", FAMILIES),
        duration_s("jitter_buffer", 0.06, "how long voice waits for late frames"),
        duration_s("talk", TALK_S, "length of talk by which a call with one move in it is rated"),
    ),
    trials=trials,
    check=check,
    conclude=conclude,
    group_by=("transport",),
    shown_measures=(
        "stall_s_to_vm",
        "stall_s_from_vm",
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "duplicated_packets_to_vm",
        "duplicated_packets_from_vm",
        "reordered_packets_to_vm",
        "reordered_packets_from_vm",
        "voice_mos_to_vm",
        "voice_mos_from_vm",
        "resent_segments_to_vm",
        "resent_segments_from_vm",
        "multipath_connections_count",
        "mptcp_subflows_count",
        "sctp_retransmits_count",
        "went_on_connections_count",
        "ended_connections_count",
        "silent_connections_count",
    ),
)
