"""Analysing a long trial, and a report over many trials, both made up so that they are the same everywhere."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from emulation import commands
from experiments.bench.rows import Row
from experiments.designs.schedules import PATHS
from experiments.probes.log_format import Header
from experiments.probes.logs import record_type
from experiments.probes.measures import udp_measures
from experiments.probes.tcp import (
    INFO_LAYOUT,
    STREAM_LAYOUT,
    info_measures,
    parse_info,
    parse_stream,
    tcp_measures,
    timeline,
)
from experiments.probes.udp import RECEIVED_LAYOUT, SENT_LAYOUT, UdpProbe, UdpStream
from results.figures.statistics import summarise
from results.record.writer import RunRecord, load_record

TRIAL_S, RATE_PPS = 60.0, 5000
READS_PPS, POLLS_PPS = 850, 200  # of a TCP receiver at 5 Mbit/s and more; of the poller of tcp_info
START_NS = 10**9  # a time of 0 in a log means no packet
MEASURES = 60  # a trial of hot-l2 has as many
MEMORY_BOUND_BYTES = 1_000_000_000


def write_log(path: Path, layout: str, columns: dict[str, Any]) -> None:
    """A probe's log with these columns, those not named are 0."""
    records = np.zeros(len(next(iter(columns.values()))), record_type(layout))
    for name, values in columns.items():
        records[name] = values
    counters = {"own_drops": 0, "clock_steps": 0}
    path.write_bytes(
        Header(layout, records.itemsize, len(records), True, counters).encode() + records.tobytes()
    )


