"""The answer of ``why`` in a running network: the sender's kernel, every NVE's tables, routers, the last wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from controller.pipeline import RESOLVE
from emulation import addressing, outside
from emulation.network import EmulatedNetwork
from emulation.plan import router_interface
from emulation.wiring import DIRECT
from experiments.console import kernel
from experiments.console.journey import (
    QUESTIONS,
    Hop,
    Packet,
    Place,
    Verdict,
    ask,
    follow,
    journey_lines,
    verdict,
)
from experiments.console.names import OUTSIDE, aside
from experiments.console.question import Question, clients
from experiments.console.whereabouts import CUT, HELD, places, wire_of
from topologies.model import Client, Vm


@dataclass(frozen=True)
class Explanation:
    """``lines``: every table passed and what was found on the way; ``verdict``: how it ends."""

    lines: list[str]
    verdict: Verdict


@dataclass
class _Inquiry:
    """One question as it is looked into."""

    network: EmulatedNetwork
    question: Question
    places: dict[str, Place]
    lines: list[str] = field(default_factory=list)


def explain(network: EmulatedNetwork, question: Question) -> Explanation:
    """Follow a packet that nobody sends. EmulationError or OSError: a part of the network does not answer."""
    inquiry = _Inquiry(network, question, places(network))
    who = question.who
    found = _from_client(inquiry, who) if isinstance(who, Client) else _from_vm(inquiry, who)
    return Explanation(inquiry.lines, found)


def _from_vm(inquiry: _Inquiry, vm: Vm) -> Verdict:
    network, question = inquiry.network, inquiry.question
    pid = network[vm.name].pid
    next_hop = question.address
    if question.protocol not in QUESTIONS:
        way = kernel.route(pid, question.address)
        if way is None:
            text = f"{vm.name}: its own kernel has no route to {question.address}, so nothing leaves it"
            return Verdict("unsent", text)
        if way.local:
            return Verdict(
                "unsent", f"{vm.name}: {question.address} is an address of its own, so nothing leaves it"
            )
        next_hop = way.gateway or question.address
    wire = wire_of(network, vm.name)
    if wire.speaks == HELD:
        text = f"{vm.name}: held behind its interface until its move, or its pause, lets it go on"
        return Verdict("held", text)
    if wire.speaks == CUT:
        return Verdict("dropped", f"{vm.name}: its wire is cut, it reaches no NVE now")
    place = inquiry.places[wire.speaks]
    port = network.vm_ports(vm.name, wire.speaks)["direct"]
    packet = Packet(
        question.protocol,
        vm.mac,
        "",
        question.claimed or question.own_address,
        question.address,
        question.fragment,
    )
    if question.protocol not in QUESTIONS:
        answered = _resolved(inquiry, vm, place, port, next_hop)
        if isinstance(answered, Verdict):
            return answered
        packet = Packet(packet.protocol, vm.mac, answered, packet.src_ip, packet.dst_ip, packet.fragment)
    return _through(inquiry, packet, place, port)


def _resolved(inquiry: _Inquiry, vm: Vm, place: Place, port: int, next_hop: str) -> str | Verdict:
    """The MAC that the VM sends to: what its kernel remembers, else what its NVE answers it; why none."""
    known = kernel.neighbour(inquiry.network[vm.name].pid, next_hop)
    if known is not None:
        return known
    version = 6 if ":" in next_hop else 4
    own = str(vm.ipv6 if version == 6 else vm.ipv4)
    asking = Packet("nd" if version == 6 else "arp", vm.mac, "", own, next_hop)
    trace = ask(place, port, asking.fields())
    if trace.end.mac is not None:
        return trace.end.mac
    if trace.end.kind == "nva":  # it answers what this datapath cannot write
        vni = place.names.port_vnis.get(port, 0)
        macs = {ip: mac for (net, ip), mac in _macs(inquiry.network).items() if net == vni}
        if next_hop in macs:
            return macs[next_hop]
    hop = Hop(place, place.names.port(port), trace)
    inquiry.lines += [f"{vm.name} first asks for the MAC of {next_hop}:", *journey_lines([hop])]
    found = verdict([hop], vm.name, next_hop)
    whose = _unknown_to_the_nva(inquiry.network, next_hop)
    return Verdict(found.kind, f"{found.text}{whose}; without an answer the packet itself is never sent")


def _macs(network: EmulatedNetwork) -> dict[tuple[int, str], str]:
    topology = network.topology
    found = {}
    for vm in topology.vms:
        for address in (str(vm.ipv4), *addressing.ipv6_addresses(vm)):
            found[topology.network_of(vm).vni, address] = vm.mac
    for one in topology.virtual_networks:
        for gateway in (one.gateway_v4, one.gateway_v6):
            if gateway is not None:
                found[one.vni, str(gateway)] = addressing.GATEWAY_MAC
    return found


def _from_client(inquiry: _Inquiry, client: Client) -> Verdict:
    """A client's packets go to its router, and from there to the gateway NVE, or never meet one."""
    network, question = inquiry.network, inquiry.question
    beyond = network.topology.outside
    if beyond is None or kernel.route(network[client.name].pid, question.address) is None:
        text = f"{client.name}: its own kernel has no route to {question.address}, so nothing leaves it"
        return Verdict("unsent", text)
    way = f"{client.name} > {outside.ROUTER}"
    towards = kernel.route(network[outside.ROUTER].pid, question.address)
    if towards is None:
        return Verdict(
            "outside",
            f"{way}: the router outside has no route to {question.address}: no network inside has it",
        )
    if towards.device != router_interface(beyond.nve):
        return Verdict(
            "outside", f"{way} > {towards.device.removeprefix('to-')}: all of it outside, no NVE takes part"
        )
    if towards.link_down:
        return Verdict("dropped", f"{way}: its link to {beyond.nve} is down")
    packet = Packet(
        question.protocol,
        outside.NEXT_HOP_MAC,
        outside.MAC,
        question.claimed or question.own_address,
        question.address,
        question.fragment,
    )
    return _through(inquiry, packet, inquiry.places[beyond.nve], network.ofports[beyond.nve][outside.PORT])


