"""What an experiment is: a name, the questions it answers, its parameters, and how its trials are done."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.running.parameters import Parameter
from topologies.model import Topology
from vocabulary.errors import OverlandError

Trials = Callable[[Any], None]
"""The part of an experiment that runs inside the sandbox: does all trials of an ``experiments.running.run.Run``."""


def nothing_copied(_values: Mapping[str, Any]) -> str:
    """What a run says of the memory's copy where there is none."""
    return "memory: nothing is copied: the figures are the network's share of a move (hot-warm-cold and cold copy)"


@dataclass(frozen=True)
class Experiment:
    """One named experiment. ``check`` refuses impossible values and topologies before anything is built."""

    name: str
    questions: tuple[str, ...]
    question: str
    answer: str
    parameters: tuple[Parameter, ...]
    trials: Trials
    check: Callable[[Mapping[str, Any], Topology], None]
    group_by: tuple[str, ...] = ("path",)
    shown_measures: tuple[str, ...] = ()
    """What its table and charts show; without it the measures of the contract."""
    conclude: Callable[[Sequence[Mapping[str, Any]]], str | None] | None = None
    """Makes the answer's sentence of a run's trials (as in the record); without it one is made of the measures."""
    memory: Callable[[Mapping[str, Any]], str] = nothing_copied
    """What a run with these values says, before it begins, of the memory's copy; "" where nothing is to be said."""
    rehearse: Trials | None = None
    """Does to a ``Rehearsal`` what its trials take, where ``trials`` itself needs a network that is there."""
    as_sweep: Callable[[Mapping[str, Any]], Any] | None = None
    """For one that is made of several runs: the sweep (``sweeping.sweep.Asked``) that its values ask for."""


class UnknownExperimentError(OverlandError, LookupError):
    """There is no experiment of that name; says which there are."""


class StudyError(OverlandError, ValueError):
    """A file that should hold an experiment does not, or cannot be loaded; says which, where and why."""


def find_experiment(experiments: Mapping[str, Experiment], name: str) -> Experiment:
    """The experiment of that name. Raises UnknownExperimentError."""
    if name in experiments:
        return experiments[name]
    near = difflib.get_close_matches(name, experiments, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise UnknownExperimentError(
        f"there is no experiment {name!r}{meant} (there are: {', '.join(experiments)})"
    )