def make_logs(folder: Path, seconds: float = TRIAL_S) -> None:
    """What the probes of one trial leave: both directions lose and swap some packets, four connections read on."""
    random = np.random.default_rng(1)
    count = int(seconds * RATE_PPS)
    tx_ns = START_NS + (np.arange(count) * (1e9 / RATE_PPS)).astype(np.int64)
    for direction in ("to_vm", "from_vm"):
        write_log(folder / f"udp_{direction}.sent", SENT_LAYOUT, {"tx_ns": tx_ns})
        rx_ns = tx_ns + random.exponential(200_000, count).astype(np.int64)
        arrived = np.argsort(rx_ns, kind="stable")
        arrived = arrived[random.random(count) > 0.001]
        received = {"seq": arrived, "tx_ns": tx_ns[arrived], "rx_ns": rx_ns[arrived], "bytes": 64}
        write_log(folder / f"udp_{direction}.received", RECEIVED_LAYOUT, received)
    for number in range(4):
        t_ns = START_NS + np.sort(random.random(int(seconds * READS_PPS)) * seconds * 1e9).astype(np.int64)
        write_log(folder / f"tcp_{number}", STREAM_LAYOUT, {"t_ns": t_ns, "bytes": np.full(len(t_ns), 1448)})
    polled = START_NS + np.repeat(np.arange(int(seconds * POLLS_PPS)) * int(1e9 / POLLS_PPS), 4)
    ports = np.tile(np.arange(4) + 5001, len(polled) // 4)
    write_log(folder / "info", INFO_LAYOUT, {"t_ns": polled, "local_port": ports})


def analyse(folder: Path, record: RunRecord, seconds: float = TRIAL_S) -> dict[str, Any]:
    """From the logs to measures and written samples, as a run does at its end."""
    window = (START_NS / 1e9, START_NS / 1e9 + seconds)
    measures: dict[str, Any] = {}
    for direction in ("to_vm", "from_vm"):
        probe = UdpProbe(f"udp_{direction}", UdpStream("127.0.0.1", 5001, RATE_PPS), folder)
        packets = probe.packets()
        measures |= {
            f"{name}_{direction}": value
            for name, value in udp_measures(packets, window, 1 / RATE_PPS).items()
        }
        columns = packets.columns()
        record.add_samples(f"udp_{direction}", {"trial": np.zeros(len(packets.seq), np.int32), **columns})
    info = parse_info((folder / "info").read_bytes())
    for number in range(4):
        progress = timeline(parse_stream((folder / f"tcp_{number}").read_bytes()))
        measures |= {f"{name}_{number}": value for name, value in tcp_measures(progress, window).items()}
        measures |= {
            f"{name}_{number}": value for name, value in info_measures(info, window, 5001 + number).items()
        }
        columns = {"t_s": progress.t_s, "bytes": progress.n_bytes}
        record.add_samples("tcp", {"trial": np.zeros(len(progress.t_s), np.int32), **columns})
    return measures


def analysis_rows() -> list[Row]:
    """One trial of 60 s at 5,000 packets/s each way; control: one of 6 s."""
    took = {}
    for seconds in (TRIAL_S, TRIAL_S / 10):
        with tempfile.TemporaryDirectory() as name:
            make_logs(Path(name), seconds)
            record = RunRecord.create(Path(name) / "results", "bench", [], {}, {})
            with record:
                begin_s = time.monotonic()
                analyse(Path(name), record, seconds)
                record.finish("answered", "a benchmark")
                took[seconds] = time.monotonic() - begin_s
    return [
        Row(
            f"analysing a trial of {TRIAL_S:.0f} s at {RATE_PPS:,} packets/s each way, with four TCP connections",
            "3 s",
            f"{took[TRIAL_S]:.2f} s",
            f"{took[TRIAL_S / 10]:.2f} s for one of {TRIAL_S / 10:.0f} s",
            took[TRIAL_S] < 3,
        )
    ]


def make_record(results: Path, trials: int, measures: int = MEASURES) -> Path:
    """A record of so many trials without samples, as a sweep's is."""
    random = np.random.default_rng(1)
    record = RunRecord.create(results, "bench", ["Q1"], {"rate_pps": RATE_PPS}, {"name": "none"})
    names = ["lost_packets_to_vm", "lost_packets_from_vm", "tcp_stall_s_to_vm", "tcp_stall_s_from_vm"]
    names += [f"figure_{number}_s" for number in range(measures - len(names))]
    phases = [{"name": "switch", "start_s": 0.0, "end_s": 0.001}]
    migration = {
        "kind": "hot",
        "old_nve": "a",
        "new_nve": "b",
        "phases": phases,
        "call_to_last_barrier_s": 0.004,
    }
    for index in range(trials):
        null = index % 4 == 3
        values = random.lognormal(-4, 0.5, len(names)).tolist()
        record.add_trial(
            {
                "index": index,
                "valid": True,
                "invalid_reason": None,
                "null": null,
                "parameters": {} if null else {"path": PATHS[index % 3]},
                "migration": None if null else migration,
                "measures": dict(zip(names, values, strict=True)),
            }
        )
    record.finish("answered", "a benchmark", summarise(load_record(record.folder).trials))
    return record.folder


_PROGRAM = """
import json, resource, sys, time
begin_s = time.monotonic()
from results.__main__ import main
status = main(["report", sys.argv[1]])
print(json.dumps({"status": status, "s": time.monotonic() - begin_s,
                  "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def report_rows(trials: int) -> list[Row]:
    """``make report`` over many trials, in a process of its own; control: over a hundredth of them."""
    found: dict[int, dict[str, float]] = {}
    for number in (trials, max(1, trials // 100)):
        with tempfile.TemporaryDirectory() as name:
            folder = make_record(Path(name), number)
            text = commands.run([sys.executable, "-c", _PROGRAM, str(folder)], timeout_s=600.0)
            found[number] = json.loads(text.splitlines()[-1])
    took_s, used = found[trials]["s"], found[trials]["bytes"]
    few = found[max(1, trials // 100)]
    return [
        Row(
            f"make report over {trials:,} trials",
            "20 s and 1 GB",
            f"{took_s:.1f} s, {used / 1e6:.0f} MB",
            f"{few['s']:.1f} s, {few['bytes'] / 1e6:.0f} MB for {max(1, trials // 100)} trials",
            took_s < 20 and used < MEMORY_BOUND_BYTES,
        )
    ]
