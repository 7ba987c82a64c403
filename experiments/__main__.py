"""``python -m experiments COMMAND``: what the make targets call. Bad input: one line, exit status 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .running.command_line import Command, run_command

USAGE = (
    "usage: python -m experiments list [NAME] | run NAME [NAME=value ...] | record NAME [NAME=value ...]\n"
    "       python -m experiments cli TOPOLOGY [NAME=value ...]\n"
    "       python -m experiments shell NODE [RUN] [-- COMMAND ...] | bench\n"
    "       python -m experiments sweep EXP=NAME NAME=value[,value ...] [JOBS=n] | sweep RESUME=FOLDER\n"
    "       python -m experiments decide [NAME=value ...]\n"
    "       python -m experiments topology [RUN [FILE]]"
)


def results_folder() -> Path:
    """Where runs go: $RESULTS, else results/."""
    return Path(os.environ.get("RESULTS") or Path(__file__).resolve().parents[1] / "results").absolute()


def _list(words: Sequence[str]) -> int:
    from .catalog import EXPERIMENTS, find
    from .listing import brief_lines, full_lines

    if words:
        print("\n".join(full_lines(find(words[0]))))
        return 0
    print("\n".join(brief_lines(list(EXPERIMENTS.values()))))
    print("make list EXP=NAME says what an experiment varies and holds fixed, and explains its parameters.")
    return 0


def _run(words: Sequence[str]) -> int:
    from .running.concluding import conclude

    return conclude(*_start(words))


def _record(words: Sequence[str]) -> int:
    """The run alone, without table, timeline and report: whoever reads the record makes them."""
    status, folder = _start(words)
    print(f"recorded: {folder.name}")
    return status


def _start(words: Sequence[str]) -> tuple[int, Path]:
    from . import catalog
    from .running.parameters import read_parameters
    from .running.start import start_run

    if not words:
        raise catalog.UnknownExperimentError(
            f"run which experiment? (there are: {', '.join(catalog.EXPERIMENTS)})"
        )
    experiment = catalog.find(words[0])
    values = read_parameters(experiment.parameters, words[1:])
    if experiment.start is not None:
        return experiment.start(values, results_folder())
    return start_run(experiment, values, results_folder())


def _cli(words: Sequence[str]) -> int:
    from .console.session import start_cli

    return start_cli(words, results_folder())


def _shell(words: Sequence[str]) -> int:
    from .console.enter import shell

    return shell(words, results_folder())


def _bench(words: Sequence[str]) -> int:
    from .bench import bench

    return bench(words, results_folder())


def _sweep(words: Sequence[str]) -> int:
    from .sweeping.words import start_sweep

    return start_sweep(words, results_folder())


def _decide(words: Sequence[str]) -> int:
    from .deciding.decide import decide

    return decide(words, results_folder())


def _topology(words: Sequence[str]) -> int:
    from .running.topology_again import write_topology

    return write_topology(words, results_folder())


COMMANDS: dict[str, Command] = {
    "list": _list,
    "run": _run,
    "record": _record,
    "bench": _bench,
    "sweep": _sweep,
    "decide": _decide,
    "cli": _cli,
    "shell": _shell,
    "topology": _topology,
}


def main(words: Sequence[str]) -> int:
    """Run one command; the exit status."""
    from .running.refusals import refusals

    return run_command(words, COMMANDS, USAGE, refusals)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
