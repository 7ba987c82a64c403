"""ARP and neighbour solicitations answered at the NVE: the RESOLVE flows.

RFC 9161 calls it proxy-ARP/ND; RFC 8014 section 4.2 makes it the NVE's duty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from controller import pipeline
from controller.model import VM, Ports
from controller.pipeline import (
    ADVERTISE,
    ANNOUNCEMENT,
    OWN_QUESTION,
    RESOLVE,
    VNI,
    CopyField,
    Flow,
    Output,
    SetField,
    ToNva,
    Value,
    drop,
    flow,
)
from wire import ethernet, ip, nd

SOLICITED, OVERRIDE, ROUTER = 0x40000000, 0x20000000, 0x80000000
"""Flags of a neighbour advertisement (RFC 4861 section 4.4)."""
TARGET_LINK_LAYER_ADDRESS = 2
ALL_NODES = "ff02::1"

REQUEST = {"eth_type": ethernet.ARP, "arp_op": 1}
SOLICITATION = {"eth_type": ethernet.IPV6, "ip_proto": ip.ICMPV6, "icmpv6_type": nd.SOLICITATION}

COMPLETE_ADVERTISEMENT = flow(
    ADVERTISE,
    100,
    {**SOLICITATION, "icmpv6_type": nd.ADVERTISEMENT},
    (CopyField("eth_src", "ipv6_nd_tll"), Output("in_port")),
)
"""The one flow of ADVERTISE: eth_src is the owner's MAC by then."""


def arp_answer(vni: int, address: str, mac: str) -> Flow:
    """Return the flow that answers who has ``address`` in a network."""
    answer = (
        CopyField("eth_src", "eth_dst"),
        SetField("eth_src", mac),
        SetField("arp_op", 2),
        CopyField("arp_sha", "arp_tha"),
        CopyField("arp_spa", "arp_tpa"),
        SetField("arp_sha", mac),
        SetField("arp_spa", address),
        Output("in_port"),
    )
    return flow(RESOLVE, 100, {VNI: vni, **REQUEST, "arp_tpa": address}, answer)


def nd_answers(vni: int, address: str, mac: str, router: bool = False) -> Iterator[Flow]:
    """Yield the flows that answer a solicitation, and duplicate address detection, for ``address``."""
    match: dict[str, Value] = {VNI: vni, **SOLICITATION, "ipv6_nd_target": address}
    flags = OVERRIDE | (ROUTER if router else 0)

    def answer(ipv6_dst: CopyField | SetField, reserved: int) -> tuple[CopyField | SetField, ...]:
        return (
            CopyField("eth_src", "eth_dst"),
            SetField("eth_src", mac),
            ipv6_dst,
            SetField("ipv6_src", address),
            SetField("nd_reserved", reserved),
            SetField("nd_options_type", TARGET_LINK_LAYER_ADDRESS),
            SetField("icmpv6_type", nd.ADVERTISEMENT),
        )

    to_sender = answer(CopyField("ipv6_src", "ipv6_dst"), flags | SOLICITED)
    yield flow(RESOLVE, 100, match, to_sender, ADVERTISE)
    # Who asks from "::" has no address yet: to all nodes, not flagged as solicited (RFC 4861 section 7.2.4).
    to_all = answer(SetField("ipv6_dst", ALL_NODES), flags)
    yield flow(RESOLVE, 105, {**match, "ipv6_src": "::"}, to_all, ADVERTISE)


@lru_cache(maxsize=65536)
def asking_nva(flows: frozenset[Flow]) -> frozenset[Flow]:
    """Return the same flows for a datapath that cannot write a neighbour message's flags and option type.

    Linux's own has no fields for them (Open vSwitch's userspace datapath has): what would be answered by ADVERTISE goes
    to the NVA, whole.
    """
    return frozenset(
        replace(entry, actions=(ToNva(pipeline.SOLICITATION),), goto=None)
        if entry.goto == ADVERTISE
        else entry
        for entry in flows
        if entry != COMPLETE_ADVERTISEMENT
    )


def written_answer(flows: Iterable[Flow], vni: int, target: str, asker: str | None) -> tuple[str, int] | None:
    """Return what the flows would answer a solicitation: MAC and flags; None when they do not.

    ``asker``: its IPv6 address, "::" in duplicate address detection.
    """
    for entry in flows:
        match = dict(entry.match)
        asked = (match.get(VNI), match.get("ipv6_nd_target"), match.get("ipv6_src") == "::")
        if entry.goto == ADVERTISE and asked == (vni, target, asker == "::"):
            written = {one.field: one.value for one in entry.actions if isinstance(one, SetField)}
            return str(written["eth_src"]), int(written["nd_reserved"])
    return None


def answers(vm: VM) -> Iterator[Flow]:
    """Yield the flows that answer for a VM."""
    yield arp_answer(vm.vni, vm.ipv4, vm.mac)
    for address in vm.ipv6_addresses:
        yield from nd_answers(vm.vni, address, vm.mac)


def own_questions(vm: VM, ports: Ports) -> Iterator[Flow]:
    """Yield what becomes of a VM's own probe: no answer, it would read as an address conflict.

    A gratuitous ARP (RFC 5227 section 3, as request or as reply) is told to the NVA.
    """
    own: dict[str, Value] = {VNI: vm.vni, "in_port": ports.direct}
    yield drop(RESOLVE, 110, {**own, **REQUEST, "arp_tpa": vm.ipv4}, OWN_QUESTION)
    for operation in (1, 2):
        gratuitous: dict[str, Value] = {"arp_op": operation, "arp_spa": vm.ipv4, "arp_tpa": vm.ipv4}
        yield flow(RESOLVE, 120, {**own, "eth_type": ethernet.ARP, **gratuitous}, (ToNva(ANNOUNCEMENT),))
    for address in vm.ipv6_addresses:
        yield drop(RESOLVE, 110, {**own, **SOLICITATION, "ipv6_nd_target": address}, OWN_QUESTION)
