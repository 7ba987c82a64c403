"""The NVA's book held against what NVEs have: flow tables, and what datapaths do. Pure but for ``audit``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from emulation import commands
from emulation.errors import EmulationError, WaitError
from emulation.nve import NVE
from experiments.console.flow_words import action_words, match_words, vni_of
from experiments.console.names import Names
from experiments.console.openflow_text import TABLE_NAMES, FlowLine, parse_flows

AGREE = "agree"
FOLLOWS_WITHIN_S = 2.0
"""How long a difference must last: a datapath follows its tables within half a second (Open vSwitch's revalidator)."""
_ANSWER_WITHIN_S = 3.0
_OWN_NUMBERS = re.compile(r"(recirc_id|pid|rule_cookie)[=(][^,)]*\)?")
_TO_DAEMON = "userspace("


@dataclass(frozen=True)
class Difference:
    """One flow on which book and switch differ; ``booked`` None: in nobody's book; ``found`` None: missing."""

    booked: FlowLine | None
    found: FlowLine | None


def differences(book: Sequence[FlowLine], dump: Sequence[FlowLine]) -> list[Difference]:
    """What a switch has too much, too little, or otherwise. A flow that may have expired is not missing."""
    wanted, there = {flow.key: flow for flow in book}, {flow.key: flow for flow in dump}
    found = []
    for key in sorted({*wanted, *there}, key=lambda key: (key[0], -key[1], sorted(key[2]))):
        one, other = wanted.get(key), there.get(key)
        expired = other is None and one is not None and one.hard_timeout_s > 0
        if not expired and (one is None or other is None or _does(one) != _does(other)):
            found.append(Difference(one, other))
    return found


def _does(flow: FlowLine) -> tuple[object, ...]:
    return flow.actions, flow.cause, flow.hard_timeout_s


def difference_lines(nve: str, found: Sequence[Difference], names: Names) -> Iterator[str]:
    """Each difference in words."""
    for one in found:
        flow = one.found or one.booked
        if flow is None:
            continue
        what = "in nobody's book" if one.booked is None else "missing" if one.found is None else "differs"
        yield (
            f"{nve}: {what}: {TABLE_NAMES.get(flow.table, flow.table)} priority {flow.priority}  "
            f"{match_words(flow.match, names)}"
        )
        for whose, line in (("the NVA's book", one.booked), ("the switch", one.found)):
            if line is not None:
                does = action_words(line.actions, names, vni_of(line.match, names), line.cause)
                yield f"  {whose}: {does}"


@dataclass(frozen=True)
class Cached:
    """One flow of a datapath: what it matches and does, as ``dpctl/dump-flows`` writes it."""

    match: str
    actions: str


def parse_cached(text: str) -> list[Cached]:
    """Read ``dpctl/dump-flows``, without what the daemon decides packet by packet (answers, the NVA)."""
    found = []
    for line in text.splitlines():
        match, told, actions = line.partition(", actions:")
        if told and _TO_DAEMON not in actions:
            found.append(Cached(re.sub(r", packets:.*", "", match), _comparable(actions)))
    return found


def _with_tunnel_ttl(match: str) -> str:
    """``ofproto/trace`` takes no tunnel header without a TTL, and no flow asks for one."""
    return re.sub(r"^(tunnel\((?!.*ttl=).*?),flags\(", r"\1,ttl=64,flags(", match)


def _comparable(actions: str) -> str:
    """Without the numbers that Open vSwitch gives out anew for each translation."""
    return _OWN_NUMBERS.sub(r"\1", actions.strip())


def outdated(cached: Sequence[Cached], trace: Callable[[str], str]) -> list[tuple[Cached, str]]:
    """The datapath's flows that do other than the tables say now, and what these say (``trace``: by ofproto/trace)."""
    found = []
    for one in cached:
        said = trace(_with_tunnel_ttl(one.match))
        wanted = _comparable(said.rpartition("Datapath actions:")[2].split("\n")[0])
        if wanted != one.actions:
            found.append((one, wanted))
    return found


@dataclass(frozen=True)
class Finding:
    """What an audit found at one NVE: lines for a user, none when all agree."""

    nve: str
    lines: tuple[str, ...]


def audit(nve: NVE, book: Callable[[str], Sequence[str]], names: Callable[[], Names]) -> Finding:
    """Compare book, tables and datapath of one NVE; what differs for a moment only is no finding."""
    last: list[str] = []

    def agree() -> bool:
        last[:] = _once(nve, book, names())
        return not last

    with contextlib.suppress(WaitError):
        commands.wait_until(agree, FOLLOWS_WITHIN_S, f"{nve.name} to agree", every_s=0.1)
    return Finding(nve.name, tuple(last))


def _once(nve: NVE, book: Callable[[str], Sequence[str]], names: Names) -> list[str]:
    wanted = parse_flows("\n".join(book(nve.name)))
    try:
        dump = nve.dpctl("dump-flows", timeout_s=_ANSWER_WITHIN_S)
    except EmulationError as error:
        return [f"{nve.name}: Open vSwitch does not answer, so nothing is known of its flows: {error}"]
    lines = list(difference_lines(nve.name, differences(wanted, parse_flows(dump)), names))
    cached = parse_cached(nve.control.call("dpctl/dump-flows"))
    for one, tables in outdated(cached, lambda match: nve.control.call("ofproto/trace", match)):
        lines.append(f"{nve.name}: the datapath does other than the tables say, for {one.match}")
        lines += [f"  the tables: {tables}", f"  the datapath: {one.actions}"]
    return lines


def audit_lines(findings: Sequence[Finding]) -> list[str]:
    """Exactly ``agree``, or each difference and how many NVEs agree."""
    differ = [one for one in findings if one.lines]
    if not differ:
        return [AGREE]
    agreeing = [one.nve for one in findings if not one.lines]
    lines = [line for one in differ for line in one.lines]
    rest = f"; {', '.join(agreeing)}: {AGREE}" if agreeing else ""
    return [*lines, f"{', '.join(one.nve for one in differ)}: DISAGREE{rest}"]
