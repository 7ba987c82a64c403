"""What the taps of a run saw, asked packet by packet: numpy in front, ``causes`` behind. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.attribution.causes import Sighting
from experiments.attribution.tap_points import Point, Role, Stage
from experiments.probes.logs import seconds
from experiments.probes.tap import NOBODY, Kind

_BLIND_BEFORE_S = 0.2
"""A ring that was full is noticed at most so long after it began to be."""
_ANSWER_S = 0.5

_COMING_IN = (Stage.INTO_NVE, Stage.AT_NVE, Stage.LEFT_VM)
_COMING_OUT = (Stage.OUT_OF_NVE, Stage.ON_UNDERLAY, Stage.TO_VM)

Records = npt.NDArray[np.void]


class Seen:
    """The records of one log. ``flows``: names in the order the tap was told; ``nves``: likewise.

    ``full``: the log had no room for what came after its last record.
    """

    def __init__(
        self,
        records: Records,
        points: Sequence[Point],
        flows: Sequence[str],
        nves: Sequence[str],
        *,
        full: bool = False,
    ) -> None:
        self._full = full
        self._records, self._points, self._nves = records, points, nves
        self._flow_numbers = {name: number for number, name in enumerate(flows)}
        self._probes = records["kind"] == Kind.PROBE
        self._passing: dict[tuple[str, str, Stage, str], npt.NDArray[np.float64]] = {}
        self._known: dict[tuple[str, str], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}

    def sightings(self, flow: str, numbers: Iterable[int]) -> dict[int, tuple[Sighting, ...]]:
        """For each of these packets of a flow, where it was seen, in order of time."""
        wanted = np.unique(np.fromiter(numbers, np.int64))
        records = self._records
        if not len(wanted):
            return {}
        own = self._of(flow) & np.isin(records["seq"], wanted.astype(np.uint32))
        chosen = records[own]
        chosen = chosen[np.lexsort((chosen["t_ns"], chosen["seq"]))]
        found: dict[int, tuple[Sighting, ...]] = {int(number): () for number in wanted}
        pairs = ((int(record["seq"]), self._sighting(record)) for record in chosen)
        for number, group in groupby(pairs, key=itemgetter(0)):
            found[number] = tuple(sighting for _, sighting in group)
        return found

    def _of(self, flow: str) -> npt.NDArray[np.bool_]:
        """Which records are of a flow's probe packets."""
        found: npt.NDArray[np.bool_] = self._probes & (self._records["flow"] == self._flow_numbers[flow])
        return found

    def _sighting(self, record: Any) -> Sighting:
        point, outgoing = self._points[record["point"]], bool(record["outgoing"])
        far = record["sender"] if point.stage(outgoing) is Stage.AT_NVE else record["target"]
        return Sighting(
            t_s=float(record["t_ns"]) / 1e9,
            stage=point.stage(outgoing),
            nve=point.nve,
            which=point.which,
            other="" if far == NOBODY else self._nves[far],
            bytes=int(record["bytes"]),
        )

    def largest_bytes(self) -> dict[tuple[Stage, str], int]:
        """The largest frame of any kind seen at each stage of each NVE."""
        found: dict[tuple[Stage, str], int] = {}
        frames = self._records[self._records["kind"] != Kind.OWN_DROPS]
        for number, point in enumerate(self._points):
            for outgoing in (0, 1):
                sizes = frames["bytes"][(frames["point"] == number) & (frames["outgoing"] == outgoing)]
                if len(sizes) and point.role is not Role.VM and point.which != "plain":
                    key = (point.stage(bool(outgoing)), point.owner)
                    found[key] = max(found.get(key, 0), int(sizes.max()))
        return found

    def unanswered_s(self) -> dict[str, list[float]]:
        """By VM, when it asked for a neighbour and got no answer within half a second."""
        found: dict[str, list[float]] = {}
        for number, point in enumerate(self._points):
            if point.role is not Role.VM:
                continue
            here = self._records[self._records["point"] == number]
            towards = here["outgoing"] == point.leads_out
            asked_s = seconds(here["t_ns"][(here["kind"] == Kind.QUESTION) & ~towards])
            answered_s = np.sort(seconds(here["t_ns"][(here["kind"] == Kind.ANSWER) & towards]))
            following = np.append(answered_s, np.inf)[np.searchsorted(answered_s, asked_s)]
            found[point.owner] = [float(one) for one in asked_s[following - asked_s > _ANSWER_S]]
        return found

    def blind_s(self) -> list[tuple[float, float]]:
        """Spans in which some tap lost frames itself."""
        drops = self._records[self._records["kind"] == Kind.OWN_DROPS]
        return [(float(at_s) - _BLIND_BEFORE_S, float(at_s)) for at_s in seconds(drops["t_ns"])]

    @property
    def until_s(self) -> float:
        """From then on nothing was logged: there was no room."""
        return float(seconds(self._records["t_ns"].max())) - _BLIND_BEFORE_S if self._full else math.inf

    def lost_by_taps(self, window: tuple[float, float]) -> int:
        """Frames that the taps themselves lost within a window."""
        drops = self._records[self._records["kind"] == Kind.OWN_DROPS]
        at_s = seconds(drops["t_ns"])
        return int(drops["seq"][(at_s >= window[0]) & (at_s - _BLIND_BEFORE_S < window[1])].sum())

    def through_leg(self, flow: str, nve: str, window: tuple[float, float]) -> npt.NDArray[np.int64]:
        """The numbers of a flow's packets that came out of an NVE's legs within a window."""
        records = self._records
        legs = [
            number
            for number, point in enumerate(self._points)
            if point.role is Role.LEG and point.owner == nve
        ]
        at_s = seconds(records["t_ns"])
        own = self._of(flow) & (records["outgoing"] == 0)
        own &= np.isin(records["point"], legs) & (at_s >= window[0]) & (at_s < window[1])
        found: npt.NDArray[np.int64] = records["seq"][own].astype(np.int64)
        return found

    def queue_s(self, flow: str, nve: str, at_s: float) -> float:
        """What a flow's packets took in an NVE: the last before a moment and the next after it, whichever is less.

        Those next to a rule that is missing are slow on one side at most, where the first ones find the way anew.
        """
        entry_s, took_s = self._transits(flow, nve)
        place = int(np.searchsorted(entry_s, at_s))
        around = took_s[max(place - 1, 0) : place + 1]
        return float(around.min()) if len(around) else 0.0

    def passed_s(self, flow: str, last: Sighting) -> float:
        """When the packet before this one came in where this one did, and out again; -inf if none ever did."""
        key = (flow, last.nve, last.stage, last.other)
        if key not in self._passing:
            own = self._records[self._of(flow)]
            came = own[self._at(own, last.nve, (last.stage,))]
            if last.stage is Stage.AT_NVE and last.other in self._nves:
                came = came[came["sender"] == self._nves.index(last.other)]
            went = own[self._at(own, last.nve, _COMING_OUT)]
            self._passing[key] = np.sort(seconds(came["t_ns"][np.isin(came["seq"], went["seq"])]))
        entry_s = self._passing[key]
        place = int(np.searchsorted(entry_s, last.t_s))
        return float(entry_s[place - 1]) if place else -math.inf

    def _at(self, own: Records, nve: str, stages: Sequence[Stage]) -> npt.NDArray[np.bool_]:
        """Which of these records were made at some stages of an NVE."""
        here = np.zeros(len(own), np.bool_)
        for number, point in enumerate(self._points):
            for outgoing in (0, 1):
                if point.nve == nve and point.stage(bool(outgoing)) in stages:
                    here |= (own["point"] == number) & (own["outgoing"] == outgoing)
        return here

    def _transits(self, flow: str, nve: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """When a flow's packets that came out of an NVE had come in, in order, and how long each was inside."""
        if (flow, nve) not in self._known:
            own = self._records[self._of(flow)]
            first: dict[bool, Records] = {}
            for coming_in in (True, False):
                chosen = own[self._at(own, nve, _COMING_IN if coming_in else _COMING_OUT)]
                first[coming_in] = chosen[np.lexsort((chosen["t_ns"], chosen["seq"]))]
            came, went = first[True], first[False]
            _, one, other = np.intersect1d(came["seq"], went["seq"], return_indices=True)
            entry_s = seconds(came["t_ns"][one])
            took_s = seconds(went["t_ns"][other]) - entry_s
            order = np.argsort(entry_s)
            self._known[flow, nve] = (entry_s[order], took_s[order])
        return self._known[flow, nve]

    def errors(self) -> Mapping[tuple[int, int], int]:
        """(type * 256 + code, next hop's MTU) of the ICMP errors seen, and how often."""
        errors = self._records[self._records["kind"] == Kind.ICMP_ERROR]
        pairs, counts = np.unique(
            np.stack((errors["vni"], errors["seq"]), axis=1), axis=0, return_counts=True
        )
        return {(int(code), int(mtu)): int(count) for (code, mtu), count in zip(pairs, counts, strict=True)}
