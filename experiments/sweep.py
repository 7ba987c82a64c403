"""``make sweep EXP=hot-l2 rate_pps=1000,2000 policy=buffer,tunnel JOBS=2``: an experiment over many settings.

Its folder holds the plan and, beneath it, a run for each block: whatever ends a sweep, the same command goes on.
"""

from __future__ import annotations

import fcntl
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emulation import preflight
from emulation.nve import Datapath
from emulation.sandbox import run_in_sandbox
from results.files import write_atomic
from results.merging import finished_runs, write_sweep_record
from results.reading import Record, find_run, list_runs, load_record
from results.record import new_folder
from topologies import load_topology, topology_file
from topologies.model import Topology

from .catalog import EXPERIMENTS, find
from .experiment import Experiment
from .parameters import ParameterError
from .probes.build import probe_binary
from .run import environment, keep_visible, verdict
from .sweep_block import SharedLaboratory, serve
from .sweep_check import Comparison, compare_control
from .sweep_crew import Crew
from .sweep_order import Dispatcher
from .sweep_plan import SweepPlan, cell_parameters, network_key, read_plan

PLAN = "sweep.json"
PLAN_VERSION = 1
MOST_JOBS = 64
INTERRUPTED = 130


Evaluate = Callable[[Sequence[Record]], tuple[str, dict[tuple[str, int], Mapping[str, float]]]]
"""From all runs: the answer in a sentence, and further measures of trials by run and index."""


@dataclass(frozen=True)
class Asked:
    """What a command asks for."""

    experiment: Experiment
    plan: SweepPlan
    jobs: int
    resume: str | None
    fresh: bool
    evaluate: Evaluate | None = None
    """For an experiment that is made of several runs: what they say together."""


def read_words(words: Sequence[str], results_folder: Path) -> Asked:
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
        plan = _read_plan_file(find_run(results_folder, own["resume"]))
        return Asked(find(plan.experiment), plan, int(own["jobs"]), own["resume"], False)
    if not own["exp"]:
        raise ParameterError(
            f"sweep which experiment? EXP=hot-l2 rate_pps=1000,2000 (there are: {', '.join(EXPERIMENTS)})"
        )
    experiment = find(own["exp"])
    return Asked(
        experiment, read_plan(experiment, rest), int(own["jobs"]), None, own["fresh"] not in ("", "0")
    )


def _read_plan_file(folder: Path) -> SweepPlan:
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


def start_sweep(words: Sequence[str], results_folder: Path) -> int:
    """Do a sweep, or go on with one; the exit status: 0 when every cell is answered."""
    asked = read_words(words, results_folder)
    status, folder = do_sweep(asked, results_folder)
    record = load_record(folder)
    _show(record)
    if status == INTERRUPTED:
        print(f"stopped; the same command goes on, or: make sweep RESUME={folder.name}")
    return status or (0 if record.status == "answered" else 1)


def do_sweep(asked: Asked, results_folder: Path) -> tuple[int, Path]:
    """Do what is left of a sweep and write its record; the exit status and its folder."""
    preflight.check_root()
    values = asked.plan.all_values(asked.experiment)
    grounds = _grounds(asked.experiment, values, results_folder)
    probe_binary()
    folder, note = _folder_of(asked, results_folder)
    with (folder / PLAN).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ParameterError(
                f"{folder}: this sweep is running now; wait for it, or begin another one"
            ) from None
        return _Sweep(asked, folder, values, grounds, note).run(), folder


def _grounds(
    experiment: Experiment, values: Sequence[Mapping[str, Any]], results_folder: Path
) -> dict[Any, tuple[Topology, Datapath]]:
    """Topology and datapath of each network; every cell is checked before anything is built."""
    made: dict[Any, tuple[Topology, Datapath]] = {}
    for own in values:
        key = network_key(own)
        if key not in made:
            topology = load_topology(topology_file(own["topology"]))
            made[key] = (topology, preflight.check(topology, own["ports"], results_folder))
        experiment.check(own, made[key][0])
    return made


