"""What loss attribution's taps do to what they look at: null trials with and without them, in turn, in one run."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.bench.rows import Row
from experiments.designs import moving_vm
from experiments.running.experiment import Experiment
from experiments.running.parameters import QUICK, ParameterError, read_parameters, whole
from experiments.running.run import Run
from experiments.running.start import start_run
from results.figures.statistics import compare_paired
from results.record.reading import load_record

RATE_PPS = 5000
SETTLE_S = 0.15  # the NVEs' datapaths learn all flows anew when their counters have been read
MOST_TRIES = 3
PAIRS = whole("pairs", 30, "null trials with the taps, and as many without", 3, 10_000)


def trials(run: Run) -> None:
    """Pairs of null trials, one with the taps and one without, in seeded random order within each pair."""
    order, wanted = random.Random(run.values["seed"]), run.values["pairs"]
    run.expect(2 * wanted)
    done = 0
    network, vm = run.laboratory.network, run.values["vm"]
    away = next(name for name in network.nves if name != network.location[run.values["peer"]])
    with run.traffic():
        if network.location[vm] != away:  # so that packets pass all kinds of points, the underlay's too
            run.laboratory.move(vm, away)
        for pair in range(MOST_TRIES * wanted):
            both = [_trial(run, taps, pair) for taps in order.sample(("on", "off"), 2)]
            done += all(both)
            if done == wanted:
                return


def _trial(run: Run, taps: str, pair: int) -> bool:
    """One null trial; either way the taps were started and stopped before it or behind it."""
    follower = run.follower()
    follower.start()
    if taps == "off":
        follower.stop()
    time.sleep(SETTLE_S)
    valid = run.trial({"taps": taps, "pair": pair}, None)
    if taps == "on":
        follower.stop()
        run.record.set_environment({"taps": follower.cost})
    return valid


EXPERIMENT = Experiment(
    name="bench-attribution",
    questions=(),
    question="What does it cost to follow every packet?",
    answer="loss, delay and stalls with the taps and without, in null trials",
    parameters=(*moving_vm.PARAMETERS, QUICK, PAIRS),
    trials=trials,
    check=moving_vm.check,
    group_by=("taps",),
)
"""Not in the catalog: it measures the instrument."""

MEASURES = (
    ("lost packets, both ways", "lost_packets", 1.0, "packets"),
    ("median delay, both ways", "delay_median_s", 1e6, "us"),
    ("largest delay, both ways", "delay_max_s", 1e3, "ms"),
    ("TCP stall, both ways", "tcp_stall_s", 1e3, "ms"),
)


def attribution_rows(pairs: int, results_folder: Path) -> list[Row]:
    """Loss, delay and TCP stall with the taps, minus the same without, pair by pair."""
    words = [f"pairs={pairs}", f"rate_pps={RATE_PPS}", "attribution=off"]
    values = read_parameters(EXPERIMENT.parameters, words)
    status, folder = start_run(EXPERIMENT, values, results_folder)
    record = load_record(folder)
    made = valid_pairs(record.trials)
    if status != 0 or len(made) < 3:
        raise ParameterError(f"bench: {folder.name} has {len(made)} pairs of valid null trials: {record.why}")
    taps = record.environment["taps"]
    share = taps["cpu_s"] / taps["wall_s"]
    used = f"{100 * share:.1f} % at {taps['points']} points, {taps['frames'] / taps['wall_s']:,.0f} frames/s"
    rows = [difference_row(made, *measure) for measure in MEASURES]
    return [*rows, Row("  the taps' process, of a core", "at most 5 %", used, "", share <= 0.05)]


def valid_pairs(trials: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(with taps, without) of the pairs whose two trials are both valid. Pure."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for trial in trials:
        if trial["valid"]:
            found.setdefault(trial["parameters"]["pair"], {})[trial["parameters"]["taps"]] = trial
    return [(pair["on"], pair["off"]) for pair in found.values() if len(pair) == 2]


def difference_row(
    pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    what: str,
    stem: str,
    factor: float,
    unit: str,
) -> Row:
    """Reached when the interval of the difference has 0 in it, or is below a twentieth of what there is without."""

    def values(side: int) -> list[float]:
        names = [f"{stem}_{way}_vm" for way in ("to", "from")]
        return [sum(pair[side]["measures"][name] or 0.0 for name in names) for pair in pairs]

    on, off = values(0), values(1)
    compared = compare_paired(on, off)
    low, high = compared.ci95 or [min(on) - max(off), max(on) - min(off)]
    difference = (
        f"{compared.median_difference * factor:+.2f} [{low * factor:+.2f}, {high * factor:+.2f}] {unit}"
    )
    return Row(
        f"following every packet, null trials: {what}",
        "difference: 0 within its interval, or under 5 %",
        f"{difference} (p = {compared.p_value:.2f}, {compared.n} pairs)",
        f"{statistics.median(on) * factor:.2f} with, {statistics.median(off) * factor:.2f} {unit} without",
        low <= 0 <= high or high <= 0.05 * statistics.median(off),
    )
