"""Reads what Open vSwitch prints: ``ofproto/trace`` and flow dumps. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controller.meanings import CAUSES, MISSES, REASONS, cause_of
from controller.pipeline import CAUSE_SHIFT, LATE, MISDIRECTED, REASON, TABLES, UNREACHABLE

TABLE_NAMES: Mapping[int, str] = {table.number: table.name for table in TABLES.values()}

_STEP = re.compile(r"^ ?(\d+)\. (.*)$")
_MATCHED = re.compile(r"^(?:(?P<match>.*), )?priority (?P<priority>\d+)(?:, cookie (?P<cookie>\S+))?$")
_BRIDGE = re.compile(r'^bridge\("(.*)"\)$')
_FLOW = re.compile(r"^ *cookie=(?P<cookie>\w+), (?P<rest>.*?) ?actions=(?P<actions>.*)$")
_BETWEEN_ACTIONS = re.compile(r",(?![^()]*\))")  # a comma within parentheses is the action's own
_FACTS = (
    "table=",
    "priority=",
    "n_packets=",
    "n_bytes=",
    "duration=",
    "idle_",
    "hard_",
    "importance=",
    "reset_counts",
)

_ENDS_HERE: Mapping[int | None, str] = {UNREACHABLE: REASONS[UNREACHABLE], MISDIRECTED: CAUSES[LATE]}
"""What the NVA is told of a packet that it does not let go on, and why the packet ends."""


@dataclass(frozen=True)
class Step:
    """One table that the packet passed; ``match`` None: no flow of the table matched."""

    table: int
    match: str | None
    actions: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    cause: str | None = None

    @property
    def name(self) -> str:
        """The table's name."""
        return TABLE_NAMES.get(self.table, f"table {self.table}")


@dataclass(frozen=True)
class End:
    """How one NVE's part ends: ``port``, ``tunnel``, ``answered``, ``nva`` or ``dropped``.

    ``reason``: why the NVA is told of it (with ``nva``: nobody else is), as a number of the pipeline. ``mac``: whose
    MAC an answer to ARP or neighbour discovery gives.
    """

    kind: str
    port: int | None = None
    remote_ip: str | None = None
    why: str = ""
    reason: int | None = None
    mac: str | None = None


@dataclass(frozen=True)
class Trace:
    """One ``ofproto/trace``: the tables of br-int in order, and the end."""

    steps: tuple[Step, ...]
    end: End

    def written(self) -> dict[str, str]:
        """The fields that the flows have set, by their names in actions; ``dec_ttl`` counts how often."""
        fields: dict[str, str] = {}
        for step in self.steps:
            for action in step.actions:
                verb, _, value = action.partition(":")
                if verb == "set_field":
                    constant, _, name = value.rpartition("->")
                    fields[name] = constant
                elif verb == "dec_ttl":
                    fields["dec_ttl"] = str(int(fields.get("dec_ttl", "0")) + 1)
        return fields


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
            steps.append(_step(int(begun[1]), _MATCHED.match(begun[2])))
        elif steps:
            steps[-1] = _with_line(steps[-1], line.strip())
    if not steps:
        said = next(iter(text.strip().splitlines()), "nothing")
        raise ValueError(f"ofproto/trace did not say which tables the packet passes: {said}")
    dropped = text.rpartition("Datapath actions:")[2].strip() == "drop"
    return Trace(tuple(steps), _end(steps, tunnel_port, dropped))


def _step(table: int, matched: re.Match[str] | None) -> Step:
    if matched is None:
        return Step(table, None, ())
    return Step(table, matched["match"] or "", (), cause=cause_of(int(matched["cookie"] or "0", 0)))


def _with_line(step: Step, line: str) -> Step:
    if line.startswith(("->", ">>")):
        return Step(
            step.table, step.match, step.actions, (*step.remarks, line.lstrip("->").strip()), step.cause
        )
    return Step(step.table, step.match, (*step.actions, line), step.remarks, step.cause)


def _end(steps: list[Step], tunnel_port: int, dropped: bool) -> End:
    last = steps[-1]
    fields = Trace(tuple(steps), End("")).written()
    verbs = [action.partition(":") for step in steps for action in step.actions]
    told = any(is_to_nva(verb) for verb, _, _ in verbs)
    reason = int(fields.get(REASON, "0"), 0) if told else None
    if last.match is None:
        return End(
            "dropped", why=f"in {last.name}: {MISSES.get(last.name, 'no flow matches')}", reason=reason
        )
    unresolved = next((remark for remark in last.remarks if "neighbor cache miss" in remark), None)
    if unresolved:
        why = f"at the tunnel: the underlay's next hop is not known yet ({unresolved})"
        return End("dropped", why=why, reason=reason)
    outputs = [
        verb if verb == "IN_PORT" else value for verb, _, value in verbs if verb in ("output", "IN_PORT")
    ]
    if outputs and not (dropped and outputs[0] != "IN_PORT"):
        return _sent(outputs[0], fields, tunnel_port, reason)
    if told and reason not in _ENDS_HERE:
        return End("nva", reason=reason)
    why = _ENDS_HERE.get(reason) or "; ".join(last.remarks) or last.cause or "the flow that matches says drop"
    return End("dropped", why=f"in {last.name}: {why}", reason=reason)


def _sent(output: str, fields: Mapping[str, str], tunnel_port: int, reason: int | None) -> End:
    remote_ip = fields.get("tun_dst")
    if remote_ip is not None and output in ("IN_PORT", str(tunnel_port)):
        return End("tunnel", port=tunnel_port, remote_ip=remote_ip, reason=reason)
    if output == "IN_PORT":
        return End("answered", reason=reason, mac=fields.get("eth_src"))
    return End("port", port=int(output), reason=reason)


def is_to_nva(action: str) -> bool:
    """Open vSwitch writes ``CONTROLLER:64``, or ``controller(...)`` when there is more to say."""
    return action.lower().startswith("controller")


@dataclass(frozen=True)
class FlowLine:
    """One line of a flow dump, or of the NVA's book; ``cause``: why it drops, as the cookie's number."""

    table: int
    priority: int
    match: str
    actions: tuple[str, ...]
    packets: int = 0
    bytes: int = 0
    cause: int = 0
    hard_timeout_s: int = 0

    @property
    def key(self) -> tuple[int, int, frozenset[str]]:
        """What identifies it in a switch: table, priority and match, whose parts have no order."""
        return self.table, self.priority, frozenset(self.match.split(","))


def parse_flows(text: str) -> list[FlowLine]:
    """Read ``ovs-ofctl dump-flows``; by table, then by falling priority."""
    found = [_flow(said) for said in map(_FLOW.match, text.splitlines()) if said]
    return sorted(found, key=lambda flow: (flow.table, -flow.priority, flow.match))


def _flow(said: re.Match[str]) -> FlowLine:
    parts = [part.strip() for part in said["rest"].split(",")]
    facts = dict(part.partition("=")[::2] for part in parts)
    return FlowLine(
        int(facts.get("table", "0")),
        int(facts.get("priority", "32768")),
        ",".join(part for part in parts if part and not part.startswith(_FACTS)),
        tuple(_BETWEEN_ACTIONS.split(said["actions"])),
        int(facts.get("n_packets", "0")),
        int(facts.get("n_bytes", "0")),
        int(said["cookie"], 0) >> CAUSE_SHIFT,
        int(facts.get("hard_timeout", "0")),
    )
