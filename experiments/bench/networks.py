"""Starting and stopping networks, beside Mininet's own; memory of a large one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emulation import commands
from emulation.network import RUN_FOLDER, Options
from emulation.nve import Datapath
from experiments.bench.rows import Row, measured_inside
from experiments.running.laboratory import Laboratory
from topologies import generated

MEMORY_BOUND_BYTES = 6_000_000_000


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
        control.append(measured_inside(_mininet_linear(20), results_folder))
        ours.append(measured_inside(_start_of(20, 40, "afpacket"), results_folder))
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
    run = measured_inside(_start_of(size, size, "afpacket"), results_folder)
    memory = run["memory_bytes"]
    measured = f"{run['start_s']:.1f} s, {memory / 1e9:.2f} GB, stop {run['stop_s'] + run['end_s']:.1f} s"
    reached = memory < MEMORY_BOUND_BYTES
    return [Row(f"{size} NVEs and {size} VMs start", "at all, under 6 GB", measured, "", reached)]
