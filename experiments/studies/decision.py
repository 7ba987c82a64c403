"""decision: can the cost of a move be predicted well enough to decide whether to move? (Q19)

Question   Statistics are gathered so that a data centre can decide whether to move. What will a move take (total time,
           downtime, bytes, bytes copied twice, standstill of each transport), and is the advice to move or to stay
           right?
Varies     Memory, dirty rate, bandwidth, kind of move and policy of the old NVE, drawn at random for every move.
Held fixed The path, the traffic, the bound of the downtime. Each run is predicted by a model that has seen the other
           runs only.
Answer     Per figure the median percentage error with its interval over runs; how often the advice was right, beside
           always giving the same advice; the share of bytes copied again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from experiments.deciding.model import Price, moves_of
from experiments.deciding.verdict import judge
from experiments.designs import comparing
from experiments.designs.comparing import Group, traffic_parameters
from experiments.designs.schedules import NULL, Mix
from experiments.running.experiment import Experiment
from experiments.running.parameters import Parameter, ParameterError, duration_s, whole
from experiments.running.run import Run
from mobility.copy import rounds
from mobility.options import MoveOptions
from results.record.reading import Record
from topologies.model import Topology
from vocabulary.moves import KINDS

POLICIES = ("buffer", "silent-drop")
MEMORY_BYTES = (2 * 2**20, 32 * 2**20)
BANDWIDTH_BPS = (50e6, 400e6)
DIRTY_SHARE = (0.05, 0.8)
LONGEST_S = 3.0
NULLS = 2
QUICK_RUNS, QUICK_MOVES = 4, 4

PARAMETERS: tuple[Parameter, ...] = (
    *traffic_parameters(rate_pps=1000, tcp_rate=2_000_000, repeat=1, after=1.0),
    whole("runs", 12, "runs, each predicted from the others", 3, 1000),
    whole("moves", 8, "moves in each run, each with settings of its own", 2, 1000),
    whole("case", 0, "which settings are drawn (each run has its own)", 0, 2**31),
    whole("real", 1, "1: copy real bytes over the underlay; 0: wait as long", 0, 1),
    whole("downtime_limit_ms", 50, "pre-copy goes on until the rest takes less than this, in ms", 1, 10_000),
    duration_s(
        "gain", 0.0, "gain of a move in time of service, for the advice; 0: gains as large as moves cost"
    ),
    whole("copying_percent", 10, "share of the service that is lost while memory is copied", 0, 100),
)


def draw(values: Mapping[str, Any]) -> list[Group]:
    """The moves of one run: settings drawn on logarithmic scales, those that take too long are drawn again."""
    chance = random.Random(f"{values['case']}")
    made = []
    for number in range(_moves(values)):
        while True:
            memory, bandwidth = (
                math.exp(chance.uniform(math.log(low), math.log(high)))
                for low, high in (MEMORY_BYTES, BANDWIDTH_BPS)
            )
            dirty = bandwidth * chance.uniform(*DIRTY_SHARE)
            plan = rounds(int(memory), dirty, bandwidth, values["downtime_limit_ms"] / 1000)
            if plan.precopy_s + plan.stop_s <= LONGEST_S:
                break
        options = MoveOptions(
            kind=chance.choice(KINDS),
            policy=chance.choice(POLICIES),
            memory_bytes=int(memory),
            bandwidth_bps=float(round(bandwidth)),
            dirty_rate_bps=float(round(dirty)),
            downtime_limit_s=values["downtime_limit_ms"] / 1000,
            copy_real=bool(values["real"]),
            announcements=1,
        )
        made.append(Group({"kind": options.kind, "policy": options.policy, "setting": str(number)}, options))
    return made


def _moves(values: Mapping[str, Any]) -> int:
    moves: int = values["moves"]
    return min(moves, QUICK_MOVES) if values["quick"] else moves


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As every comparison, for the settings that are drawn."""
    comparing.checker(draw)(values, topology)


def trials(run: Run) -> None:
    """Each drawn move once, null trials among them."""
    values, laboratory = run.values, run.laboratory
    vm, peer_nve = values["vm"], laboratory.network.location[values["peer"]]
    here, there = [name for name in laboratory.network.nves if name != peer_nve][:2]
    ways = {group.name: group for group in draw(values)}
    nulls = [f"{NULL} {number}" for number in range(NULLS)]
    mix = Mix([*ways, *nulls[1:]], 1, values["seed"])
    run.expect(mix.wanted())
    with run.traffic():
        if laboratory.network.location[vm] not in (here, there):
            laboratory.move(vm, here, policy="buffer")
        for name in mix.steps():
            if name.startswith(NULL):
                mix.count(name, run.trial({}, None))
                continue
            target = there if laboratory.network.location[vm] == here else here
            move = partial(laboratory.move, vm, target, options=ways[name].options)
            drawn = {key: value for key, value in ways[name].parameters.items() if key != "setting"}
            mix.count(name, run.trial(drawn, move))


def evaluate(
    values: Mapping[str, Any], runs: Sequence[Record]
) -> tuple[str, dict[tuple[str, int], Mapping[str, float]]]:
    """The answer, and what the model adds to each trial's measures. Raises ParameterError with too few runs."""
    own = [move for run in runs for move in moves_of(run.name, run.trials)]
    if len({move.run for move in own}) < 2:
        raise ParameterError(
            "decision: fewer than two runs have valid moves, so none can be predicted from another"
        )
    price = Price(copying_share=values["copying_percent"] / 100)
    found = judge(own, price, values["gain"] or None)
    return found.sentence(values["gain"] or None), dict(found.measures)


def as_sweep(values: Mapping[str, Any]) -> Any:
    """The runs, as a sweep over ``case``; each is predicted from the others."""
    from experiments.running.parameters import as_words
    from experiments.sweeping.plan import SweepPlan
    from experiments.sweeping.sweep import Asked

    runs = min(values["runs"], QUICK_RUNS) if values["quick"] else values["runs"]
    fixed = dict(word.split("=", 1) for word in as_words(PARAMETERS, values))
    cases = [str(values["case"] + number) for number in range(runs)]
    for name in ("case", "repeat", "seed"):
        fixed.pop(name, None)
    plan = SweepPlan(EXPERIMENT.name, {"case": cases}, fixed, values["repeat"], values["seed"])
    return Asked(EXPERIMENT, plan, 1, None, False, partial(evaluate, values))


EXPERIMENT = Experiment(
    name="decision",
    questions=("Q19",),
    question="Can the cost of a move be predicted well enough to decide whether to move?",
    answer="median error of each predicted figure, and how often the advice was right, on runs the model had not seen",
    parameters=PARAMETERS,
    trials=trials,
    check=check,
    group_by=("kind", "policy"),
    shown_measures=(
        "move_total_s",
        "predicted_move_total_s",
        "downtime_s",
        "predicted_downtime_s",
        "copied_bytes",
        "predicted_copied_bytes",
        "copied_again_bytes",
        "tcp_stall_s_to_vm",
        "predicted_tcp_stall_s_to_vm",
        "cost_s",
        "predicted_cost_s",
        "advice_right_share",
    ),
    memory=lambda _values: (
        "memory: drawn from 2 to 32 MiB for every move and copied, whatever the topology says of the VM"
    ),
    as_sweep=as_sweep,
)
