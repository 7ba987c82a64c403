"""The questions Overland is there to answer, and the experiments that answer them. Data only.

They come from what draft-ietf-nvo3-vmm says of VM mobility and what its transport-area review found open.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question; `experiments` are the names of those that answer it.

    `asks`: the question in a line. `review`: why what is recorded of it does not stand as it is, in a sentence; ''
    where it does. Whoever takes a mark away has mended what it says and has a new record to show.
    """

    number: str
    asks: str
    text: str
    experiments: tuple[str, ...]
    review: str = ""

    @property
    def open(self) -> bool:
        """Whether nobody has built an experiment of it yet."""
        return set(self.experiments) <= TO_COME


QUESTIONS: tuple[Question, ...] = (
    Question(
        "Q1",
        "What does a hot move cost when the VM keeps IP and MAC?",
        "What does a hot move cost when the VM keeps its IP and MAC address?",
        ("hot-l2", "several-moves"),
    ),
    Question(
        "Q2",
        "The same on IPv6?",
        "What does the same move cost on IPv6, with neighbour discovery instead of ARP?",
        ("hot-l2-v6",),
    ),
    Question(
        "Q3",
        "How long does traffic still go through the old NVE?",
        "How long, and for how many packets, does traffic still go through the old NVE when peers learn the new "
        "place by push, pull, announcement or timeout, against the time the network needs to clear?",
        ("stale-mapping",),
    ),
    Question(
        "Q4",
        "What should the old NVE do with packets for a VM that has left?",
        "What does each thing the old NVE may do with late packets mean for each transport: drop silently, "
        "drop with ICMP, forward, tunnel, buffer?",
        ("old-nve-policy",),
        review="Trials inherit the TCP connections of the one before, and ICMP errors slowed the measuring machine.",
    ),
    Question(
        "Q5",
        "How much buffer does a tunnel need, and when may it stop?",
        "How large a buffer does a tunnel from the old NVE need, and when may it end without losing packets of "
        "flows that are silent for a while?",
        ("in-flight-tunnel",),
    ),
    Question(
        "Q6",
        "What are the stages of a hot, a warm, a cold move, and what do they cost?",
        "Which steps make a hot, a warm and a cold move, how long does each take, and what do transports see?",
        ("hot-warm-cold",),
        review="No memory was copied: the copy was a wait of calculated length.",
    ),
    Question(
        "Q7",
        "Update, stop or resume first?",
        "What changes when stop, update and resume come in another order?",
        ("stage-order",),
    ),
    Question(
        "Q8",
        "Does the old NVE receive anything after a cold move's stop?",
        "In a cold move, what still reaches the old NVE after the stop, and how long does a connection wait or live?",
        ("cold",),
        review="No memory was copied, as in Q6, and the VM's kernel never stopped, so its connections had to go on.",
    ),
    Question(
        "Q9",
        "What do warm and hot standby lose at a failover?",
        "What do warm and hot standby cost and lose at a failover? They are redundancy, no move: nothing is released.",
        ("standby",),
        review="One random sequence chose both a trial's kind and its moment of failure; a failed host still sent.",
    ),
    Question(
        "Q10",
        "Which transports survive a move into another subnet, by which mechanism?",
        "Which transports survive a move to another subnet, by which mechanism, and under which conditions?",
        ("l3-ila", "l3-renumber"),
    ),
    Question(
        "Q11",
        "A move into another subnet, the address kept by host routes?",
        "What does a move cost when host routes keep the address in another subnet?",
        ("l3-host-route",),
        review="The VM stayed in its subnet and only its peer was in another one: that is Q1 through a router.",
    ),
    Question(
        "Q12",
        "A move with identifier and locator split (ILA, LISP, HIP)?",
        "What does a move cost when identifier and locator are split?",
        ("l3-ila",),
    ),
    Question(
        "Q13",
        "When the address changes: which connections die, and who notices when?",
        "When the address itself changes, which connections die, when does each end notice, and what recovers?",
        ("l3-renumber",),
    ),
    Question(
        "Q14",
        "How long do TCP's two ends hold on while every packet is dropped?",
        "How long do the two ends of a TCP connection hold on to it when the network drops every packet?",
        ("tcp-persistence",),
    ),
    Question(
        "Q15",
        "What does moving a live TCP connection to another stack take?",
        "What does moving a live TCP connection from one stack to another take, in time and bytes?",
        ("connection-migration",),
    ),
    Question(
        "Q16",
        "What does an Internet client notice that knows nothing of the NVA?",
        "What does a move cost an Internet client that knows nothing of the NVA, when only the gateway's mapping "
        "changes?",
        ("external-client",),
    ),
    Question(
        "Q17",
        "What does a pause do to congestion control and to voice?",
        "What does a pause do to congestion control and to real-time traffic such as voice?",
        ("transport-impact",),
        review="The test misses a window that is halved once, and a call's score depends on the length it is given.",
    ),
    Question(
        "Q18",
        "What does a hot move cost SCTP, UDP, RTP, QUIC?",
        "What does a hot move cost other transports: SCTP, plain UDP, RTP, QUIC?",
        ("transports",),
        review="No address changed, so every transport had to survive; the doubt is about moves that change it.",
    ),
    Question(
        "Q19",
        "Can a move's cost be predicted well enough to decide?",
        "Can the cost of a move be predicted well enough to decide whether to move?",
        ("decision",),
        review="Easy moves hide hard ones: where packets are dropped, TCP's pause is predicted a third wrong, not 3 %.",
    ),
    Question(
        "Q20",
        "Which forged announcements, addresses and registrations are accepted?",
        "Which forged announcements, addresses and registrations are accepted before, during and after a move?",
        ("spoofing",),
    ),
    Question(
        "Q21",
        "How many moves a second are too many, and what grows after them?",
        "How many moves a second do NVA and NVEs stand, and what grows after many of them?",
        ("churn",),
    ),
    Question(
        "Q22",
        "Does a DHCP client keep its lease?",
        "Does a DHCP client keep its lease, MAC and IP address over a move?",
        ("dhcp-client",),
    ),
    Question(
        "Q23",
        "Storage moved with the VM, left behind, moved alone: what does each cost?",
        "What does it cost to move storage with the VM, to leave it behind and reconnect, or to move it alone?",
        ("storage",),
    ),
    Question(
        "Q24",
        "Do tenants with equal addresses stay apart?",
        "Do tenants with the same addresses stay apart during a move, and does traffic between networks follow the VM?",
        ("tenants",),
    ),
    Question(
        "Q25",
        "Which verbs of a VM's life from which states?",
        "Which steps make the life of a VM at an NVE, and is each refused from a wrong state?",
        ("lifecycle",),
    ),
)
TO_COME = frozenset(
    {"l3-ila", "l3-renumber", "tcp-persistence", "connection-migration", "spoofing", "churn", "storage"}
)
"""Experiments that questions name and nobody has built yet."""

BY_NUMBER = {question.number: question for question in QUESTIONS}
