"""Frames that NVEs send to the NVA: one thread takes them in order and does what their reason asks for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller import openflow
from controller.fabric import FabricError
from controller.frames import dhcp_client_mac, ethertype, with_destination
from controller.model import VM, Refused
from controller.pipeline import ANNOUNCEMENT, DHCP_ANSWER, ETH_ARP, ETH_IPV6, ETH_RARP, FORWARD

if TYPE_CHECKING:
    from controller.service import Nva

BACKLOG = 1000
"""Frames that may wait; more than the NVEs' limit lets through in a second or two are dropped."""

ANNOUNCEMENT_KINDS = {ETH_RARP: "rarp", ETH_ARP: "garp", ETH_IPV6: "unsolicited_na"}
"""Kind of event for each kind of announcement, by ethertype."""


@dataclass(frozen=True)
class PacketIn:
    """A frame (or its beginning), from where it came, why, and when it arrived (CLOCK_MONOTONIC)."""

    dpid: int
    in_port: int
    frame: bytes
    reason: int
    vni: int
    tunnel_source: str | None
    at_s: float


class PacketIns:
    """The queue and its thread. :meth:`put` never blocks, so the framework's threads may call it."""

    def __init__(self, nva: Nva) -> None:
        self._nva = nva
        self._queue: queue.Queue[PacketIn] = queue.Queue(BACKLOG)
        self._handlers: Mapping[int, Callable[[str, PacketIn], None]] = {
            ANNOUNCEMENT: self._announcement,
            DHCP_ANSWER: self._dhcp_answer,
        }
        threading.Thread(target=self._run, name="packet-in", daemon=True).start()

    def put(self, packet: PacketIn) -> None:
        """Take a frame; with too many waiting it is dropped, as on a full queue of a switch."""
        try:
            self._queue.put_nowait(packet)
        except queue.Full:
            self._nva.events.publish("note", text="packet-in dropped: the NVA is behind")

    def _run(self) -> None:
        while True:
            packet = self._queue.get()
            nve = self._nva.nve_name(packet.dpid)
            handler = self._handlers.get(packet.reason)
            if nve is None or handler is None:
                continue
            try:
                handler(nve, packet)
            except (FabricError, Refused) as error:
                self._nva.events.publish("note", text=f"packet-in from {nve}: {error}")
            except Exception as error:
                self._nva.fault(error)

    def _sender(self, nve: str, in_port: int) -> VM | None:
        for vm in self._nva.state.vms.values():
            ports = vm.ports_at(nve)
            if ports is not None and ports.direct == in_port:
                return vm
        return None

    def _announcement(self, nve: str, packet: PacketIn) -> None:
        kind = ANNOUNCEMENT_KINDS.get(ethertype(packet.frame))
        vm = self._sender(nve, packet.in_port)
        if kind is not None and vm is not None:
            self._nva.events.publish(kind, packet.at_s, vm=vm.name, nve=nve)

    def _dhcp_answer(self, nve: str, packet: PacketIn) -> None:
        """Send a server's broadcast on to the one client whose hardware address is in the message."""
        mac = dhcp_client_mac(packet.frame)
        for vm in self._nva.state.vms.values():
            if vm.vni == packet.vni and vm.mac == mac:
                frame = with_destination(packet.frame, mac)
                message = openflow.resubmit_packet_out(frame, packet.vni, FORWARD)
                self._nva.fabric.packet_out(packet.dpid, [message])
                self._nva.events.publish("dhcp_answer", packet.at_s, vm=vm.name, nve=nve)
