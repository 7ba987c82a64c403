"""A whole evaluation: every experiment of the answers page inside the image, one boot each, then the page.

It goes on where it stopped: what has an answered run of this commit in this image, as long as asked for or longer, is
not run again. The records themselves say so; there is no other memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from image import project
from image.accelerator import Choice
from image.errors import ImageError
from image.folder import Image
from results.record.reading import Record

if TYPE_CHECKING:
    from experiments.running.experiment import Experiment

Say = Callable[[str], None]

# A kernel with netem takes these over the distance they are about.
OVER_A_DISTANCE = {"external-client": "topology=outside_wan", "transport-impact": "topology=bottleneck_wan"}


@dataclass(frozen=True)
class Length:
    """How long the runs are to be: short forms; at most so many repetitions where that is not None."""

    quick: bool = False
    repeat: int | None = None


@dataclass(frozen=True)
class Step:
    """One experiment, its parameters as words, and what a run of it has at least to do for it."""

    experiment: str
    words: tuple[str, ...]
    quick: bool
    repeat: int


def plan(questions: Iterable[Sequence[str]], known: Mapping[str, Experiment], length: Length) -> list[Step]:
    """The steps: each experiment that a question names and that exists, once, in the questions' order. Pure."""
    names = dict.fromkeys(name for experiments in questions for name in experiments if name in known)
    return [_step(known[name], length) for name in names]


def _step(experiment: Experiment, length: Length) -> Step:
    repeat: int = next(one.default for one in experiment.parameters if one.name == "repeat")
    words = [OVER_A_DISTANCE[experiment.name]] if experiment.name in OVER_A_DISTANCE else []
    if length.quick:
        words.append("quick=1")
    if length.repeat is not None and length.repeat < repeat:
        repeat = length.repeat
        words.append(f"repeat={repeat}")
    return Step(experiment.name, tuple(words), length.quick, repeat)


def remaining(steps: Sequence[Step], records: Iterable[Record], commit: str, image: str) -> list[Step]:
    """The steps without an answered run of this commit and image; a longer run does for a shorter one. Pure."""
    own = [
        record
        for record in records
        if record.status == "answered"
        and record.environment.get("commit") == commit
        and not record.environment.get("commit_changed")
        and (record.environment.get("image") or {}).get("hash") == image
    ]
    return [step for step in steps if not any(_does_for(record, step) for record in own)]


def _does_for(record: Record, step: Step) -> bool:
    long_enough = step.quick or not record.parameters.get("quick")
    return record.experiment == step.experiment and long_enough and record.parameters["repeat"] >= step.repeat


def unanswered(steps: Sequence[Step], answered: Callable[[Step], bool], say: Say) -> Sequence[Step]:
    """Run every step; those without an answer once more when all others are done. What is left then."""
    for again in (False, True):
        if again and steps:
            say(f"once more, for they have no answer: {_names(steps)}")
        left = []
        for number, step in enumerate(steps, start=1):
            say(f"{number} of {len(steps)}: {step.experiment} {' '.join(step.words)}")
            if not answered(step):
                left.append(step)
        steps = left
    return steps


def _names(steps: Sequence[Step]) -> str:
    return ", ".join(step.experiment for step in steps)


def evaluate(image: Image, results: Path, say: Say, choice: Choice, length: Length) -> int:
    """Run what remains, write the answers; 0 when every experiment has its answer. Raises ImageError."""
    from experiments.catalog import EXPERIMENTS
    from experiments.running.concluding import conclude
    from image.pace import gentler
    from image.running import run_inside
    from results.figures.answers import read_all
    from results.figures.questions import QUESTIONS
    from results.pages.answers_pages import write_answers

    now = project.commit()
    if now["commit_changed"]:
        say("the work tree has changes that are in no commit: what runs now is not taken for done next time")
    steps = plan([question.experiments for question in QUESTIONS], EXPERIMENTS, length)
    open_steps = remaining(steps, read_all(results)[0], now["commit"], image.record()["hash"])
    say(f"{len(steps)} experiments, {len(steps) - len(open_steps)} have their answer already")

    def answered(step: Step) -> bool:
        started_s = time.monotonic()
        added = gentler(step.words, EXPERIMENTS[step.experiment].parameters, choice.accelerator)
        argv = [project.PYTHON, "-m", "experiments", "record", step.experiment, *step.words, *added]
        outcome = run_inside(image, argv, results, say, choice)
        status = 1 if outcome.status is None else outcome.status
        found = bool(outcome.runs) and conclude(status, outcome.runs[-1]) == 0
        say(f"{step.experiment} took {(time.monotonic() - started_s) / 60:.1f} min")
        return found

    without = unanswered(open_steps, answered, say)
    for path in write_answers(results):
        print(path)
    if without:
        say(f"no answer from {_names(without)}; the same command tries them again")
    return 1 if without else 0


def read_length(words: Sequence[str]) -> Length:
    """What QUICK and REPEAT among the words ask for; anything else is refused. Raises ImageError."""
    quick, repeat = False, None
    for word in words:
        name, _, value = word.partition("=")
        if name == "quick" and value in ("0", "1"):
            quick = value == "1"
        elif name == "repeat" and value.isascii() and value.isdigit() and int(value) > 0:
            repeat = int(value)
        else:
            raise ImageError(
                f"{word}: an evaluation takes QUICK=1, REPEAT=N (at most N repetitions, 1 or more) "
                "and ACCEL=auto, kvm or tcg"
            )
    return Length(quick, repeat)
