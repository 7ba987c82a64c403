"""A whole evaluation: every experiment of the answers page inside the image, one boot each, then the page.

It goes on where it stopped: what has an answered run of this commit in this image, as long or as short as asked for, is
not run again. The records themselves say so; there is no other memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from results.reading import Record

from . import project
from .accelerator import Choice
from .errors import ImageError
from .folder import Image

Say = Callable[[str], None]

# A kernel with netem takes these over the distance they are about.
OVER_A_DISTANCE = {"external-client": "topology=outside_wan", "transport-impact": "topology=bottleneck_wan"}


@dataclass(frozen=True)
class Step:
    """One experiment and its parameters, as words."""

    experiment: str
    words: tuple[str, ...]


def plan(questions: Iterable[Sequence[str]], known: Iterable[str], quick: bool) -> list[Step]:
    """The steps: each experiment that a question names and that exists, once, in the questions' order. Pure."""
    there = set(known)
    names = dict.fromkeys(name for experiments in questions for name in experiments if name in there)
    short = ("quick=1",) if quick else ()
    return [
        Step(name, (*((OVER_A_DISTANCE[name],) if name in OVER_A_DISTANCE else ()), *short)) for name in names
    ]


def remaining(
    steps: Sequence[Step], records: Iterable[Record], commit: str, image: str, quick: bool
) -> list[Step]:
    """The steps without an answered run of this commit and image; a full run does for a short one. Pure."""
    done = {
        record.experiment
        for record in records
        if record.status == "answered"
        and record.environment.get("commit") == commit
        and not record.environment.get("commit_changed")
        and (record.environment.get("image") or {}).get("hash") == image
        and (quick or not record.parameters.get("quick"))
    }
    return [step for step in steps if step.experiment not in done]


def evaluate(image: Image, results: Path, say: Say, choice: Choice, *, quick: bool) -> int:
    """Run what remains, write the answers; 0 when every experiment has its answer. Raises ImageError."""
    from experiments.catalog import EXPERIMENTS
    from experiments.running.concluding import conclude
    from results.answers import read_all
    from results.answers_pages import write_answers
    from results.questions import QUESTIONS

    from .pace import gentler
    from .running import run_inside

    now = project.commit()
    if now["commit_changed"]:
        say("the work tree has changes that are in no commit: what runs now is not taken for done next time")
    steps = plan([question.experiments for question in QUESTIONS], EXPERIMENTS, quick)
    open_steps = remaining(steps, read_all(results)[0], now["commit"], image.record()["hash"], quick)
    say(f"{len(steps)} experiments, {len(steps) - len(open_steps)} have their answer already")
    without = []
    for number, step in enumerate(open_steps, start=1):
        say(f"{number} of {len(open_steps)}: {step.experiment} {' '.join(step.words)}")
        started_s = time.monotonic()
        added = gentler(step.words, EXPERIMENTS[step.experiment].parameters, choice.accelerator)
        argv = [project.PYTHON, "-m", "experiments", "record", step.experiment, *step.words, *added]
        outcome = run_inside(image, argv, results, say, choice)
        status = 1 if outcome.status is None else outcome.status
        if not outcome.runs or conclude(status, outcome.runs[-1]) != 0:
            without.append(step.experiment)
        say(f"{step.experiment} took {(time.monotonic() - started_s) / 60:.1f} min")
    for path in write_answers(results):
        print(path)
    if without:
        say(f"no answer from {', '.join(without)}; the same command tries them again")
    return 1 if without else 0


def is_quick(words: Sequence[str]) -> bool:
    """Whether quick=1 is among the words; anything else is refused. Raises ImageError."""
    unknown = [word for word in words if word not in ("quick=1", "quick=0")]
    if unknown:
        raise ImageError(f"{unknown[0]}: an evaluation takes QUICK=1 and ACCEL=auto, kvm or tcg")
    return "quick=1" in words
