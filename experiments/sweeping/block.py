"""One block of a sweep in a laboratory that stands: a run of its own, with its own record, beneath the sweep."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emulation.network import RUN_FOLDER, Options
from emulation.nve import Datapath
from experiments.running.experiment import Experiment
from experiments.running.laboratory import Laboratory
from experiments.running.parameters import with_topology
from experiments.running.planning import plan_block
from experiments.running.progress import Progress
from experiments.running.run import Run
from experiments.running.surroundings import delay_backend
from experiments.running.validity import verdict
from experiments.sweeping.plan import Block, SweepPlan, cell_parameters
from results.record.writer import RunRecord
from topologies.model import Topology


class _Silent(Progress):
    """The sweep as a whole has a progress bar, a block has none."""

    def __enter__(self) -> Progress:
        return self

    def step(self, what: str) -> None:
        """Nothing."""

    def expect(self, total: int) -> None:
        """Nothing."""

    def advance(self, valid: bool) -> None:
        """Nothing."""


class _CellRecord:
    """A record whose every trial, null ones too, carries its cell's parameters."""

    def __init__(self, record: RunRecord, cell: Mapping[str, Any]) -> None:
        self._record, self._cell = record, cell

    def add_trial(self, trial: Mapping[str, Any]) -> None:
        self._record.add_trial({**trial, "parameters": {**self._cell, **trial["parameters"]}})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)


class SharedLaboratory:
    """A laboratory in which blocks are done one after the other; its events go to the block under way."""

    def __init__(
        self,
        experiment: Experiment,
        plan: SweepPlan,
        folder: Path,
        topology: Topology,
        datapath: Datapath,
        values: Mapping[str, Any],
    ) -> None:
        self._experiment, self._plan, self._folder, self._topology = experiment, plan, folder, topology
        self._datapath, self._odds_told = datapath, False
        self._run: Run | None = None
        options = Options(datapath, attachment=values.get("attachment", "rebind"))
        self.laboratory = Laboratory(topology, options, self._emit)

    def _emit(self, t_s: float, kind: str, **fields: Any) -> None:
        if self._run is not None:
            self._run.emit(t_s, kind, **fields)

    def start(self) -> None:
        """Build the network."""
        self.laboratory.start()

    def _told_once(self, values: Mapping[str, Any]) -> tuple[float, ...]:
        """For the first block: how long its trials must not be disturbed. The odds of one stand for all."""
        if self._odds_told:
            return ()
        self._odds_told = True
        return plan_block(self._experiment, values, self._topology, self._datapath).guarded_s

    def do(self, block: Block, environment: Mapping[str, Any], beside: bool) -> dict[str, Any]:
        """Do one block; how many trials were valid, and how many not."""
        asked = self._plan.values(self._experiment, block)
        values = with_topology(self._experiment.parameters, asked, self._topology)
        cell = cell_parameters(self._experiment, self._plan, values)
        record = RunRecord.create(
            self._folder,
            self._experiment.name,
            self._experiment.questions,
            values,
            self._topology.as_record(),
            group_by=(*cell, *self._experiment.group_by),
            shown_measures=self._experiment.shown_measures or None,
        )
        place = {"block": block.number, "cell": block.cell, "round": block.round, "beside": beside}
        around = {**environment, "delay_backend": delay_backend(self._topology)}
        record.set_environment({**around, "sweep": place})
        for leftover in ("probes", "guard"):
            shutil.rmtree(RUN_FOLDER / leftover, ignore_errors=True)
        with record:
            run = Run(
                self._experiment,
                values,
                _CellRecord(record, cell),  # type: ignore[arg-type]
                _Silent(f"block {block.number}"),
                self._told_once(values),
            )
            run.laboratory = self.laboratory
            self._run = run
            try:
                run.conduct()
            finally:
                self._run = None
            status, why = verdict(record.trials, self._experiment.group_by)
            record.finish(status, why)
        valid = sum(trial["valid"] for trial in record.trials)
        return {"valid": valid, "invalid": len(record.trials) - valid}


def serve(shared: SharedLaboratory, channel: socket.socket, environment: Mapping[str, Any]) -> int:
    """A sandbox's life: build, then blocks as they are asked for (one JSON object a line), until the channel ends."""
    shared.start()
    with channel.makefile("r") as asked:
        _say(channel, {"kind": "ready"})
        for line in asked:
            order = json.loads(line)
            counts = shared.do(Block(**order["block"]), environment, order["beside"])
            _say(channel, {"kind": "done", **counts})
    shared.laboratory.stop()
    return 0


def _say(channel: socket.socket, message: Mapping[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")
