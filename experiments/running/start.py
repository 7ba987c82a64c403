"""Starting a run of one experiment: everything is checked, its record exists, then it goes into a sandbox."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emulation import preflight
from emulation.errors import PreflightError
from emulation.nve import Datapath
from emulation.sandbox import run_in_sandbox
from experiments.probes.build import build_probes
from experiments.running.experiment import Experiment
from experiments.running.laboratory import PROJECT
from experiments.running.parameters import as_words, origins, with_topology
from experiments.running.planning import plan_run
from experiments.running.run import Run
from experiments.running.surroundings import environment
from experiments.running.topology_again import topology_named
from results.record.files import write_atomic
from results.record.writer import RunRecord
from topologies import Topology
from topologies.notes import notes


def keep_visible(results_folder: Path) -> list[Path]:
    """What must stay visible inside a sandbox, wherever it lies."""
    return [PROJECT, results_folder, Path(sys.prefix), Path(sys.executable).resolve()]


def tell_of_memory(
    experiment: Experiment, values: Sequence[Mapping[str, Any]], topologies: Sequence[Topology]
) -> None:
    """Say what a run, or each cell of a sweep, copies of the VM's memory, and where its size comes from."""
    lines = []
    for own, topology in zip(values, topologies, strict=True):
        lines.append(experiment.memory(own))
        lines += origins(experiment.parameters, own, topology)
    for line in dict.fromkeys(line for line in lines if line):
        print(f"{experiment.name}: {line}")


def _ground(experiment: Experiment, values: Mapping[str, Any], results_folder: Path) -> Topology:
    """The topology, checked against what the experiment needs."""
    topology = topology_named(values["topology"], results_folder)
    experiment.check(values, topology)
    return topology


def say_plan(experiment: Experiment, values: Mapping[str, Any], results_folder: Path) -> None:
    """Say how many trials a run would have, how long it would take, how much memory; nothing is begun. No root."""
    topology = _ground(experiment, values, results_folder)
    datapath = planned_datapath(topology, values["ports"])
    print(f"{experiment.name}: {topology.summary}")
    tell_of_memory(experiment, [values], [topology])
    plan = plan_run(experiment, with_topology(experiment.parameters, values, topology), topology, datapath)
    print(f"{experiment.name}: {plan.sentence()}")
    for obstacle in preflight.obstacles(topology, in_image(experiment, values)):
        print(f"{experiment.name}: this machine refuses it as it is: {obstacle}")


def as_typed(experiment: Experiment, values: Mapping[str, Any]) -> str:
    """The experiment's name and its parameters, as behind `make`."""
    words = (shlex.quote(word) for word in as_words(experiment.parameters, values))
    return " ".join((experiment.name, *words))


def in_image(experiment: Experiment, values: Mapping[str, Any]) -> str:
    """The command that does the same in the VM image."""
    return f"make image-run EXP={as_typed(experiment, values)}"


def planned_datapath(topology: Topology, ports: str) -> Datapath:
    """The datapath that a run would have here, for its plan; PreflightError when there is none as asked for."""
    datapath, why_not = preflight.datapath_for(topology, ports)
    if datapath is None:
        raise PreflightError([why_not or "no datapath"])
    return datapath


def start_run(experiment: Experiment, values: Mapping[str, Any], results_folder: Path) -> tuple[int, Path]:
    """Check everything, then run in a sandbox; the exit status (0: answered) and the run's folder."""
    preflight.check_root()
    topology = _ground(experiment, values, results_folder)
    datapath = preflight.check(topology, values["ports"], results_folder, in_image(experiment, values))
    tell_of_memory(experiment, [values], [topology])
    command = f"make {as_typed(experiment, values)}"  # as it was asked for
    values = with_topology(experiment.parameters, values, topology)
    plan = plan_run(experiment, values, topology, datapath)
    build_probes()
    record = RunRecord.create(
        results_folder,
        experiment.name,
        experiment.questions,
        values,
        topology.as_record(),
        group_by=experiment.group_by,
        shown_measures=experiment.shown_measures or None,
    )
    around = environment(datapath, values, command)
    record.set_environment({**around, "planned": plan.as_record()})
    print(
        f"{experiment.name}: {topology.summary}; {datapath.kind} datapath, {datapath.port_type} ports "
        f"({datapath.reason})"
    )
    for line in notes(topology):
        print(f"{experiment.name}: {line}")
    print(f"{experiment.name}: {plan.sentence()}", flush=True)

    def runner() -> int:
        with record:
            Run(experiment, values, record, guarded_s=plan.guarded_s).execute(topology, datapath)
        return 0

    def on_start(init: int) -> None:
        write_atomic(record.folder / "sandbox.json", json.dumps({"init_pid": init}).encode())

    status = run_in_sandbox(runner, keep=keep_visible(results_folder), on_start=on_start)
    return status, record.folder
