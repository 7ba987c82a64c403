"""A sweep's folder: the plan it was begun with, the blocks that are done, what the check of side by side found."""

from __future__ import annotations

import json
from pathlib import Path

from emulation.nve import Datapath
from experiments.running.parameters import ParameterError
from experiments.running.surroundings import environment
from experiments.sweeping.plan import SweepPlan
from results.figures.merging import finished_runs
from results.record.files import write_atomic
from results.record.reading import Record, list_runs
from results.record.writer import new_folder

PLAN = "sweep.json"
PLAN_VERSION = 1
PARALLEL = "parallel.json"


def read_plan_file(folder: Path) -> SweepPlan:
    """The plan in a sweep's folder. Raises ParameterError: no sweep, a newer one, or damaged."""
    try:
        found = json.loads((folder / PLAN).read_text())
        if found["format_version"] > PLAN_VERSION:
            raise ParameterError(
                f"{folder / PLAN}: written in format {found['format_version']}, this version reads up to "
                f"{PLAN_VERSION}; update Overland (git pull) and try again"
            )
        return SweepPlan.from_dict(found["plan"])
    except FileNotFoundError:
        raise ParameterError(
            f"{folder}: has no {PLAN}, so it is no sweep; RESUME takes a sweep's folder"
        ) from None
    except ParameterError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParameterError(
            f"{folder / PLAN}: is not the plan of a sweep ({error}); begin anew with EXP=..."
        ) from None


def folder_of(plan: SweepPlan, results_folder: Path, fresh: bool) -> tuple[Path, str]:
    """The folder to go on with, or a new one, and what is to be said of it."""
    name = f"sweep-{plan.experiment}"
    commit = commit_of_now()
    note = ""
    for folder in [] if fresh else reversed(list_runs(results_folder)):
        if f"-{name}-" not in folder.name or not (folder / PLAN).exists():
            continue
        try:
            found = json.loads((folder / PLAN).read_text())
            same = SweepPlan.from_dict(found["plan"]) == plan
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if not same or len(blocks_done(folder)) == len(plan.cells) * plan.repeat:
            continue
        if found.get("commit") != commit:
            note = (
                f"{folder.name} has the same plan but was begun with other code, so this begins anew "
                f"(RESUME={folder.name} goes on with it all the same)"
            )
            continue
        return folder, ""
    made = new_folder(results_folder, name)
    data = {"format_version": PLAN_VERSION, "plan": plan.as_dict(), "commit": commit}
    write_atomic(made / PLAN, json.dumps(data, indent=1).encode() + b"\n")
    return made, note


def commit_of_now() -> str | None:
    """The commit, as records have it."""
    commit: str | None = environment(Datapath("", "", ""), {}, "")["commit"]
    return commit


def blocks_done(folder: Path, beside: bool | None = None) -> dict[int, Record]:
    """The runs beneath a sweep by the number of their block; of several of one block the last.

    ``beside``: only those that ran alone (False) or side by side (True); None: all that count, which is told by
    parallel.json.
    """
    if beside is None:
        allowed = found_harmless(folder)
        wanted = (False, True) if allowed is None or allowed else (False,)
    else:
        wanted = (beside,)
    return {
        run.environment["sweep"]["block"]: run
        for run in finished_runs(folder)
        if run.environment["sweep"]["beside"] in wanted
    }


def found_harmless(folder: Path) -> bool | None:
    """What the check of this sweep found; None: not checked yet."""
    try:
        return bool(json.loads((folder / PARALLEL).read_text())["parallel"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def earlier_check(folder: Path, jobs: int) -> bool | None:
    """What an earlier check says of so many jobs: fewer than were found harmless are, more than disturbed do too."""
    try:
        found = json.loads((folder / PARALLEL).read_text())
        same, checked = bool(found["parallel"]), int(found["jobs"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return same if (jobs <= checked if same else jobs >= checked) else None
