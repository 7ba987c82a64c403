"""The NVE's flow tables as data, and the :class:`Flow` that must fit them.

A flow that matches on a field its table did not declare, or goes to a table its table did not declare as
next, cannot be built: the table list below (also printed by :func:`describe`) is the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = int | str
"""Numbers for ports, registers, protocol numbers; text for MAC and IP addresses, and for subnets in a match."""

VNI = "reg1"
ORIGIN = "reg2"
OUT = "reg0"
REASON = "reg3"
"""Why a frame is sent to the NVA: one of the numbers of :class:`ToNva`."""
LOCAL = 0
TUNNEL = 1
ROUTED = 2
"""Origin of a frame from a VM here that RESOLVE has routed to the outside."""
PLAIN = 3
"""Origin of a frame that an old NVE forwarded without an overlay header."""
OUTSIDE_VNI = 2**24
"""The outside's number in the VNI register: one that no tunnel header can carry."""

ANNOUNCEMENT = 1
"""Reason: a VM says where it is (RARP, gratuitous ARP, unsolicited neighbour advertisement)."""

DHCP_ANSWER = 2
"""Reason: a DHCP server answers by broadcast; which client it means says only the message itself."""

MISDIRECTED = 3
"""Reason: a frame came from an NVE whose mapping is out of date."""
UNREACHABLE = 4
"""Reason: a frame ends at the old NVE, and its sender is to be told."""
MISS = 5
"""Reason: an NVE's mapping of this VM has expired."""
SOLICITATION = 6
"""Reason: a neighbour solicitation whose answer the NVE's datapath cannot write."""

PAUSED, LEFT, ENDED, NOT_PLAIN, LATE, OWN_QUESTION, FORGED_LEASE, FORGED_DISCOVERY, INSIDE_SOURCE = range(
    1, 10
)
"""Causes: why a flow drops what it matches (:attr:`Flow.cause`); in words: :mod:`controller.meanings`."""
CAUSE_SHIFT = 32
"""A flow's cookie has its cause in the bits from here on, and below them the NVA's number of its last full sync."""


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
ADVERTISE = "ADVERTISE"
FORWARD = "FORWARD"
OUTPUT = "OUTPUT"

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        Table(
            0,
            CLASSIFY,
            "notes network and origin of a frame",
            frozenset({"in_port", "eth_type", "ipv4_dst", "tunnel_id"}),
            frozenset({ANTI_SPOOF, FORWARD}),
        ),
        Table(
            1,
            ANTI_SPOOF,
            "drops what the attachment may not say; announcements of the VM itself go to the NVA",
            frozenset(
                {
                    *("in_port", "eth_src", "eth_dst", "eth_type", "ipv4_src", "ipv4_dst"),
                    *("ip_proto", "udp_src", "udp_dst", "arp_sha", "arp_spa"),
                    *("ipv6_src", "icmpv6_type", "ipv6_nd_target", "ipv6_nd_tll"),
                }
            ),
            frozenset({RESOLVE, FORWARD}),
        ),
        Table(
            2,
            RESOLVE,
            "answers ARP at the NVE, and IPv6 neighbour discovery; is the gateway: routes, answers pings",
            frozenset(
                {
                    *(VNI, "in_port", "eth_dst", "eth_type", "arp_op", "arp_spa", "arp_tpa"),
                    *("ip_proto", "ipv4_dst", "icmpv4_type"),
                    *("ipv6_src", "ipv6_dst", "icmpv6_type", "ipv6_nd_target"),
                }
            ),
            frozenset({ADVERTISE, FORWARD}),
        ),
        Table(
            3,
            FORWARD,
            "chooses the local port or the tunnel",
            frozenset({VNI, ORIGIN, "eth_dst", "eth_type", "tun_ipv4_src"}),
            frozenset({OUTPUT}),
        ),
        Table(4, OUTPUT, "sends", frozenset({OUT, "in_port"})),
        # The target's MAC can be written only when the type says "advertisement", and that a new lookup sees.
        Table(
            5,
            ADVERTISE,
            "completes a neighbour advertisement and sends it back",
            frozenset({"eth_type", "ip_proto", "icmpv6_type"}),
        ),
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
    """Send the frame: to a port number, or back where it came from."""

    port: int | Literal["in_port"]


@dataclass(frozen=True)
class ToNva:
    """Send the frame's first bytes to the NVA and say why; the rate is limited at the NVE."""

    reason: int
    max_bytes: int = 128


@dataclass(frozen=True)
class DecTtl:
    """Take one from TTL or hop limit; a packet that would reach zero ends here."""


Action = SetField | CopyField | Output | ToNva | DecTtl

ALL_BYTES = 0xFFFF
"""As :attr:`ToNva.max_bytes`: the whole frame (OFPCML_NO_BUFFER)."""


@dataclass(frozen=True)
class Flow:
    """One flow entry; two flows with equal :attr:`key` replace each other in a switch.

    No actions and no ``goto``: drop, and then :attr:`cause` says why. The hash is kept because flows spend their life
    in sets.
    """

    table: str
    priority: int
    match: tuple[tuple[str, Value], ...]
    actions: tuple[Action, ...] = ()
    goto: str | None = None
    hard_timeout_s: int = 0
    """Whole seconds after which the switch forgets the entry; 0: never."""
    cause: int = 0
    """Why it drops; 0 for a flow that does not. The switch keeps it in the cookie, so a flow dump says it too."""
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
        if bool(self.cause) == bool(self.actions or self.goto):
            raise PipelineError(
                f"{self.match!r} in {table.name}: a flow that drops has a cause, and no other one has"
            )
        key = (
            self.table,
            self.priority,
            self.match,
            self.actions,
            self.goto,
            self.hard_timeout_s,
            self.cause,
        )
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
    hard_timeout_s: int = 0,
) -> Flow:
    """Build a :class:`Flow` from a match in any order."""
    return Flow(table, priority, tuple(sorted(match.items())), actions, goto, hard_timeout_s)


def drop(table: str, priority: int, match: Mapping[str, Value], cause: int) -> Flow:
    """Build a :class:`Flow` that drops, and says why."""
    return Flow(table, priority, tuple(sorted(match.items())), cause=cause)


def describe() -> str:
    """Return the table list as text, one table a line, for the CLI and the documentation."""
    lines = []
    for table in sorted(TABLES.values(), key=lambda t: t.number):
        fields = ", ".join(sorted(table.match_fields))
        following = ", ".join(sorted(table.next_tables)) or "-"
        lines.append(f"{table.number} {table.name}: {table.purpose}; matches {fields}; next {following}")
    return "\n".join(lines)
