"""How well costs were predicted and how often the advice was right, on runs the model had not seen. Pure.

Intervals are bootstrapped over runs, not over moves: moves of one run share its machine and its moment (cluster
bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from experiments.deciding.model import FIGURES, Move, Price, advice, unseen

RESAMPLES = 2_000
FEWEST_RUNS = 3
_WORDS = {
    "move_total_s": "total time",
    "downtime_s": "downtime",
    "copied_bytes": "bytes",
    "copied_again_bytes": "bytes copied again",
    "tcp_stall_s_to_vm": "TCP stall to VM",
    "tcp_stall_s_from_vm": "TCP stall from VM",
    "arrival_gap_s_to_vm": "UDP gap to VM",
    "arrival_gap_s_from_vm": "UDP gap from VM",
}


@dataclass(frozen=True)
class Figure:
    """A share (0..1, or more for errors) with its 95 % interval over runs, None below three runs."""

    value: float
    interval: tuple[float, float] | None
    n: int

    def text(self) -> str:
        """'8 % [5, 12]'."""
        behind = (
            "" if self.interval is None else f" [{self.interval[0] * 100:.0f}, {self.interval[1] * 100:.0f}]"
        )
        return f"{self.value * 100:.0f} %{behind}"


@dataclass(frozen=True)
class Outcome:
    """The errors of each figure, the advice, and, per move (run, index), what is added to its trial's measures."""

    runs: int
    moves: int
    errors: Mapping[str, Figure]
    right: Figure | None
    usual: Figure | None
    """How often the better of "always move" and "always stay" would have been right."""
    copied_again: float
    price: Price
    measures: Mapping[tuple[str, int], Mapping[str, float]]

    def sentence(self, gain_s: float | None) -> str:
        """The answer."""
        if self.right is None or self.usual is None:
            return ""
        errors = ", ".join(
            f"{_WORDS[name]} {self.errors[name].text()}" for name in FIGURES if name in self.errors
        )
        gains = (
            f"a gain of {gain_s:g} s of service"
            if gain_s is not None
            else "every gain that a move of another run cost, where the choice is hard"
        )
        return (
            f"The advice to move or to stay was right in {self.right.text()}, where the better of always moving and "
            f"always staying is right in {self.usual.text()}; the median error was, of what was measured: {errors}. "
            f"That is of {self.moves} moves of {self.runs} runs, each predicted from the other runs alone, asked about "
            f"{gains}. A move costs {self.price.text()}. {self.copied_again * 100:.0f} % of all bytes were copied "
            "again."
        )


def judge(moves: Sequence[Move], price: Price, gain_s: float | None = None, seed: int = 1) -> Outcome:
    """Predict every move from the runs that are not its own, and compare.

    Without ``gain_s`` each move is judged for every gain that another run's move cost: gains that make the choice hard.
    """
    predicted = unseen(moves)
    errors: dict[str, dict[str, list[float]]] = {}
    measures: dict[tuple[str, int], dict[str, float]] = {}
    for move, figures in predicted:
        added = {f"predicted_{name}": value for name, value in figures.items()}
        for name, value in figures.items():
            actual = move.measured.get(name)
            if actual:  # a percentage of nothing is none: downtime and bytes copied again may be 0
                errors.setdefault(name, {}).setdefault(move.run, []).append(abs(value - actual) / actual)
        measures[move.run, move.index] = added
    costs = [(move, price.of(figures), price.of(move.measured)) for move, figures in predicted]
    known = [(move, guess, real) for move, guess, real in costs if guess is not None and real is not None]
    right: dict[str, list[float]] = {}
    moved: dict[str, list[float]] = {}
    for move, guess, real in known:
        gains = [gain_s] if gain_s is not None else [other for who, _, other in known if who.run != move.run]
        hits = [float(advice(guess, gain) == advice(real, gain)) for gain in gains]
        right.setdefault(move.run, []).append(sum(hits) / len(hits))
        best = [float(advice(real, gain) == "move") for gain in gains]
        moved.setdefault(move.run, []).append(sum(best) / len(best))
        own = measures[move.run, move.index]
        own |= {"predicted_cost_s": guess, "cost_s": real, "advice_right_share": sum(hits) / len(hits)}
    share = _figure(moved, _mean, seed) if moved else None
    if share is not None and share.value < 0.5:
        turned = None if share.interval is None else (1 - share.interval[1], 1 - share.interval[0])
        share = Figure(1 - share.value, turned, share.n)
    total = sum(move.measured.get("copied_bytes", 0.0) for move in moves)
    again = sum(move.measured.get("copied_again_bytes", 0.0) for move in moves)
    return Outcome(
        runs=len({move.run for move in moves}),
        moves=len(predicted),
        errors={name: _figure(own, median, seed) for name, own in errors.items()},
        right=_figure(right, _mean, seed) if right else None,
        usual=share,
        copied_again=again / total if total else 0.0,
        price=price,
        measures=measures,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _figure(by_run: Mapping[str, Sequence[float]], statistic: Callable[[Any], float], seed: int) -> Figure:
    """The statistic of all values, and its interval when whole runs are drawn."""
    import numpy as np

    pools = [list(values) for values in by_run.values()]
    everything = [value for pool in pools for value in pool]
    interval = None
    if len(pools) >= FEWEST_RUNS:
        random = np.random.default_rng(seed)
        drawn = [
            statistic(
                [value for number in random.integers(0, len(pools), len(pools)) for value in pools[number]]
            )
            for _ in range(RESAMPLES)
        ]
        low, high = np.quantile(drawn, (0.025, 0.975))
        interval = (float(low), float(high))
    return Figure(float(statistic(everything)), interval, len(everything))
