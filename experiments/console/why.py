"""What the tables do with a packet, in words. Pure: reads the text of ``ofproto/trace`` and of a flow dump.

A packet is followed from NVE to NVE: where a trace ends in the tunnel, the next one begins at the NVE with that
underlay address. That is how a redirect at the old NVE (one more hop) becomes visible.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from controller.pipeline import ANTI_SPOOF, CLASSIFY, FORWARD, OUTPUT, RESOLVE, TABLES

PROTOCOLS = ("icmp", "tcp", "udp", "arp")
TABLE_NAMES: Mapping[int, str] = {table.number: table.name for table in TABLES.values()}

_STEP = re.compile(r"^ ?(\d+)\. (.*)$")
_MATCHED = re.compile(r"^(?:(?P<match>.*), )?priority (?P<priority>\d+)(?:, cookie \S+)?$")
_BRIDGE = re.compile(r'^bridge\("(.*)"\)$')
_FLOW = re.compile(
    r"table=(?P<table>\d+), n_packets=(?P<packets>\d+), n_bytes=(?P<bytes>\d+), (?P<rest>.*) actions=(?P<actions>.*)$"
)
_BETWEEN_ACTIONS = re.compile(r",(?![^()]*\))")  # a comma within parentheses is the action's own
_NO_MATCH = {
    CLASSIFY: "it came in by a port that is no VM's (any more), or the VNI is unknown at this NVE",
    ANTI_SPOOF: "the sender's addresses are not those of the VM at this port",
    RESOLVE: "no VM of the network has the address that is asked for",
    FORWARD: "this NVE knows no way to that MAC for a frame of this origin (what came from a tunnel goes to VMs "
    "that are here, or to a VM that is moving)",
    OUTPUT: "nothing leads to that port",
}
_MATCHED_DROP = {
    RESOLVE: "a VM's question for its own address is not answered: it would read as a conflict",
    FORWARD: "this is the old NVE and the policy of the move is silent-drop",
}


@dataclass(frozen=True)
class Names:
    """What the numbers mean at one NVE; an unknown number stays a number."""

    ports: Mapping[int, str] = field(default_factory=dict)
    macs: Mapping[str, str] = field(default_factory=dict)
    ips: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[int, str] = field(default_factory=dict)

    def port(self, number: int) -> str:
        """``port 3 (vm1)``."""
        return f"port {number}" + _aside(self.ports.get(number))

    def mac(self, mac: str) -> str:
        """The VM's name, else the MAC itself."""
        return self.macs.get(mac, mac)

    def ip(self, ip: str) -> str:
        """``nve2 (192.0.2.2)``."""
        return f"{self.ips[ip]} ({ip})" if ip in self.ips else ip

    def network(self, vni: int) -> str:
        """``blue (VNI 5001)``."""
        return f"{self.networks[vni]} (VNI {vni})" if vni in self.networks else f"VNI {vni}"


def _aside(text: str | None) -> str:
    return f" ({text})" if text else ""


@dataclass(frozen=True)
class Step:
    """One table that the packet passed; ``match`` None: no flow of the table matched."""

    table: int
    match: str | None
    actions: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The table's name."""
        return TABLE_NAMES.get(self.table, f"table {self.table}")


@dataclass(frozen=True)
class End:
    """How one NVE's part ends: ``port``, ``tunnel``, ``answered``, ``nva`` or ``dropped``."""

    kind: str
    port: int | None = None
    remote_ip: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Trace:
    """One ``ofproto/trace``: the tables of br-int in order, and the end."""

    steps: tuple[Step, ...]
    end: End


def parse_trace(text: str, tunnel_port: int) -> Trace:
    """Read the output of ``ofproto/trace`` at an NVE. ValueError when it is no such output."""
    steps: list[Step] = []
    bridges: set[str] = set()
    for line in text.splitlines():
        if named := _BRIDGE.match(line):
            bridges.add(named[1])
        elif len(bridges) != 1 or not line.startswith(" "):
            continue  # the second bridge is the underlay's, behind the tunnel
        elif begun := _STEP.match(line):
            matched = _MATCHED.match(begun[2])
            steps.append(Step(int(begun[1]), (matched["match"] or "") if matched else None, ()))
        elif steps:
            steps[-1] = _with_line(steps[-1], line.strip())
    if not steps:
        said = next(iter(text.strip().splitlines()), "nothing")
        raise ValueError(f"ofproto/trace did not say which tables the packet passes: {said}")
    dropped = text.rpartition("Datapath actions:")[2].strip() == "drop"
    return Trace(tuple(steps), _end(steps, tunnel_port, dropped))


def _with_line(step: Step, line: str) -> Step:
    if line.startswith(("->", ">>")):
        return Step(step.table, step.match, step.actions, (*step.remarks, line.lstrip("->").strip()))
    return Step(step.table, step.match, (*step.actions, line), step.remarks)


def _end(steps: list[Step], tunnel_port: int, dropped: bool) -> End:
    last = steps[-1]
    if last.match is None:
        return End("dropped", why=f"in {last.name}: {_NO_MATCH.get(last.name, 'no flow matches')}")
    unresolved = next((remark for remark in last.remarks if "neighbor cache miss" in remark), None)
    if unresolved:
        return End("dropped", why=f"at the tunnel: the underlay's next hop is not known yet ({unresolved})")
    words = [action.partition(":") for step in steps for action in step.actions]
    sent = next(
        (verb if verb == "IN_PORT" else value for verb, _, value in words if verb in ("output", "IN_PORT")),
        None,
    )
    if any(_is_to_nva(verb) for verb, _, _ in words):
        return End("nva")
    if sent is None or (dropped and sent != "IN_PORT"):
        return End("dropped", why=f"in {last.name}: {_dropped_here(last)}")
    remote_ip = next(
        (value[: -len("->tun_dst")] for _, _, value in words if value.endswith("->tun_dst")), None
    )
    if remote_ip is not None and sent in ("IN_PORT", str(tunnel_port)):
        return End("tunnel", port=tunnel_port, remote_ip=remote_ip)
    if sent == "IN_PORT":
        return End("answered")
    return End("port", port=int(sent))


