"""The questions Overland is there to answer, and the experiments that answer them. Data only.

They come from what draft-ietf-nvo3-vmm says of VM mobility and what its transport-area review found open.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question; `experiments` are the names of those that answer it."""

    number: str
    text: str
    experiments: tuple[str, ...]


QUESTIONS: tuple[Question, ...] = (
    Question(
        "Q1",
        "What does a hot move cost when the VM keeps its IP and MAC address?",
        ("hot-l2", "several-moves"),
    ),
    Question(
        "Q2", "What does the same move cost on IPv6, with neighbour discovery instead of ARP?", ("hot-l2-v6",)
    ),
    Question(
        "Q3",
        "How long, and for how many packets, does traffic still go through the old NVE when peers learn the new "
        "place by push, pull, announcement or timeout, against the time the network needs to clear?",
        ("stale-mapping",),
    ),
    Question(
        "Q4",
        "What does each thing the old NVE may do with late packets mean for each transport: drop silently, "
        "drop with ICMP, forward, tunnel, buffer?",
        ("old-nve-policy",),
    ),
    Question(
        "Q5",
        "How large a buffer does a tunnel from the old NVE need, and when may it end without losing packets of "
        "flows that are silent for a while?",
        ("in-flight-tunnel",),
    ),
    Question(
        "Q6",
        "Which steps make a hot, a warm and a cold move, how long does each take, and what do transports see?",
        ("hot-warm-cold",),
    ),
    Question("Q7", "What changes when stop, update and resume come in another order?", ("stage-order",)),
    Question(
        "Q8",
        "In a cold move, what still reaches the old NVE after the stop, and how long does a connection wait or live?",
        ("cold",),
    ),
    Question(
        "Q9",
        "What do warm and hot standby cost and lose at a failover? They are redundancy, no move: nothing is released.",
        ("standby",),
    ),
    Question(
        "Q10",
        "Which transports survive a move to another subnet, by which mechanism, and under which conditions?",
        ("l3-ila", "l3-renumber"),
    ),
    Question(
        "Q11",
        "What does a move cost when host routes keep the address in another subnet?",
        ("l3-host-route",),
    ),
    Question("Q12", "What does a move cost when identifier and locator are split?", ("l3-ila",)),
    Question(
        "Q13",
        "When the address itself changes, which connections die, when does each end notice, and what recovers?",
        ("l3-renumber",),
    ),
    Question(
        "Q14",
        "How long do the two ends of a TCP connection hold on to it when the network drops every packet?",
        ("tcp-persistence",),
    ),
    Question(
        "Q15",
        "What does moving a live TCP connection from one stack to another take, in time and bytes?",
        ("connection-migration",),
    ),
    Question(
        "Q16",
        "What does a move cost an Internet client that knows nothing of the NVA, when only the gateway's mapping "
        "changes?",
        ("external-client",),
    ),
    Question(
        "Q17",
        "What does a pause do to congestion control and to real-time traffic such as voice?",
        ("transport-impact",),
    ),
    Question(
        "Q18", "What does a hot move cost other transports: SCTP, plain UDP, RTP, QUIC?", ("transports",)
    ),
    Question(
        "Q19",
        "Can the cost of a move be predicted well enough to decide whether to move?",
        ("decision",),
    ),
    Question(
        "Q20",
        "Which forged announcements, addresses and registrations are accepted before, during and after a move?",
        ("spoofing",),
    ),
    Question(
        "Q21",
        "How many moves a second do NVA and NVEs stand, and what grows after many of them?",
        ("churn",),
    ),
    Question("Q22", "Does a DHCP client keep its lease, MAC and IP address over a move?", ("dhcp-client",)),
    Question(
        "Q23",
        "What does it cost to move storage with the VM, to leave it behind and reconnect, or to move it alone?",
        ("storage",),
    ),
    Question(
        "Q24",
        "Do tenants with the same addresses stay apart during a move, and does traffic between networks follow the VM?",
        ("tenants",),
    ),
    Question(
        "Q25",
        "Which steps make the life of a VM at an NVE, and is each refused from a wrong state?",
        ("lifecycle",),
    ),
)
TO_COME = frozenset(
    {"l3-ila", "l3-renumber", "tcp-persistence", "connection-migration", "spoofing", "churn", "storage"}
)
"""Experiments that questions name and nobody has built yet."""

BY_NUMBER = {question.number: question for question in QUESTIONS}
