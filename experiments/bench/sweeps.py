"""How much longer a sweep takes than its trials."""

from __future__ import annotations

import time
from pathlib import Path

from experiments.bench.rows import Row
from experiments.catalog import EXPERIMENTS
from experiments.running.parameters import ParameterError
from experiments.sweeping.plan import read_plan
from experiments.sweeping.sweep import Asked, do_sweep
from results.record.reading import load_record

KINDS = 4  # hot-l2's three paths and the null trial make a block
CELLS = 5
MOST_RATIO = 1.25


def sweep_rows(trials: int, jobs: int, results_folder: Path) -> list[Row]:
    """A sweep of hot-l2 with 3 s a trial, from the command to its record, beside the sum of its trials' windows."""
    rates = ",".join(str(500 + 100 * number) for number in range(CELLS))
    words = [f"rate_pps={rates}", "tcp_rate=1Mbit", "before=1s", "after=2s", "ports=afpacket"]
    words.append(f"repeat={max(1, -(-trials // (KINDS * CELLS)))}")
    experiment = EXPERIMENTS.find("hot-l2")
    begin_s = time.monotonic()
    status, folder = do_sweep(
        Asked(experiment, read_plan(experiment, words), jobs, None, True), results_folder
    )
    took_s = time.monotonic() - begin_s
    record = load_record(folder)
    if status != 0 or record.status == "failed":
        raise ParameterError(f"bench: {folder.name} did not end well: {record.why}")
    dwell_s = sum(end_s - start_s for start_s, end_s in (trial["window_s"] for trial in record.trials))
    beside = jobs if record.environment["sweep"]["side_by_side"] else 1
    ratio = took_s / (dwell_s / beside)
    invalid = sum(not trial["valid"] for trial in record.trials)
    measured = f"{took_s:.0f} s, {ratio:.2f} x ({len(record.trials)} trials, {invalid} invalid and repeated)"
    control = f"{dwell_s:.0f} s in trials, {beside} at once" + (
        f" (of {jobs} asked for)" if jobs > beside else ""
    )
    return [
        Row(
            f"sweep of {trials} trials of 3 s",
            f"{MOST_RATIO} x trials' own time / at once",
            measured,
            control,
            ratio <= MOST_RATIO,
        )
    ]
