"""What `make list` says of an experiment: what opens its file, and its parameters."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from importlib import import_module

from experiments.running.experiment import Experiment
from experiments.running.parameters import Parameter


def opening(experiment: Experiment) -> list[str]:
    """Question, what varies, what is held fixed, what the answer looks like: the text its file opens with."""
    try:
        module = import_module(f"{__package__}.{experiment.name.replace('-', '_')}")
    except ModuleNotFoundError:  # a file of another name
        module = sys.modules[experiment.check.__module__]
    text = inspect.cleandoc(module.__doc__ or "").partition("\n\n")[2].replace("``", "")
    return text.splitlines() or [f"Question   {experiment.question}", f"Answer     {experiment.answer}"]


def brief_lines(experiments: Sequence[Experiment]) -> list[str]:
    """A line an experiment: its name, the numbers of its questions, its question."""
    width = max(len(one.name) for one in experiments)
    return [
        f"make {one.name:<{width}}  {', '.join(one.questions) + ':':<4} {one.question}" for one in experiments
    ]


def full_lines(experiment: Experiment) -> list[str]:
    """Its heading and opening, and a line a parameter: its default, what it means, what is allowed."""
    shown = [(f"{one.name}={_default(one)}", one) for one in experiment.parameters]
    width = max((len(text) for text, _ in shown), default=0)
    return [
        *_heading(experiment),
        *(f"    {line}" for line in opening(experiment)),
        "",
        *(f"    {text:<{width}}  {one.meaning} ({one.allowed})" for text, one in shown),
    ]


def _default(parameter: Parameter) -> str:
    """Empty where the topology may give it."""
    return "" if parameter.default is None else parameter.show(parameter.default)


def _heading(experiment: Experiment) -> list[str]:
    return [f"make {experiment.name} ({', '.join(experiment.questions)}): {experiment.question}"]
