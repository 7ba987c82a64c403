"""``make bench``: the speeds the project wants to reach, measured here and now, beside a control where there is one.

It is a benchmark, not a test: it prints what it measured and fails only when something cannot be measured at all.
Everything runs one after the other, since measurements that run side by side measure each other.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulation import commands, preflight
from emulation.network import RUN_FOLDER, Options
from emulation.nve import Datapath
from emulation.sandbox import run_in_sandbox
from results.reading import load_record
from results.statistics import quantile, values_of
from topologies import generated, load_topology, topology_file

from .catalog import find
from .laboratory import Laboratory
from .parameters import Parameter, ParameterError, read_parameters, whole
from .probes.build import probe_binary
from .probes.udp import UdpProbe, UdpStream
from .run import keep_visible, start_run

PARAMETERS: tuple[Parameter, ...] = (
    whole("moves", 102, "moves at 5,000 packets/s each way", 3, 10_000),
    whole("fast_moves", 51, "moves at 20,000 packets/s each way", 3, 10_000),
    whole("calls", 40, "moves without traffic, for the time of the northbound call", 3, 10_000),
    whole("starts", 3, "starts of each network of 20 NVEs", 1, 100),
    whole("large", 100, "NVEs and VMs of the large network", 2, 400),
)
PROBE_SECONDS = 10.0
MEMORY_BOUND_BYTES = 6_000_000_000


@dataclass(frozen=True)
class Row:
    """One line of the benchmark: what, what it should reach, what was measured, the control of the same run."""

    what: str
    reach: str
    measured: str
    control: str
    reached: bool


def bench(words: Sequence[str], results_folder: Path) -> int:
    """Measure everything and print the table; 0 when all was measured."""
    values = read_parameters(PARAMETERS, words)
    preflight.check_root()
    parts: list[Callable[[], list[Row]]] = [
        prober_rows,
        lambda: start_rows(values["starts"], results_folder),
        lambda: large_rows(values["large"], results_folder),
        lambda: call_rows(values["calls"], results_folder),
        lambda: move_rows(values["moves"], results_folder),
        lambda: fast_move_rows(values["fast_moves"], results_folder),
    ]
    rows: list[Row] = []
    for part in parts:
        rows += part()
        for row in rows[-1:]:
            print(f"bench: {row.what}: {row.measured}", flush=True)
    _print(rows)
    return 0


def _print(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "reach", "measured", "control of the same run", "", show_lines=True)
    for row in rows:
        table.add_row(row.what, row.reach, row.measured, row.control, "yes" if row.reached else "NO")
    Console().print(table)
    Console().print(f"load average now: {', '.join(f'{load:.2f}' for load in os.getloadavg())}")


# Moves.


def _moves(results_folder: Path, moves: int, *words: str) -> tuple[Any, float]:
    """Run hot-l2 with so many moves; its record and how long it took."""
    experiment = find("hot-l2")
    begin_s = time.monotonic()
    values = read_parameters(experiment.parameters, [f"repeat={-(-moves // 3)}", *words])
    status, folder = start_run(experiment, values, results_folder)
    record = load_record(folder)
    if status != 0 or not record.trials:
        raise ParameterError(f"bench: {folder.name} did not end well: {record.why}")
    return record, time.monotonic() - begin_s


def _clean(trials: Sequence[dict[str, Any]], stem: str) -> int:
    """In how many trials a count is 0 in both directions."""
    return sum(
        all(trial["measures"][f"{stem}_{side}_vm"] == 0 for side in ("to", "from")) for trial in trials
    )


def move_rows(moves: int, results_folder: Path) -> list[Row]:
    """Loss, order, validity and TCP stalls of moves at 5,000 packets/s each way, beside the run's null trials."""
    record, _ = _moves(results_folder, moves, "rate_pps=5000")
    valid = [trial for trial in record.trials if trial["valid"] and not trial["null"]]
    nulls = [trial for trial in record.trials if trial["valid"] and trial["null"]]
    tried = [trial for trial in record.trials if not trial["null"]]
    n, invalid = len(valid), len(tried) - len(valid)
    kept, single, ordered = (
        _clean(valid, stem) for stem in ("lost_packets", "duplicated_packets", "reordered_packets")
    )
    control = (
        f"{_clean(nulls, 'lost_packets')}, {_clean(nulls, 'reordered_packets')} of {len(nulls)} null trials"
    )
    rows = [
        Row("hot moves, buffer, 5,000 packets/s: 0 lost", "all", f"{kept} of {n}", control, kept == n),
        Row("  0 duplicated", "all", f"{single} of {n}", "", single == n),
        Row("  0 reordered", "99 of 100", f"{ordered} of {n}", "", ordered >= 0.99 * n),
        Row("  invalid", "at most 1 in 10", f"{invalid} of {len(tried)}", "", invalid * 10 <= len(tried)),
    ]
    rtt_s = _round_trip_s(valid)
    for side in ("to", "from"):
        name = f"tcp_stall_s_{side}_vm"
        stalls = values_of(record.trials, name, null=False)
        floor = values_of(record.trials, name, null=True)
        bound = (quantile(floor, 0.95) or max(floor)) + 2 * rtt_s
        median = statistics.median(stalls)
        rows.append(
            Row(
                f"  TCP stall {side} VM, median",
                f"null p95 + 2 RTT = {_ms(bound)}",
                _median_and_p95(stalls),
                f"null median {_ms(statistics.median(floor))}",
                median <= bound,
            )
        )
    calls = [trial["migration"]["call_to_last_barrier_s"] for trial in valid]
    rows.append(
        Row(
            "  northbound call to last barrier, in these moves",
            "(none)",
            _median_and_p95(calls),
            "",
            True,
        )
    )
    return rows


