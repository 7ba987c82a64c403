"""A run on a clock of its own: an experiment's own trials are called, but nothing is built and nobody waits.

What comes out is how many trials there will be, how long each takes and what is logged meanwhile: ``planning.py`` makes
a plan of it. Every trial is taken for valid. What takes no time of its own here (a move's network part, a service that
starts) stands for it as a constant, measured on two cores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from emulation.commands import EMULATED, PATIENCE
from experiments.running.beside import SideFlow
from experiments.running.traffic import traffic_plan
from mobility.copying import expected_s
from mobility.options import MoveOptions
from topologies.model import Topology
from vocabulary.moves import DIRECTIONS

SLOWNESS = PATIENCE if EMULATED else 1.0
"""How many times longer everything but waiting takes on emulated processors."""
MOVE_S = 0.06
"""A hot move of nothing but the network's part: `make hot-l2`."""
CONFIGURE_S = 0.03
"""The NVA configured anew, and every NVE programmed."""
LAST_SAMPLES_S = 0.3  # ahead of a session's first trial and after its last one
DRAIN_S = 0.1  # what is under way at a window's end has arrived by then
SEGMENT_BITS = 1448 * 8
UNKNOWN_PPS = 2000.0
"""Of a transport that says nothing of its rate: what a bottleneck of 20 Mbit/s lets through, segments and answers."""


@dataclass(frozen=True)
class Session:
    """Traffic that is started and stopped once: how long it runs, how many packets its logs hold."""

    seconds: float
    packets: float


class RehearsedLaboratory:
    """What experiments ask of a laboratory ahead of and between their trials, without one."""

    def __init__(self, topology: Topology, passes: Callable[[float], None]) -> None:
        self.topology, self._passes = topology, passes
        self.network = _Network(topology)
        self.learned: list[tuple[float, str, str]] = []

    def move(
        self, vm: str, new_nve: str, options: MoveOptions | None = None, **choices: Any
    ) -> SimpleNamespace:
        """Put the VM there, and let as much time pass as its copy, standstill and drain take."""
        choices.pop("hooks", None)
        wanted = MoveOptions.of(options, choices)
        self._passes(SLOWNESS * MOVE_S + expected_s(self.topology.vm(vm), wanted))
        self.network.location[vm] = new_nve
        moment = SimpleNamespace(start_s=0.0, end_s=0.0)
        return SimpleNamespace(phase=lambda _name: moment, phases=[moment], misdirected=None)

    def set_strategy(self, _strategy: str, _mapping_age_s: int | None = None) -> None:
        """As if the NVA were configured anew."""
        self._passes(SLOWNESS * CONFIGURE_S)

    def set_packet_in_limit(self, _limit_pps: int) -> None:
        """As if the NVA were configured anew."""
        self._passes(SLOWNESS * CONFIGURE_S)


class _Network:
    def __init__(self, topology: Topology) -> None:
        self.location = {vm.name: vm.nve for vm in topology.vms}
        self.nves = {nve.name: nve for nve in topology.nves}

    def __getitem__(self, _name: str) -> SimpleNamespace:
        return SimpleNamespace(pid=0)  # whatever would look into a node is called in a trial only


class Rehearsal:
    """What an experiment's ``trials`` get instead of a ``Run``."""

    def __init__(self, values: Mapping[str, Any], topology: Topology) -> None:
        self.values = dict(values)
        self.laboratory = RehearsedLaboratory(topology, self.passes)
        self.observe: Any = None
        self.flow_mods: Counter[str] = Counter()
        self.seconds = 0.0
        self.guarded_s: list[float] = []
        """Of every trial that the load guard judges: how long it may not be disturbed."""
        self.sessions: list[Session] = []
        self.trials = 0
        self._moved_like = (0.0, 0.0)  # the last move's trial after its middle: how long, how long guarded

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds

    def expect(self, trials: int) -> None:
        """The trials themselves are counted."""

    def remark(self, sentence: str) -> None:
        """The run will say it."""

    @contextmanager
    def traffic(
        self, beside: Sequence[SideFlow] = (), directions: Sequence[str] = DIRECTIONS, **changes: Any
    ) -> Iterator[None]:
        """A session of ``Run.traffic``."""
        plan = traffic_plan(self.values, directions, changes)
        rate_pps = plan.udp_pps * len(plan.directions) + 4 * plan.tcp_bps / SEGMENT_BITS
        if plan.transports:
            rate_pps = UNKNOWN_PPS
        rate_pps += sum(flow.rate_pps for flow in beside)
        begin_s = self.seconds
        self.passes(LAST_SAMPLES_S)
        self._moved_like = (0.0, 0.0)
        yield
        self.passes(LAST_SAMPLES_S)
        took_s = self.seconds - begin_s
        self.sessions.append(Session(took_s, rate_pps * took_s))

    def trial(
        self,
        _parameters: Mapping[str, Any],
        move: Callable[[], Any] | None,
        guarded_s: float | None = None,
        *,
        after_s: float | None = None,
    ) -> bool:
        """A trial of ``Run.trial``, valid."""
        before_s = self.values["before"]
        self.passes(before_s)
        begin_s = self.seconds
        if move is not None:
            move()
        self.passes(max(self.values["after"] if after_s is None else after_s, DRAIN_S))
        if move is None:  # as long as the last move's trial, and as long guarded
            self.passes(max(0.0, begin_s + self._moved_like[0] - self.seconds))
            guarded_s = self._moved_like[1] or guarded_s
        whole_s = self.seconds - begin_s
        judged_s = whole_s if guarded_s is None else min(whole_s, guarded_s)
        if move is not None:
            self._moved_like = (whole_s, judged_s)
        self._count(before_s + judged_s)
        return True

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The load guard alone."""
        yield

    def note_trial(self, seconds: float, *, guarded: bool = True) -> None:
        """A trial with measures of its own that takes so long."""
        self.passes(seconds)
        if guarded:
            self._count(seconds)
        else:
            self.trials += 1

    def _count(self, guarded_s: float) -> None:
        self.trials += 1
        self.guarded_s.append(guarded_s)
