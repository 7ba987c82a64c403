"""A packet's way through the tables of every NVE it meets, from where it enters on: the answer of ``why``. Pure.

Where a trace ends in the tunnel, the next one begins at the NVE with that underlay address, with the headers and the
VNI that the flows have written. That is how routing shows, and a redirect at the old NVE (one more hop).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from controller.meanings import REASONS
from controller.pipeline import DHCP_ANSWER, MISDIRECTED, MISS
from experiments.console.flow_words import action_words, match_words, vni_of
from experiments.console.names import Names, aside
from experiments.console.openflow_text import End, Trace, parse_trace
from wire import ethernet, nd

PROTOCOLS = ("icmp", "tcp", "udp", "arp", "nd")
QUESTIONS = ("arp", "nd")
"""Protocols that ask for a MAC: an NVE answers them itself."""
_PORTS = {"src": 40000, "dst": 5001}
_TTL = 64
_FIELDS = {"eth_src": "dl_src", "eth_dst": "dl_dst"}


@dataclass(frozen=True)
class Packet:
    """The packet asked about; ``protocol`` is one of PROTOCOLS. ``fragment``: one that is not a datagram's first."""

    protocol: str
    src_mac: str
    dst_mac: str
    src_ip: str
    dst_ip: str
    fragment: bool = False

    @property
    def version(self) -> int:
        """Its IP version (4 for ARP)."""
        return 6 if ":" in self.dst_ip else 4

    def fields(self) -> dict[str, str]:
        """Its headers by the names that ``ofproto/trace`` reads; a protocol's name has no value."""
        if self.protocol == "arp":
            asked = {"arp_op": "1", "arp_sha": self.src_mac, "arp_spa": self.src_ip, "arp_tpa": self.dst_ip}
            return {"arp": "", "dl_src": self.src_mac, "dl_dst": ethernet.BROADCAST, **asked}
        if self.protocol == "nd":
            return self._solicitation()
        six = self.version == 6
        name = {"icmp": "icmp6"}.get(self.protocol, self.protocol + "6") if six else self.protocol
        addresses = {
            "ipv6_src" if six else "nw_src": self.src_ip,
            "ipv6_dst" if six else "nw_dst": self.dst_ip,
        }
        found = {name: "", "dl_src": self.src_mac, "dl_dst": self.dst_mac, **addresses, "nw_ttl": str(_TTL)}
        if self.fragment:  # only the first one has the header behind IP's
            return {**found, "nw_frag": "later"}
        if self.protocol == "icmp":
            return {**found, **({"icmpv6_type": "128", "icmpv6_code": "0"} if six else {"icmp_type": "8"})}
        return {**found, **{f"{self.protocol}_{end}": str(number) for end, number in _PORTS.items()}}

    def _solicitation(self) -> dict[str, str]:
        """To the solicited-node address of the target (RFC 4291 section 2.7.1, RFC 2464 section 7)."""
        low = IPv6Address(self.dst_ip).packed[-3:]
        group = IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + low)
        mac = "33:33:ff:" + low.hex(":")
        asked = {"icmpv6_type": str(nd.SOLICITATION), "icmpv6_code": "0", "nd_target": self.dst_ip}
        head = {
            "icmp6": "",
            "dl_src": self.src_mac,
            "dl_dst": mac,
            "ipv6_src": self.src_ip,
            "ipv6_dst": str(group),
        }
        return {**head, "nw_ttl": "255", **asked, "nd_sll": self.src_mac}


def flow_text(fields: Mapping[str, str]) -> str:
    """Headers as ``ofproto/trace`` reads them."""
    return ",".join(f"{name}={value}" if value else name for name, value in fields.items())


@dataclass(frozen=True)
class Place:
    """One NVE as the journey sees it; ``trace`` runs ``ofproto/trace`` there; ``plain_port``: to the plain underlay."""

    name: str
    underlay_ip: str
    tunnel_port: int
    names: Names
    trace: Callable[[str], str]
    plain_port: int | None = None


@dataclass(frozen=True)
class Hop:
    """What one NVE did; ``lost``: what the underlay behind it did with the packet, when it went no further."""

    place: Place
    entered: str
    trace: Trace
    lost: str = ""


Underlay = Callable[[str, str], str]
"""From an NVE to an address outside the overlay: the name of the NVE that gets it, else why nobody does."""


def ask(place: Place, in_port: int, fields: Mapping[str, str]) -> Trace:
    """What one NVE would do with these headers at a port."""
    return parse_trace(place.trace(f"in_port={in_port},{flow_text(fields)}"), place.tunnel_port)


