"""Flows in words. Pure: from a match and actions as Open vSwitch writes them, and the names at an NVE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from controller.meanings import CAUSES, ORIGINS, REASONS
from controller.pipeline import ORIGIN, OUT, REASON, VNI
from experiments.console.names import Names, aside
from experiments.console.openflow_text import TABLE_NAMES, is_to_nva
from wire import ethernet

Vni = int | None
"""The network in which a flow's addresses are read; None: not known from the flow."""

_ICMP = {8: "an echo request (ping)", 0: "an echo reply"}
_ICMPV6 = {
    128: "an echo request (ping)",
    129: "an echo reply",
    133: "a router solicitation",
    134: "a router advertisement",
    135: "a neighbour solicitation",
    136: "a neighbour advertisement",
    137: "a redirect",
}
_MATCH_WORDS: Mapping[str, Callable[[str, Names, Vni], str]] = {
    "in_port": lambda value, names, vni: f"from {names.port(int(value))}",
    "tun_id": lambda value, names, vni: f"tunnel header says {names.network(int(value, 0))}",
    "tun_src": lambda value, names, vni: f"tunnel from {names.nve(value)}",
    OUT: lambda value, names, vni: f"towards {names.port(int(value, 0))}",
    VNI: lambda value, names, vni: f"in network {names.network(int(value, 0))}",
    ORIGIN: lambda value, names, vni: ORIGINS.get(int(value, 0), f"origin {value}"),
    "dl_src": lambda value, names, vni: f"source MAC is {_mac(value, names, vni)}",
    "dl_dst": lambda value, names, vni: f"for {_mac(value, names, vni)}",
    "nw_src": lambda value, names, vni: f"source IP is {names.ip(value, vni)}",
    "nw_dst": lambda value, names, vni: f"to IP {names.ip(value, vni)}",
    "arp_sha": lambda value, names, vni: f"ARP sender's MAC is {_mac(value, names, vni)}",
    "arp_spa": lambda value, names, vni: f"ARP sender's IP is {names.ip(value, vni)}",
    "arp_tpa": lambda value, names, vni: f"asks for {names.ip(value, vni)}",
    "arp_op": lambda value, names, vni: {"1": "request", "2": "reply"}.get(value, f"operation {value}"),
    "dl_type": lambda value, names, vni: _ethertype(value),
    "ipv6_src": lambda value, names, vni: (
        "source IP is none yet (duplicate address detection)"
        if value == "::"
        else f"source IP is {names.ip(value, vni)}"
    ),
    "ipv6_dst": lambda value, names, vni: f"to IP {names.ip(value, vni)}",
    "nd_target": lambda value, names, vni: f"about {names.ip(value, vni)}",
    "nd_tll": lambda value, names, vni: f"advertised MAC is {_mac(value, names, vni)}",
    "tp_src": lambda value, names, vni: f"from UDP or TCP port {value}",
    "tp_dst": lambda value, names, vni: f"to UDP or TCP port {value}",
}
_PROTOCOL_WORDS = {
    "ip": "IPv4",
    "ipv6": "IPv6",
    "icmp6": "ICMPv6",
    "arp": "ARP",
    "rarp": "RARP",
    "icmp": "ICMP",
    "tcp": "TCP",
    "udp": "UDP",
}


def _mac(mac: str, names: Names, vni: Vni) -> str:
    return names.mac(mac, vni)


def _ethertype(value: str) -> str:
    return "a marker of the testbed" if int(value, 0) == ethernet.MARKER else f"ethertype {value}"


def vni_of(match: str, names: Names) -> Vni:
    """The network whose addresses a match has: said by a register, a tunnel header, or the port it comes in by."""
    parts = dict(part.partition("=")[::2] for part in match.split(","))
    if number := parts.get(VNI) or parts.get("tun_id"):
        return int(number, 0)
    return names.port_vnis.get(int(parts["in_port"])) if "in_port" in parts else None


