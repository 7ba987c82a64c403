"""UDP: one stream of numbered packets for each direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..measures import Measure, Window, longest_arrival_gap, udp_measures, with_direction
from ..packets import Packets
from ..udp import ANY_ADDRESS, UdpProbe, UdpStream, joined, leaked_packets, parse_received, parse_sent
from .base import DIRECTIONS, Ends, Files, Logs, Outcome, Transport, Windows, rows_of

PORT = 5001


class Udp(Transport):
    """Packets at a constant rate, ``directions`` both ways or one."""

    def __init__(
        self,
        ends: Ends,
        rate_pps: float,
        payload_bytes: int,
        directions: Sequence[str] = DIRECTIONS,
    ) -> None:
        self._ends = ends
        self._probes: dict[str, UdpProbe] = {}
        for direction in directions:
            address = ends.addresses[ends.of(direction)[1]]
            bind = ANY_ADDRESS["ipv6" if ":" in address else "ipv4"]
            flow = UdpStream(address, PORT, rate_pps, payload_bytes)
            self._probes[direction] = UdpProbe(f"udp_{direction}", flow, ends.folder, bind=bind)

    @property
    def flows(self) -> dict[str, UdpStream]:
        """The stream of each direction."""
        return {direction: probe.flow for direction, probe in self._probes.items()}

    def start(self) -> None:
        """Start each direction's receiver and sender."""
        for direction, probe in self._probes.items():
            sender, receiver = self._ends.of(direction)
            probe.start(self._ends.spawner(sender, True), self._ends.spawner(receiver, True))

    def stop(self) -> Logs:
        """End the senders, let what is under way arrive, end the receivers."""
        logs: dict[str, bytes] = {}
        for direction, probe in self._probes.items():
            probe.stop()
            for side, data in zip(("sent", "received"), probe.read(), strict=True):
                logs[f"{direction} {side}"] = data
        return logs

    def kill(self) -> None:
        """End all at once."""
        for probe in self._probes.values():
            probe.kill()

    def parse(self, logs: Logs) -> UdpOutcome:
        """Join what was sent with what arrived. ProbeError when a log is incomplete or the receiver dropped packets."""
        return UdpOutcome(logs, self.flows)


class UdpOutcome(Outcome):
    """The packets of each direction."""

    def __init__(self, logs: Logs, flows: Mapping[str, UdpStream]) -> None:
        self._flows = flows
        self._received = {
            direction: parse_received(logs.get(f"{direction} received", b"")) for direction in flows
        }
        self.packets: dict[str, Packets] = {
            direction: joined(
                f"udp_{direction}",
                parse_sent(logs.get(f"{direction} sent", b"")),
                self._received[direction],
                flow.stream,
            )
            for direction, flow in flows.items()
        }

    def measures(self, window: Window) -> dict[str, Measure]:
        """``udp_measures`` of each direction."""
        found: dict[str, Measure] = {}
        for direction, packets in self.packets.items():
            own = udp_measures(packets, window, self._flows[direction].period_s)
            found |= with_direction(own, direction)
        return found

    def samples(self, windows: Windows) -> Files:
        """Every packet, a file a direction."""
        return {
            f"udp_{direction}": rows_of(windows, "tx_s", packets.columns())
            for direction, packets in self.packets.items()
        }

    def stalls_s(self, window: Window) -> dict[str, float | None]:
        """The longest time between two arrivals."""
        found: dict[str, float | None] = {}
        for direction, packets in self.packets.items():
            low, high = (int(row) for row in np.searchsorted(packets.tx_s, window))
            found[direction], _ = longest_arrival_gap(packets, low, high, self._flows[direction].period_s)
        return found

    def leaked_packets(self, window: Window) -> int:
        """Packets of another stream's number."""
        return leaked_packets(
            ((self._received[direction], flow.stream) for direction, flow in self._flows.items()), window
        )
