"""transport-impact: what does a pause do to congestion control and to real-time traffic? (Q17)

Question   Any delay makes congestion control cut its rate, says the review, and a real-time application may be of no
           use during a move. How long does a sender stand still for a VM that pauses, how often does it time out, what
           does it send again in vain, when is it back at its rate? How is a call?
Varies     The pause, 0 to 2,000 ms; the sender: TCP bulk with cubic, reno, bbr, or RTP-like voice; and what becomes of
           packets meanwhile: kept (policy buffer, pause hold) or lost (policy silent-drop, pause drop).
Held fixed The path (between two NVEs at which the peer is not), a bottleneck of 20 Mbit/s with a queue of 32 ms between
           VM and peer, one connection in one direction. By default to the VM, whose sender is no paused one: the
           counters of a paused sender are those of a kernel that ran on.
Answer     Per pause: stall, smallest window, timeouts, segments sent again and those of them in vain (DSACK), timeouts
           in vain (undone), time to 90 % of the rate of before; frames late and lost, longest silence, E-model MOS. As
           a table and as curves. With topology=bottleneck_wan (in the VM image: it needs netem) with 20 ms of delay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.deciding.model import until_timeout_s
from experiments.designs.by_transport import compare, rounds_of
from experiments.designs.comparing import Group, check_family, checker, traffic_parameters
from experiments.probes.counters import counters
from experiments.probes.transports.base import Ends, Transport
from experiments.probes.transports.streams import FOUR, Streams, lacking
from experiments.probes.transports.voice import TALK_S, Voice
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.parameters import choice, duration_s, repetitions
from experiments.running.run import Observe, Run
from experiments.running.traffic import FAMILIES, Make
from experiments.studies.transport_impact.answer import VOICE, WAYS, conclude
from mobility.options import MoveOptions
from topologies.model import Topology
from vocabulary.moves import DIRECTIONS

PAUSES_S, QUICK_PAUSES_S = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0, 2.0), (0.0, 0.2, 0.5)
CONTROLS, QUICK_CONTROLS = ("cubic", "reno", "bbr"), ("cubic", "bbr")
REGAINED_S = 1.0
"""Time of a trial after the VM, or the last timeout, went on: to be back at the rate of before."""
GUARDED_S = 0.5
"""Beyond the pause a sender waits for a timeout, of 200 ms at least: 20 ms of a busy machine are no matter there."""
LATER_TIMEOUTS = 1.5
"""A timeout is 200 ms and the round trip: up to 32 ms in the queue, over the wide area 85 ms."""


def pauses_s(values: Mapping[str, Any]) -> Sequence[float]:
    """The pauses of the full or the quick form."""
    return QUICK_PAUSES_S if values["quick"] else PAUSES_S


def makes(values: Mapping[str, Any]) -> dict[str, Make]:
    """One bulk connection of each congestion control, and voice, by name."""
    direction = values["direction"]
    connection = next(one for one in FOUR if (one.direction, one.initiator) == (direction, "by_peer"))

    def voice(ends: Ends) -> Transport:
        return Voice(ends, values["jitter_buffer"], values["talk"])

    made: dict[str, Make] = {
        f"tcp {name}": partial(Streams, rate_bps=0.0, congestion_control=name, connections=(connection,))
        for name in (QUICK_CONTROLS if values["quick"] else CONTROLS)
    }
    return made | {VOICE: voice}


def groups(values: Mapping[str, Any], name: str = VOICE) -> Sequence[Group]:
    """Every pause, kept and lost, under one sender."""
    made = []
    for policy, pause in WAYS.items():
        for pause_s in pauses_s(values):
            after_s = REGAINED_S
            if policy == "silent-drop" and name != VOICE:
                after_s += max(0.0, LATER_TIMEOUTS * until_timeout_s(pause_s) - pause_s)
            options = MoveOptions(policy=policy, pause=pause, downtime_s=pause_s, announcements=1)
            own = {"transport": name, "policy": policy, "pause_s": pause_s}
            made.append(Group(own, options, after_s, pause_s + GUARDED_S))
    return made


COUNTED = {"tcp_timeouts_count": "TcpExt.TCPTimeouts", "tcp_spurious_timeouts_count": "TcpExt.TCPLossUndo"}
"""Of the sender's kernel: timeouts, and how often it took a cut back as the first copy had come (RFC 4015, RFC 5682).

