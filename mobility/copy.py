"""Copying a running VM's memory in rounds, and what is left to copy while it stands still. Pure.

Pre-copy as of Clark et al., "Live Migration of Virtual Machines", NSDI 2005, sections 3 and 5: the first round sends
all memory, each later one what was written during the round before, and the rest is sent while the VM stands still.
When to stop is asked after each round: the rest is short enough (QEMU's downtime limit), the rounds are used up, or a
round would be no shorter than the one before. Writes hit new pages at a constant rate, up to all of the memory: pages
that are written again and again are not modelled, so times are upper bounds for a VM with a small working set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

DOWNTIME_LIMIT_S = 0.3
"""QEMU's default for downtime-limit (300 ms)."""
MAX_ROUNDS = 30
"""Xen's bound of Clark et al. is 29 rounds and the one with the VM stopped."""


@dataclass(frozen=True)
class Round:
    """One pass over the memory: what was sent and how long it took."""

    number: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class CopyModel:
    """A VM's memory and the path it is copied over. Rates are bits per second, memory is bytes."""

    memory_bytes: int
    dirty_rate_bps: float
    bandwidth_bps: float
    downtime_limit_s: float = DOWNTIME_LIMIT_S
    max_rounds: int = MAX_ROUNDS

    def __post_init__(self) -> None:
        if (
            self.memory_bytes < 0
            or self.dirty_rate_bps < 0
            or self.max_rounds < 0
            or self.downtime_limit_s < 0
        ):
            raise ValueError("memory, dirty rate, rounds and downtime limit must not be negative")
        if self.bandwidth_bps <= 0:
            raise ValueError("the copy's bandwidth must be more than 0")

    def seconds(self, size_bytes: int) -> float:
        """How long so many bytes take over the path."""
        return size_bytes * 8 / self.bandwidth_bps

    def dirtied_bytes(self, seconds: float) -> int:
        """What the VM has written again after so long; never more than all of it."""
        return min(self.memory_bytes, round(self.dirty_rate_bps * seconds / 8))

    def expected_s(self, done: Sequence[Round], left_bytes: int) -> float:
        """How long so many bytes will take, at the rate of the last round if there was one (as hypervisors expect)."""
        if done and done[-1].bytes and done[-1].seconds:
            return left_bytes * done[-1].seconds / done[-1].bytes
        return self.seconds(left_bytes)

    def stop_reason(self, done: Sequence[Round], left_bytes: int) -> str | None:
        """Why not another round: ``converged``, ``rounds used up``, ``not shrinking``; None: one more."""
        if done and self.expected_s(done, left_bytes) <= self.downtime_limit_s:
            return "converged"
        if len(done) >= self.max_rounds:
            return "rounds used up"
        if done and left_bytes >= done[-1].bytes:
            return "not shrinking"
        return None


@dataclass(frozen=True)
class CopyPlan:
    """The rounds while the VM runs, what is left for its stop (``stop_bytes``, ``stop_s``), and why they ended."""

    rounds: tuple[Round, ...]
    stop_bytes: int
    stop_s: float
    reason: str

    @property
    def converged(self) -> bool:
        """Whether the rest is within the downtime limit."""
        return self.reason == "converged"

    @property
    def total_bytes(self) -> int:
        """All bytes, those sent while the VM stands still too."""
        return sum(one.bytes for one in self.rounds) + self.stop_bytes

    @property
    def precopy_s(self) -> float:
        """How long the rounds take while the VM runs."""
        return sum(one.seconds for one in self.rounds)


def precopy(model: CopyModel, send: Callable[[int], float]) -> CopyPlan:
    """Do the rounds: ``send`` moves so many bytes and says how many seconds that took."""
    done: list[Round] = []
    left = model.memory_bytes
    while (reason := model.stop_reason(done, left)) is None:
        took_s = send(left)
        done.append(Round(len(done) + 1, left, took_s))
        left = model.dirtied_bytes(took_s)
    return CopyPlan(tuple(done), left, model.expected_s(done, left), reason)


def rounds(
    memory_bytes: int,
    dirty_rate_bps: float,
    bandwidth_bps: float,
    downtime_limit_s: float = DOWNTIME_LIMIT_S,
    max_rounds: int = MAX_ROUNDS,
) -> CopyPlan:
    """What a copy will be, without doing it. ValueError for a bandwidth of 0 and for negative values."""
    model = CopyModel(memory_bytes, dirty_rate_bps, bandwidth_bps, downtime_limit_s, max_rounds)
    return precopy(model, model.seconds)
