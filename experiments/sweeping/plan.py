"""What a sweep does: the cross product of some parameters of one experiment, in blocks, in a seeded order. Pure.

A *cell* is one combination of the swept values. A *block* is one repetition of the experiment in one cell: each of its
groups of trials and its null trials once. Each *round* has every cell once, in random order (a randomised complete
block design: Fisher, The Design of Experiments, 1935, chapter 4), so that what drifts with time meets all cells alike.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from experiments.running.experiment import Experiment
from experiments.running.parameters import Parameter, ParameterError, read_parameters
from topologies.units import format_duration, format_rate

MOST_VALUES = 1000  # of one range; a typing error otherwise fills the memory
MOST_BLOCKS = 100_000
BUILT_BY = ("topology", "attachment", "ports")
"""Parameters that a network is built with: cells that agree in them share one sandbox."""
_NOT_SWEPT = ("repeat", "seed", "quick")


@dataclass(frozen=True)
class Block:
    """One repetition of the experiment in one cell."""

    number: int
    cell: int
    round: int


@dataclass(frozen=True)
class SweepPlan:
    """A sweep as asked for; the same plan is the same sweep. Values are texts, as they were written."""

    experiment: str
    axes: Mapping[str, Sequence[str]]
    fixed: Mapping[str, str]
    repeat: int
    seed: int

    @property
    def cells(self) -> list[dict[str, str]]:
        """All combinations of the swept values, the last parameter changing fastest."""
        return [dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values())]

    @property
    def words(self) -> list[str]:
        """The plan as the words of a command."""
        swept = [f"{name}={','.join(values)}" for name, values in self.axes.items()]
        fixed = [f"{name}={value}" for name, value in self.fixed.items()]
        return [*swept, *fixed, f"repeat={self.repeat}", f"seed={self.seed}"]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SweepPlan:
        """The plan that ``as_dict`` wrote. Raises KeyError or TypeError for anything else."""
        axes = {str(name): [str(value) for value in values] for name, values in data["axes"].items()}
        return cls(str(data["experiment"]), axes, dict(data["fixed"]), int(data["repeat"]), int(data["seed"]))

    def values(self, experiment: Experiment, block: Block) -> dict[str, Any]:
        """All parameters of one block: its cell's, one repetition, a seed of its own. Raises ParameterError."""
        return self._read(experiment, self.cells[block.cell]) | {
            "repeat": 1,
            "seed": (self.seed + block.number) % 2**31,
        }

    def all_values(self, experiment: Experiment) -> list[dict[str, Any]]:
        """The parameters of every cell. Raises ParameterError for a value that is not allowed."""
        return [self._read(experiment, cell) for cell in self.cells]

    def _read(self, experiment: Experiment, cell: Mapping[str, str]) -> dict[str, Any]:
        words = [f"{name}={value}" for name, value in {**self.fixed, **cell}.items()]
        return read_parameters(experiment.parameters, words)

    def order(self, keys: Sequence[Any]) -> list[Block]:
        """All blocks in the order in which they are done; ``keys``: what each cell's network is built with.

        Random within a round. The cells of one network come together, and in the next round the networks' order is
        reversed, so that a network is built once a round at most.
        """
        chance = random.Random(self.seed)
        kinds = list(dict.fromkeys(keys))
        chance.shuffle(kinds)
        made = []
        for number in range(self.repeat):
            for kind in kinds:
                cells = [cell for cell, key in enumerate(keys) if key == kind]
                chance.shuffle(cells)
                made += [Block(number * len(keys) + cell, cell, number) for cell in cells]
            kinds.reverse()
        return made


