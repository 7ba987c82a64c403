"""Which block of a sweep is done next and where, with several sandboxes at once and a check of them. Pure.

Trials that run beside each other share the machine. So some control blocks run alone and some beside others, in turn;
only if their figures agree do the rest run side by side, else one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.sweeping.plan import Block

CHECK_PAIRS = 3
MOST_ATTEMPTS = 2


@dataclass(frozen=True)
class Given:
    """A block for a worker; ``beside``: other sandboxes may run meanwhile; ``control``: it is held against its twin."""

    block: Block
    beside: bool
    control: bool = False


def control_pairs(blocks: Sequence[Block]) -> list[tuple[Block, Block]]:
    """Pairs of blocks of one cell each, of different cells as far as there are, for the check."""
    by_cell: dict[int, list[Block]] = {}
    for block in blocks:
        by_cell.setdefault(block.cell, []).append(block)
    pairs: list[tuple[Block, Block]] = []
    while len(pairs) < CHECK_PAIRS and any(len(own) >= 2 for own in by_cell.values()):
        for own in by_cell.values():
            if len(own) >= 2 and len(pairs) < CHECK_PAIRS:
                pairs.append((own.pop(0), own.pop(0)))
    return pairs


@dataclass
class Dispatcher:
    """Hands out blocks. ``parallel``: True or False once it is known whether sandboxes may run side by side.

    ``unchecked``: done side by side by a sweep that was stopped before its check; they count if this one's check is
    passed, else they are done again.
    """

    blocks: Sequence[Block]
    jobs: int
    keys: Mapping[int, Any]  # of each cell: what its network is built with
    parallel: bool | None = None
    pairs: list[tuple[Block, Block]] = field(default_factory=list)
    unchecked: Sequence[Block] = ()
    left: list[Block] = field(init=False)
    given_up: list[Block] = field(init=False, default_factory=list)
    _running: dict[int, Given] = field(init=False, default_factory=dict)
    _beside: list[Block] = field(init=False, default_factory=list)
    _attempts: dict[int, int] = field(init=False, default_factory=dict)
    _steps: list[Given] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.left = list(self.blocks)
        if self.jobs == 1:
            self.parallel = False
        if self.parallel is None:
            self.pairs = control_pairs(self.left)
            if len(self.pairs) < CHECK_PAIRS or len(self.left) < CHECK_PAIRS * (1 + self.jobs):
                self.parallel, self.pairs = False, []
            self._beside = list(self.unchecked) if self.parallel is None else []
            for alone, beside in self.pairs:
                self._steps += [Given(alone, False, True), Given(beside, True, True)]
                self.left.remove(alone)
                self.left.remove(beside)
        if self.parallel is False:
            self.left = [*self.unchecked, *self.left]

    @property
    def too_few_to_check(self) -> bool:
        """Whether several jobs were wanted and the sweep is too small to find out if they disturb each other."""
        return self.jobs > 1 and self.parallel is False and not self.pairs

    @property
    def wanted_workers(self) -> int:
        """How many sandboxes there should be."""
        return min(self.jobs, self.unfinished) if self.parallel is not False else min(1, self.unfinished)

    @property
    def unfinished(self) -> int:
        """Blocks that are not done."""
        return len(self.left) + len(self._steps) + len(self._running)

    @property
    def check_due(self) -> bool:
        """Whether the control blocks are done and ``decide`` is to be called."""
        return self.parallel is None and not self._steps and not self._running

    def decide(self, parallel: bool) -> None:
        """Say what the check found. If not, what was done side by side is done again, one by one."""
        self.parallel = parallel
        if not parallel:
            self.left = [*self._beside, *self.left]

    def assign(self, waiting: Mapping[int, Any]) -> dict[int, Given]:
        """Blocks for workers that wait; ``waiting``: their number and what their network is built with (None: nothing).

        A worker without a block waits on.
        """
        given: dict[int, Given] = {}
        for worker in sorted(waiting):
            choice = self._choose(worker, waiting, given)
            if choice is not None:
                given[worker] = self._running[worker] = choice
        return given

    def _choose(self, worker: int, waiting: Mapping[int, Any], given: Collection[int]) -> Given | None:
        if self.parallel is not None:
            if not self.left or (not self.parallel and self._running):
                return None
            return Given(self._take(waiting[worker]), self.parallel)
        if any(one.control and one.beside for one in self._running.values()):
            return Given(self._take(waiting[worker]), True) if self.left else None
        if self._running or not self._steps or given:
            return None
        if self._steps[0].beside and len(waiting) < self.jobs:
            return None  # all begin together
        return self._steps.pop(0)

    def _take(self, key: Any) -> Block:
        """The next block, of this round one for the network that stands if there is one."""
        round_ = self.left[0].round
        fitting = [block for block in self.left if block.round == round_ and self.keys[block.cell] == key]
        chosen = (fitting or self.left)[0]
        self.left.remove(chosen)
        return chosen

    def done(self, worker: int) -> None:
        """The worker has recorded its block."""
        given = self._running.pop(worker)
        if given.beside:
            self._beside.append(given.block)

    def lost(self, worker: int) -> Block | None:
        """The worker ended; its block is tried once more. Returns a block that is given up for good."""
        given = self._running.pop(worker, None)
        if given is None:
            return None
        block = given.block
        self._attempts[block.number] = self._attempts.get(block.number, 0) + 1
        if self._attempts[block.number] >= MOST_ATTEMPTS:
            self.given_up.append(block)
            return block
        if given.control:
            self._steps.insert(0, given)
        else:
            self.left.insert(0, block)
        return None
