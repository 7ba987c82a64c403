"""UDP: one stream of numbered packets for each direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.probes.logs import ProbeLog
from experiments.probes.measures import Measure, Window, longest_arrival_gap, udp_measures, with_direction
from experiments.probes.packets import Packets
from experiments.probes.transports.base import (
    WHOLE,
    Ends,
    Files,
    Logs,
    Offered,
    Outcome,
    Scope,
    Transport,
    Windows,
    rows_of,
)
from experiments.probes.udp import (
    ANY_ADDRESS,
    UdpProbe,
    UdpStream,
    joined,
    leaked_packets,
    parse_received,
    parse_sent,
    stop_together,
)
from vocabulary.moves import DIRECTIONS

PORT = 5001


class Udp(Transport):
    """Packets at a constant rate, ``directions`` both ways or one."""

    def __init__(
        self,
        ends: Ends,
        rate_pps: float,
        payload_bytes: int,
        directions: Sequence[str] = DIRECTIONS,
        port: int = PORT,
    ) -> None:
        self._ends, self._period_s = ends, 1.0 / rate_pps
        self._probes: dict[str, UdpProbe] = {}
        for direction in directions:
            address = ends.addresses[ends.of(direction)[1]]
            bind = ANY_ADDRESS["ipv6" if ":" in address else "ipv4"]
            flow = UdpStream(address, port, rate_pps, payload_bytes)
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
        stop_together(self._probes.values())
        logs: dict[str, bytes] = {}
        for direction, probe in self._probes.items():
            for side, data in zip(("sent", "received"), probe.read(), strict=True):
                logs[f"{direction} {side}"] = data
        return logs

    def kill(self) -> None:
        """End all at once."""
        for probe in self._probes.values():
            probe.kill()

    def offered(self) -> dict[str, Offered]:
        """By direction."""
        return {
            direction: Offered(
                *probe.offered_so_far(), asked_pps=probe.flow.rate_pps, sender=self._ends.of(direction)[0]
            )
            for direction, probe in self._probes.items()
        }

    def parse(self, logs: Logs) -> UdpOutcome:
        """Join what was sent with what arrived. ProbeError when a log is incomplete or the receiver dropped packets."""
        arrived = {
            direction: parse_received(logs.get(f"{direction} received", b"")) for direction in self._probes
        }
        packets = {
            direction: joined(
                probe.name,
                parse_sent(logs.get(f"{direction} sent", b"")),
                arrived[direction],
                probe.flow.stream,
            )
            for direction, probe in self._probes.items()
        }
        outcome = self.outcome_of(packets)
        outcome.received = [
            (arrived[direction], probe.flow.stream) for direction, probe in self._probes.items()
        ]
        return outcome

    def outcome_of(self, packets: Mapping[str, Packets]) -> UdpOutcome:
        """What follows from the packets of each direction."""
        return UdpOutcome(packets, self._period_s)


class UdpOutcome(Outcome):
    """The packets of each direction; ``received``: the receivers' logs, each with the stream that belongs there."""

    def __init__(self, packets: Mapping[str, Packets], period_s: float) -> None:
        self.packets, self._period_s = packets, period_s
        self.received: Sequence[tuple[ProbeLog, int]] = ()

    def measures(self, window: Window, scope: Scope = WHOLE) -> dict[str, Measure]:
        """``udp_measures`` of each direction."""
        found: dict[str, Measure] = {}
        for direction, packets in self.packets.items():
            found |= with_direction(udp_measures(packets, window, self._period_s, scope.later_s), direction)
        return found

    def samples(self, windows: Windows) -> Files:
        """Every packet, a file a direction."""
        return {
            f"udp_{direction}": rows_of(windows, "tx_s", packets.columns())
            for direction, packets in self.packets.items()
        }

    def stalls_s(self, window: Window, scope: Scope = WHOLE) -> dict[str, float | None]:
        """The longest time between two arrivals."""
        found: dict[str, float | None] = {}
        for direction, packets in self.packets.items():
            end_s = window[1] if scope.later_s is None else scope.later_s
            low, high = (int(row) for row in np.searchsorted(packets.tx_s, (window[0], end_s)))
            found[direction], _ = longest_arrival_gap(packets, low, high, self._period_s)
        return found

    def leaked_packets(self, window: Window) -> int:
        """Packets of another stream's number."""
        return leaked_packets(self.received, window)
