"""What may be chosen about a move, and which choices go together; the rest is refused before anything is touched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from mobility.copy import DOWNTIME_LIMIT_S, MAX_ROUNDS
from mobility.drain import DrainRule, parse_drain
from mobility.policies import MigrationRefusedError, policy_for
from vocabulary.moves import ANNOUNCED_WITH, ATTACHMENTS, KINDS, ORDERS, PAUSES, REPLUG
from vocabulary.policies import OldNvePolicy

ANNOUNCEMENTS = 5
"""As many as QEMU makes (announce-rounds)."""
BANDWIDTH_BPS = 1_000_000_000
"""For a warm or cold move that says nothing of its copy."""
_MOST_ANNOUNCEMENTS = 100


@dataclass(frozen=True)
class MoveOptions:
    """How a move is done. The default copies no memory and stops no process: the network's share of a hot move.

    kind            ``hot``: pre-copy rounds while the VM runs, then a short stop. ``warm``: one round while it runs,
                    then it is suspended for the rest. ``cold``: it is stopped, all is copied, it is started.
    policy          what the old NVE does with packets for a VM that has left (``mobility.policies``)
    order           which of stop, mapping update (converge) and resume comes first (``mobility.order``)
    pause           how the VM is paused (``emulation.pause``)
    downtime_s      imposed time from stop to switch; None: what the copy leaves for the stop (0 without a copy)
    bandwidth_bps   rate of the copy; None: hot copies nothing, warm and cold take ``BANDWIDTH_BPS``
    memory_bytes, dirty_rate_bps      None: the VM's own, from the topology
    downtime_limit_s, max_rounds      when pre-copy stops (``mobility.copy``)
    copy_real       real bytes over the underlay between the two NVEs, instead of waiting as long
    drain           when the redirect ends (``mobility.drain``)
    drain_bound_s   after that it ends anyway; None: as the rule asks for, and 10 s more if it waits for something
    observe_s       time after the end of the redirect in which misdirected packets are counted
    announcements   how many, at QEMU's times; 0: a silent host
    announce_with   what they are: ``rarp``, ``garp``, ``na``; ``all``: RARP and NA (``emulation.announcements``)
    buffer_frames   what each holder keeps; None: the network's ``buffer_bytes``
    sample_s        interval of ``buffer`` events; 0: none; None: 5 ms in moves that stop the VM, else none
    """

    kind: str = "hot"
    policy: str = "buffer"
    order: str = "stop-first"
    pause: str = "hold"
    downtime_s: float | None = None
    bandwidth_bps: float | None = None
    memory_bytes: int | None = None
    dirty_rate_bps: float | None = None
    downtime_limit_s: float = DOWNTIME_LIMIT_S
    max_rounds: int = MAX_ROUNDS
    copy_real: bool = False
    drain: str = "acknowledged"
    drain_bound_s: float | None = None
    observe_s: float = 0.0
    announcements: int = ANNOUNCEMENTS
    announce_with: str = "all"
    buffer_frames: int | None = None
    sample_s: float | None = None

    @classmethod
    def of(cls, options: MoveOptions | None, choices: Mapping[str, Any]) -> MoveOptions:
        """These options (or the default ones) with some other choices. MigrationRefusedError for an unknown name."""
        known = [field.name for field in fields(cls)]
        unknown = [name for name in choices if name not in known]
        if unknown:
            raise MigrationRefusedError(
                f"{', '.join(unknown)}: no such option of a move; there are {', '.join(known)}"
            )
        return replace(options or cls(), **choices)

    # What follows from the choices.

    @property
    def copies(self) -> bool:
        """Whether memory is copied (really, or by waiting as long)."""
        return self.bandwidth_bps is not None or (self.kind != "hot" and self.downtime_s is None)

    @property
    def pauses(self) -> bool:
        """Whether the VM stands still for a time."""
        if self.order == "resume-first":
            return False
        return self.kind != "hot" or self.copies or bool(self.downtime_s)

    @property
    def rounds_while_running(self) -> int:
        """How many rounds of the copy may be done while the VM runs."""
        return {"hot": self.max_rounds, "warm": min(1, self.max_rounds), "cold": 0}[self.kind]

    @property
    def drain_rule(self) -> DrainRule:
        """The stop rule; ValueError when it is none (``check`` refuses it before)."""
        return parse_drain(self.drain)

    @property
    def redirect_bound_s(self) -> float:
        """After so long the redirect ends, whatever the stop rule says."""
        return self.drain_rule.bound_s if self.drain_bound_s is None else self.drain_bound_s

    @property
    def sampling_s(self) -> float:
        """Interval of the samples of the holders' fill; 0: none."""
        if self.sample_s is not None:
            return self.sample_s
        return 0.005 if self.pauses else 0.0

    def ends_redirect(self, policy: OldNvePolicy) -> bool:
        """Whether the old NVE's policy ends by itself, before the move does."""
        return self.observe_s > 0 or (policy.redirects and self.drain_rule.name != "acknowledged")

    def check(self, attachment: str) -> OldNvePolicy:
        """Refuse what cannot be done with a VM attached like this (MigrationRefusedError); the policy."""
        for name, value, allowed in (
            ("kind", self.kind, KINDS),
            ("order", self.order, ORDERS),
            ("pause", self.pause, PAUSES),
            ("announce_with", self.announce_with, ANNOUNCED_WITH),
            ("attachment", attachment, ATTACHMENTS),
        ):
            if value not in allowed:
                word = f"{value!r} is not a kind of move" if name == "kind" else f"{name}={value} is unknown"
                raise MigrationRefusedError(f"{word}; allowed: {', '.join(allowed)}")
        self._check_numbers()
        try:
            rule = self.drain_rule
        except ValueError as error:
            raise MigrationRefusedError(str(error)) from None
        policy = policy_for(self.policy, attachment)
        for impossible, reason in self._conflicts(policy, rule, attachment):
            if impossible:
                raise MigrationRefusedError(reason)
        return policy

    def _check_numbers(self) -> None:
        for name in (
            "downtime_s",
            "memory_bytes",
            "dirty_rate_bps",
            "downtime_limit_s",
            "max_rounds",
            "drain_bound_s",
            "observe_s",
            "announcements",
            "sample_s",
        ):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise MigrationRefusedError(f"{name}={value}: a finite number, 0 or more, is wanted")
        for name in ("bandwidth_bps", "buffer_frames"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise MigrationRefusedError(f"{name}={value}: a finite number over 0 is wanted")
        if self.announcements > _MOST_ANNOUNCEMENTS:
            raise MigrationRefusedError(
                f"announcements={self.announcements}: at most {_MOST_ANNOUNCEMENTS}; QEMU makes {ANNOUNCEMENTS}"
            )

    def _conflicts(self, policy: OldNvePolicy, rule: DrainRule, attachment: str) -> list[tuple[bool, str]]:
        """Each pair: whether the combination is impossible, and why."""
        both, replug = self.order == "resume-first", attachment == REPLUG
        return [
            (
                both and self.kind != "hot",
                f"order=resume-first with kind={self.kind}: a {self.kind} move stops the VM before its copy is whole, "
                "so there is nothing to resume before that; choose kind=hot or another order",
            ),
            (
                both and bool(self.downtime_s),
                f"order=resume-first with downtime_s={self.downtime_s}: both copies run for a time, so there is no "
                "downtime; leave it out or choose another order",
            ),
            (
                both and policy.holds,
                f"order=resume-first with policy={policy.name}: packets are held until the VM runs at the new NVE, "
                "and it runs there from the beginning; choose policy=tunnel or silent-drop",
            ),
            (
                both and replug,
                "order=resume-first needs attachment=rebind: with replug the VM has one veth, which cannot be at two "
                "NVEs at once",
            ),
            (
                replug and self.pauses and self.pause == "hold",
                "pause=hold needs attachment=rebind: with replug there is no place to hold frames at; choose "
                "pause=drop",
            ),
            (
                replug and rule.name == "idle",
                "drain=idle needs attachment=rebind: with replug what came through the old NVE cannot be told apart",
            ),
            (
                self.redirect_bound_s < rule.time_s,
                f"drain={self.drain} with drain_bound_s={self.redirect_bound_s:g}: the redirect would end before its "
                f"time; choose a drain_bound_s of at least {rule.time_s:g}, or leave it out",
            ),
            (
                rule.name != "acknowledged" and not policy.redirects,
                f"drain={self.drain} with policy={policy.name}: that policy redirects nothing, so there is no redirect "
                "to stop; choose policy=tunnel or buffer, or drain=acknowledged",
            ),
            (
                self.copy_real and not self.copies,
                "copy_real without a copy: give bandwidth_bps, such as 200 Mbit/s, or a warm or cold kind",
            ),
            (
                self.copy_real and self.downtime_s is not None,
                f"copy_real with downtime_s={self.downtime_s}: real bytes take the time they take; choose one of "
                "the two",
            ),
            (
                self.copies and self.rounds_while_running == 0 and self.kind != "cold",
                f"max_rounds=0 with kind={self.kind}: at least one round is copied while the VM runs; kind=cold "
                "copies none",
            ),
        ]


def check(options: MoveOptions, attachment: str) -> OldNvePolicy:
    """The same as ``options.check(attachment)``."""
    return options.check(attachment)
