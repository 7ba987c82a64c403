"""What a move will cost, from what is known before it: predicted by a model that has learned from other runs. Pure.

The copy's own course is known (``mobility.copy``: Clark et al., NSDI 2005); what the testbed, the underlay and the
transports add to it is learned. For each figure a few simple forms are tried on the runs to learn from, and the one
with the smallest median percentage error there is kept. Akoush et al., "Predicting the Performance of Virtual Machine
Migration", MASCOTS 2010, do the same for total time and downtime with a model of the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from mobility.copy import CopyPlan, rounds
from mobility.options import MoveOptions

RTO_S = 0.2
"""Linux's smallest retransmission timeout (TCP_RTO_MIN); RFC 6298 section 5.5 doubles it after each expiry."""

STALLS = ("tcp_stall_s_to_vm", "tcp_stall_s_from_vm", "arrival_gap_s_to_vm", "arrival_gap_s_from_vm")
"""A transport's longest standstill: TCP's receiver, and UDP's packets; in each direction."""
FIGURES = ("move_total_s", "downtime_s", "copied_bytes", "copied_again_bytes", *STALLS)


@dataclass(frozen=True)
class Move:
    """A move with a copy: how it is done, and, once done, what it cost; ``floor``: the null trials of its run."""

    run: str
    options: MoveOptions
    measured: Mapping[str, float]
    floor: Mapping[str, float]
    index: int = -1

    @property
    def copy(self) -> CopyPlan:
        """The copy as it will be, by calculation alone."""
        o = self.options
        memory, dirty, bandwidth = o.memory_bytes or 0, o.dirty_rate_bps or 0.0, o.bandwidth_bps or 1.0
        if o.kind == "cold":
            return rounds(memory, dirty, bandwidth, o.downtime_limit_s, 0)
        return rounds(memory, dirty, bandwidth, o.downtime_limit_s, o.rounds_while_running)


def moves_of(run: str, trials: Sequence[Mapping[str, Any]]) -> list[Move]:
    """The valid moves of a record's trials whose memory, dirty rate and bandwidth were given."""
    floor: dict[str, list[float]] = {}
    for trial in trials:
        if trial["valid"] and trial["null"]:
            for name in STALLS:
                if trial["measures"].get(name) is not None:
                    floor.setdefault(name, []).append(trial["measures"][name])
    floors = {name: median(values) for name, values in floor.items()}
    made = []
    for trial in trials:
        asked = (trial["migration"] or {}).get("options") or {}
        known = [asked.get(name) is not None for name in ("memory_bytes", "dirty_rate_bps", "bandwidth_bps")]
        if not trial["valid"] or trial["null"] or not all(known) or asked.get("downtime_s") is not None:
            continue
        options = MoveOptions.of(None, {name: asked[name] for name in asked if name in vars(MoveOptions())})
        measured = {
            name: float(trial["measures"][name])
            for name in FIGURES
            if trial["measures"].get(name) is not None
        }
        made.append(Move(run, options, measured, floors, trial["index"]))
    return made


def calculated(move: Move, figure: str) -> float:
    """What the copy alone makes of a figure: bytes, s; a stall is the standstill of the VM."""
    copy = move.copy
    if figure == "move_total_s":
        return copy.precopy_s + copy.stop_s
    if figure == "copied_bytes":
        return float(copy.total_bytes)
    if figure == "copied_again_bytes":
        return float(max(0, copy.total_bytes - (move.options.memory_bytes or 0)))
    return copy.stop_s


def until_timeout_s(standstill_s: float) -> float:
    """When a sender that lost all of a standstill is heard again: the next timeout after it, each twice the last."""
    end_s, timeout_s = RTO_S, RTO_S
    while end_s < standstill_s:
        timeout_s *= 2
        end_s += timeout_s
    return end_s


Form = Callable[[float, float], float]
"""(calculated, floor) to predicted."""


@dataclass(frozen=True)
class Fit:
    """One figure's form and its two numbers."""

    form: str
    factor: float
    offset: float

    def predict(self, value: float, floor: float) -> float:
        """The figure in its unit, from the calculated one and the floor of the null trials."""
        base = until_timeout_s(value) if self.form == "timeout" else value
        return max(self.factor * base + self.offset, floor, 0.0)