Polling sees a timeout only while its backoff lasts, which may be less than a poll; counters miss none."""


def sender_counts(run: Run) -> Observe:
    """Counts what the sender's kernel counts; in its namespace there is no connection but the one of the trial."""
    sender = run.values["peer" if run.values["direction"] == "to_vm" else "vm"]
    table = Path(f"/proc/{run.laboratory.network[sender].pid}/net/netstat")

    def read() -> dict[str, int]:
        found = counters(table.read_text())
        return {measure: found.get(name, 0) for measure, name in COUNTED.items()}

    def begin() -> Callable[[], Mapping[str, float]]:
        before = read()
        return lambda: {measure: value - before[measure] for measure, value in read().items()}

    return begin


def trials(run: Run) -> None:
    """Every sender, pause and way, a round for each repetition; each round's connections are new ones."""
    values = run.values
    wanted = makes(values)
    for name in [name for name in wanted if name != VOICE]:
        if why := lacking(*name.split()):
            run.remark(f"{why}.")
            del wanted[name]
    if values["direction"] == "from_vm":
        run.remark(
            "The sender stands in the VM that pauses: its kernel ran on, so its timeouts and what it sent again are "
            "not those of a guest for pauses over 200 ms."
        )
    repeat = 1 if values["quick"] else repetitions(values)
    compare(
        run,
        wanted,
        partial(groups, values),
        rounds_of(repeat, repeat),
        null_after_s=lambda _: REGAINED_S,
        observe=lambda name: None if name == VOICE else sender_counts(run),
    )


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As every comparison's; and both VMs need an address of the family."""
    each = Gathered()
    with each:
        check_family(values, topology)
    with each:
        checker(groups)(values, topology)
    each.tell()


_OWN = ("payload", "rate_pps", "tcp_rate", "congestion_control", "after")  # not asked here

EXPERIMENT = Experiment(
    name="transport-impact",
    questions=("Q17",),
    question="What does a pause do to congestion control and to real-time traffic such as voice?",
    answer="per pause and sender: stall, timeouts, sent again, in vain, time to 90 % of the rate; late frames, MOS",
    parameters=(
        *(
            parameter
            for parameter in traffic_parameters(topology="bottleneck", peer="peer3", repeat=3, before=0.6)
            if parameter.name not in _OWN
        ),
        choice(
            "direction", "to_vm", "which way TCP's bytes go; a sender in the VM is not faithful", DIRECTIONS
        ),
        choice("family", "ipv4", "IP version of the traffic", FAMILIES),
        duration_s("jitter_buffer", 0.06, "how long voice waits for late frames"),
        duration_s("talk", TALK_S, "length of talk by which a call with one pause in it is rated"),
    ),
    trials=trials,
    check=check,
    conclude=conclude,
    group_by=("transport", "policy", "pause_s"),
    shown_measures=(
        *(
            f"tcp_{measure}_{way}{of}"
            for measure, of in (
                ("stall_s", ""),
                ("recovery_s", "_by_peer"),
                ("cwnd_min_packets", "_by_peer"),
                ("retransmitted_segments", "_by_peer"),
                ("spurious_segments", "_by_peer"),
            )
            for way in DIRECTIONS
        ),
        *COUNTED,
        "voice_mos_to_vm",
        "voice_mos_from_vm",
        "silence_s_to_vm",
        "silence_s_from_vm",
        "lost_frames_to_vm",
        "late_frames_to_vm",
        "unsent_frames_from_vm",
    ),
)
