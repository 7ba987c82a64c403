"""``python -m experiments COMMAND``: what the make targets call. Bad input: one line, exit status 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.running.command_line import Command, end_on_sigterm, run_command

if TYPE_CHECKING:
    from experiments.catalog import Catalog

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


def catalog() -> Catalog:
    """All experiments, those of the user's folder $STUDIES too. Raises StudyError."""
    from experiments.catalog import EXPERIMENTS

    if folder := os.environ.get("STUDIES"):
        EXPERIMENTS.add_folder(Path(folder).expanduser())
    return EXPERIMENTS


def _list(words: Sequence[str]) -> int:
    from experiments.listing import brief_lines, by_question, full_lines

    if words:
        print("\n".join(full_lines(catalog().find(words[0]), catalog().opening(words[0]))))
        return 0
    print("\n".join(brief_lines(by_question(catalog().values()))))
    print("make list EXP=NAME says what an experiment varies and holds fixed, and explains its parameters.")
    return 0


def _run(words: Sequence[str]) -> int:
    from experiments.running.concluding import conclude

    started = _start(words)
    return conclude(*started) if started is not None else 0


def _record(words: Sequence[str]) -> int:
    """The run alone, without table, timeline and report: whoever reads the record makes them."""
    started = _start(words)
    if started is None:
        return 0
    status, folder = started
    print(f"recorded: {folder.name}")
    return status


def _start(words: Sequence[str]) -> tuple[int, Path] | None:
    """Exit status and folder of the run; None when its plan alone was asked for, and has been said."""
    from experiments.running.experiment import UnknownExperimentError
    from experiments.running.parameters import plan_only, read_parameters
    from experiments.running.start import say_plan, start_run

    if not words:
        raise UnknownExperimentError(f"run which experiment? (there are: {', '.join(catalog())})")
    experiment = catalog().find(words[0])
    only, rest = plan_only(words[1:])
    values = read_parameters(experiment.parameters, rest)
    if experiment.as_sweep is not None:
        from experiments.sweeping.sweep import do_sweep, say_sweep_plan

        asked = experiment.as_sweep(values)
        if not only:
            return do_sweep(asked, results_folder())
        say_sweep_plan(asked, results_folder())
    elif not only:
        return start_run(experiment, values, results_folder())
    else:
        say_plan(experiment, values, results_folder())
    return None


def _cli(words: Sequence[str]) -> int:
    from experiments.console.session import start_cli

    return start_cli(words, results_folder())


def _shell(words: Sequence[str]) -> int:
    from experiments.console.enter import shell

    return shell(words, results_folder())


def _bench(words: Sequence[str]) -> int:
    from experiments.bench import bench

    return bench(words, results_folder())


def _sweep(words: Sequence[str]) -> int:
    from experiments.sweeping.words import start_sweep

    return start_sweep(words, catalog(), results_folder())


def _decide(words: Sequence[str]) -> int:
    from experiments.deciding.decide import decide

    return decide(words, results_folder())


def _topology(words: Sequence[str]) -> int:
    from experiments.running.topology_again import write_topology

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
    return run_command(words, COMMANDS, USAGE)


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main(sys.argv[1:]))
