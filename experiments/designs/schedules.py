"""The order of trials: which moves and null trials come when, until each has enough valid ones. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from experiments.running.validity import too_few_valid

PATHS = ("co-located to remote", "remote to remote", "remote to co-located")
NULL = "null"


def _hopeless(valid: int, done: int, repeat: int) -> bool:
    """Whether valid ones alone, from now on, could not make enough of them any more."""
    return too_few_valid(repeat, done + repeat - valid)


def path_of(old_nve: str, new_nve: str, peer_nve: str) -> str:
    """Which of the three paths a move is, relative to the peer it talks to."""
    if old_nve == peer_nve:
        return PATHS[0]
    return PATHS[2] if new_nve == peer_nve else PATHS[1]


@dataclass
class Schedule:
    """Moves around a cycle of NVEs, null trials in between at random places, each kind ``repeat`` times valid.

    A move's old NVE is where the move before left the VM, so the moves' own order is fixed; where the null
    trials fall among them is random and seeded. An invalid trial is repeated; a kind of which too few can be
    valid any more is given up, and the run says so.
    """

    cycle: Sequence[str]
    peer_nve: str
    repeat: int
    seed: int
    valid: dict[str, int] = field(init=False)
    done: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        kinds = (*self.paths(), NULL)
        self.valid = dict.fromkeys(kinds, 0)
        self.done = dict.fromkeys(kinds, 0)
        self._random = random.Random(self.seed)

    def paths(self) -> list[str]:
        """The paths that the cycle has, in its order."""
        moves = zip(self.cycle, [*self.cycle[1:], self.cycle[0]], strict=True)
        return list(dict.fromkeys(path_of(old, new, self.peer_nve) for old, new in moves))

    def wanted(self) -> int:
        """How many valid trials make the run complete."""
        return self.repeat * len(self.valid)

    def count(self, kind: str, valid: bool) -> None:
        """Say how a trial ended."""
        self.done[kind] += 1
        self.valid[kind] += valid

    def _missing(self, kind: str) -> int:
        if _hopeless(self.valid[kind], self.done[kind], self.repeat):
            return 0
        return max(0, self.repeat - self.valid[kind])

    def steps(self) -> Iterator[str | None]:
        """The next NVE to move to, or None for a null trial; ask ``count`` after each."""
        position = 0
        while True:
            moves = sum(self._missing(path) for path in self.paths())
            nulls = self._missing(NULL)
            if not moves and not nulls:
                return
            if not moves or (nulls and self._random.random() < nulls / (nulls + moves)):
                yield None
            else:
                position = (position + 1) % len(self.cycle)
                yield self.cycle[position]


@dataclass
class Mix:
    """Groups of trials and null trials in random, seeded order, each ``repeat`` times valid.

    As in ``Schedule`` an invalid trial is repeated, and a group can be given up.
    """

    groups: Sequence[str]
    repeat: int
    seed: int
    valid: dict[str, int] = field(init=False)
    done: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.valid = dict.fromkeys((*self.groups, NULL), 0)
        self.done = dict.fromkeys((*self.groups, NULL), 0)
        self._random = random.Random(self.seed)

    def wanted(self) -> int:
        """How many valid trials make the run complete."""
        return self.repeat * len(self.valid)

    def count(self, group: str, valid: bool) -> None:
        """Say how a trial ended."""
        self.done[group] += 1
        self.valid[group] += valid

    def steps(self) -> Iterator[str]:
        """The next group, or ``NULL``; ask ``count`` after each."""
        while missing := [
            group
            for group, valid in self.valid.items()
            if valid < self.repeat and not _hopeless(valid, self.done[group], self.repeat)
        ]:
            # Weighted by what is missing, so that no group is left to the end.
            weights = [self.repeat - self.valid[group] for group in missing]
            yield self._random.choices(missing, weights)[0]
