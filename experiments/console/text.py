"""What the console says: tables and sentences from plain values. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from controller.meanings import MISSES
from controller.pipeline import TABLES
from emulation import outside
from emulation.nve import Datapath
from experiments.console.flow_words import action_words, match_words, vni_of
from experiments.console.names import Names
from experiments.console.openflow_text import TABLE_NAMES, FlowLine
from experiments.console.user_files import files_line
from experiments.console.whereabouts import Whereabouts
from mobility.migration import MigrationRecord, Phase
from mobility.options import BANDWIDTH_BPS
from results.figures.display import count_text
from topologies.model import Client, Topology
from topologies.notes import notes
from topologies.units import format_rate, format_size
from vocabulary.policies import POLICIES

_NVES_IN_GREETING = 10
_VMS_IN_GREETING = 6


def columns(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Rows as lines with aligned columns."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))] if rows else []
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def greeting(
    topology: Topology, datapath: Datapath, took_s: float, *, terminals: bool = True, files: str = ""
) -> list[str]:
    """What is there, and what to try; for a terminal. ``terminals``: whether there may be others.

    ``files``: the folder that FILES= shows.
    """
    shown = topology.nves[:_NVES_IN_GREETING]
    rows = [("NVE", "rack", "underlay", "VMs")]
    rows += [(nve.name, nve.rack, str(nve.underlay_ip), _vms_at(topology, nve.name)) for nve in shown]
    more = len(topology.nves) - len(shown)
    return [
        f"{topology.name}: {topology.summary}",
        f"{datapath.kind} datapath, {datapath.port_type} ports ({datapath.reason}); up in {took_s:.1f} s",
        "",
        *columns(rows),
        *([f"  ... and {more} more: where"] if more else []),
        *notes(topology),
        "",
        *examples(topology),
        files_line(files),
        *([f"From another terminal: make shell NODE={topology.nves[0].name}"] if terminals else []),
        "",
    ]


def _vms_at(topology: Topology, nve: str) -> str:
    vms = [f"{vm.name} {vm.ipv4}" for vm in topology.vms_on(nve)]
    rest = [f"and {len(vms) - _VMS_IN_GREETING} more"] if len(vms) > _VMS_IN_GREETING else []
    return ", ".join(vms[:_VMS_IN_GREETING] + rest) or "none"


def examples(topology: Topology) -> list[str]:
    """Commands that make sense in this topology."""
    lines = []
    if topology.vms:
        vm = next((one for one in topology.vms if topology.prewired_nves(one)), topology.vms[0])
        peer = next(
            (o for o in topology.vms if o.virtual_network == vm.virtual_network and o.name != vm.name), None
        )
        other = next((nve.name for nve in reversed(topology.nves) if nve.name != vm.nve), None)
        tried = [f"{vm.name} ping -c 3 {peer.name}"] if peer else []
        tried += [f"migrate {vm.name} {other}"] if other else []
        tried += [f"where {vm.name}"] + ([f"why {vm.name} {peer.name}"] if peer else []) + [f"flows {vm.nve}"]
        lines.append("Try: " + "  |  ".join(tried))
    lines.append("Tab completes. help lists the commands. exit or Ctrl-D ends everything.")
    return lines


def help_lines(own: Mapping[str, str | None], others: Sequence[str], topology: Topology) -> list[str]:
    """The list of commands: own ones with a line each; the first line of a docstring is its line here."""
    lines = ["Of this project (help COMMAND says more):"]
    lines += columns([(verb, (text or "").strip().partition("\n")[0]) for verb, text in own.items()])
    lines.append("Of Mininet:")
    lines += textwrap.wrap(" ".join(others), 76, initial_indent="  ", subsequent_indent="  ")
    if len(topology.vms) > 1:
        first, second = topology.vms[0].name, topology.vms[1].name
        lines.append("A node's name runs a command in the node; names of nodes become addresses:")
        lines.append(f"  {first} ping -c 3 {second}    {topology.nves[0].name} ip address")
    lines.append(files_line())
    return lines


def policy_lines() -> list[str]:
    """The old-NVE policies with their meaning."""
    rows = [
        (policy.name, policy.meaning + ("" if "replug" in policy.attachments else " (pre-wired VMs only)"))
        for policy in POLICIES.values()
    ]
    rows.append(("auto", "buffer for a pre-wired VM, tunnel for any other; used when no policy is given"))
    return ["policy=NAME, what the old NVE does with packets for a VM that has left:", *columns(rows)]


def move_lines(record: MigrationRecord, memory_bytes: int) -> list[str]:
    """A move that was done: phases, what was held and copied, one line of conclusion.

    ``memory_bytes``: of the VM, as its topology has it.
    """
    phases = [phase for phase in record.phases if phase.end_s - phase.start_s >= 0]
    zero_s = phases[0].start_s
    rows = [("phase", "begins", "takes")]
    rows += [(p.name, _ms(p.start_s - zero_s).rjust(9), _ms(p.end_s - p.start_s).rjust(9)) for p in phases]
    facts = [
        (
            "frames held",
            ", ".join(f"{count} {holder}" for holder, count in record.held_frames.items()) or "none",
        )
    ]
    if record.paused_s is not None:
        how = "" if record.pause_faithful else "; NOT FAITHFUL: its kernel went on sending and acknowledging"
        facts.append(
            ("the VM stood still for", f"{_ms(record.downtime_s)}, pause {record.options.pause}{how}")
        )
    facts.append(("memory", copied_words(record, memory_bytes)))
    if (drained := _drained_words(record)) is not None:
        facts.append(("the redirect ended", drained))
    if record.dropped_frames:
        facts.append(("frames the holders dropped since the start", str(record.dropped_frames)))
    for what, took_s in (
        ("old path clear of the VM's last frames", record.old_path_clear_s),
        ("last end marker came out at the new NVE", record.end_markers_s),
        ("commit call to last barrier", record.call_to_last_barrier_s),
    ):
        if took_s is not None:
            facts.append((what, f"{_ms(took_s)}"))
    how = f"{record.kind}, {record.attachment}, policy {record.policy}"
    return [
        f"{record.vm}: {record.old_nve} to {record.new_nve}, {how}",
        *columns(rows),
        *columns([(f"{what}:", value) for what, value in facts]),
        _conclusion(record, phases),
    ]


def copied_words(record: MigrationRecord, memory_bytes: int) -> str:
    """What a move has copied of the VM's memory; when it was nothing, what its figures are then, and how to copy."""
    options, size = record.options, format_size(record.options.memory_bytes or memory_bytes)
    if options.copies:
        rate = format_rate(round(options.bandwidth_bps or BANDWIDTH_BPS))
        way = "real bytes" if options.copy_real else "by waiting as long"
        rounds = (
            f"{count_text(len(record.copy_rounds), 'round')} while it ran, " if record.copy_rounds else ""
        )
        return (
            f"{record.copied_bytes / 1e6:,.1f} MB copied for {size} at {rate}, {way}: {rounds}"
            f"{record.stop_bytes / 1e6:,.1f} MB while it stood still"
        )
    rest = "the times are the network's share of a move"
    if options.downtime_s is not None:
        return f"nothing is copied, the time that the VM stands still is imposed; else {rest}"
    return f"nothing is copied: {rest}; bandwidth=1Gbit copies the VM's {size}"