def match_words(match: str, names: Names, vni: Vni = None) -> str:
    """A flow's match in words; what is not known here stays as Open vSwitch writes it."""
    vni = vni_of(match, names) if vni is None else vni
    words = []
    parts = [part for part in match.split(",") if part]
    types = _ICMPV6 if "icmp6" in parts else _ICMP
    for part in parts:
        key, _, value = part.partition("=")
        known = _MATCH_WORDS.get(key)
        if key == "icmp_type":
            words.append(types.get(int(value), f"ICMP type {value}"))
        else:
            words.append(known(value, names, vni) if known and value else _PROTOCOL_WORDS.get(part, part))
    return ", ".join(words) or "everything"


_SET_WORDS: Mapping[str, Callable[[str, Names, Vni], str]] = {
    OUT: lambda value, names, vni: f"send by {names.port(int(value, 0))}",
    VNI: lambda value, names, vni: f"network is {names.network(int(value, 0))}",
    ORIGIN: lambda value, names, vni: f"it {ORIGINS.get(int(value, 0), f'has origin {value}')}",
    REASON: lambda value, names, vni: REASONS.get(int(value, 0), f"reason {value}"),
    "tun_dst": lambda value, names, vni: f"tunnel to {names.nve(value)}",
    "tun_id": lambda value, names, vni: f"VNI {int(value, 0)}",
    "eth_src": lambda value, names, vni: f"source MAC becomes {names.mac(value, vni)}",
    "eth_dst": lambda value, names, vni: f"for {names.mac(value, vni)} from now on",
}


def action_words(actions: Sequence[str], names: Names, vni: Vni = None, cause: int = 0) -> str:
    """A flow's actions in words; ``vni``: the network of its match; ``cause``: why it drops, from its cookie."""
    fields = {}
    for action in actions:
        if action.startswith("set_field:"):
            value, _, name = action.removeprefix("set_field:").rpartition("->")
            fields[name] = value
    inside = int(fields[VNI], 0) if VNI in fields else vni
    if answer := _answer(actions, fields, names, vni):
        return answer
    said = []
    for action in actions:
        said += _one_action(action, names, inside)
    if list(actions) == ["drop"] and cause in CAUSES:
        return f"drop: {CAUSES[cause]}"
    return ", ".join(said) or "drop"


def _answer(actions: Sequence[str], fields: Mapping[str, str], names: Names, vni: Vni) -> str | None:
    """What the NVE answers itself: ARP, neighbour discovery, a ping to the gateway."""
    mac = fields.get("eth_src", "?")
    owner = names.mac(mac, vni)
    whose = f"its MAC is {mac}" + (aside(owner) if owner != mac else "")
    if "arp_op" in fields:
        return f"answer at the NVE: {whose}"
    if "nd_options_type" in fields:
        to_all = ", to all nodes" if "ipv6_dst" in fields else ""
        return f"answer at the NVE, by a neighbour advertisement{to_all}: {whose}; go to {TABLE_NAMES[5]}"
    for kind in ("icmp_type", "icmpv6_type"):
        if kind in fields and "IN_PORT" in actions:
            address = fields.get("ip_src") or fields.get("ipv6_src") or "?"
            return f"answer the ping at the NVE, as {names.ip(address, vni)}"
    if any(action.endswith("->NXM_NX_ND_TLL[]") for action in actions):
        return "write the answer's MAC into the advertisement, back out of the port it came in by"
    return None


def _one_action(action: str, names: Names, vni: Vni) -> list[str]:
    verb, _, value = action.partition(":")
    if verb == "set_field":
        constant, _, target = value.rpartition("->")
        return [_SET_WORDS[target](constant, names, vni)] if target in _SET_WORDS else [action]
    if verb == "goto_table":
        return [f"go to {TABLE_NAMES.get(int(value), value)}"]
    if verb == "output":
        return [f"out of {names.port(int(value))}"]
    if is_to_nva(verb):
        return ["to the NVA"]
    words = {"IN_PORT": "back out of the port it came in by", "drop": "drop", "dec_ttl": "TTL one less"}
    return [words.get(verb, action)]