def network_key(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the network of a cell is built with."""
    return tuple(values.get(name) for name in BUILT_BY)


def read_plan(experiment: Experiment, words: Sequence[str]) -> SweepPlan:
    """The plan of ``NAME=value[,value...]`` words. Raises ParameterError with what is allowed.

    A value may be a range with both ends: ``1000..5000..1000`` (steps of) or ``1..64..x2`` (times).
    """
    known = {parameter.name: parameter for parameter in experiment.parameters}
    missing = [name for name in ("repeat", "seed") if name not in known]
    if missing:
        raise ParameterError(f"{experiment.name} has no parameter {missing[0]!r}, so it cannot be swept")
    axes: dict[str, list[str]] = {}
    fixed: dict[str, str] = {}
    counted: dict[str, int] = {name: known[name].default for name in ("repeat", "seed")}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.lower()
        if not equals or name not in known:
            read_parameters(experiment.parameters, [word])  # refuses with what there is
        if name in axes or name in fixed:
            raise ParameterError(f"{name} is given twice; write its values in one word, {name}=A,B")
        if name in counted:
            counted[name] = read_parameters(experiment.parameters, [word])[name]
            continue
        values = _values(known[name], text)
        if len(values) == 1:
            fixed[name] = values[0]
        elif name in _NOT_SWEPT:
            raise ParameterError(f"{name}={text}: {name} is not swept; give it one value")
        else:
            axes[name] = values
    if not axes:
        example = next(p for p in experiment.parameters if p.name not in _NOT_SWEPT)
        swept = "rate_pps=1000,2000,5000" if "rate_pps" in known else f"{example.name}=A,B"
        raise ParameterError(
            f"nothing is swept: give one parameter of {experiment.name} several values, such as {swept}; "
            f"for one setting alone: make {experiment.name}"
        )
    plan = SweepPlan(experiment.name, axes, fixed, counted["repeat"], counted["seed"])
    if (blocks := len(plan.cells) * plan.repeat) > MOST_BLOCKS:
        raise ParameterError(
            f"{blocks:,} blocks of trials are too many (allowed: {MOST_BLOCKS:,}); take fewer values"
        )
    return plan


def _values(parameter: Parameter, text: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        if not part:
            raise ParameterError(
                f"{parameter.name}={text}: a value is missing; write {parameter.name}=A,B with no empty place"
            )
        found += _range(parameter, part) if ".." in part else [part]
    values = [_read(parameter, part) for part in found]
    twice = [part for part, value in zip(found, values, strict=True) if values.count(value) > 1]
    if twice:
        raise ParameterError(
            f"{parameter.name}={text}: {twice[0]} comes twice; give each value once, and repeat=N for more trials"
        )
    return found


def _read(parameter: Parameter, text: str) -> Any:
    try:
        return parameter.read(text)
    except ValueError:
        raise ParameterError(f"{parameter.name}={text}: allowed is {parameter.allowed}") from None


def _range(parameter: Parameter, text: str) -> list[str]:
    """``FROM..TO..STEP`` or ``FROM..TO..xFACTOR``, both ends included as far as the steps meet the second."""
    how = f"{parameter.name}={text}: a range is FROM..TO..STEP or FROM..TO..xFACTOR, such as 1000..5000..1000"
    parts = text.split("..")
    if len(parts) != 3 or not all(parts):
        raise ParameterError(how)
    first, last = (_read(parameter, part) for part in parts[:2])
    times = parts[2].startswith("x")
    try:
        step = float(parts[2][1:]) if times else parameter.read(parts[2])
    except ValueError:
        try:
            step = float(parts[2])  # a step may lie outside the parameter's bounds
        except ValueError:
            raise ParameterError(how) from None
    if not all(isinstance(value, int | float) for value in (first, last, step)):
        raise ParameterError(how + f"; {parameter.name} is no number, write its values with commas")
    if first > last or (step <= 1 if times else step <= 0):
        raise ParameterError(f"{how}; FROM is at most TO, STEP more than 0, FACTOR more than 1")
    made: list[str] = []
    value = first
    while value <= last * (1 + 1e-9):
        if len(made) == MOST_VALUES:
            raise ParameterError(
                f"{parameter.name}={text}: more than {MOST_VALUES:,} values; take larger steps"
            )
        made.append(parameter.show(type(first)(round(value, 9))))
        value = value * step if times else first + (len(made)) * step
    return made


def recorded_name(parameter: Parameter) -> str:
    """The parameter's name in a trial's record, where a number's name ends in its unit."""
    unit = {format_duration: "_s", format_rate: "_bps"}.get(parameter.show, "")
    return parameter.name if parameter.name.endswith(unit) else parameter.name + unit


def cell_parameters(experiment: Experiment, plan: SweepPlan, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell's trials, the null ones too, are grouped by."""
    known = {parameter.name: parameter for parameter in experiment.parameters}
    return {recorded_name(known[name]): values[name] for name in plan.axes}
