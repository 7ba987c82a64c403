"""UDP flows beside an experiment's own traffic: of another tenant, across networks, or such that must not arrive.

Every flow says its number in each packet, so a packet that came to a receiver of another flow is known: a *leak*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.attribution.packet_fates import Flow
from experiments.probes.measures import Measure, Window, udp_measures
from experiments.probes.packets import Packets
from experiments.probes.process import Spawn
from experiments.probes.tap import TappedFlow
from experiments.probes.transports.base import Offered
from experiments.probes.udp import ANY_ADDRESS, UdpProbe, UdpStream, leaked_packets, stop_together

PAYLOAD_BYTES = 64


@dataclass(frozen=True)
class SideFlow:
    """``label`` ends the names of its measures; ``stream`` is its number; ``forbidden``: nothing may arrive.

    ``brief``: of its measures only packets sent and lost; a flow of few packets has no others.
    """

    label: str
    sender: str
    receiver: str
    address: str
    stream: int
    port: int
    rate_pps: float
    forbidden: bool = False
    brief: bool = False


class Beside:
    """The flows, started and stopped together with an experiment's traffic."""

    def __init__(self, flows: Sequence[SideFlow], folder: Path, spawner: Callable[[str], Spawn]) -> None:
        self.flows, self._spawner = tuple(flows), spawner
        self._probes = {flow.label: self._probe(flow, folder) for flow in flows}

    def _probe(self, flow: SideFlow, folder: Path) -> UdpProbe:
        stream = UdpStream(flow.address, flow.port, flow.rate_pps, PAYLOAD_BYTES, flow.stream)
        bind = ANY_ADDRESS["ipv6" if ":" in flow.address else "ipv4"]
        return UdpProbe(f"beside_{flow.label}", stream, folder, bind)

    def start(self) -> None:
        """Start every flow."""
        for flow in self.flows:
            self._probes[flow.label].start(self._spawner(flow.sender), self._spawner(flow.receiver))

    def stop(self) -> None:
        """End every flow in order."""
        stop_together(self._probes.values())

    def kill(self) -> None:
        """End every flow at once; for the path of an error."""
        for probe in self._probes.values():
            probe.kill()

    def offered(self) -> dict[str, Offered]:
        """What each flow has offered by now, by label."""
        return {
            flow.label: Offered(*self._probes[flow.label].offered_so_far(), flow.rate_pps, flow.sender)
            for flow in self.flows
        }

    def measures(self, window: Window, later_s: float | None = None) -> dict[str, Measure]:
        """Each flow's measures with its label behind the name; of a forbidden one only what arrived all the same."""
        found: dict[str, Measure] = {}
        for flow in self.flows:
            packets = self._probes[flow.label].packets()
            own = udp_measures(packets, window, 1.0 / flow.rate_pps, later_s)
            if flow.forbidden:
                sent, lost = own["sent_packets"], own["lost_packets"]
                assert isinstance(sent, int) and isinstance(lost, int)
                own = {"arrived_packets": sent - lost, "sent_packets": sent}
            if flow.brief:
                own = {name: own[name] for name in ("sent_packets", "lost_packets")}
            found |= {f"{name}_{flow.label}": value for name, value in own.items()}
        return found

    def numbered_flows(self) -> list[Flow]:
        """The flows whose packets should arrive, so that each one's fate can be followed."""
        return [
            Flow(flow.label, flow.sender, flow.receiver, TappedFlow(flow.address, flow.port, flow.stream))
            for flow in self.flows
            if not flow.forbidden
        ]

    def numbered_packets(self) -> dict[str, Packets]:
        """What became of their packets, by label."""
        return {flow.label: self._probes[flow.label].packets() for flow in self.flows if not flow.forbidden}

    def leaked_packets(self, window: Window) -> int:
        """Packets of other flows that these flows' receivers got within the window."""
        return leaked_packets(
            ((self._probes[flow.label].logs()[1], flow.stream) for flow in self.flows), window
        )
