"""``make decide memory_mib=512 bandwidth=1Gbit dirty_rate=200Mbit gain=2s``: what a move will cost, and move or stay.

Learned from the records of this machine; nothing is run and nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from experiments.deciding.model import FIGURES, Move, Price, advice, learn_model, moves_of, unseen
from experiments.running.parameters import (
    Parameter,
    ParameterError,
    choice,
    duration_s,
    rate_bps,
    read_parameters,
    whole,
)
from mobility.options import MoveOptions
from results.figures.display import label, scale, three_digits
from results.figures.merging import finished_runs
from results.record.contract import RecordError
from results.record.reading import list_runs, load_record
from vocabulary.moves import KINDS
from vocabulary.policies import POLICIES

FEWEST_MOVES = 6
PARAMETERS: tuple[Parameter, ...] = (
    choice("kind", "hot", "kind of move", KINDS),
    choice("policy", "buffer", "what the old NVE does with packets for a VM that has left", tuple(POLICIES)),
    whole("memory_mib", 512, "memory of the VM, in MiB", 1, 2**24),
    rate_bps("bandwidth", 1_000_000_000, "rate of the copy", above_zero=True),
    rate_bps("dirty_rate", 100_000_000, "how fast the running VM changes its memory"),
    whole("downtime_limit_ms", 300, "pre-copy goes on until the rest takes less than this, in ms", 1, 10_000),
    duration_s("gain", 1.0, "what the move gains, in time of service"),
    whole("copying_percent", 10, "share of the service that is lost while memory is copied", 0, 100),
)


def known_moves(results_folder: Path) -> list[Move]:
    """All moves with a copy in the records of a results folder; records that cannot be read are passed over."""
    found: list[Move] = []
    for folder in list_runs(results_folder):
        if (folder / "sweep.json").exists():
            found += [move for run in finished_runs(folder) for move in moves_of(run.name, run.trials)]
            continue
        try:
            record = load_record(folder)
        except RecordError:
            continue
        if record.parameters.get("fault", "none") == "none":  # a wrong setting on purpose teaches nothing
            found += moves_of(record.name, record.trials)
    return found


def typical_errors(moves: Sequence[Move]) -> dict[str, float]:
    """Per figure, how far predictions of runs that were not seen are off: the median error, a share of the measured."""
    errors: dict[str, list[float]] = {}
    for move, predicted in unseen(moves):
        for name, value in predicted.items():
            measured = move.measured.get(name)
            if measured:
                errors.setdefault(name, []).append(abs(value - measured) / measured)
    return {name: median(values) for name, values in errors.items()}


def decide(words: Sequence[str], results_folder: Path) -> int:
    """Print prediction and advice; 0. Raises ParameterError, also when there is too little to learn from."""
    values = read_parameters(PARAMETERS, words)
    moves = known_moves(results_folder)
    usable = [move for move in moves if move.options.policy == values["policy"]]
    if len(usable) < FEWEST_MOVES:
        raise ParameterError(
            f"{results_folder}: {len(usable)} moves with a copy and policy={values['policy']} are recorded, "
            f"{FEWEST_MOVES} are needed to learn from; run make decision first"
        )
    options = MoveOptions(
        kind=values["kind"],
        policy=values["policy"],
        memory_bytes=values["memory_mib"] * 2**20,
        bandwidth_bps=values["bandwidth"],
        dirty_rate_bps=values["dirty_rate"],
        downtime_limit_s=values["downtime_limit_ms"] / 1000,
    )
    move = Move("", options, {}, {})
    predicted = learn_model(moves).predict(move)
    errors = typical_errors(usable)
    print("for", " ".join(f"{one.name}={one.show(values[one.name])}" for one in PARAMETERS))
    for name in FIGURES:
        if name in predicted:
            factor, unit = scale(name)
            off = f" (off by {errors[name]:.0%} in runs not seen, at the median)" if name in errors else ""
            print(f"{label(name)}: {three_digits(predicted[name] * factor)} {unit}{off}")
    cost_s = Price(copying_share=values["copying_percent"] / 100).of(predicted)
    if cost_s is None:
        raise ParameterError("the records have no TCP stalls to learn from; run make decision first")
    runs = len({one.run for one in moves})
    most_s = max(one.measured.get("move_total_s", 0.0) for one in moves)
    print(
        f"cost: {three_digits(cost_s)} s of service; gain: {three_digits(values['gain'])} s; "
        f"learned from {len(moves)} moves of {runs} run{'s' if runs != 1 else ''}"
    )
    if predicted["move_total_s"] > 2 * most_s:
        print(f"beyond what was measured: no recorded move took more than {three_digits(most_s)} s")
    print(advice(cost_s, values["gain"]))
    return 0
