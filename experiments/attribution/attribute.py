"""Loss attribution: taps run beside the traffic, and every packet that did not arrive once and in order gets a cause.

The taps only look. What they cost is measured by ``make bench only=attribution``; ``attribution=off`` leaves them out.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emulation import commands
from emulation.errors import CommandError
from emulation.network import EmulatedNetwork
from experiments.attribution.causes import Facts, MoveFacts
from experiments.attribution.move_facts import Event, move_facts, stays_until_s
from experiments.attribution.packet_fates import Flow, TrialCauses, counted, packet_causes, places
from experiments.attribution.rule_drops import Drops, Meter, read_drops, read_limits
from experiments.attribution.seen import Seen
from experiments.attribution.tap_points import Role, Stage, points_for
from experiments.probes.measures import Window
from experiments.probes.packets import Packets
from experiments.probes.process import Spawn
from experiments.probes.tap import PacketTap

EVENTS = ("hold", "release", "switch", "northbound")
"""Kinds of events that causes are judged by."""

PING = ("ping", "-c", "1", "-i", "0.02", "-w", "1", "-n", "-q")
"""Until one is answered (with -w, -c counts answers), 20 ms apart, for a second."""


class Attribution:
    """Taps for a run of traffic. ``start`` before its probes, ``stop`` after them, then ``causes`` of each trial."""

    def __init__(self, network: EmulatedNetwork, flows: Sequence[Flow], folder: Path, spawn: Spawn) -> None:
        self._network, self._flows, self._spawn = network, flows, spawn
        self._points = points_for(
            network, dict.fromkeys(end for one in flows for end in (one.sender, one.receiver))
        )
        self._nves = {str(nve.underlay_ip): nve.name for nve in network.topology.nves}
        self._tap = PacketTap(folder / "tap")
        self._events: dict[int, list[Event]] = {}
        self._drops: Drops = {}
        self._limits: Mapping[str, Meter] = {}
        self._limits_read_s = 0.0  # longer ago than any meter is old: the first reading counts all of it
        self._not_asked: dict[int, dict[str, int]] = {}
        self._seen: Seen
        self._began_s = 0.0
        self.cost: dict[str, float] = {}
        """Points; frames logged, and lost by the taps themselves; their CPU time and the time they ran, in s."""
        self._facts = Facts()

    def _watched_nves(self) -> dict[str, Any]:
        names = dict.fromkeys(point.owner for point in self._points if point.role is Role.UNDERLAY)
        return {name: self._network.nves[name] for name in names}

    def start(self) -> None:
        """Begin to look. ProbeError or BuildError."""
        self._tap.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._drops = read_drops(self._watched_nves())
        flows = [flow.tapped for flow in self._flows]
        devices = [point.tapped for point in self._points]
        self._began_s = time.monotonic()
        self._tap.start(self._spawn, devices, flows, list(self._nves), self._network.topology.tunnel.udp_port)

    def stop(self) -> None:
        """Look no more, and read what was seen. ProbeError when that is not whole."""
        self._tap.stop()
        log = self._tap.log()
        records = log.records
        self.cost = {
            "points": len(self._points),
            "frames": log.counters["frames"],
            "lost_frames": log.counters["own_drops"] + log.counters["no_room"],
            "cpu_s": log.counters["cpu_ns"] / 1e9,
            "wall_s": time.monotonic() - self._began_s,
        }
        directions = [flow.direction for flow in self._flows]
        full = log.counters["no_room"] > 0
        self._seen = Seen(records, self._points, directions, list(self._nves.values()), full=full)
        after = read_drops(self._watched_nves())
        self._facts = Facts(
            at=dict(self._network.location) | self._clients(),
            largest_bytes=self._seen.largest_bytes(),
            rule_drops={key: count - self._drops.get(key, 0) for key, count in after.items()},
            asked_s=self._seen.unanswered_s(),
            blind_s=self._seen.blind_s(),
        )

    def _clients(self) -> dict[str, str]:
        beyond = self._network.topology.outside
        return {} if beyond is None else {client.name: beyond.nve for client in beyond.clients}

    def begin_trial(self) -> None:
        """Pings until one is answered, before the trial's window: what is small passes here and now, or nothing does.

        One alone was lost in every second run on a busy machine where large packets are refused, probably in one batch
        with a packet that was too large.
        """
        for flow in [one for one in self._flows if one.direction == "from_vm"] or self._flows[:1]:
            with contextlib.suppress(CommandError):  # nothing passes: then nothing is said of sizes
                commands.run(
                    [*PING, flow.tapped.address], pid=self._network[flow.sender].pid, node=flow.sender
                )

    def end_trial(self, trial: int) -> None:
        """After the trial's window: what its NVEs kept from the NVA."""
        before, read_s = self._limits, self._limits_read_s
        self._limits, self._limits_read_s = read_limits(self._watched_nves()), time.monotonic()
        passed_s = self._limits_read_s - read_s
        self._not_asked[trial] = {
            nve: limit.since(before.get(nve, Meter()), passed_s) for nve, limit in self._limits.items()
        }

    @property
    def until_s(self) -> float:
        """Packets of windows that end later cannot be followed: the log was full."""
        return self._seen.until_s

    def kill(self) -> None:
        """End the taps at once; for the path of an error."""
        self._tap.kill()

    def note(self, trial: int, event: Event) -> None:
        """An event of a trial, as it happens."""
        if event.kind in EVENTS:
            self._events.setdefault(trial, []).append(event)

    def causes(
        self,
        trial: int,
        window: Window,
        migrations: Sequence[Mapping[str, Any]],
        packets: Mapping[str, Packets],
    ) -> TrialCauses:
        """The causes of one trial's packets; ``packets`` by direction."""
        events = self._events.get(trial, [])
        moves = [move_facts(one, events) for one in migrations]
        facts = replace(self._facts, moves=moves, not_asked=self._not_asked.get(trial, {}))
        made = TrialCauses(
            {
                "directions": [flow.direction for flow in self._flows],
                "lost_by_taps_frames": self._seen.lost_by_taps(window),
                "largest_on_underlay_bytes": self._largest_bytes(),
                "old_leg_packets": sum(
                    self._by_old_leg(moves, flow, window, packets) for flow in self._flows
                ),
            }
        )
        for flow in self._flows:
            rows = packet_causes(flow, packets[flow.direction], window, facts, self._seen)
            made.rows += [{"trial": trial, **row} for row in rows]
            made.counts[flow.direction] = counted(rows)
        made.counts["places"] = places(made.rows)
        return made

    def _largest_bytes(self) -> int:
        sizes = self._facts.largest_bytes.items()
        return max((size for (stage, _), size in sizes if stage is Stage.ON_UNDERLAY), default=0)

    def _by_old_leg(
        self, moves: Sequence[MoveFacts], flow: Flow, window: Window, packets: Mapping[str, Packets]
    ) -> int:
        """Packets that came out of a cut leg and yet arrived: then it was not cut."""
        own = packets[flow.direction]
        arrived = own.seq[own.received]
        total = 0
        for move in moves:
            if move.vm == flow.receiver and move.wired:
                # Stamps are taken before frames are acted on, and the switch's time when it is done.
                span = (max(move.there_s, move.left_s), stays_until_s(move, moves, window[1]))
                late = self._seen.through_leg(flow.direction, move.old_nve, span)
                # Nothing may have brought it to the VM but that leg.
                late = np.setdiff1d(late, self._seen.through_leg(flow.direction, move.new_nve, span))
                total += int(np.isin(late, arrived).sum())
        return total