def follow(
    packet: Packet, start: str, in_port: int, places: Mapping[str, Place], underlay: Underlay
) -> list[Hop]:
    """Trace a packet from a port on; ends where it is delivered, dropped or answered, or after every NVE.

    Raises ValueError when Open vSwitch does not understand the question.
    """
    by_ip = {place.underlay_ip: place for place in places.values()}
    place, fields = places[start], packet.fields()
    entered = place.names.port(in_port)
    hops: list[Hop] = []
    while True:
        hop = Hop(place, entered, ask(place, in_port, fields))
        end, written = hop.trace.end, hop.trace.written()
        plain = end.kind == "port" and end.port is not None and end.port == place.plain_port
        if len(hops) > len(places) or not (plain or end.kind == "tunnel"):
            return [*hops, hop]
        there = underlay(place.name, packet.dst_ip if plain else str(end.remote_ip))
        following = places.get(there)
        if following is None or (not plain and following is not by_ip.get(str(end.remote_ip))):
            return [*hops, replace(hop, lost=there)]
        hops.append(hop)
        for name, value in written.items():
            if name in _FIELDS:
                fields[_FIELDS[name]] = value
        fields["nw_ttl"] = str(int(fields.get("nw_ttl", _TTL)) - int(written.get("dec_ttl", 0)))
        if plain:
            entered, in_port = f"the plain underlay from {place.name}", following.plain_port or 0
        else:
            entered, in_port = f"the tunnel from {place.name}", following.tunnel_port
            fields |= {"tun_id": written.get("tun_id", "0"), "tun_src": place.underlay_ip}
            fields["tun_dst"] = following.underlay_ip
        place = following


def journey_lines(hops: Sequence[Hop]) -> list[str]:
    """The tables of each NVE, a line for the match and one for what is done."""
    lines = []
    for hop in hops:
        names, vni = hop.place.names, None
        lines.append(f"{hop.place.name}, in by {hop.entered}")
        for step in hop.trace.steps:
            here = None if step.match is None else vni_of(step.match, names)
            vni = vni if here is None else here
            matched = "no flow matches" if step.match is None else match_words(step.match, names, vni)
            lines.append(f"  {step.table} {step.name:<11}{matched}")
            lines.append(f"  {'':<13}-> {action_words(step.actions, names, vni)}")
    return lines


@dataclass(frozen=True)
class Verdict:
    """How a packet ends.

    ``kind``: ``delivered`` (to ``receiver``), ``answered`` (by an NVE), ``nva`` (the NVA acts on it), ``held`` (it
    waits until a move goes on), ``dropped``, ``unsent`` (it never leaves its sender), ``outside`` (no NVE gets it on).
    """

    kind: str
    text: str
    receiver: str | None = None


def verdict(hops: Sequence[Hop], source: str, target: str) -> Verdict:
    """One line: the way, and how it ends; ``target``: who is meant, a name or an address."""
    last, way = hops[-1], " > ".join([source, *(hop.place.name for hop in hops)])
    end, at = last.trace.end, last.place
    if last.lost:
        return Verdict("dropped", f"{way}: lost in the underlay: {last.lost}")
    if end.kind == "port" and end.port is not None:
        return _delivered(way, at, end.port, len(hops))
    if end.kind == "answered":
        return Verdict("answered", f"{way}: {at.name} answers for {target} itself; nothing goes further")
    if end.kind == "nva":
        goes_on = end.reason in (MISS, DHCP_ANSWER)
        said = f"{way}: handed to the NVA{aside(REASONS.get(end.reason or 0))}"
        return Verdict("nva", said, target if goes_on else None)
    if end.kind == "tunnel":
        return Verdict("dropped", f"{way}: into the tunnel to {end.remote_ip} again and again")
    return Verdict("dropped", f"{way}: dropped by {at.name} {end.why}{_told(end)}")


def _told(end: End) -> str:
    return "; the NVA is told, and gives that NVE the mapping of now" if end.reason == MISDIRECTED else ""


def _delivered(way: str, at: Place, port: int, hops: int) -> Verdict:
    owner = at.names.owners.get(port)
    without = ", without a tunnel" if hops == 1 else ""
    by = f"delivered by {at.name} to port {port}{without}"
    if owner is None:
        return Verdict(
            "dropped", f"{way}: sent by {at.name} to port {port}, behind which there is nobody known"
        )
    return Verdict("delivered", f"{way} > {owner}: {by}", owner)
