"""The NVE's flow tables as data, and the :class:`Flow` that must fit them.

A flow that matches on a field its table did not declare, or goes to a table its table did not declare as
next, cannot be built: the table list below (also printed by :func:`describe`) is the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = int | str
"""Numbers for ports, registers, protocol numbers; text for MAC and IP addresses."""

VNI = "reg1"
ORIGIN = "reg2"
OUT = "reg0"
LOCAL = 0
TUNNEL = 1

ETH_ARP = 0x0806
ETH_IPV4 = 0x0800
ETH_RARP = 0x8035
ETH_MARKER = 0x88B5
"""Wiring and end markers: IEEE 802 Local Experimental Ethertype 1 (IEEE Std 802, clause on ethertypes)."""


class PipelineError(ValueError):
    """A flow does not fit the declared tables: a mistake in this package, never in user input."""


@dataclass(frozen=True)
class Table:
    """One flow table: OpenFlow number, name, what it may match on, where it may send on to."""

    number: int
    name: str
    purpose: str
    match_fields: frozenset[str]
    next_tables: frozenset[str] = frozenset()


CLASSIFY = "CLASSIFY"
ANTI_SPOOF = "ANTI_SPOOF"
RESOLVE = "RESOLVE"
FORWARD = "FORWARD"
OUTPUT = "OUTPUT"

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        Table(
            0,
            CLASSIFY,
            "notes network and origin of a frame",
            frozenset({"in_port", "eth_type", "tunnel_id"}),
            frozenset({ANTI_SPOOF, FORWARD}),
        ),
        Table(
            1,
            ANTI_SPOOF,
            "drops what the attachment may not say; RARP of the VM itself goes to the NVA",
            # IPv6 will add ipv6_src, icmpv6_type and nd_target here and in RESOLVE.
            frozenset(
                {
                    *("in_port", "eth_src", "eth_dst", "eth_type", "ipv4_src", "ipv4_dst"),
                    *("ip_proto", "udp_src", "udp_dst", "arp_sha", "arp_spa"),
                }
            ),
            frozenset({RESOLVE, FORWARD}),
        ),
        Table(
            2,
            RESOLVE,
            "answers ARP at the NVE",
            frozenset({VNI, "in_port", "eth_type", "arp_op", "arp_tpa"}),
        ),
        Table(
            3,
            FORWARD,
            "chooses the local port or the tunnel",
            frozenset({VNI, ORIGIN, "eth_dst", "tun_ipv4_src"}),
            frozenset({OUTPUT}),
        ),
        Table(4, OUTPUT, "sends", frozenset({OUT, "in_port"})),
    )
}


@dataclass(frozen=True)
class SetField:
    """Write a constant into a field or register."""

    field: str
    value: Value


@dataclass(frozen=True)
class CopyField:
    """Copy one field of the frame into another of the same width."""

    source: str
    destination: str


@dataclass(frozen=True)
class Output:
    """Send the frame: to a port number, back where it came from, or to the NVA."""

    port: int | Literal["in_port", "controller"]


Action = SetField | CopyField | Output


@dataclass(frozen=True)
class Flow:
    """One flow entry; two flows with equal :attr:`key` replace each other in a switch.

    No actions and no ``goto``: drop. The hash is kept because flows spend their life in sets.
    """

    table: str
    priority: int
    match: tuple[tuple[str, Value], ...]
    actions: tuple[Action, ...] = ()
    goto: str | None = None
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = TABLES.get(self.table)
        if table is None:
            raise PipelineError(f"flow for unknown table {self.table!r}; tables are {', '.join(TABLES)}")
        for name, _ in self.match:
            if name not in table.match_fields:
                allowed = ", ".join(sorted(table.match_fields))
                raise PipelineError(f"table {table.name} does not match on {name!r}; it declares {allowed}")
        if list(self.match) != sorted(self.match):
            raise PipelineError(f"match {self.match!r} is not in order of field names; build it with flow()")
        if self.goto is not None and self.goto not in table.next_tables:
            allowed = ", ".join(sorted(table.next_tables)) or "none"
            raise PipelineError(f"table {table.name} does not go to {self.goto!r}; it declares {allowed}")
        key = (self.table, self.priority, self.match, self.actions, self.goto)
        object.__setattr__(self, "_hash", hash(key))

    def __hash__(self) -> int:
        return self._hash

    @property
    def key(self) -> tuple[str, int, tuple[tuple[str, Value], ...]]:
        """What identifies the entry in a switch: table, priority, match (OpenFlow 1.3.5 section 6.4)."""
        return (self.table, self.priority, self.match)


def flow(
    table: str,
    priority: int,
    match: Mapping[str, Value],
    actions: tuple[Action, ...] = (),
    goto: str | None = None,
) -> Flow:
    """Build a :class:`Flow` from a match in any order."""
    return Flow(table, priority, tuple(sorted(match.items())), actions, goto)


def describe() -> str:
    """Return the table list as text, one table a line, for the CLI and the documentation."""
    lines = []
    for table in sorted(TABLES.values(), key=lambda t: t.number):
        fields = ", ".join(sorted(table.match_fields))
        following = ", ".join(sorted(table.next_tables)) or "-"
        lines.append(f"{table.number} {table.name}: {table.purpose}; matches {fields}; next {following}")
    return "\n".join(lines)
