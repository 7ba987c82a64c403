"""A flow table, and a network of them, that apply the NVA's pure flows to a packet; no Open vSwitch.

Tests ask where a packet goes, not what a flow looks like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from controller.flows import desired_flows
from controller.model import State
from controller.pipeline import REASON, TABLES, CopyField, DecTtl, Flow, Output, SetField, ToNva, Value

Packet = Mapping[str, Value]

NUMBER_TO_NAME = {table.number: table.name for table in TABLES.values()}


def _fits(found: Value, wanted: Value) -> bool:
    """A match value may be a subnet."""
    if isinstance(wanted, str) and "/" in wanted:
        return isinstance(found, str) and ip_address(found) in ip_network(wanted)
    return found == wanted


class AmbiguousError(AssertionError):
    """Two flows of one priority match a packet: a switch may choose either."""


@dataclass
class Verdict:
    """What a table set did: the tables passed, and what was sent where with which fields."""

    trace: list[str] = field(default_factory=list)
    sent: list[tuple[int | str, dict[str, Value]]] = field(default_factory=list)

    @property
    def dropped(self) -> bool:
        return not self.sent


class FakeFlowTable:
    """One NVE's flows; entries of equal table, priority and match replace each other, as in a switch."""

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self.flows: dict[object, Flow] = {}
        self.add(flows)

    def add(self, flows: Iterable[Flow]) -> None:
        for flow in flows:
            self.flows[flow.key] = flow

    def delete(self, flows: Iterable[Flow]) -> None:
        for flow in flows:
            self.flows.pop(flow.key, None)

    def as_set(self) -> frozenset[Flow]:
        return frozenset(self.flows.values())

    def lookup(self, table: str, packet: Packet) -> Flow | None:
        matching = [
            flow
            for flow in self.flows.values()
            if flow.table == table and all(_fits(packet.get(name, 0), value) for name, value in flow.match)
        ]
        if not matching:
            return None
        best = max(flow.priority for flow in matching)
        found = [flow for flow in matching if flow.priority == best]
        if len(found) > 1:
            raise AmbiguousError(f"{len(found)} flows of priority {best} match in {table}: {found}")
        return found[0]

    def process(self, packet: Packet) -> Verdict:
        """Pass one packet through; registers start at zero, as in Open vSwitch."""
        verdict = Verdict()
        fields = dict(packet)
        table: str | None = "CLASSIFY"
        while table is not None:
            verdict.trace.append(table)
            flow = self.lookup(table, fields)
            if flow is None:
                break
            for action in flow.actions:
                match action:
                    case DecTtl():
                        fields["ttl"] = int(fields.get("ttl", 64)) - 1
                        if fields["ttl"] <= 0:
                            return verdict  # a switch stops here too
                    case SetField(name, value):
                        fields[name] = value
                    case CopyField(source, destination):
                        fields[destination] = fields[source]
                    case ToNva(reason):
                        verdict.sent.append(("controller", {**fields, REASON: reason}))
                    case Output("in_port"):
                        verdict.sent.append((fields["in_port"], dict(fields)))
                    case Output(port):
                        # A switch never sends out of the port a packet came from, unless told IN_PORT.
                        if port != fields["in_port"]:
                            verdict.sent.append((port, dict(fields)))
            if flow.goto is not None:
                assert TABLES[flow.goto].number > TABLES[table].number, "goto only goes forward"
            table = flow.goto
        return verdict


@dataclass(frozen=True)
class Arrival:
    """A packet that left the network: NVE, port, the NVEs it passed, its VNI in the last tunnel."""

    nve: str
    port: int | str
    path: tuple[str, ...]
    vni: Value | None
    fields: Mapping[str, Value] = field(hash=False, compare=False)


class FakeNetwork:
    """NVEs joined by tunnels. Tables may be of different states, as in the middle of a commit."""

    MAX_HOPS = 6

    def __init__(self, state: State, tables: Mapping[str, FakeFlowTable] | None = None) -> None:
        self.state = state
        self.tables = dict(tables or {n: FakeFlowTable(desired_flows(state, n)) for n in state.nves})
        self._by_ip = {nve.underlay_ip: nve for nve in state.nves.values()}

    def send(self, nve: str, packet: Packet, path: tuple[str, ...] = ()) -> list[Arrival]:
        """Return where a packet that enters at an NVE's port ends. Raises AssertionError for a loop."""
        path = (*path, nve)
        assert len(path) <= self.MAX_HOPS, f"loop: {' -> '.join(path)} with {dict(packet)}"
        arrivals = []
        here = self.state.nves[nve]
        for port, fields in self.tables[nve].process(packet).sent:
            if here.plain is not None and port == here.plain.port:
                arrivals += self._by_underlay(fields, path)
                continue
            if port != here.tunnel_port:
                vni = packet.get("tunnel_id")
                arrivals.append(Arrival(nve, port, path, vni, fields))
                continue
            there = self._by_ip[str(fields["tun_ipv4_dst"])]
            inner = {k: v for k, v in fields.items() if not k.startswith(("reg", "tun"))}
            inner.update(
                in_port=there.tunnel_port,
                tunnel_id=fields["tunnel_id"],
                tun_ipv4_src=here.underlay_ip,
            )
            arrivals += self.send(there.name, inner, path)
        return arrivals

    def _by_underlay(self, fields: Packet, path: tuple[str, ...]) -> list[Arrival]:
        """Deliver a plain packet: the underlay has a host route for each VM that moves with policy forward."""
        for move in self.state.moves.values():
            there = self.state.nves[move.new_nve]
            vm = self.state.vms[move.vm]
            if move.policy == "forward" and vm.ipv4 == fields.get("ipv4_dst") and there.plain is not None:
                plain = {k: v for k, v in fields.items() if not k.startswith(("reg", "tun"))}
                plain.update(in_port=there.plain.port, eth_dst=there.plain.mac)
                return self.send(there.name, plain, path)
        return []
