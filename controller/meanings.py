"""What the numbers in registers and cookies mean, and what a table drops: in words. Pure.

Who tells a user why a packet went where it went (the console, what attributes losses) takes the words from here.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.pipeline import (
    ADVERTISE,
    ANNOUNCEMENT,
    ANTI_SPOOF,
    CAUSE_SHIFT,
    CLASSIFY,
    DHCP_ANSWER,
    ENDED,
    FORGED_DISCOVERY,
    FORGED_LEASE,
    FORWARD,
    INSIDE_SOURCE,
    LATE,
    LEFT,
    LOCAL,
    MISDIRECTED,
    MISS,
    NOT_PLAIN,
    OUTPUT,
    OWN_QUESTION,
    PAUSED,
    PLAIN,
    RESOLVE,
    ROUTED,
    SOLICITATION,
    TUNNEL,
    UNREACHABLE,
)

ORIGINS: Mapping[int, str] = {
    LOCAL: "came from a port here",
    TUNNEL: "came from a tunnel",
    ROUTED: "was routed here to the outside",
    PLAIN: "was forwarded by the old NVE without an overlay header",
}
"""Where a frame came from, by the number in register :data:`controller.pipeline.ORIGIN`."""

CAUSES: Mapping[int, str] = {
    PAUSED: "the VM is paused, and its NVE drops what comes for it",
    LEFT: "the VM has left, this is its old NVE, and the policy of the move is silent-drop",
    ENDED: "the VM has left, this is its old NVE, and the redirect to the new one has ended",
    NOT_PLAIN: "the VM has left, and policy forward can send nothing but IPv4 to the underlay",
    LATE: "the VM has left; the sender's NVE still has the mapping of before, and what it sends here is counted",
    OWN_QUESTION: "a VM's question for its own address is not answered: it would read as a conflict",
    FORGED_LEASE: "only the network's DHCP server may answer DHCP clients",
    FORGED_DISCOVERY: "a VM may not advertise routes or others' addresses, nor ask in another's name",
    INSIDE_SOURCE: "a source address of a virtual network cannot come from the outside",
}
"""Why a flow drops, by the cause in its cookie."""

REASONS: Mapping[int, str] = {
    ANNOUNCEMENT: "a VM says where it is",
    DHCP_ANSWER: "a DHCP server's broadcast, which the NVA sends to the client that is meant",
    MISDIRECTED: "the sender's NVE has the mapping of before and is to get the one of now",
    UNREACHABLE: "the packet ends here, and its sender is told that the host is unreachable",
    MISS: "the NVE's mapping has expired; the NVA gives it the one of now, and the packet goes on",
    SOLICITATION: "the NVA answers, as this datapath cannot write neighbour advertisements",
}
"""Why a frame is sent to the NVA, by the number in register :data:`controller.pipeline.REASON`."""

MISSES: Mapping[str, str] = {
    CLASSIFY: "it came in by a port from which this NVE takes nothing now, or with a VNI that it does not take",
    ANTI_SPOOF: "its sender's MAC or address, or its kind, is not allowed at this port",
    RESOLVE: "nobody that this network reaches has the address",
    FORWARD: "this NVE knows no way to that MAC for a frame of this origin",
    OUTPUT: "nothing leads to that port",
    ADVERTISE: "it is no neighbour advertisement",
}
"""What it means that no flow of a table matches: the packet is dropped."""


def cause_of(cookie: int) -> str | None:
    """Return why the flow with this cookie drops, in words; None when the cookie says nothing of it."""
    return CAUSES.get(cookie >> CAUSE_SHIFT)
