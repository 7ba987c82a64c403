"""A packet's way from one VM to another through the tables of every NVE it meets: the answer of ``why``. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .why import Names, Trace, action_words, match_words, parse_trace

_PORTS = "tp_src=40000,tp_dst=5001"
BROADCAST = "ff:ff:ff:ff:ff:ff"


@dataclass(frozen=True)
class Packet:
    """The packet asked about; ``protocol`` is one of ``why.PROTOCOLS``."""

    protocol: str
    vni: int
    src_mac: str
    dst_mac: str
    src_ip: str
    dst_ip: str

    def flow(self) -> str:
        """Its headers as ``ofproto/trace`` reads them."""
        if self.protocol == "arp":
            asked = f"arp,arp_op=1,arp_sha={self.src_mac},arp_spa={self.src_ip},arp_tpa={self.dst_ip}"
            return f"eth_src={self.src_mac},eth_dst={BROADCAST},{asked}"
        kind = "icmp_type=8,icmp_code=0" if self.protocol == "icmp" else _PORTS
        addresses = f"nw_src={self.src_ip},nw_dst={self.dst_ip},nw_ttl=64"
        return f"eth_src={self.src_mac},eth_dst={self.dst_mac},{self.protocol},{addresses},{kind}"


@dataclass(frozen=True)
class Place:
    """One NVE as the journey sees it; ``trace`` runs ``ofproto/trace`` there."""

    name: str
    underlay_ip: str
    tunnel_port: int
    names: Names
    trace: Callable[[str], str]


@dataclass(frozen=True)
class Hop:
    """What one NVE did."""

    place: Place
    entered: str
    trace: Trace


def follow(packet: Packet, start: str, in_port: int, places: Mapping[str, Place]) -> list[Hop]:
    """Trace a packet from a VM's port on; ends where it is delivered, dropped or answered, or after every NVE."""
    by_ip = {place.underlay_ip: place for place in places.values()}
    place = places[start]
    entered, headers = place.names.port(in_port), f"in_port={in_port},{packet.flow()}"
    hops: list[Hop] = []
    while True:
        trace = parse_trace(place.trace(headers), place.tunnel_port)
        hops.append(Hop(place, entered, trace))
        following = by_ip.get(trace.end.remote_ip or "")
        if trace.end.kind != "tunnel" or following is None or len(hops) > len(places):
            return hops
        tunnel = f"tun_id={packet.vni},tun_src={place.underlay_ip},tun_dst={following.underlay_ip}"
        entered = f"the tunnel from {place.name}"
        place = following
        headers = f"in_port={place.tunnel_port},{tunnel},{packet.flow()}"


def journey_lines(hops: list[Hop]) -> list[str]:
    """The tables of each NVE, a line for the match and one for what is done."""
    lines = []
    for hop in hops:
        names = hop.place.names
        lines.append(f"{hop.place.name}, in by {hop.entered}")
        for step in hop.trace.steps:
            matched = "no flow matches" if step.match is None else match_words(step.match, names)
            lines.append(f"  {step.table} {step.name:<11}{matched}")
            lines.append(f"  {'':<13}-> {action_words(step.actions, names)}")
    return lines


def conclusion(hops: list[Hop], source: str, target: str) -> str:
    """One line: the way, and how it ends."""
    last, way = hops[-1], " > ".join([source, *(hop.place.name for hop in hops)])
    end = last.trace.end
    if end.kind == "port" and end.port is not None:
        port = last.place.names.ports.get(end.port, "?")
        owner = f" ({port})" if port != target else ""
        return f"{way} > {target}: delivered by {last.place.name} to port {end.port}{owner}"
    if end.kind == "answered":
        return f"{way}: {last.place.name} answers for {target} itself; the question goes no further"
    if end.kind == "nva":
        return f"{way}: handed to the NVA"
    if end.kind == "tunnel":
        return f"{way}: into the tunnel to {end.remote_ip} again and again, or to an address that is no NVE's"
    return f"{way}: dropped by {last.place.name} {end.why}"
