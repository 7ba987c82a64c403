"""Flows as ``ovs-ofctl dump-flows`` writes them, so that a dump can be held against the NVA's book. Pure.

The names are Open vSwitch's own (ovs-fields(7), ovs-actions(7)); the order of a match's parts is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network

from controller.pipeline import (
    CAUSE_SHIFT,
    ORIGIN,
    OUT,
    REASON,
    TABLES,
    VNI,
    Action,
    CopyField,
    DecTtl,
    Flow,
    Output,
    SetField,
    ToNva,
    Value,
)
from wire import ethernet, ip

_KINDS: Mapping[tuple[Value | None, Value | None], str] = {
    (ethernet.ARP, None): "arp",
    (ethernet.RARP, None): "rarp",
    (ethernet.IPV4, None): "ip",
    (ethernet.IPV4, ip.ICMP): "icmp",
    (ethernet.IPV4, ip.UDP): "udp",
    (ethernet.IPV6, None): "ipv6",
    (ethernet.IPV6, ip.ICMPV6): "icmp6",
}
_MATCHED: Mapping[str, str] = {
    "eth_src": "dl_src",
    "eth_dst": "dl_dst",
    "ipv4_src": "nw_src",
    "ipv4_dst": "nw_dst",
    "udp_src": "tp_src",
    "udp_dst": "tp_dst",
    "icmpv4_type": "icmp_type",
    "icmpv6_type": "icmp_type",
    "ipv6_nd_target": "nd_target",
    "ipv6_nd_tll": "nd_tll",
    "tunnel_id": "tun_id",
    "tun_ipv4_src": "tun_src",
}
_SET: Mapping[str, str] = {
    "ipv4_src": "ip_src",
    "icmpv4_type": "icmp_type",
    "tunnel_id": "tun_id",
    "tun_ipv4_dst": "tun_dst",
}
_COPIED: Mapping[str, str] = {
    "eth_src": "NXM_OF_ETH_SRC",
    "eth_dst": "NXM_OF_ETH_DST",
    "ipv4_src": "NXM_OF_IP_SRC",
    "ipv4_dst": "NXM_OF_IP_DST",
    "ipv6_src": "NXM_NX_IPV6_SRC",
    "ipv6_dst": "NXM_NX_IPV6_DST",
    "arp_sha": "NXM_NX_ARP_SHA",
    "arp_tha": "NXM_NX_ARP_THA",
    "arp_spa": "NXM_OF_ARP_SPA",
    "arp_tpa": "NXM_OF_ARP_TPA",
    "ipv6_nd_tll": "NXM_NX_ND_TLL",
}
_FIRST = frozenset({VNI, ORIGIN, OUT, "tunnel_id", "in_port"})
_HEXADECIMAL = frozenset({OUT, VNI, ORIGIN, REASON, "tunnel_id"})


def written(flow: Flow) -> str:
    """Return a flow on one line; its cookie is its cause alone."""
    head = f"cookie={flow.cause << CAUSE_SHIFT:#x}, table={TABLES[flow.table].number}, "
    age = f"hard_timeout={flow.hard_timeout_s}, " if flow.hard_timeout_s else ""
    return f"{head}{age}{','.join(_match(flow))} actions={','.join(_actions(flow))}"


def _match(flow: Flow) -> Iterator[str]:
    yield f"priority={flow.priority}"
    match = dict(flow.match)
    eth_type, ip_proto = match.pop("eth_type", None), match.pop("ip_proto", None)
    if kind := _KINDS.get((eth_type, ip_proto)):
        yield kind
    elif eth_type is not None:
        yield f"dl_type={eth_type:#06x}"
    for name, value in sorted(match.items(), key=lambda item: item[0] not in _FIRST):
        yield f"{_MATCHED.get(name, name)}={_value(name, value)}"


def _value(name: str, value: Value) -> str:
    if name in _HEXADECIMAL:
        return f"{value:#x}" if value else "0"
    if isinstance(value, str) and "/" in value:
        subnet = ip_network(value)
        return str(subnet.network_address) if subnet.prefixlen == subnet.max_prefixlen else value
    return str(value)


def _actions(flow: Flow) -> Iterator[str]:
    if flow.cause:
        yield "drop"
    for action in flow.actions:
        yield from _action(action)
    if flow.goto is not None:
        yield f"goto_table:{TABLES[flow.goto].number}"


def _action(action: Action) -> Iterator[str]:
    match action:
        case SetField(name, value):
            yield f"set_field:{_value(name, value)}->{_SET.get(name, name)}"
        case CopyField(source, destination):
            yield f"move:{_COPIED[source]}[]->{_COPIED[destination]}[]"
        case Output("in_port"):
            yield "IN_PORT"
        case Output(port):
            yield f"output:{port}"
        case ToNva(reason, max_bytes):
            yield f"set_field:{reason:#x}->{REASON}"
            yield f"CONTROLLER:{max_bytes}"
        case DecTtl():
            yield "dec_ttl"
