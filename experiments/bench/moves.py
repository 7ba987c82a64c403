"""Moves: loss, order, stalls, and the time of the northbound call."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emulation.network import Options
from emulation.nve import Datapath
from experiments.bench.rows import Row, measured_inside, ms
from experiments.catalog import EXPERIMENTS
from experiments.running.laboratory import Laboratory
from experiments.running.parameters import ParameterError, read_parameters
from experiments.running.start import start_run
from results.figures.statistics import quantile, values_of
from results.record.reading import load_record
from topologies import load_topology, topology_file


def _moves(results_folder: Path, moves: int, *words: str) -> tuple[Any, float]:
    """Run hot-l2 with so many moves; its record and how long it took."""
    experiment = EXPERIMENTS.find("hot-l2")
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
                f"null p95 + 2 RTT = {ms(bound)}",
                _median_and_p95(stalls),
                f"null median {ms(statistics.median(floor))}",
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

    run = measured_inside(measure, results_folder)
    measured = f"{ms(run['median_s'])} (p95 {ms(run['p95_s'])}), {moves} moves"
    control = f"{ms(run['control_s'])} for a call that changes nothing"
    what = "northbound call to last barrier, 3 NVEs, median, no traffic"
    return [Row(what, "5 ms", measured, control, run["median_s"] <= 0.005)]


def _median_and_p95(values_s: Sequence[float]) -> str:
    p95 = quantile(values_s, 0.95)
    return f"{ms(statistics.median(values_s))} (p95 {ms(max(values_s) if p95 is None else p95)})"


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
