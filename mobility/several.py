"""Several moves: a VM's one after the other, different VMs' at once, each VM in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

from mobility.policies import MigrationRefusedError
from mobility.record import MigrationRecord

DoMove = Callable[[str, str], MigrationRecord]
"""``move(vm, new_nve)``: does one move and returns when it has ended."""

_START_BOUND_S = 10.0


@dataclass(frozen=True)
class Itinerary:
    """One VM and the NVEs it goes to, in this order; the next move begins when the one before has ended."""

    vm: str
    nves: tuple[str, ...]


@dataclass
class Outcome:
    """How several moves ended. ``done`` in the order in which they ended.

    ``failed``: VM -> why its move did not end well; ``not_begun``: VM -> NVEs it did not go on to after that.
    """

    done: list[MigrationRecord] = field(default_factory=list)
    failed: dict[str, BaseException] = field(default_factory=dict)
    not_begun: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def records(self) -> list[MigrationRecord]:
        """All that were done; raises the first failure when there was one."""
        for error in self.failed.values():
            raise error
        return self.done


def check(itineraries: Sequence[Itinerary], location: Mapping[str, str], nves: Sequence[str]) -> None:
    """Refuse what cannot be (MigrationRefusedError) before any VM moves. ``location``: VM -> the NVE it is at."""
    seen: set[str] = set()
    for itinerary in itineraries:
        vm = itinerary.vm
        if vm not in location:
            raise MigrationRefusedError(f"there is no VM {vm!r}; this network has {', '.join(location)}")
        if vm in seen:
            raise MigrationRefusedError(
                f"{vm} is named twice: a VM's next move begins when the one before has ended; name all its NVEs "
                f"behind it, such as {vm} {' '.join([*itinerary.nves, 'NVE'][:2])}"
            )
        seen.add(vm)
        if not itinerary.nves:
            raise MigrationRefusedError(f"{vm}: to which NVE? this network has {', '.join(nves)}")
        _check_way(itinerary, location[vm], nves)


def _check_way(itinerary: Itinerary, here: str, nves: Sequence[str]) -> None:
    vm, at = itinerary.vm, here
    for number, nve in enumerate(itinerary.nves):
        if nve not in nves:
            raise MigrationRefusedError(f"there is no NVE {nve!r}; this network has {', '.join(nves)}")
        if nve == at:
            others = ", ".join(name for name in nves if name != at)
            when = "is at" if number == 0 else f"would, before its move number {number + 1}, be at"
            raise MigrationRefusedError(f"{vm} {when} {at} already; move it to one of {others}")
        at = nve


def move_several(
    itineraries: Sequence[Itinerary], move: DoMove, stop: threading.Event | None = None
) -> Outcome:
    """Do all moves; returns when none is under way any more.

    When a move fails, or is interrupted, ``stop`` is set. Once it is, by whomever, no further move is begun; those of
    other VMs that are under way end first. A single VM's are done in the thread of the caller.
    """
    outcome, stop, lock = Outcome(), stop or threading.Event(), threading.Lock()

    def go(itinerary: Itinerary) -> None:
        for number, nve in enumerate(itinerary.nves):
            if stop.is_set():
                outcome.not_begun[itinerary.vm] = itinerary.nves[number:]
                return
            try:
                record = move(itinerary.vm, nve)
            except BaseException as error:
                stop.set()
                with lock:
                    outcome.failed[itinerary.vm] = error
                    if number + 1 < len(itinerary.nves):
                        outcome.not_begun[itinerary.vm] = itinerary.nves[number + 1 :]
                return
            with lock:
                outcome.done.append(record)

    if len(itineraries) == 1:
        go(itineraries[0])
        return outcome
    begin = threading.Barrier(len(itineraries), timeout=_START_BOUND_S)

    def go_together(itinerary: Itinerary) -> None:
        begin.wait()  # the first thread must not be ahead by the start of the others
        go(itinerary)

    with ThreadPoolExecutor(len(itineraries)) as pool:
        threads: list[Future[None]] = [pool.submit(go_together, one) for one in itineraries]
    for thread in threads:
        thread.result()
    return outcome


def at_once_s(records: Sequence[MigrationRecord]) -> float:
    """For how long at least two of these moves were under way."""
    return overlap_s([(one.phases[0].start_s, one.phases[-1].end_s) for one in records])


def overlap_s(spans: Sequence[tuple[float, float]]) -> float:
    """For how long at least two of these intervals (start, end) last at once; in their unit."""
    edges = sorted(edge for start, end in spans for edge in ((start, 1), (end, -1)))
    total, under_way = 0.0, 0
    for (at, change), (until, _) in pairwise(edges):
        under_way += change
        if under_way > 1:
            total += until - at
    return total