def call_rows(moves: int, results_folder: Path) -> list[Row]:
    """The NVA's own time: moves over 3 NVEs without traffic; control: the same call when nothing changes."""
    topology = load_topology(topology_file("two_racks"))

    def measure() -> dict[str, float]:
        options = Options(Datapath("userspace", "afpacket", "benchmark"))
        laboratory = Laboratory(topology, options, lambda *a, **k: None)
        laboratory.start()
        calls, nothing = [], []
        for number in range(moves):
            done = laboratory.move("vm1", topology.nves[(number + 1) % len(topology.nves)].name)
            calls.append(done.call_to_last_barrier_s or 0.0)
            begin_s = time.monotonic()
            laboratory.nva.status()
            nothing.append(time.monotonic() - begin_s)
        p95 = quantile(calls, 0.95)
        return {
            "median_s": statistics.median(calls),
            "p95_s": max(calls) if p95 is None else p95,
            "control_s": statistics.median(nothing),
        }

    run = _measured_inside(measure, results_folder)
    measured = f"{_ms(run['median_s'])} (p95 {_ms(run['p95_s'])}), {moves} moves"
    control = f"{_ms(run['control_s'])} for a call that changes nothing"
    what = "northbound call to last barrier, 3 NVEs, median, no traffic"
    return [Row(what, "5 ms", measured, control, run["median_s"] <= 0.005)]


def _median_and_p95(values_s: Sequence[float]) -> str:
    p95 = quantile(values_s, 0.95)
    return f"{_ms(statistics.median(values_s))} (p95 {_ms(max(values_s) if p95 is None else p95)})"


def _round_trip_s(trials: Sequence[dict[str, Any]]) -> float:
    """The sum of both directions' median one-way delays, a median over the trials."""
    sums = [
        float(sum(trial["measures"][f"delay_median_s_{side}_vm"] for side in ("to", "from")))
        for trial in trials
    ]
    return statistics.median(sums)


def fast_move_rows(moves: int, results_folder: Path) -> list[Row]:
    """Loss of moves at 20,000 packets/s each way with AF_XDP ports."""
    record, _ = _moves(results_folder, moves, "rate_pps=20000", "ports=afxdp")
    valid = [trial for trial in record.trials if trial["valid"] and not trial["null"]]
    nulls = [trial for trial in record.trials if trial["valid"] and trial["null"]]
    kept = _clean(valid, "lost_packets")
    control = f"{_clean(nulls, 'lost_packets')} of {len(nulls)} null trials"
    wanted = "49 of 50"
    return [
        Row("hot moves, buffer, 20,000 packets/s, AF_XDP: 0 lost", wanted, f"{kept} of {len(valid)}", control,
            kept >= 0.98 * len(valid))
    ]  # fmt: skip


# Starting and stopping.


def _measured_inside(measure: Callable[[], dict[str, float]], results_folder: Path) -> dict[str, float]:
    """Run a measurement in a sandbox; its figures, with ``end_s``: from its last line to an empty sandbox."""
    reading, writing = os.pipe()

    def runner() -> int:
        figures = measure()
        figures["finished_s"] = time.monotonic()
        os.write(writing, json.dumps(figures).encode())
        return 0

    status = run_in_sandbox(runner, keep=keep_visible(results_folder))
    ended_s = time.monotonic()
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    if status != 0 or not text:
        raise ParameterError("bench: a measurement ended without figures; see the messages above")
    figures: dict[str, float] = json.loads(text)
    figures["end_s"] = ended_s - figures.pop("finished_s")
    return figures


def _start_of(nves: int, vms: int, ports: str) -> Callable[[], dict[str, float]]:
    topology = generated(nves=nves, vms=vms)

    def measure() -> dict[str, float]:
        begin_s = time.monotonic()
        laboratory = Laboratory(
            topology, Options(Datapath("userspace", ports, "benchmark")), lambda *a, **k: None
        )
        laboratory.start()
        start_s = time.monotonic() - begin_s
        memory_bytes = _memory_of_everything()
        stop_begin_s = time.monotonic()
        laboratory.stop()
        return {"start_s": start_s, "memory_bytes": memory_bytes, "stop_s": time.monotonic() - stop_begin_s}

    return measure


