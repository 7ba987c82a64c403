"""``sweep`` as it is asked for on the command line: EXP, JOBS, RESUME, FRESH and the plan of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from emulation.sandbox import BY_SIGNAL
from experiments.running.experiment import Experiment, find_experiment
from experiments.running.parameters import ParameterError, plan_only
from experiments.sweeping.folder import read_plan_file
from experiments.sweeping.plan import read_plan
from experiments.sweeping.sweep import MOST_JOBS, Asked, do_sweep, say_sweep_plan
from results.record.ownership import as_owner_of
from results.record.reading import Record, find_run, load_record


def read_words(words: Sequence[str], experiments: Mapping[str, Experiment], results_folder: Path) -> Asked:
    """EXP, JOBS, RESUME and FRESH, and the plan of the rest. Raises ParameterError."""
    own = {"exp": "", "jobs": "1", "resume": "", "fresh": ""}
    rest = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.lower() in own:
            own[name.lower()] = value
        else:
            rest.append(word)
    if not own["jobs"].isdigit() or not 1 <= int(own["jobs"]) <= MOST_JOBS:
        raise ParameterError(f"JOBS={own['jobs']}: allowed is a whole number from 1 to {MOST_JOBS}")
    if own["resume"]:
        if rest or own["exp"]:
            raise ParameterError("RESUME goes on with the plan of that sweep; give no other words but JOBS")
        plan = read_plan_file(find_run(results_folder, own["resume"]))
        return Asked(
            find_experiment(experiments, plan.experiment), plan, int(own["jobs"]), own["resume"], False
        )
    if not own["exp"]:
        raise ParameterError(
            f"sweep which experiment? EXP=hot-l2 rate_pps=1000,2000 (there are: {', '.join(experiments)})"
        )
    experiment = find_experiment(experiments, own["exp"])
    return Asked(
        experiment, read_plan(experiment, rest), int(own["jobs"]), None, own["fresh"] not in ("", "0")
    )


def start_sweep(words: Sequence[str], experiments: Mapping[str, Experiment], results_folder: Path) -> int:
    """Do a sweep, or go on with one; the exit status: 0 when every cell is answered."""
    only, words = plan_only(words)
    asked = read_words(words, experiments, results_folder)
    if only:
        say_sweep_plan(asked, results_folder)
        return 0
    status, folder = do_sweep(asked, results_folder)
    shown = as_owner_of(folder, lambda: _show(load_record(folder)))
    if status > BY_SIGNAL:
        print(f"stopped; the same command goes on, or: make sweep RESUME={folder.name}")
    return status or shown


def _show(record: Record) -> int:
    from results.pages.report import write_report
    from results.pages.table import print_table

    print_table(record, write_report(record) if record.trials else None)
    return 0 if record.status == "answered" else 1
