"""``make sweep EXP=hot-l2 rate_pps=1000,2000 policy=buffer,tunnel JOBS=2``: an experiment over many settings.

Its folder holds the plan and, beneath it, a run for each block: whatever ends a sweep, the same command goes on.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emulation import preflight
from emulation.nve import Datapath
from emulation.sandbox import BY_SIGNAL, EndedBySignalError, run_in_sandbox
from experiments.probes.build import build_probes
from experiments.running import mistakes
from experiments.running.experiment import Experiment
from experiments.running.parameters import ParameterError, with_topology
from experiments.running.planning import RunPlan, network_s, plan_block, together
from experiments.running.start import keep_visible, planned_datapath, tell_of_memory
from experiments.running.surroundings import environment
from experiments.running.topology_again import topology_named
from experiments.running.validity import verdict
from experiments.sweeping.block import SharedLaboratory, serve
from experiments.sweeping.check import Comparison, compare_control
from experiments.sweeping.crew import Crew
from experiments.sweeping.folder import PARALLEL, PLAN, blocks_done, earlier_check, folder_of, found_harmless
from experiments.sweeping.order import Dispatcher
from experiments.sweeping.plan import Block, SweepPlan, cell_parameters, network_key
from results.figures.merging import write_sweep_record
from results.record.files import write_atomic
from results.record.reading import Record, find_run
from topologies.model import Topology

MOST_JOBS = 64
INTERRUPTED = BY_SIGNAL + signal.SIGINT


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


def do_sweep(asked: Asked, results_folder: Path) -> tuple[int, Path]:
    """Do what is left of a sweep and write its record; the exit status and its folder."""
    preflight.check_root()
    values = asked.plan.all_values(asked.experiment)
    grounds = _grounds(
        asked.experiment,
        values,
        results_folder,
        lambda topology, ports: preflight.check(topology, ports, results_folder),
    )
    values = _of_topologies(asked.experiment, values, grounds)
    build_probes()
    if asked.resume:
        folder, note = find_run(results_folder, asked.resume), ""
    else:
        folder, note = folder_of(asked.plan, results_folder, asked.fresh)
    with (folder / PLAN).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ParameterError(
                f"{folder}: this sweep is running now; wait for it, or begin another one"
            ) from None
        return _Sweep(asked, folder, values, grounds, note).run(), folder


def say_sweep_plan(asked: Asked, results_folder: Path) -> None:
    """Say how many trials a whole sweep would have, how long, how much memory; nothing is begun. No root."""
    values = asked.plan.all_values(asked.experiment)
    grounds = _grounds(asked.experiment, values, results_folder, planned_datapath)
    blocks = asked.plan.order([network_key(own) for own in values])
    values = _of_topologies(asked.experiment, values, grounds)
    print(
        f"sweep of {asked.experiment.name}: {len(values)} cells x {asked.plan.repeat} = {len(blocks)} blocks"
    )
    print(f"sweep of {asked.experiment.name}: {plan_sweep(asked, values, grounds, blocks).sentence()}")


def plan_sweep(
    asked: Asked,
    values: Sequence[Mapping[str, Any]],
    grounds: Mapping[Any, tuple[Topology, Datapath]],
    blocks: Sequence[Block],
) -> RunPlan:
    """What these blocks of a sweep will be, done one by one."""
    keys = [network_key(own) for own in values]
    of_cell = [
        plan_block(asked.experiment, {**own, "repeat": 1}, *grounds[key])
        for own, key in zip(values, keys, strict=True)
    ]
    built = [
        next(cells) for _, cells in itertools.groupby((block.cell for block in blocks), keys.__getitem__)
    ]
    return together(
        [of_cell[block.cell] for block in blocks],
        sum(network_s(grounds[keys[cell]][0], values[cell]) for cell in built),
        asked.jobs,
    )


def _of_topologies(
    experiment: Experiment,
    values: Sequence[Mapping[str, Any]],
    grounds: Mapping[Any, tuple[Topology, Datapath]],
) -> list[dict[str, Any]]:
    """The values of all cells with what their topologies say of the VM; what is copied of its memory is told."""
    topologies = [grounds[network_key(own)][0] for own in values]
    tell_of_memory(experiment, values, topologies)
    return [with_topology(experiment.parameters, *pair) for pair in zip(values, topologies, strict=True)]


def _grounds(
    experiment: Experiment,
    values: Sequence[Mapping[str, Any]],
    results_folder: Path,
    datapath_for: Callable[[Topology, str], Datapath],
) -> dict[Any, tuple[Topology, Datapath]]:
    """Topology and datapath of each network; every cell is checked before anything is built."""
    made: dict[Any, tuple[Topology, Datapath]] = {}
    for own in values:
        key = network_key(own)
        if key not in made:
            topology = topology_named(own["topology"], results_folder)
            made[key] = (topology, datapath_for(topology, own["ports"]))
        experiment.check(own, made[key][0])
        mistakes.refuse_in_sweep(own)
    return made


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
        self.asked, self.evaluate = asked, asked.evaluate
        self.title = f"sweep-{self.experiment.name}"
        if self.evaluate is not None:  # the runs together are the experiment
            self.title = self.name = self.experiment.name
            self.command = f"make {self.experiment.name} {' '.join(self.plan.words[1:])}"

    def run(self) -> int:
        """Work through what is left, then write the record; Ctrl-C leaves what is done."""
        keys = {cell: network_key(own) for cell, own in enumerate(self.values)}
        blocks = self.plan.order([keys[cell] for cell in sorted(keys)])
        done = blocks_done(self.folder)
        unchecked: list[Block] = []
        if found_harmless(self.folder) is None:  # what ran side by side does not count yet
            alone = blocks_done(self.folder, beside=False)
            unchecked = [block for block in blocks if block.number in done and block.number not in alone]
        left = [block for block in blocks if block.number not in done]
        earlier = earlier_check(self.folder, self.jobs) if self.jobs > 1 else None
        dispatcher = Dispatcher(left, self.jobs, keys, earlier, unchecked=unchecked)
        self._greet(len(blocks), len(left) + len(unchecked), dispatcher)
        self.planned = plan_sweep(self.asked, self.values, self.grounds, [*unchecked, *left])
        print(f"{self.name}: {self.planned.sentence()}", flush=True)
        self._pairs = dispatcher.pairs
        crew = Crew(self.name, dispatcher, self._supervise, self._check)
        status = 0
        try:
            crew.work()
        except KeyboardInterrupt:
            status = INTERRUPTED
        except EndedBySignalError as ended:
            print(f"{self.name}: {ended}")
            status = ended.status
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
        if dispatcher.unchecked and dispatcher.parallel is None:
            print(
                f"{self.name}: {len(dispatcher.unchecked)} more were done side by side and count if the check says so"
            )
        if dispatcher.too_few_to_check:
            why = "an earlier check found that sandboxes disturb each other"
            if earlier_check(self.folder, self.jobs) is None:
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
        alone, beside = blocks_done(self.folder, beside=False), blocks_done(self.folder, beside=True)
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
        write_atomic(self.folder / PARALLEL, json.dumps(data, indent=1).encode() + b"\n")

    def _conclude(self, blocks: int) -> None:
        done = blocks_done(self.folder)
        runs = [done[number] for number in sorted(done)]
        topology, datapath = next(iter(self.grounds.values()))
        own = cell_parameters(self.experiment, self.plan, self.values[0])
        swept = () if self.evaluate is not None else own
        group_by = (*swept, *(name for name in self.experiment.group_by if name not in own))
        around = dict(runs[-1].environment) if runs else environment(datapath, self.values[0], self.command)
        around.pop("captures", None)  # of that one run, beneath the sweep
        looked_at = [run for run in runs if "odds" in run.environment]  # the first block of each sandbox
        if looked_at:
            around["odds"] = looked_at[-1].environment["odds"]
        parameters = {name: value for name, value in self.values[0].items() if name not in self.plan.axes} | {
            name: ", ".join(values) for name, values in self.plan.axes.items()
        }
        head: dict[str, Any] = {
            "experiment": self.title,
            "questions": self.experiment.questions,
            "started_utc": runs[0].data["started_utc"] if runs else self.began,
            "parameters": {**parameters, "repeat": self.plan.repeat, "seed": self.plan.seed},
            "topology": topology.as_record(),
            "environment": {
                **around,
                "command": self.command,
                "planned": self.planned.as_record(),
                "sweep": self._facts(len(runs), blocks),
            },
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
        facts["side_by_side"] = self.jobs > 1 and bool(found_harmless(self.folder))
        if (self.folder / PARALLEL).exists():
            facts["side_by_side_why"] = json.loads((self.folder / PARALLEL).read_text())["why"]
        return facts
