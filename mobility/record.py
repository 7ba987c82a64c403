"""What a move leaves behind: its phases with their times, what was held, lost, copied, and how it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from emulation.pause import is_faithful, sender_timers_faithful
from mobility.copy import Round
from mobility.options import MoveOptions


class EmitsEvents(Protocol):
    """Receives events: ``emit(t_s, kind, **fields)`` as in results/FORMAT.md. May be called from several threads."""

    def __call__(self, t_s: float, kind: str, **fields: Any) -> None:
        """Take one event."""


def ignore_events(t_s: float, kind: str, **fields: Any) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Phase:
    """One phase with its times on the monotonic clock."""

    name: str
    start_s: float
    end_s: float


@dataclass
class MigrationRecord:
    """What a move did. Times are seconds, moments are CLOCK_MONOTONIC.

    ``paused_s``, ``resumed_s``: when the VM stopped and ran again (None: it never stopped). ``dropped_frames``: found a
    holder full, since the start of the network; ``overflow_frames``: in this move. ``sunk_frames``: NVE -> leg ->
    frames that came out there while nobody was there to hear them. ``buffer_peak``: the most that each holder kept,
    ``buffer_peak_frames``: all of them at one moment, by samples. ``misdirected`` (None: not asked): ``packets`` that
    came to the old NVE within ``window_s`` after its policy had ended, ``by_nve``: from where, ``by_cause``: whether
    that NVE had been ``not told`` by the commit or its packets were ``told, on the way``; ``while_redirected``:
    those that came before, after the commit, and were still redirected (0 where every peer is told by the commit);
    what came in the ``slack_s`` before the end may be counted as either. ``stale_peers``: NVEs that the commit did not
    tell; a rule `acknowledged` says nothing of them. ``redirected_frames`` came through the old NVE, the last one at
    ``last_redirected_s`` or, when that is where the drain began, before (None: nobody watched).
    """

    migration_id: str
    kind: str
    vm: str
    old_nve: str
    new_nve: str
    policy: str
    attachment: str
    options: MoveOptions = field(default_factory=MoveOptions)
    phases: list[Phase] = field(default_factory=list)
    call_to_last_barrier_s: float | None = None
    old_path_clear_s: float | None = None
    end_markers_s: float | None = None
    held_frames: dict[str, int] = field(default_factory=dict)
    dropped_frames: int = 0
    overflow_frames: int = 0
    redirected_frames: int = 0
    last_redirected_s: float | None = None
    stale_peers: list[str] = field(default_factory=list)
    sunk_frames: dict[str, dict[str, int]] = field(default_factory=dict)
    buffer_peak: dict[str, int] = field(default_factory=dict)
    buffer_peak_frames: int = 0
    paused_s: float | None = None
    resumed_s: float | None = None
    copy_rounds: list[Round] = field(default_factory=list)
    copy_ended: str | None = None
    stop_bytes: int = 0
    copied_bytes: int = 0
    drain_ended: str | None = None
    drain_s: float | None = None
    drained_frames: int = 0
    redirect_ended_s: float | None = None
    misdirected: dict[str, Any] | None = None
    outcome: str = "running"

    @property
    def downtime_s(self) -> float:
        """How long the VM stood still; 0 when it never did."""
        return 0.0 if self.paused_s is None or self.resumed_s is None else self.resumed_s - self.paused_s

    @property
    def pause_faithful(self) -> bool:
        """Whether peers could not tell the VM's pause from a hypervisor's; True when it never stopped."""
        return self.paused_s is None or is_faithful(self.options.pause)

    @property
    def total_s(self) -> float:
        """From the first phase's start to the last one's end."""
        return self.phases[-1].end_s - self.phases[0].start_s if self.phases else 0.0

    def phase(self, name: str) -> Phase:
        """The phase of that name. KeyError when it did not begin."""
        found = {phase.name: phase for phase in self.phases}
        return found[name]

    def as_dict(self) -> dict[str, Any]:
        """The ``migration`` object of a run's record."""
        stopped = self.paused_s is not None
        return {
            **{
                key: value
                for key, value in vars(self).items()
                if key not in ("phases", "options", "copy_rounds")
            },
            "phases": [vars(phase) for phase in self.phases],
            "options": asdict(self.options),
            "order": self.options.order,
            "copy_rounds": [vars(one) for one in self.copy_rounds],
            "downtime_s": self.downtime_s,
            "total_s": self.total_s,
            "pause": self.options.pause if stopped else None,
            "pause_faithful": self.pause_faithful,
            "sender_timers_faithful": not stopped or sender_timers_faithful(self.downtime_s),
        }