def learn(points: Sequence[tuple[float, float, float]], stall: bool) -> Fit:
    """The best form for (calculated, floor, measured) points: a factor, an offset, a line, or TCP's next timeout."""
    from scipy.stats import theilslopes

    values, measured = [one[0] for one in points], [one[2] for one in points]
    forms = [Fit("offset", 1.0, median(y - x for x, y in zip(values, measured, strict=True)))]
    ratios = [y / x for x, y in zip(values, measured, strict=True) if x > 0]
    if ratios:
        forms.append(Fit("factor", median(ratios), 0.0))
    if len(set(values)) >= 5:  # fewer would let one odd trial turn the line
        line = theilslopes(measured, values)
        forms.append(Fit("line", float(line.slope), float(line.intercept)))
    if stall:
        late = [y - until_timeout_s(x) for x, y in zip(values, measured, strict=True)]
        forms.append(Fit("timeout", 1.0, median(late)))

    def error(fit: Fit) -> float:
        return median(
            abs(fit.predict(x, floor) - y) / y if y else abs(fit.predict(x, floor)) for x, floor, y in points
        )

    return min(forms, key=error)


@dataclass(frozen=True)
class CostModel:
    """Fits by figure; a stall has one for each policy of the old NVE, since that decides what is lost."""

    fits: Mapping[tuple[str, str], Fit]
    floors: Mapping[str, float]

    def predict(self, move: Move) -> dict[str, float]:
        """Every figure that was learned, in its unit; nothing of the move's own measures is used."""
        found = {}
        for figure in FIGURES:
            fit = self.fits.get((figure, _policy(move, figure)))
            if fit is not None:
                found[figure] = fit.predict(calculated(move, figure), self.floors.get(figure, 0.0))
        return found


def _policy(move: Move, figure: str) -> str:
    return move.options.policy if figure in STALLS else ""


def learn_model(moves: Sequence[Move]) -> CostModel:
    """A model of these moves."""
    floors = {}
    for name in STALLS:
        values = [move.floor[name] for move in moves if name in move.floor]
        if values:
            floors[name] = median(values)
    points: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for move in moves:
        for figure, measured in move.measured.items():
            point = (calculated(move, figure), floors.get(figure, 0.0), measured)
            points.setdefault((figure, _policy(move, figure)), []).append(point)
    fits = {key: learn(own, key[0] in STALLS) for key, own in points.items()}
    return CostModel(fits, floors)


@dataclass(frozen=True)
class Price:
    """What a move costs its user, in seconds of service: standing still counts whole, copying beside it a part."""

    copying_share: float = 0.1
    """Share of the service that is lost while memory is copied."""
    s_per_gb: float = 0.0
    """What a gigabyte over the underlay is worth, in seconds of service."""

    def text(self) -> str:
        """What the cost is made of."""
        told = f"its longest TCP standstill and {self.copying_share * 100:.0f} % of the time beside it"
        return f"{told}, and {self.s_per_gb:g} s for each GB" if self.s_per_gb else told

    def of(self, figures: Mapping[str, float]) -> float | None:
        """Cost in seconds; None when a figure it needs is not there. The longest TCP standstill is the outage."""
        stalls = [figures[name] for name in STALLS[:2] if name in figures]
        if not stalls or "move_total_s" not in figures or "copied_bytes" not in figures:
            return None
        outage_s = max(stalls)
        copying_s = max(0.0, figures["move_total_s"] - outage_s)
        return outage_s + self.copying_share * copying_s + self.s_per_gb * figures["copied_bytes"] / 1e9


def advice(cost_s: float, gain_s: float) -> str:
    """``move`` when the gain, in seconds of service, is more than the cost; else ``stay``."""
    return "move" if gain_s > cost_s else "stay"


def unseen(moves: Sequence[Move]) -> list[tuple[Move, dict[str, float]]]:
    """Each move with what a model predicts that has learned from all runs but the move's own."""
    made = []
    for run in dict.fromkeys(move.run for move in moves):
        others = [move for move in moves if move.run != run]
        if not others:
            continue
        model = learn_model(others)
        made += [
            (move, model.predict(replace(move, measured={}, floor={}))) for move in moves if move.run == run
        ]
    return made