def _memory_of_everything() -> int:
    """Proportional memory of all processes of this PID namespace (shared pages divided among their users)."""
    total = 0
    for rollup in Path("/proc").glob("[0-9]*/smaps_rollup"):
        try:
            lines = rollup.read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def _mininet_linear(switches: int) -> Callable[[], dict[str, float]]:
    """Mininet's own linear topology with userspace switches and no controller, on an Open vSwitch of the sandbox."""

    def measure() -> dict[str, float]:
        from mininet.net import Mininet
        from mininet.node import OVSSwitch
        from mininet.topo import LinearTopo

        _system_open_vswitch()
        Mininet.inited = True
        begin_s = time.monotonic()
        net = Mininet(
            LinearTopo(switches), switch=_UserSwitch(OVSSwitch), controller=None, waitConnected=False
        )
        net.start()
        start_s = time.monotonic() - begin_s
        stop_begin_s = time.monotonic()
        net.stop()
        return {"start_s": start_s, "stop_s": time.monotonic() - stop_begin_s}

    return measure


class _UserSwitch:
    """``OVSSwitch`` with Mininet's options for a userspace datapath that switches without a controller."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def __call__(self, name: str, **params: Any) -> Any:
        return self._kind(name, datapath="user", failMode="standalone", **params)


def _system_open_vswitch() -> None:
    """One database and one switch daemon for all switches, at their usual places (the sandbox's own /run)."""
    folder = Path("/run/openvswitch")
    folder.mkdir()
    RUN_FOLDER.mkdir(parents=True, exist_ok=True)
    database = RUN_FOLDER / "system.db"
    commands.run(["ovsdb-tool", "create", str(database), "/usr/share/openvswitch/vswitch.ovsschema"])
    commands.run(["ip", "link", "set", "lo", "up"])
    socket = f"{folder}/db.sock"
    commands.spawn(
        ["ovsdb-server", str(database), f"--remote=punix:{socket}", f"--unixctl={folder}/ovsdb.ctl"]
    )
    commands.wait_until(lambda: Path(socket).exists(), 10.0, "the database of Mininet's Open vSwitch")
    commands.run(["ovs-vsctl", "--no-wait", "init"])
    commands.spawn(["ovs-vswitchd", f"unix:{socket}", f"--unixctl={folder}/vswitchd.ctl"])
    commands.wait_until(lambda: Path(f"{folder}/vswitchd.ctl").exists(), 10.0, "Mininet's ovs-vswitchd")


def start_rows(starts: int, results_folder: Path) -> list[Row]:
    """20 NVEs and 40 VMs until every NVE is programmed, beside Mininet's ``linear,20``; in turn."""
    ours, control = [], []
    for _ in range(starts):
        control.append(_measured_inside(_mininet_linear(20), results_folder))
        ours.append(_measured_inside(_start_of(20, 40, "afpacket"), results_folder))
    ratios = [mine["start_s"] / theirs["start_s"] for mine, theirs in zip(ours, control, strict=True)]
    start_s, control_s = (statistics.median(run["start_s"] for run in runs) for runs in (ours, control))
    stop_s = statistics.median(run["stop_s"] + run["end_s"] for run in ours)
    control_stop_s = statistics.median(run["stop_s"] for run in control)
    ratio = statistics.median(ratios)
    return [
        Row("start of 20 NVEs and 40 VMs, all programmed", "3 x Mininet's linear,20",
            f"{start_s:.2f} s, {ratio:.1f} x (median of {starts})", f"{control_s:.2f} s", ratio <= 3),
        Row("  stop", "2 s", f"{stop_s:.2f} s", f"{control_stop_s:.2f} s", stop_s < 2),
    ]  # fmt: skip


def large_rows(size: int, results_folder: Path) -> list[Row]:
    """The large network starts at all; memory of all its processes."""
    run = _measured_inside(_start_of(size, size, "afpacket"), results_folder)
    memory = run["memory_bytes"]
    measured = f"{run['start_s']:.1f} s, {memory / 1e9:.2f} GB, stop {run['stop_s'] + run['end_s']:.1f} s"
    reached = memory < MEMORY_BOUND_BYTES
    return [Row(f"{size} NVEs and {size} VMs start", "at all, under 6 GB", measured, "", reached)]


# Probes.


def prober_rows() -> list[Row]:
    """Processor time of one UDP sender and receiver at 5,000 packets/s, over loopback; control: 500 packets/s."""
    probe_binary()
    used = {rate: _prober_share(rate) for rate in (5000, 500)}
    return [
        Row("prober at 5,000 packets/s, sender and receiver", "25 % of a core", f"{used[5000]:.1%}",
            f"{used[500]:.1%} at 500 packets/s", used[5000] < 0.25)
    ]  # fmt: skip


def _prober_share(rate_pps: int) -> float:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        probe = UdpProbe("bench", UdpStream("127.0.0.1", 5999, rate_pps), Path(folder), bind="127.0.0.1")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)

        def spawn(argv: list[str]) -> subprocess.Popen[bytes]:
            return commands.spawn(argv, stderr=subprocess.PIPE)

        probe.start(spawn, spawn)
        time.sleep(PROBE_SECONDS)  # the duration is what is measured
        probe.stop()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used_s / PROBE_SECONDS


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