def _through(inquiry: _Inquiry, packet: Packet, place: Place, port: int) -> Verdict:
    network, question = inquiry.network, inquiry.question
    hops = follow(packet, place.name, port, inquiry.places, kernel.underlay_of(network))
    inquiry.lines += journey_lines(hops)
    found = verdict(hops, question.who.name, question.whom)
    if found.kind == "dropped" and hops[-1].trace.steps[-1].match is None:
        return _with_reason(inquiry, found, hops)
    if found.kind == "answered" and isinstance(question.who, Vm):
        found = _with_the_answers_way(inquiry, found, hops[-1], question.who.name)
    if found.receiver == OUTSIDE:
        found = _behind_the_router(inquiry, found)
    elif found.kind == "delivered" and found.receiver is not None:
        found = _behind_the_port(inquiry, found, hops[-1])
    return _with_whom(inquiry, found)


def _with_reason(inquiry: _Inquiry, found: Verdict, hops: Sequence[Hop]) -> Verdict:
    """Say besides why a table has no flow for it, where the topology knows."""
    network, question = inquiry.network, inquiry.question
    last, topology = hops[-1].trace.steps[-1].name, network.topology
    if last != RESOLVE:
        return found
    gateways = [str(ip) for one in topology.virtual_networks for ip in (one.gateway_v4, one.gateway_v6)]
    if question.address in gateways and question.protocol not in QUESTIONS:
        return Verdict(found.kind, f"{found.text} (it is a gateway's, which answers pings alone)")
    mine = _network_of(question.who)
    others = [
        vm for vm in topology.vms if question.address in (str(vm.ipv4), str(vm.ipv6)) and vm != question.who
    ]
    for vm in others:
        if vm.virtual_network != mine:
            return Verdict(found.kind, found.text + aside(_why_not(inquiry, vm, mine)))
    if others:
        return found
    return Verdict(found.kind, found.text + _unknown_to_the_nva(network, question.address))


