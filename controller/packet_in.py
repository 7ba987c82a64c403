"""Frames that NVEs send to the NVA: one thread takes them in order and does what their reason asks for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller import openflow
from controller.fabric import FabricError
from controller.flows import advertised
from controller.model import VM, Refused
from controller.pipeline import (
    ANNOUNCEMENT,
    DHCP_ANSWER,
    FORWARD,
    MISDIRECTED,
    MISS,
    RESOLVE,
    SOLICITATION,
    UNREACHABLE,
)
from vocabulary.moves import ANNOUNCE
from wire import dhcp, ethernet, icmp, ip, nd

if TYPE_CHECKING:
    from controller.service import Nva

BACKLOG = 1000
"""Frames that may wait; more than the NVEs' limit lets through in a second or two are dropped."""

ANNOUNCEMENT_KINDS = {ethernet.RARP: "rarp", ethernet.ARP: "garp", ethernet.IPV6: "unsolicited_na"}
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
            MISDIRECTED: self._misdirected,
            UNREACHABLE: self._unreachable,
            MISS: self._miss,
            SOLICITATION: self._solicitation,
        }
        self._answered_s: dict[tuple[str, str], float] = {}
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
        kind = ANNOUNCEMENT_KINDS.get(ethernet.ethertype(packet.frame))
        vm = self._sender(nve, packet.in_port)
        if kind is not None and vm is not None:
            self._nva.events.publish(kind, packet.at_s, vm=vm.name, nve=nve)
            if self._nva.state.strategy == ANNOUNCE and self._news(vm, nve):
                self._nva.change("announced", {"vm": vm.name, "nve": nve})

    def _news(self, vm: VM, nve: str) -> bool:
        """Tell whether an announcement changes anything."""
        state = self._nva.state
        move = state.moves.get(vm.name)
        if move is not None and move.stage != "committed":
            return nve == move.new_nve and not move.announced
        return nve == vm.nve and vm.name in state.believed

    def _destination(self, packet: PacketIn) -> VM | None:
        mac = ethernet.destination_mac(packet.frame)
        found = (vm for vm in self._nva.state.vms.values() if vm.vni == packet.vni and vm.mac == mac)
        return next(found, None)

    def _misdirected(self, nve: str, packet: PacketIn) -> None:
        """A peer sent a VM's frame where it no longer is: give that peer the mapping."""
        state, vm = self._nva.state, self._destination(packet)
        peers = [n.name for n in state.nves.values() if n.underlay_ip == packet.tunnel_source]
        if vm is not None and peers and state.believed.get(vm.name, {}).get(peers[0]) == nve:
            self._nva.change("learn", {"vm": vm.name, "nves": peers, "cause": "misdirected"})

    def _miss(self, nve: str, packet: PacketIn) -> None:
        """An NVE's mapping has expired: answer with the one of now, and let the packet go on its way."""
        vm = self._destination(packet)
        if vm is None:
            return
        if packet.at_s > self._answered_s.get((nve, vm.name), float("-inf")):
            if nve in self._nva.state.believed.get(vm.name, {}):
                self._nva.change("learn", {"vm": vm.name, "nves": [nve], "cause": "miss"})
            else:
                self._nva.refresh_peer(nve, vm.name)
            self._answered_s[nve, vm.name] = self._nva.now()
        self._nva.fabric.packet_out(
            packet.dpid, [openflow.resubmit_packet_out(packet.frame, packet.vni, FORWARD)]
        )

    def _unreachable(self, nve: str, packet: PacketIn) -> None:
        """Tell a packet's sender, from the old NVE, that the VM cannot be reached there.

        The error comes from the network's gateway; without one, in the VM's own name, as ARP is answered in it.
        """
        vm = self._destination(packet)
        if vm is None:
            return
        gateway = self._nva.state.networks[vm.vni].gateway
        to_mac, table, mac = (
            ethernet.sender_mac(packet.frame),
            FORWARD,
            vm.mac if gateway is None else gateway.mac,
        )
        if gateway is not None and to_mac == gateway.mac:
            # The packet was routed: the error takes the same way back, as if the VM had sent it.
            mac, table = vm.mac, RESOLVE
        ipv4, ipv6 = (vm.ipv4, vm.ipv6) if gateway is None else (gateway.ipv4, gateway.ipv6)
        error = icmp.unreachable(packet.frame, to_mac, icmp.Reporter(mac, ipv4, ipv6))
        if error is None:
            return
        self._nva.fabric.packet_out(packet.dpid, [openflow.resubmit_packet_out(error, packet.vni, table)])
        self._nva.events.publish("icmp_unreachable", nve=nve, vm=vm.name, to=ip.sender(packet.frame))

    def _solicitation(self, nve: str, packet: PacketIn) -> None:
        """Answer as the NVE's flows would if its datapath could write an advertisement."""
        target, asker = nd.solicited_target(packet.frame), ip.sender(packet.frame)
        answer = target and advertised(self._nva.state, nve, packet.vni, target, asker)
        if answer:
            frame = nd.answer(packet.frame, *answer)
            self._nva.fabric.packet_out(packet.dpid, [openflow.port_packet_out(frame, packet.in_port)])

    def _dhcp_answer(self, nve: str, packet: PacketIn) -> None:
        """Send a server's broadcast on to the one client whose hardware address is in the message."""
        mac = dhcp.client_mac(packet.frame)
        for vm in self._nva.state.vms.values():
            if vm.vni == packet.vni and vm.mac == mac:
                frame = ethernet.with_destination(packet.frame, mac)
                message = openflow.resubmit_packet_out(frame, packet.vni, FORWARD)
                self._nva.fabric.packet_out(packet.dpid, [message])
                self._nva.events.publish("dhcp_answer", packet.at_s, vm=vm.name, nve=nve)