def _drained_words(record: MigrationRecord) -> str | None:
    """When the redirect ended, by which rule; None where there was none or nobody had a say in it."""
    options = record.options
    if record.drain_s is None or record.drain_ended is None:
        return None
    if record.drain_ended == "bound":
        return f"after {record.drain_s:.2f} s, before drain={options.drain} was done: it is given no longer"
    if options.drain == "acknowledged":
        return None
    return f"after {record.drain_s:.2f} s, by drain={options.drain}"


def _conclusion(record: MigrationRecord, phases: Sequence[Phase]) -> str:
    times = {phase.name: phase for phase in phases}
    text = f"{record.vm} is at {record.new_nve}: moved in {_ms(phases[-1].end_s - phases[0].start_s)}"
    if "stop" in times and "resume" in times and times["resume"].start_s < times["stop"].start_s:
        both_s = times["switch"].end_s - times["resume"].end_s
        text += f"; for {_ms(both_s)} both copies were there, from the end of resume to the end of switch"
    elif "stop" in times and "resume" in times:
        text += (
            f", of which {_ms(times['resume'].end_s - times['stop'].start_s)} from stop to the end of resume"
        )
    return text + "."


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def where_lines(
    found: Iterable[Whereabouts], version: int, more: Sequence[Sequence[str]] = (), strategy: str = "push"
) -> list[str]:
    """The mapping beside the wires, and every disagreement in words; ``more``: rows of what is no VM."""
    rows = [("VM", "IP", "NVE (NVA)", "port", "redirected", "wire (kernel)", "")]
    for one in found:
        redirected = one.ports.get("redirected")
        rows.append(
            (
                one.vm,
                one.ipv4,
                one.nve,
                str(one.ports.get("direct", "none")),
                "-" if redirected is None else str(redirected),
                one.wire.words(),
                _agreement(one, strategy),
            )
        )
    return [*columns([*rows, *map(tuple, more)]), f"  version {version} of the NVA's mapping"]


