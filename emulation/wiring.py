"""How a VM that can move is attached to several NVEs at once, and what happens at the switch (`rebind`).

Everything here lives in the sandbox's own namespace, between the VM and its NVEs:

    VM eth0 ── port ──(outbound action)──> leg of one NVE, or the outbound holder, or the sink
    NVE n ── direct leg ──(action)──────> port, or the direct holder, or the sink
    NVE n ── redirected leg ──(action)──> port, or the redirected holder, or the sink

An *action* is a tc mirred action known by its index; pointing it elsewhere is one netlink message (some 6 us) and
loses nothing. Several actions in one message are replaced one after the other within that message.

The legs and the *sink* where a cut one ends: ``emulation.legs``. The *holders*, where frames wait in order:
``emulation.holders``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from emulation import commands, holders
from emulation.announcer import Announcer
from emulation.errors import EmulationError
from emulation.holders import HOLDERS, OUTBOUND, HolderGauge, Holders, entry_device, exit_device
from emulation.legs import (
    DIRECT,
    REDIRECTED,
    SINK,
    SINK_END,
    Leg,
    doubling_line,
    filter_lines,
    leg_device,
    nve_device,
    port_device,
    receive_on_one_processor,
    sink_lines,
    undoubling_line,
)
from emulation.netlink import TrafficControl, interface_index
from emulation.packet_sockets import MarkerListener
from wire import ethernet

__all__ = [
    "DIRECT",
    "HOLDERS",
    "OUTBOUND",
    "REDIRECTED",
    "SINK",
    "SINK_END",
    "Leg",
    "Wiring",
    "nve_device",
    "port_device",
    "receive_on_one_processor",
    "sink_lines",
]

EMPTY_BOUND_S = 1.0


@dataclass
class Wiring:
    """One pre-wired VM. Made after its devices exist (``device_lines``); ``home`` is the NVE it starts at."""

    vm: str
    mac: str
    home: str
    mtu_bytes: int
    buffer_bytes: int
    first_action: int
    processor: int
    cuts_old_leg: bool = True
    legs: dict[str, Leg] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._tc = TrafficControl()
        self._next_action = self.first_action
        self._devices: dict[str, int] = {}
        self._holders = Holders(self.vm, self.mtu_bytes, self.buffer_bytes, self._tc)
        self._held: set[str] = set()
        self._owners: dict[int, tuple[Leg, str]] = {}
        self._doubled = False
        self._announcer: Announcer | None = None
        self.attached_to: str | None = self.home
        self._outbound = self._new_action()
        self._exits = {holder: self._new_action() for holder in HOLDERS}

    @staticmethod
    def device_lines(vm: str, vm_pid: int, mac: str, mtu_bytes: int) -> list[str]:
        """``ip -batch`` lines for the VM's veth and its holders."""
        port = port_device(vm)
        return [
            f"link add {port} mtu {mtu_bytes} type veth peer name eth0 netns {vm_pid} address {mac} mtu {mtu_bytes}",
            f"link set {port} up",
            *holders.device_lines(vm),
        ]

    @staticmethod
    def leg_lines(vm: str, number: int, nve_pid: int, mtu_bytes: int) -> list[str]:
        """``ip -batch`` lines for the two legs to one NVE (the NVE's ends are set up by the NVE)."""
        lines = []
        for which in (DIRECT, REDIRECTED):
            device = leg_device(vm, number, which)
            inside = nve_device(vm, which)
            lines += [
                f"link add {device} mtu {mtu_bytes} type veth peer name {inside} netns {nve_pid} mtu {mtu_bytes}",
                f"link set {device} up",
            ]
        return lines

    def connect(self, numbers: dict[str, int]) -> None:
        """Install filters, actions and token buckets; ``numbers``: NVE name -> number of the legs that exist."""
        port = port_device(self.vm)
        lines: list[str] = []
        for nve, number in numbers.items():
            lines += self._leg_filters(nve, number)
        lines += self._holders.bucket_lines()
        for holder in HOLDERS:
            target = self.legs[self.home].devices[DIRECT] if holder == OUTBOUND else port
            lines += filter_lines(exit_device(self.vm, holder), target, self._exits[holder])
        lines += filter_lines(port, self.legs[self.home].devices[DIRECT], self._outbound)
        commands.batch("tc", lines, node=self.vm)
        for device in (port, *(exit_device(self.vm, holder) for holder in HOLDERS)):
            receive_on_one_processor(device, self.processor)
        for leg in self.legs.values():
            self._open(leg)
        self._holders.open_sockets()
        self.close_holders()
        home = self.legs[self.home]
        self._point([(home.actions[DIRECT], port), (home.actions[REDIRECTED], port)])

    def add_leg(self, nve: str, number: int) -> None:
        """Install the filters of one more NVE's legs, cut until a move uses them."""
        commands.batch("tc", self._leg_filters(nve, number), node=self.vm)
        self._open(self.legs[nve])

    def _open(self, leg: Leg) -> None:
        for device in leg.devices.values():
            receive_on_one_processor(device, self.processor)
        leg.open_sockets()

    def _leg_filters(self, nve: str, number: int) -> list[str]:
        devices = {which: leg_device(self.vm, number, which) for which in (DIRECT, REDIRECTED)}
        leg = Leg(nve, devices, {which: self._new_action() for which in devices})
        self.legs[nve] = leg
        self._owners |= {action: (leg, which) for which, action in leg.actions.items()}
        return [line for which in devices for line in filter_lines(devices[which], SINK, leg.actions[which])]

    def _new_action(self) -> int:
        self._next_action += 1
        return self._next_action

    def _index(self, device: str) -> int:
        if device not in self._devices:
            self._devices[device] = interface_index(device)
        return self._devices[device]

    def _point(self, targets: Sequence[tuple[int, str]]) -> float:
        """Point actions at devices in one message; the time at which it was done."""
        self._tc.redirect([(action, self._index(device)) for action, device in targets])
        done_s = time.monotonic()
        for action, device in targets:
            if action in self._owners:
                leg, which = self._owners[action]
                leg.pointed(which, device)
        return done_s

    def _entry(self, holder: str) -> str:
        return entry_device(self.vm, holder)

    def leg(self, nve: str) -> Leg:
        """The legs to one NVE."""
        try:
            return self.legs[nve]
        except KeyError:
            wired = ", ".join(self.legs)
            raise EmulationError(f"{self.vm} has no leg to {nve}; it is wired to {wired}") from None

    # What a migration does, in its order.

    def close_holders(self, frames: int | None = None) -> None:
        """Make the holders ready to hold at most ``frames`` each (None: bytes, as the network's options say).

        No traffic is touched yet; the holders are empty.
        """
        self._holders.limit(frames)
        for holder in HOLDERS:
            self._holders.close(holder)
            self._held.discard(holder)

    def hold_inbound(self, new_nve: str) -> float:
        """From now on what reaches the new NVE's legs is kept; the VM goes on living at the old one."""
        leg = self.leg(new_nve)
        self._held |= {DIRECT, REDIRECTED}
        return self._point(
            [
                (leg.actions[DIRECT], self._entry(DIRECT)),
                (leg.actions[REDIRECTED], self._entry(REDIRECTED)),
            ]
        )

    def hold_outbound(self) -> float:
        """From now on what the VM sends is kept."""
        self._held.add(OUTBOUND)
        return self._point([(self._outbound, self._entry(OUTBOUND))])

    def await_old_path_clear(self, old_nve: str, new_nve: str, timeout_s: float = 0.05) -> float | None:
        """Wait until all that the VM has sent into the old NVE, and all that is on its way from there, has arrived.

        A frame from the VM to itself is sent into the old leg, behind the VM's own last frames. The old NVE, which
        redirects by now, sends it on to the new NVE, where it comes out of the redirected leg: every queue on the
        way is first in, first out. Returns the seconds that took, None at the bound.
        """
        payload = b"clear" + time.monotonic_ns().to_bytes(8, "big")
        listener = self.leg(new_nve).listeners[REDIRECTED]
        listener.drain()
        start_s = time.monotonic()
        self.leg(old_nve).send(ethernet.build(self.mac, self.mac, ethernet.MARKER, payload))
        if listener.wait_for(payload, timeout_s) is None:
            return None
        return time.monotonic() - start_s

    def switch(self, new_nve: str) -> float:
        """Attach the VM to the new NVE and cut the old leg in both directions, in one message."""
        leg, port = self.leg(new_nve), port_device(self.vm)
        targets = [
            (action, SINK)
            for nve, other in self.legs.items()
            if nve != new_nve and (self.cuts_old_leg or nve != self.attached_to)
            for action in other.actions.values()
        ]
        targets.append((self._exits[OUTBOUND], leg.devices[DIRECT]))
        if OUTBOUND not in self._held:
            targets.append((self._outbound, leg.devices[DIRECT]))
        for which in (DIRECT, REDIRECTED):
            if which not in self._held:
                targets.append((leg.actions[which], port))
        done_s = self._point(targets)
        self.attached_to = new_nve
        return done_s

    def detach(self) -> float:
        """Cut the VM off from every NVE, both ways: it is stopped at the old one and not yet at the new one."""
        targets = [(action, SINK) for leg in self.legs.values() for action in leg.actions.values()]
        self.attached_to = None
        return self._point([*targets, (self._outbound, SINK)])

    def cut_inbound(self, nve: str) -> float:
        """What still comes out of an NVE's legs is lost and counted: nobody runs there any more."""
        return self._point([(action, SINK) for action in self.leg(nve).actions.values()])

    def sink_outbound(self) -> float:
        """What the VM's kernel goes on sending while its processes stand still is lost; held frames stay held."""
        self._held.discard(OUTBOUND)
        return self._point([(self._outbound, SINK)])

    def hold_here(self) -> float:
        """Hold both directions where the VM is, as a tap does whose guest stands still. Holders are closed before."""
        if self.attached_to is None:
            raise EmulationError(f"{self.vm} is attached nowhere; switch it to an NVE first")
        self.hold_inbound(self.attached_to)
        return self.hold_outbound()

    def release_here(self) -> dict[str, int]:
        """Undo of ``hold_here``: let everything out in order, then take the holders out of the path; frames held."""
        released = {holder: self.release(holder)[1] for holder in (OUTBOUND, REDIRECTED, DIRECT)}
        commands.wait_until(
            lambda: not any(self.held_frames().values()),
            EMPTY_BOUND_S,
            f"{self.vm}'s holders to be empty",
            0.0005,
        )
        self.straighten()
        return released

    def open_both(self, old_nve: str, new_nve: str) -> float:
        """The new copy of the VM runs beside the old one: both hear, and what one sends the other sends too.

        One namespace stands for both copies, so it hears through either NVE, and each of its frames leaves by both.
        """
        old, new = self.leg(old_nve), self.leg(new_nve)
        line = doubling_line(
            port_device(self.vm),
            old.devices[DIRECT],
            self._outbound,
            new.devices[DIRECT],
            self._new_action(),
        )
        at_s = self._point([(action, port_device(self.vm)) for action in new.actions.values()])
        commands.batch("tc", [line], node=self.vm)
        self._doubled = True
        return at_s

    def silence_old(self, new_nve: str) -> float:
        """Of two copies that ran (``open_both``) only the new one speaks from now on."""
        self._end_doubling()
        return self._point([(self._outbound, self.leg(new_nve).devices[DIRECT])])

    def _end_doubling(self) -> None:
        if self._doubled:
            commands.batch("tc", [undoubling_line(port_device(self.vm))], node=self.vm)
            self._doubled = False

    def release(self, holder: str) -> tuple[float, int]:
        """Let a holder's frames out in order; later ones queue behind them. Returns when, and how many."""
        return self._holders.release(holder)

    def is_held(self, holder: str) -> bool:
        """Whether frames go into that holder now."""
        return holder in self._held

    def held_frames(self) -> dict[str, int]:
        """Frames that wait now, for each holder."""
        return self._holders.held_frames()

    def dropped_frames(self) -> int:
        """Frames that found a holder full, since the start."""
        return self._holders.dropped_frames()

    def gauge(self) -> HolderGauge:
        """What another thread may read the holders' fill with."""
        return self._holders.gauge()

    def sunk_frames(self) -> dict[str, dict[str, int]]:
        """NVE -> leg -> frames that came out of it while it was cut, since the start."""
        return {nve: leg.sunk_frames() for nve, leg in self.legs.items()}

    def redirected_frames(self, nve: str) -> int:
        """Frames that came out of an NVE's redirected leg since the start: those that went through an old NVE."""
        return self.leg(nve).received_frames(REDIRECTED)

    def straighten(self) -> float:
        """Take the open holders out of the path again; the holders are empty, so nothing can overtake."""
        if self.attached_to is None:
            raise EmulationError(f"{self.vm} is attached nowhere; switch it to an NVE first")
        leg, port = self.legs[self.attached_to], port_device(self.vm)
        self._held.clear()
        return self._point(
            [
                (self._outbound, leg.devices[DIRECT]),
                (leg.actions[DIRECT], port),
                (leg.actions[REDIRECTED], port),
            ]
        )

    def go_back(self, old_nve: str, also_hears: str | None = None) -> None:
        """Undo of everything up to the switch: the VM hears and speaks through the old NVE, held frames follow.

        ``also_hears``: an NVE to which the old one may still redirect, so that what it gets is not lost.
        """
        old, port = self.leg(old_nve), port_device(self.vm)
        self._end_doubling()
        targets = [
            (action, port if nve == also_hears else SINK)
            for nve, leg in self.legs.items()
            if nve != old_nve
            for action in leg.actions.values()
        ]
        targets += [(action, port) for action in old.actions.values()]
        targets.append((self._exits[OUTBOUND], old.devices[DIRECT]))
        self._point(targets)
        self.attached_to = old_nve
        for holder in (OUTBOUND, REDIRECTED, DIRECT):  # whatever they keep: older than what comes from now on
            self.release(holder)
        self._held.clear()
        self._point([(self._outbound, old.devices[DIRECT])])

    def announce(self, nve: str, frames: Sequence[bytes]) -> float:
        """Send frames into the NVE's leg in the VM's name, as a hypervisor does for a VM that it has resumed."""
        for frame in frames:
            self.leg(nve).send(frame)
        return time.monotonic()

    def announce_repeatedly(
        self, nve: str, frames: Sequence[bytes], times_s: Sequence[float], said: Callable[[float], None]
    ) -> None:
        """Announce at these times from now on (the first before this returns); ``said`` gets when each was sent."""
        self.stop_announcing()
        self._announcer = Announcer(lambda: said(self.announce(nve, frames)), times_s)

    def stop_announcing(self) -> None:
        """No announcement of an earlier place after this returns."""
        if self._announcer is not None:
            self._announcer.stop()
            self._announcer = None

    def end_markers(self, nve: str) -> MarkerListener:
        """What sees the end markers that come out of an NVE's redirected leg; emptied of earlier ones."""
        listener = self.leg(nve).listeners[REDIRECTED]
        listener.drain()
        return listener
