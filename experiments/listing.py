"""What `make list` says of an experiment: what opens its file, and its parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from experiments.running.experiment import Experiment
from experiments.running.parameters import Parameter


def opening(experiment: Experiment, text: str) -> list[str]:
    """Question, what varies, what is held fixed, what the answer looks like: the text its file opens with."""
    lines = text.replace("``", "").splitlines()
    return lines or [f"Question   {experiment.question}", f"Answer     {experiment.answer}"]


def by_question(experiments: Iterable[Experiment]) -> list[Experiment]:
    """In the order of the questions they answer; those of none (a user's own) last, by name."""

    def place(one: Experiment) -> tuple[float, str]:
        numbers = [int(number[1:]) for number in one.questions if number[1:].isdigit()]
        return min(numbers, default=math.inf), one.name

    return sorted(experiments, key=place)


def brief_lines(experiments: Sequence[Experiment]) -> list[str]:
    """A line an experiment: its name, the numbers of its questions, its question."""
    width = max(len(one.name) for one in experiments)
    return [f"make {one.name:<{width}}  {_numbers(one) + ':':<4} {one.question}" for one in experiments]


def full_lines(experiment: Experiment, text: str) -> list[str]:
    """Its heading, what its file opens with (``text``), and a line a parameter: default, meaning, what is allowed."""
    shown = [(f"{one.name}={_default(one)}", one) for one in experiment.parameters]
    width = max((len(text) for text, _ in shown), default=0)
    return [
        *_heading(experiment),
        *(f"    {line}" for line in opening(experiment, text)),
        "",
        *(f"    {text:<{width}}  {one.meaning} ({one.allowed})" for text, one in shown),
    ]


def _default(parameter: Parameter) -> str:
    """Empty where the topology may give it."""
    return "" if parameter.default is None else parameter.show(parameter.default)


def _heading(experiment: Experiment) -> list[str]:
    return [f"make {experiment.name} ({_numbers(experiment)}): {experiment.question}"]


def _numbers(experiment: Experiment) -> str:
    """The questions it answers; a user's own may be none of ours."""
    return ", ".join(experiment.questions) or "own"
