"""One run of one experiment: sandbox, laboratory, trials, record; and afterwards table and report.

The record exists before the sandbox does and says that the run died; only a run that reaches its end says otherwise.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from emulation.network import RUN_FOLDER, Options
from emulation.nve import Datapath
from experiments.attribution.attribute import Attribution
from experiments.attribution.move_facts import Event
from experiments.attribution.packet_fates import Flow, TrialCauses, cause_columns, check_sums
from experiments.probes.guard import Bounds, LoadGuard
from experiments.probes.measures import Window
from experiments.probes.transports.base import Offered, Scope
from experiments.running import mistakes
from experiments.running.beside import Beside, SideFlow
from experiments.running.captures import capturing
from experiments.running.connections import Connections, connection_measures
from experiments.running.experiment import Experiment
from experiments.running.guarding import LOOKED_AT_S, bounds_for, look, warning
from experiments.running.laboratory import Laboratory, named_in
from experiments.running.move_measures import later_part, moves_measures
from experiments.running.offered import missed_reason, offered_measures, offered_rates
from experiments.running.progress import Progress
from experiments.running.sentences import ends_of_connections, later_gaps
from experiments.running.surroundings import delay_backend
from experiments.running.traffic import Traffic, traffic_plan
from experiments.running.trial_events import sampled_events
from experiments.running.validity import verdict
from mobility.migration import MigrationRecord
from results.figures.offered import BUSY_MACHINE, MISSED_RATE
from results.figures.statistics import summarise
from results.record.files import write_atomic
from results.record.writer import RunRecord
from topologies.model import Topology
from vocabulary.moves import DIRECTIONS

DRAIN_S = 0.1  # what is under way at a window's end has arrived by then
LAST_SAMPLES_S = 0.3

Observe = Callable[[], Callable[[], Mapping[str, float]]]
"""Begins to look at something and returns what, called at the window's end, gives measures of it."""

Move = Callable[[], MigrationRecord | Sequence[MigrationRecord]]
"""Does a trial's move, or all its moves."""