def _folder_of(asked: Asked, results_folder: Path) -> tuple[Path, str]:
    """The folder to go on with, or a new one, and what is to be said of it."""
    if asked.resume:
        return find_run(results_folder, asked.resume), ""
    name = f"sweep-{asked.experiment.name}"
    commit = environment_of_now()["commit"]
    note = ""
    for folder in [] if asked.fresh else reversed(list_runs(results_folder)):
        if f"-{name}-" not in folder.name or not (folder / PLAN).exists():
            continue
        try:
            found = json.loads((folder / PLAN).read_text())
            same = SweepPlan.from_dict(found["plan"]) == asked.plan
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if not same or len(_blocks_done(folder)) == len(asked.plan.cells) * asked.plan.repeat:
            continue
        if found.get("commit") != commit:
            note = (
                f"{folder.name} has the same plan but was begun with other code, so this begins anew "
                f"(RESUME={folder.name} goes on with it all the same)"
            )
            continue
        return folder, ""
    made = new_folder(results_folder, name)
    plan = {"format_version": PLAN_VERSION, "plan": asked.plan.as_dict(), "commit": commit}
    write_atomic(made / PLAN, json.dumps(plan, indent=1).encode() + b"\n")
    return made, note


def environment_of_now() -> dict[str, Any]:
    """The commit, as records have it."""
    return {"commit": environment(Datapath("", "", ""), {}, "")["commit"]}


def _blocks_done(folder: Path, beside: bool | None = None) -> dict[int, Record]:
    """The runs beneath a sweep by the number of their block; of several of one block the last.

    ``beside``: only those that ran alone (False) or side by side (True); None: all that count, which is told by
    parallel.json.
    """
    if beside is None:
        allowed = _parallel(folder)
        wanted = (False, True) if allowed is None or allowed else (False,)
    else:
        wanted = (beside,)
    return {
        run.environment["sweep"]["block"]: run
        for run in finished_runs(folder)
        if run.environment["sweep"]["beside"] in wanted
    }


