"""``make bench``: the speeds the project wants to reach, measured here and now, beside a control where there is one.

It is a benchmark, not a test: it prints what it measured and fails only when something cannot be measured at all.
Everything runs one after the other, since measurements that run side by side measure each other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emulation import preflight
from experiments.bench.analysis import analysis_rows, report_rows
from experiments.bench.attribution import attribution_rows
from experiments.bench.captures import pcap_rows
from experiments.bench.moves import call_rows, fast_move_rows, move_rows
from experiments.bench.networks import large_rows, start_rows
from experiments.bench.probes import prober_rows
from experiments.bench.rows import Row
from experiments.bench.sweeps import sweep_rows
from experiments.running.parameters import Parameter, ParameterError, read_parameters, text, whole

Part = Callable[[Mapping[str, Any], Path], list[Row]]

PARTS: dict[str, Part] = {
    "prober": lambda values, results: prober_rows(),
    "start": lambda values, results: start_rows(values["starts"], results),
    "large": lambda values, results: large_rows(values["large"], results),
    "call": lambda values, results: call_rows(values["calls"], results),
    "analysis": lambda values, results: analysis_rows(),
    "pcap": lambda values, results: pcap_rows(values["pcap_frames"]),
    "report": lambda values, results: report_rows(values["report_trials"]),
    "moves": lambda values, results: move_rows(values["moves"], results),
    "attribution": lambda values, results: attribution_rows(values["pairs"], results),
    "fast": lambda values, results: fast_move_rows(values["fast_moves"], results),
    "sweep": lambda values, results: sweep_rows(values["sweep_trials"], values["jobs"], results),
}

PARAMETERS: tuple[Parameter, ...] = (
    text("only", "all", "parts to measure", "all, or some of " + ", ".join(PARTS) + " with commas"),
    whole("moves", 102, "moves at 5,000 packets/s each way", 3, 10_000),
    whole("fast_moves", 51, "moves at 20,000 packets/s each way", 3, 10_000),
    whole("calls", 40, "moves without traffic, for the time of the northbound call", 3, 10_000),
    whole("starts", 3, "starts of each network of 20 NVEs", 1, 100),
    whole("large", 100, "NVEs and VMs of the large network", 2, 400),
    whole("report_trials", 1000, "trials of the record that a report is made of", 1, 100_000),
    whole("pairs", 30, "null trials with every packet followed, and as many without", 3, 10_000),
    whole("pcap_frames", 1_000_000, "frames of the capture that is parsed", 1000, 20_000_000),
    whole("sweep_trials", 100, "trials of 3 s in the sweep", 8, 10_000),
    whole("jobs", 1, "sandboxes at once in the sweep", 1, 64),
)


def bench(words: Sequence[str], results_folder: Path) -> int:
    """Measure everything and print the table; 0 when all was measured."""
    values = read_parameters(PARAMETERS, words)
    wanted = list(PARTS) if values["only"] == "all" else values["only"].split(",")
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        raise ParameterError(
            f"only={values['only']}: there is no part {unknown[0]!r} (there are: {', '.join(PARTS)})"
        )
    preflight.check_root()
    rows: list[Row] = []
    for name in wanted:
        rows += PARTS[name](values, results_folder)
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