def client_rows(
    clients: Iterable[Client], topology: Topology, ofports: Mapping[str, Mapping[str, int]]
) -> list[tuple[str, ...]]:
    """Clients outside as rows of ``where_lines``: behind which NVE's port they are."""
    beyond = topology.outside
    if beyond is None:
        return []
    port = str(ofports[beyond.nve][outside.PORT])
    wire = f"by {outside.ROUTER}, the router outside"
    return [(one.name, str(one.ipv4), beyond.nve, port, "-", wire, "outside") for one in clients]


def _agreement(one: Whereabouts, strategy: str) -> str:
    late = "".join(
        f"; {', '.join(sorted(nves))} still {'sends' if len(nves) == 1 else 'send'} to {place} (strategy {strategy})"
        for place, nves in _by_belief(one.believed).items()
    )
    if one.move is not None:
        move = one.move
        return (
            f"moving {move['old_nve']} to {move['new_nve']}: {move['stage']}, policy {move['policy']}{late}"
        )
    if not one.agrees:
        return f"DISAGREE: the wire does not lead to {one.nve}{late}"
    state = "" if one.state == "running" else f"{one.state}: "
    return f"{state}{'NVA and wire agree' if late else 'agree'}{late}"


def _by_belief(believed: Mapping[str, str]) -> dict[str, list[str]]:
    """Where it is believed -> the NVEs that do."""
    found: dict[str, list[str]] = {}
    for nve, place in believed.items():
        found.setdefault(place, []).append(nve)
    return found


def flow_lines(
    nve: str, flows: Sequence[FlowLine], missed: Mapping[int, int], names: Names, table: int | None = None
) -> list[str]:
    """A flow dump by table, in words, with packet counts; ``missed``: packets that matched no flow of a table."""
    wanted = [number for number in sorted(TABLE_NAMES) if table in (None, number)]
    shown = [flow for flow in flows if flow.table in wanted]
    lines = [
        f"{nve}: {count_text(len(shown), 'flow')}" + ("" if table is None else f" in {TABLE_NAMES[table]}")
    ]
    for number in wanted:
        name = TABLE_NAMES[number]
        here = [flow for flow in shown if flow.table == number]
        lines.append(f"{number} {name}: {TABLES[name].purpose} ({count_text(len(here), 'flow')})")
        for flow in here:
            lines.append(
                f"  {flow.packets:>9,} packets  priority {flow.priority}  {match_words(flow.match, names)}"
            )
            does = action_words(flow.actions, names, vni_of(flow.match, names), flow.cause)
            lines.append(f"  {'':>17}  -> {does}")
        lines.append(
            f"  {missed.get(number, 0):>9,} packets  matched no flow and were dropped: {MISSES[name]}"
        )
    return lines


_EVENTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "barrier": lambda e: f"{e['nve']} has done it: {e['step']} of {e['operation']}",
    "end_marker": lambda e: f"sent by {e['nve']}, round {e['number']}" if "number" in e else f"of {e['nve']}",
    "fault": lambda e: f"in the NVA: {str(e.get('text', '')).strip().splitlines()[-1:] or ['?']}",
    "flow_mods": lambda e: f"{e['count']} to {e['nve']}",
    "hold": lambda e: f"{e['holder']} frames are held from now on",
    "northbound": lambda e: f"{e['method']} took {_ms(e['end_s'] - e['start_s'])}",
    "note": lambda e: str(e["text"]),
    "nve_connected": lambda e: f"{e['nve'] or e['dpid']} is connected to the NVA",
    "nve_gone": lambda e: f"{e['nve'] or e['dpid']} has lost the NVA",
    "phase": lambda e: f"{e['name']} begins, takes {_ms(e['end_s'] - e['start_s'])}",
    "rarp": lambda e: f"{e['vm']} announced itself at {e['nve']}",
    "garp": lambda e: f"{e['vm']} announced itself at {e['nve']}",
    "unsolicited_na": lambda e: f"{e['vm']} announced itself at {e['nve']}",
    "release": lambda e: f"{count_text(e['frames'], e['holder'] + ' frame')} let go",
    "switch": lambda e: f"attached to {e['new_nve']}, cut off from {e['old_nve']}",
}


def event_line(event: Mapping[str, Any], zero_s: float) -> str:
    """One event of the NVA or of a move on one line; ``zero_s``: the time shown as 0."""
    kind = event["kind"]
    others = {key: value for key, value in event.items() if key not in ("t_s", "kind")}
    known = _EVENTS.get(kind)
    try:
        text = known(event) if known else ""
    except KeyError:
        text = ""  # of a later NVA: said as it came
    text = text or " ".join(f"{key}={value}" for key, value in others.items())
    return f"  {(event['t_s'] - zero_s) * 1e3:+11.2f} ms  {kind:<13} {text}"