def _is_to_nva(action: str) -> bool:
    """Open vSwitch writes ``CONTROLLER:64``, or ``controller(...)`` when there is more to say."""
    return action.lower().startswith("controller")


def _dropped_here(step: Step) -> str:
    return "; ".join(step.remarks) or _MATCHED_DROP.get(step.name, "the flow that matches says drop")


@dataclass(frozen=True)
class FlowLine:
    """One line of a flow dump."""

    table: int
    priority: int
    match: str
    actions: tuple[str, ...]
    packets: int
    bytes: int


def parse_flows(text: str) -> list[FlowLine]:
    """Read ``ovs-ofctl dump-flows``; by table, then by falling priority."""
    found = []
    for line in text.splitlines():
        if not (said := _FLOW.search(line)):
            continue
        parts = [part.strip() for part in said["rest"].split(",")]
        priority = next((int(part[9:]) for part in parts if part.startswith("priority=")), 32768)
        match = ",".join(part for part in parts if not part.startswith(("priority=", "idle_", "hard_")))
        actions = tuple(_BETWEEN_ACTIONS.split(said["actions"]))
        found.append(
            FlowLine(int(said["table"]), priority, match, actions, int(said["packets"]), int(said["bytes"]))
        )
    return sorted(found, key=lambda flow: (flow.table, -flow.priority, flow.match))


_MATCH_WORDS: Mapping[str, Callable[[str, Names], str]] = {
    "in_port": lambda value, names: f"from {names.port(int(value))}",
    "tun_id": lambda value, names: f"tunnel header says {names.network(int(value, 0))}",
    "tun_src": lambda value, names: f"tunnel from {names.ip(value)}",
    "reg0": lambda value, names: f"towards {names.port(int(value, 0))}",
    "reg1": lambda value, names: f"in network {names.network(int(value, 0))}",
    "reg2": lambda value, names: "came from a tunnel" if int(value, 0) else "came from a VM here",
    "dl_src": lambda value, names: f"source MAC is {names.mac(value)}",
    "dl_dst": lambda value, names: f"for {names.mac(value)}",
    "nw_src": lambda value, names: f"source IP is {names.ip(value)}",
    "nw_dst": lambda value, names: f"to IP {names.ip(value)}",
    "arp_sha": lambda value, names: f"ARP sender's MAC is {names.mac(value)}",
    "arp_spa": lambda value, names: f"ARP sender's IP is {names.ip(value)}",
    "arp_tpa": lambda value, names: f"asks for {names.ip(value)}",
    "arp_op": lambda value, names: "request" if value == "1" else f"operation {value}",
    "dl_type": lambda value, names: "a marker of the testbed" if value == "0x88b5" else f"ethertype {value}",
    "ipv6_src": lambda value, names: f"source IP is {names.ip(value)}",
    "ipv6_dst": lambda value, names: f"to IP {names.ip(value)}",
    "nd_target": lambda value, names: f"neighbour discovery of {names.ip(value)}",
    "icmp_type": lambda value, names: f"ICMP type {value}",
    "tp_src": lambda value, names: f"from UDP or TCP port {value}",
    "tp_dst": lambda value, names: f"to UDP or TCP port {value}",
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


def match_words(match: str, names: Names) -> str:
    """A flow's match in words; what is not known here stays as Open vSwitch writes it."""
    words = []
    for part in filter(None, match.split(",")):
        key, _, value = part.partition("=")
        known = _MATCH_WORDS.get(key)
        words.append(known(value, names) if known and value else _PROTOCOL_WORDS.get(part, part))
    return ", ".join(words) or "everything"


_SET_WORDS: Mapping[str, Callable[[str, Names], str]] = {
    "reg0": lambda value, names: f"send by {names.port(int(value, 0))}",
    "reg1": lambda value, names: f"network is {names.network(int(value, 0))}",
    "reg2": lambda value, names: "it came from a tunnel" if int(value, 0) else "it came from a VM here",
    "tun_dst": lambda value, names: f"tunnel to {names.ip(value)}",
    "tun_id": lambda value, names: f"VNI {int(value, 0)}",
}


def action_words(actions: tuple[str, ...], names: Names) -> str:
    """A flow's actions in words."""
    if "set_field:2->arp_op" in actions:
        mac = next(
            (
                a[10 : -len("->arp_sha")]
                for a in actions
                if a.endswith("->arp_sha") and a[:10] == "set_field:"
            ),
            "?",
        )
        return f"answer at the NVE: its MAC is {mac}{_aside(names.macs.get(mac))}"
    return ", ".join(_one_action(action, names) for action in actions) or "drop"


def _one_action(action: str, names: Names) -> str:
    verb, _, value = action.partition(":")
    if verb == "set_field":
        constant, _, target = value.rpartition("->")
        return _SET_WORDS[target](constant, names) if target in _SET_WORDS else action
    if verb == "goto_table":
        return f"go to {TABLE_NAMES.get(int(value), value)}"
    if verb == "output":
        return f"out of {names.port(int(value))}"
    if _is_to_nva(verb):
        return "to the NVA"
    return {"IN_PORT": "back out of the port it came in by", "drop": "drop"}.get(verb, action)
