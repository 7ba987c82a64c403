"""Experiments that compare transports: each by itself between the same two ends, in rounds.

The first round goes by the list, which is the order of tables; the order of each later round is drawn.

Only one transport runs at a time, so that none queues behind another. Each has null trials of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from experiments.designs.comparing import Group, places
from experiments.designs.schedules import NULL, Mix
from experiments.running.run import Observe, Run
from experiments.running.traffic import Make


def rounds_of(repeat: int, rounds: int) -> list[int]:
    """How many repetitions each round has; none has none. Pure."""
    used = max(1, min(rounds, repeat))
    return [repeat // used + (number < repeat % used) for number in range(used)]


def compare(
    run: Run,
    makes: Mapping[str, Make],
    ways: Callable[[str], Sequence[Group]],
    repeats: Sequence[int],
    *,
    null_after_s: Callable[[str], float | None] = lambda _: None,
    observe: Callable[[str], Observe | None] = lambda _: None,
) -> None:
    """Every way of moving under every transport, in as many rounds as ``repeats`` has numbers of valid trials.

    ``null_after_s``: time of a transport's null trials after their middle, and ``observe``: further measures of it.
    """
    values, laboratory = run.values, run.laboratory
    vm, chance = values["vm"], random.Random(values["seed"])
    here, there = places(run)
    groups = {name: {way.name: way for way in ways(name)} for name in makes}
    run.expect(sum(repeats) * sum(len(of_one) + 1 for of_one in groups.values()))
    for number, repeat in enumerate(repeats):
        order = list(makes)
        if number > 0:
            chance.shuffle(order)
        for name in order:
            mix = Mix(list(groups[name]), repeat, values["seed"] + number)
            run.observe = observe(name)
            with run.traffic(transports=(makes[name],)):
                if laboratory.network.location[vm] not in (here, there):
                    laboratory.move(vm, here, policy="buffer")
                for step in mix.steps():
                    if step == NULL:
                        valid = run.trial({"transport": name}, None, after_s=null_after_s(name))
                    else:
                        way = groups[name][step]
                        target = there if laboratory.network.location[vm] == here else here
                        move = partial(laboratory.move, vm, target, options=way.options)
                        valid = run.trial(way.parameters, move, way.guarded_s, after_s=way.after_s)
                    mix.count(step, valid)