class Run:
    """What an experiment's trials work with: the laboratory, ``trial``, ``traffic``."""

    def __init__(
        self,
        experiment: Experiment,
        values: Mapping[str, Any],
        record: RunRecord,
        progress: Progress | None = None,
        guarded_s: Sequence[float] = (),
    ) -> None:
        """``guarded_s``: of each planned trial, how long it must not be disturbed; without, no odds are told."""
        self.experiment, self.values, self.record = experiment, dict(values), record
        self.laboratory: Laboratory
        self.observe: Observe | None = (
            None  # an experiment's own measures: called at the start of every trial
        )
        self.flow_mods: Counter[str] = Counter()  # NVE -> flow-mods that moves have cost so far
        self._beside: Beside | None = None
        self._remarks: list[str] = []
        self._progress = progress or Progress(experiment.name)
        self._guarded_s = tuple(guarded_s)
        self._index, self._now = -1, -1  # of the last trial; of the one under way, -1 between trials
        self._counting = threading.Lock()
        self._pending: list[dict[str, Any]] = []
        self._guard: LoadGuard
        self._traffic: Traffic | None = None
        self._connections: Connections | None = None
        self._moved_like = (
            0.0,
            0.0,
        )  # how long the last move's trial went on after its middle, and was guarded
        self._attribution: Attribution | None = None

    def execute(self, topology: Topology, datapath: Datapath) -> None:
        """Build, do the trials, evaluate, write the verdict."""
        fault = self.values.get("fault", mistakes.NONE)
        attachment = self.values.get("attachment", "rebind")
        options = Options(datapath, attachment=attachment, **mistakes.wrong_options(self.values, topology))
        self.laboratory = Laboratory(topology, options, self.emit)
        self.laboratory.hooks = partial(mistakes.wrong_hooks, fault, self.laboratory.network)
        with self._progress:
            self.laboratory.start(self._progress.step)
            self.record.set_environment(
                {"start_s": self.laboratory.timings_s, "delay_backend": delay_backend(topology)}
            )
            _write_nodes(self.record.folder, self.laboratory)
            self.conduct()
        self.record.set_environment({"load_after": list(os.getloadavg())})
        status, why = verdict(self.record.trials, self.experiment.group_by)
        conclude = self.experiment.conclude
        answer = conclude(self.record.trials) if conclude is not None and status == "answered" else None
        if answer is not None:
            further = (
                ends_of_connections(self.record.trials),
                later_gaps(self.record.trials),
                *self._remarks,
            )
            answer = " ".join(filter(None, (answer, *further)))
        self.record.finish(status, why, summarise(self.record.trials), answer=answer)
        self.laboratory.stop()

    def conduct(self) -> None:
        """All trials of the experiment in a laboratory that stands."""
        self.laboratory.warm_up(named_in(self.values, self.laboratory.topology))
        with capturing(self.laboratory, self.values, self.record):
            self.experiment.trials(self)
        self.laboratory.check()

    def expect(self, trials: int) -> None:
        """Say how many valid trials the progress bar should count to."""
        self._progress.expect(trials)

    def remark(self, sentence: str) -> None:
        """Say what this run could not do here: it stands in the record and behind the answer."""
        self._remarks.append(sentence)
        self.record.set_environment({"remarks": self._remarks})

    def emit(self, t_s: float, kind: str, **fields: Any) -> None:
        """An event of the laboratory: of the trial under way, -1 between trials."""
        self.record.event(t_s, kind, trial=self._now, **fields)
        if self._attribution is not None:
            self._attribution.note(self._now, Event(t_s, kind, fields))
        if kind == "flow_mods":
            with self._counting:  # several VMs may move at once
                self.flow_mods[fields["nve"]] += fields["count"]

    @contextmanager
    def traffic(
        self, beside: Sequence[SideFlow] = (), directions: Sequence[str] = DIRECTIONS, **changes: Any
    ) -> Iterator[None]:
        """Probes and load guard run within the block; at its end its trials are evaluated and recorded.

        ``directions``: which way UDP goes; with one alone there is no TCP, so that the other end says nothing.
        ``changes``: fields of TrafficPlan that are not what the parameters say.
        """
        values = self.values
        plan = traffic_plan(values, directions, changes)
        self._traffic = Traffic(self.laboratory.network, plan, RUN_FOLDER / "probes")
        self._beside = Beside(beside, RUN_FOLDER / "probes", self._traffic.spawner) if beside else None
        followed = values.get("attribution", "on") == "on" and self._numbered_flows()
        self._attribution = self.follower() if followed else None
        guard_folder = RUN_FOLDER / "guard"
        guard_folder.mkdir(exist_ok=True)
        self._guard = LoadGuard(guard_folder, bounds_for(self.values))
        try:
            self._guard.start(_as_child)
            if self._attribution is not None:
                self._attribution.start()
            self._traffic.start()
            if self._beside is not None:
                self._beside.start()
            time.sleep(LAST_SAMPLES_S)  # TCP finds its pace
            self._tell_odds()
            self._connections, self._moved_like = Connections(self._traffic.progress), (0.0, 0.0)
            yield
            time.sleep(LAST_SAMPLES_S)
            self._note_late_ends()
            if self._beside is not None:
                self._beside.stop()
            self._traffic.stop()
            self._guard.stop()
            if self._attribution is not None:
                self._attribution.stop()
                self.record.set_environment({"taps": self._attribution.cost})
                if math.isfinite(self._attribution.until_s):
                    text = "the taps' log was full: packets of later trials were not followed"
                    self.record.event(self._attribution.until_s, "note", trial=-1, text=text)
        except BaseException:
            if self._attribution is not None:
                self._attribution.kill()
            self._traffic.kill()
            if self._beside is not None:
                self._beside.kill()
            self._guard.kill()
            raise
        self._progress.step("evaluating")
        self._evaluate(self._traffic)
        self._pending.clear()

    def follower(self) -> Attribution:
        """What follows the packets of the traffic under way; whoever asks starts and stops it."""
        return Attribution(self.laboratory.network, self._numbered_flows(), RUN_FOLDER / "probes", _as_child)

    def _numbered_flows(self) -> list[Flow]:
        assert self._traffic is not None
        return self._traffic.numbered_flows() + (self._beside.numbered_flows() if self._beside else [])

    def trial(
        self,
        parameters: Mapping[str, Any],
        move: Move | None,
        guarded_s: float | None = None,
        *,
        after_s: float | None = None,
    ) -> bool:
        """One trial: ``move`` (or nothing: a null trial) in a window of its own; whether it is valid.

        ``parameters`` are what the trial is grouped by; those of a null trial say which groups it is the floor of,
        without any it is that of all. ``move`` gives the record of its move, or of each of its moves. ``guarded_s``:
        only so long after the move's begin a busy machine spoils the trial; None: in all of its window but the time
        in which it waits for connections. ``after_s``: instead of the parameter ``after``.

        It begins when no connection is in backoff any more, and is over when each has got bytes again, has ended, or
        its bound is over (``connections``). A null trial is as long as the trial of the last move, and as long guarded.
        """
        assert self._connections is not None  # within ``traffic``
        self.laboratory.check()
        self._note_late_ends()
        quiet_s = self._connections.quiet_down()
        left_out = sorted(self._connections.left_out)
        if self._attribution is not None:
            self._attribution.begin_trial()
        self._index += 1
        self._now = self._index
        observed = self.observe() if self.observe is not None else dict
        start_s = self._guard.snapshot().t_s
        offered = self._offered()
        middle_s = start_s + self.values["before"]
        _sleep_until(middle_s)
        migrations = _as_dicts(move()) if move is not None else []
        moved_s = time.monotonic()
        planned_s = moved_s + max(self.values["after"] if after_s is None else after_s, DRAIN_S)
        if move is None:
            planned_s = max(planned_s, middle_s + self._moved_like[0])
            guarded_s = self._moved_like[1] or guarded_s
        _sleep_until(planned_s)
        endings, end_s = self._connections.fates(moved_s, planned_s)
        rates = offered_rates(
            offered, self._offered(), migrations, max(0.0, self._guard.bounds.lag_s - Bounds().lag_s)
        )
        judged_s = planned_s if guarded_s is None else min(planned_s, middle_s + guarded_s)
        if move is not None:
            self._moved_like = (end_s - middle_s, judged_s - middle_s)
        quiet, busy = self._guard.judge((start_s, judged_s))
        missed = missed_reason(rates)
        valid = quiet and not missed
        self._now = -1
        # Under push every NVE has all mappings and asks for none. Reading takes a process an NVE, seconds under TCG.
        if self._attribution is not None and self.laboratory.strategy != "push":
            self._attribution.end_trial(self._index)
        self._pending.append(
            {
                "index": self._index,
                "valid": valid,
                "invalid_reason": None if valid else "; ".join(filter(None, (missed, busy))),
                **(
                    {}
                    if valid
                    else {"invalid_by": [MISSED_RATE] * bool(missed) + [BUSY_MACHINE] * (not quiet)}
                ),
                "null": not migrations,
                "parameters": dict(parameters),
                "migration": migrations[0] if migrations else None,
                **({"migrations": migrations} if len(migrations) > 1 else {}),
                "window_s": [start_s, end_s],
                **later_part(migrations, middle_s, end_s),
                "connections": endings,
                "left_out": left_out,
                "observed": {**observed(), **offered_measures(rates), "quiet_down_s": quiet_s},
            }
        )
        self._progress.advance(valid)
        return valid

    def _offered(self) -> dict[str, Offered]:
        """What every flow's sender has offered by now."""
        assert self._traffic is not None
        return self._traffic.offered() | (self._beside.offered() if self._beside is not None else {})

    def _note_late_ends(self) -> None:
        """A connection that ended between two trials did so after the first one's move."""
        assert self._connections is not None
        ended = self._connections.ended_since()
        if self._pending:
            self._pending[-1]["connections"] |= ended

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The load guard runs within the block, for trials that bring their own traffic (``note_trial``)."""
        folder = RUN_FOLDER / "guard"
        folder.mkdir(exist_ok=True)
        self._guard = LoadGuard(folder, bounds_for(self.values))
        try:
            self._guard.start(_as_child)
            self._tell_odds()
            yield
            self._guard.stop()
        except BaseException:
            self._guard.kill()
            raise

    def _tell_odds(self) -> None:
        """Ahead of the first trial: look at the machine for a moment, record the load guard's odds, say poor ones."""
        guarded_s, self._guarded_s = self._guarded_s, ()
        if not guarded_s:
            return
        since_s = time.monotonic()
        _sleep_until(since_s + LOOKED_AT_S)
        odds = look(self._guard, since_s, time.monotonic())
        names = [parameter.name for parameter in self.experiment.parameters]
        if (told := warning(odds, guarded_s, names, os.getloadavg()[0])) is not None:
            self._progress.say(told)
        self.record.set_environment({"odds": odds.as_record(guarded_s)})

    def note_trial(
        self,
        parameters: Mapping[str, Any],
        measures: Mapping[str, float],
        *,
        classes: Mapping[str, str] | None = None,
        null: bool = False,
        window: Window | None = None,
    ) -> bool:
        """One trial with measures of its own; whether it is valid.

        With a ``window`` (within ``watched``) the load guard judges; without one the trial counts things that no load
        can change, and is valid.
        """
        self.laboratory.check()
        self._index += 1
        valid, reason = (True, "") if window is None else self._guard.judge(window)
        self.record.add_trial(
            {
                "index": self._index,
                "valid": valid,
                "invalid_reason": None if valid else reason,
                **({} if valid else {"invalid_by": [BUSY_MACHINE]}),
                "null": null,
                "parameters": dict(parameters),
                "migration": None,
                "measures": dict(measures),
                "classes": dict(classes or {}),
            }
        )
        self._progress.advance(valid)
        return valid

    def _evaluate(self, traffic: Traffic) -> None:
        windows = [(trial["index"], tuple(trial["window_s"])) for trial in self._pending]
        packets = traffic.numbered_packets() | (self._beside.numbered_packets() if self._beside else {})
        found: list[TrialCauses] = []
        for trial, (_, window) in zip(self._pending, windows, strict=True):
            endings, left_out = trial.pop("connections"), trial.pop("left_out")
            scope = Scope(frozenset(left_out), trial.get("later_s"))
            measures = traffic.measures(window, scope) | trial.pop("observed")
            if endings or left_out:
                measures |= connection_measures(endings, len(left_out))
                trial["connections"] = {name: ending.as_dict() for name, ending in endings.items()}
            if self._beside is not None:
                measures |= self._beside.measures(window, scope.later_s)
                leaked = self._beside.leaked_packets(window) + traffic.leaked_packets(window)
                measures["leaked_packets"] = leaked
            if self._attribution is not None and window[1] < self._attribution.until_s:
                moves = trial.get("migrations") or ([trial["migration"]] if trial["migration"] else [])
                causes = self._attribution.causes(trial["index"], window, moves, packets)
                check_sums(causes.counts, measures, trial["index"])
                trial["causes"] = causes.counts
                measures |= causes.measures()
                found.append(causes)
            if trial["migration"] is not None:
                measures |= moves_measures(trial.get("migrations") or [trial["migration"]])
            words = {name: value for name, value in measures.items() if isinstance(value, str)}
            numbers = {name: value for name, value in measures.items() if name not in words}
            self.record.add_trial({**trial, "measures": numbers, "classes": words})
        files = traffic.samples(windows)
        for trial in self._pending:
            for event in sampled_events(files, trial["index"], _switch_s(trial["migration"])):
                self.record.event(event.t_s, event.kind, trial=trial["index"], **event.fields)
        for name, columns in files.items():
            self.record.add_samples(name, columns)
        if self._attribution is not None:
            self.record.add_samples("causes", cause_columns(found))
        lag = self._guard.lag()
        lag = lag[lag["is_event"] == 1]
        lags = {"t_s": lag["t_ns"] / 1e9, "cpu": lag["cpu"], "lag_s": lag["lag_ns"] / 1e9}
        self.record.add_samples("lag", lags)


def _as_child(argv: list[str]) -> subprocess.Popen[bytes]:
    """Start a probe in the sandbox's own namespace."""
    return subprocess.Popen(argv, stderr=subprocess.PIPE)


def _as_dicts(moved: MigrationRecord | Sequence[MigrationRecord]) -> list[dict[str, Any]]:
    """The records as objects, the one that began first in front."""
    records = [moved] if isinstance(moved, MigrationRecord) else list(moved)
    return [one.as_dict() for one in sorted(records, key=lambda one: one.phases[0].start_s)]


def _switch_s(migration: Mapping[str, Any] | None) -> float | None:
    phases = () if migration is None else migration["phases"]
    return next((phase["start_s"] for phase in phases if phase["name"] == "switch"), None)


def _sleep_until(moment_s: float) -> None:
    """The window's own length: time is what is being waited for."""
    while (left_s := moment_s - time.monotonic()) > 0:
        time.sleep(left_s)


def _write_nodes(folder: Path, laboratory: Laboratory) -> None:
    """PIDs inside the sandbox, for those who want a shell in a node."""
    network = laboratory.network
    nodes = {node.name: node.pid for node in (*network.hosts, *network.switches)}
    write_atomic(folder / "nodes.json", json.dumps(nodes).encode())