def _why_not(inquiry: _Inquiry, vm: Vm, mine: str) -> str:
    """Why a VM of another network does not answer, or is not reached."""
    who = inquiry.question.who
    if isinstance(who, Vm) and inquiry.network.topology.may_route(mine, vm.virtual_network):
        return f"{vm.name} is in {vm.virtual_network}, and {who.name} asks for its gateway's MAC to reach it"
    return f"{vm.name} is in {vm.virtual_network}, and {mine} is not routed to it"


def _unknown_to_the_nva(network: EmulatedNetwork, address: str) -> str:
    """Who has an address without the NVA knowing of it, as an aside: a user has given it to an interface."""
    holders = kernel.holders_of(network, address)
    has = "has" if len(holders) == 1 else "have"
    return aside(f"{' and '.join(holders)} {has} it, but the NVA's mapping does not" if holders else None)


def _network_of(who: Vm | Client) -> str:
    return who.virtual_network if isinstance(who, Vm) else OUTSIDE


def _behind_the_router(inquiry: _Inquiry, found: Verdict) -> Verdict:
    """Whom the router outside gives it to."""
    network, question = inquiry.network, inquiry.question
    towards = kernel.route(network[outside.ROUTER].pid, question.address)
    text = found.text.replace(f" > {OUTSIDE}:", f" > {outside.ROUTER}:")
    for client in clients(network.topology):
        if towards is not None and towards.device == router_interface(client.name):
            return Verdict(
                "delivered",
                text.replace(f" > {outside.ROUTER}:", f" > {outside.ROUTER} > {client.name}:"),
                client.name,
            )
    return Verdict("outside", f"{text}; but the router outside has no route to {question.address}")


def _behind_the_port(inquiry: _Inquiry, found: Verdict, last: Hop) -> Verdict:
    """What happens between the port and the VM, when that is not simply a wire."""
    network, nve = inquiry.network, last.place.name
    vm, port = cast("str", found.receiver), last.trace.end.port
    which = next((leg for leg, number in network.vm_ports(vm, nve).items() if number == port), "")
    end = wire_of(network, vm).hears.get((nve, which), "vm")
    if end == HELD:
        return Verdict(
            "held",
            f"{found.text}\nbut behind that port it is held: {vm} gets it when its move, or its pause, goes on",
        )
    if end == CUT:
        return Verdict(
            "dropped", f"{found.text}\nbut behind that port the wire is cut: {vm} does not get it now"
        )
    return found


def _with_the_answers_way(inquiry: _Inquiry, found: Verdict, last: Hop, vm: str) -> Verdict:
    """What an NVE answers comes back by the port that the question came in by."""
    end = wire_of(inquiry.network, vm).hears.get((last.place.name, DIRECT), "vm")
    if end == HELD:
        return Verdict(
            "held", f"{found.text}\nbut the answer is held: {vm} gets it when its move, or its pause, goes on"
        )
    if end == CUT:
        return Verdict("dropped", f"{found.text}\nbut the answer does not reach {vm}: the wire back is cut")
    return found


def _with_whom(inquiry: _Inquiry, found: Verdict) -> Verdict:
    """Say so when somebody else gets it than the one who was named."""
    question, topology = inquiry.question, inquiry.network.topology
    if found.receiver in (None, question.whom) or question.whom == question.address:
        return found
    mine = _network_of(question.who)
    text = (
        f"{found.text}\nbut not to {question.whom}: in {mine} the address {question.address} is {found.receiver}'s, "
        f"and {question.whom} is in {topology.vm(question.whom).virtual_network}"
    )
    return Verdict(found.kind, text, found.receiver)