def _parallel(folder: Path) -> bool | None:
    """What the check of this sweep found; None: not checked yet."""
    try:
        return bool(json.loads((folder / "parallel.json").read_text())["parallel"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


class _Sweep:
    """A sweep under way."""

    def __init__(
        self,
        asked: Asked,
        folder: Path,
        values: Sequence[Mapping[str, Any]],
        grounds: Mapping[Any, tuple[Topology, Datapath]],
        note: str,
    ) -> None:
        self.experiment, self.plan, self.folder, self.note = asked.experiment, asked.plan, folder, note
        self.jobs, self.values, self.grounds = asked.jobs, values, grounds
        self.command = f"make sweep EXP={self.experiment.name} {' '.join(self.plan.words)}"
        self.began = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.name = f"sweep of {self.experiment.name}"
        self.evaluate = asked.evaluate
        self.title = f"sweep-{self.experiment.name}"
        if self.evaluate is not None:  # the runs together are the experiment
            self.title = self.name = self.experiment.name
            self.command = f"make {self.experiment.name} {' '.join(self.plan.words[1:])}"

    def run(self) -> int:
        """Work through what is left, then write the record; Ctrl-C leaves what is done."""
        keys = {cell: network_key(own) for cell, own in enumerate(self.values)}
        blocks = self.plan.order([keys[cell] for cell in sorted(keys)])
        done = _blocks_done(self.folder)
        if _parallel(self.folder) is None:  # unchecked: what ran side by side does not count yet
            done = _blocks_done(self.folder, beside=False)
        left = [block for block in blocks if block.number not in done]
        dispatcher = Dispatcher(left, self.jobs, keys, _parallel(self.folder) if self.jobs > 1 else None)
        self._greet(len(blocks), len(left), dispatcher)
        self._pairs = dispatcher.pairs
        crew = Crew(self.name, dispatcher, self._supervise, self._check)
        status = 0
        try:
            crew.work()
        except KeyboardInterrupt:
            status = INTERRUPTED
        except ParameterError as error:
            print(error)
            status = 1
        self._conclude(len(blocks))
        return status

    def _greet(self, blocks: int, left: int, dispatcher: Dispatcher) -> None:
        swept = ", ".join(f"{name} {len(values)} values" for name, values in self.plan.axes.items())
        print(
            f"{self.name}: {swept}; {len(self.values)} cells x {self.plan.repeat} repetitions = {blocks} blocks"
        )
        if self.note:
            print(f"{self.name}: {self.note}")
        if left < blocks:
            print(
                f"{self.name}: going on with {self.folder.name}; {blocks - left} of {blocks} blocks are done"
            )
        if dispatcher.too_few_to_check:
            why = "an earlier check found that sandboxes disturb each other"
            if _parallel(self.folder) is None:
                why = f"too few blocks to find out whether {self.jobs} sandboxes disturb each other"
            print(f"{self.name}: one by one, not JOBS={self.jobs}: {why}")

    def _supervise(self, cell: int, key: Any, channel: socket.socket) -> int:
        topology, datapath = self.grounds[key]
        values = self.values[cell]

        def runner() -> int:
            shared = SharedLaboratory(self.experiment, self.plan, self.folder, topology, datapath, values)
            around = environment(datapath, values, self.command)
            return serve(shared, channel, around)

        return run_in_sandbox(runner, keep=keep_visible(self.folder.parent.parent))

    def _check(self) -> bool:
        """Hold the control blocks that ran alone against those that ran beside others."""
        alone, beside = _blocks_done(self.folder, beside=False), _blocks_done(self.folder, beside=True)
        pairs = [
            (alone[one.number], beside[two.number])
            for one, two in self._pairs
            if one.number in alone and two.number in beside
        ]
        found = compare_control(pairs, self.experiment)
        self._write_check(found)
        print(f"{self.name}: {found.sentence(self.jobs)}")
        return found.same

    def _write_check(self, found: Comparison) -> None:
        data = {"parallel": found.same, "jobs": self.jobs, **found.as_dict()}
        write_atomic(self.folder / "parallel.json", json.dumps(data, indent=1).encode() + b"\n")

    def _conclude(self, blocks: int) -> None:
        done = _blocks_done(self.folder)
        runs = [done[number] for number in sorted(done)]
        topology, datapath = next(iter(self.grounds.values()))
        own = cell_parameters(self.experiment, self.plan, self.values[0])
        swept = () if self.evaluate is not None else own
        group_by = (*swept, *(name for name in self.experiment.group_by if name not in own))
        around = runs[-1].environment if runs else environment(datapath, self.values[0], self.command)
        parameters = {name: value for name, value in self.values[0].items() if name not in self.plan.axes} | {
            name: ", ".join(values) for name, values in self.plan.axes.items()
        }
        head: dict[str, Any] = {
            "experiment": self.title,
            "questions": self.experiment.questions,
            "started_utc": runs[0].data["started_utc"] if runs else self.began,
            "parameters": {**parameters, "repeat": self.plan.repeat, "seed": self.plan.seed},
            "topology": topology.as_record(),
            "environment": {**around, "command": self.command, "sweep": self._facts(len(runs), blocks)},
            "group_by": group_by,
        }
        if self.experiment.shown_measures:
            head["shown_measures"] = self.experiment.shown_measures
        trials = [trial for run in runs for trial in run.trials]
        if len(runs) < blocks:
            found = ("failed", f"stopped after {len(runs)} of {blocks} blocks; the same command goes on")
        else:
            found = verdict(trials, group_by)
        more = None
        if self.evaluate is not None and found[0] == "answered":
            head["answer"], more = self.evaluate(runs)
        write_sweep_record(self.folder, head, runs, found, more)

    def _facts(self, done: int, blocks: int) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "blocks": blocks,
            "blocks_done": done,
            "cells": len(self.values),
            "jobs": self.jobs,
        }
        facts["side_by_side"] = self.jobs > 1 and bool(_parallel(self.folder))
        if (self.folder / "parallel.json").exists():
            facts["side_by_side_why"] = json.loads((self.folder / "parallel.json").read_text())["why"]
        return facts


def _show(record: Record) -> None:
    from results.report import write_report
    from results.table import print_table

    print_table(record, write_report(record) if record.trials else None)


__all__ = ["read_words", "start_sweep"]
