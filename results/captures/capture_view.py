"""``make pcap``: what the captures of a run hold, and the way of one packet, in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from results.captures.pcap import GENEVE_PORT, Capture, read_pcap
from results.captures.trace import Carried, Flow, FlowSeen, Sighting, Trace, names_of, range_text
from results.record.contract import RecordError
from results.record.reading import Record

if TYPE_CHECKING:
    from rich.table import Table

MOST_LINK_LETTERS = 42
"""A leg's, VM-NVE-redirected, of two names of 15 letters."""
VXLAN_PORT = 4789  # IANA; what dissectors expect


def load_trace(record: Record) -> Trace:
    """All captures of a run. RecordError when it has none, or one is gone or damaged."""
    links = record.captures.get("links", [])
    if not links and (record.folder / "sweep.json").exists():
        raise RecordError(
            f"{record.name}: is a sweep; its captures are in the runs beneath it: RUN={record.folder}/runs/.."
        )
    if not links:
        raise RecordError(f"{record.name}: has no captures; run it again with PCAP=1")
    port = int(record.data["topology"]["tunnel"]["udp_port"])
    captures: dict[str, Capture] = {
        str(link["link"]): read_pcap(record.folder / str(link["file"]), port) for link in links
    }
    return Trace(captures, names_of(record.data["topology"]))


def print_captures(record: Record, packet: int | None) -> None:
    """Print what every link carried and where lost probe packets were last seen, or the way of one packet's number."""
    from rich.console import Console

    trace, console = load_trace(record), Console()
    if packet is not None:
        for table in _ways(record, trace, packet):
            console.print(table)
        return
    dropped = {link["link"]: int(link["dropped_packets"]) for link in record.captures["links"]}
    console.print(_links_table(trace.carried(), dropped))
    seen = [trace.seen(flow) for flow in trace.flows]
    if seen:
        console.print(_flows_table(seen))
    for line in (*record.captures.get("troubles", ()), *_hints(record, seen)):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _table(title: str, *headings: str) -> Table:
    """A table whose cells go on in the next line where they are too long: a name that is cut could be another's."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def carried_text(row: Carried) -> str:
    """'nve1 -> nve3, VNI 5001: 1,200 packets'."""
    what = "not in a tunnel" if row.ends is None else f"{row.ends[0]} -> {row.ends[1]}, VNI {row.vni}"
    return f"{what}: {row.packets:,} packets, {row.size_bytes / 1e6:.1f} MB"


def _links_table(carried: Sequence[Carried], dropped: Mapping[str, int]) -> Table:
    table = _table("What each link carried", "link", "carried", "not captured")
    table.columns[0].min_width = _least_width(carried)
    for link, rows in groupby(carried, lambda row: row.link):
        lines = [carried_text(row) for row in sorted(rows, key=lambda row: -row.packets)]
        table.add_row(link, "\n".join(lines), f"{dropped.get(link, 0):,}")
    return table


def _least_width(rows: Iterable[Carried | Sighting]) -> int:
    """Links' names stay in one line, unless they are so long that nothing else had room."""
    return min(max((len(row.link) for row in rows), default=0), MOST_LINK_LETTERS)


def lost_text(seen: FlowSeen) -> str:
    """Where the packets that did not arrive were last seen; one line a link."""
    if seen.arrived is None:
        return f"unknown: the link of {seen.flow.dst} was not captured"
    return (
        "\n".join(f"{one.packets:,} on {one.link}: {range_text(one.ranges)}" for one in seen.lost) or "none"
    )


def _flows_table(seen: Sequence[FlowSeen]) -> Table:
    table = _table(
        "Probe packets, by what the links at both ends saw",
        "flow",
        "sent",
        "arrived",
        "again",
        "lost, last seen",
    )
    for one in seen:
        sent, arrived = ("?" if count is None else f"{count:,}" for count in (one.sent, one.arrived))
        table.add_row(one.flow.label, sent, arrived, f"{one.twice:,}", lost_text(one))
    return table


def _hints(record: Record, seen: Sequence[FlowSeen]) -> list[str]:
    lost = next((one.ranges[0][0] for flow in seen for one in flow.lost), None)
    hints = [f"one packet's way: make pcap RUN={record.name} PACKET={0 if lost is None else lost}"]
    port = int(record.data["topology"]["tunnel"]["udp_port"])
    said = ""
    if port not in (VXLAN_PORT, GENEVE_PORT):
        said = f" -d udp.port=={port},{record.data['topology']['tunnel']['encapsulation']}"
    return [*hints, f"in Wireshark: wireshark{said} {record.folder / 'pcap'}/LINK.pcap"]


def _ways(record: Record, trace: Trace, packet: int) -> list[Table]:
    tables = []
    for flow in trace.flows:
        if way := trace.way(flow, packet):
            tables.append(_way_table(record, trace, flow, packet, way))
    if not tables:
        raise RecordError(f"{record.name}: no link saw a probe packet number {packet}; numbers begin at 0")
    return tables


def _way_table(record: Record, trace: Trace, flow: Flow, packet: int, way: Sequence[Sighting]) -> Table:
    place = _moment_text(record, way[0].t_ns)
    table = _table(f"Packet {packet}, {flow.label}{place}", "ms", "link", "tunnel", "TTL")
    table.columns[1].min_width = _least_width(way)
    for one in way:
        tunnel = "" if one.vni is None else f"{one.outer_src} -> {one.outer_dst}, VNI {one.vni}"
        table.add_row(f"{(one.t_ns - way[0].t_ns) / 1e6:.3f}", one.link, tunnel, str(one.ttl))
    if flow.dst in trace.captures and not any(one.link == flow.dst for one in way):
        table.add_row("", f"never on {flow.dst}: lost", "", "", style="bold")
    return table


def _moment_text(record: Record, t_ns: int) -> str:
    """In which trial a moment (CLOCK_REALTIME) lies, and how far from its switch."""
    offsets_ns = record.captures.get("realtime_minus_monotonic_ns", [])
    if not offsets_ns:
        return ""
    t_s = (t_ns - sum(offsets_ns) / len(offsets_ns)) / 1e9
    for trial in record.trials:
        start_s, end_s = trial.get("window_s", (0.0, 0.0))
        if start_s <= t_s < end_s:
            phases = (trial["migration"] or {}).get("phases", ())
            switch_s = next((phase["start_s"] for phase in phases if phase["name"] == "switch"), None)
            of_switch = "" if switch_s is None else f", {(t_s - switch_s) * 1e3:+.1f} ms from the switch"
            return f": trial {trial['index']}{of_switch}"
    return ": between trials"
