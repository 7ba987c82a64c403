"""How a VM that can move is attached to several NVEs at once, and what happens at the switch (`rebind`).

Everything here lives in the sandbox's own namespace, between the VM and its NVEs:

    VM eth0 ── port ──(outbound action)──> leg of one NVE, or the outbound holder, or the sink
    NVE n ── direct leg ──(action)──────> port, or the direct holder, or the sink
    NVE n ── redirected leg ──(action)──> port, or the redirected holder, or the sink

An *action* is a tc mirred action known by its index; pointing it elsewhere is one netlink message (some 6 us) and
loses nothing. Several actions in one message are replaced one after the other within that message.

A *holder* is a pair of veths with a token-bucket filter on its entry: closed (1 byte/s) it keeps frames in order in
the kernel, opened it lets them out in order, and frames that come later queue behind them, so nothing overtakes.

The *sink* is where a cut leg ends: a veth whose other end nobody listens to; what still comes is counted there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import commands
from .errors import EmulationError
from .frames import MARKER_TYPE, FrameSender, MarkerListener, ethernet, marker, rarp_announcement
from .netlink import TrafficControl, interface_index

SINK, SINK_END = "sink0", "sink1"
OUTBOUND, DIRECT, REDIRECTED = "outbound", "direct", "redirected"
HOLDERS = (OUTBOUND, DIRECT, REDIRECTED)

_CLOSED_RATE_BYTES_PER_S = 1
_OPEN_RATE_BYTES_PER_S = 4_000_000_000  # the field is 32 bits of bytes per second
_OPEN_BURST_BYTES = 4_000_000
_HOLDER_MTU_BYTES = 9500
_POKE = marker(b"poke")
# Every action has a number that is said: one without it takes the lowest free number, which may be another's.
_SINK_ACTION = 1


def sink_lines() -> list[str]:
    """``ip -batch`` lines for the sink; once a sandbox."""
    return [
        f"link add {SINK} type veth peer name {SINK_END}",
        f"link set {SINK} mtu {_HOLDER_MTU_BYTES} up",
        f"link set {SINK_END} mtu {_HOLDER_MTU_BYTES} up",
    ]


def port_device(vm: str) -> str:
    """The sandbox's end of the VM's own veth."""
    return f"{vm}-p"


def leg_device(vm: str, number: int, which: str) -> str:
    """The sandbox's end of a leg to NVE ``number``."""
    return f"{vm}-{'l' if which == DIRECT else 'r'}{number}"


def nve_device(vm: str, which: str) -> str:
    """The NVE's end of a leg: the port's name on br-int."""
    return vm if which == DIRECT else f"{vm}-r"


def _entry(vm: str, holder: str) -> str:
    return f"{vm}-h{holder[0]}"


def _exit(vm: str, holder: str) -> str:
    return f"{vm}-h{holder[0]}x"


@dataclass
class Leg:
    """One NVE's two legs: devices, actions and packet sockets.

    The sockets stay open: to close one takes the kernel 8 to 15 ms (measured), as long as a whole move.
    """

    nve: str
    devices: dict[str, str]
    actions: dict[str, int]
    sender: FrameSender | None = None
    listeners: dict[str, MarkerListener] = field(default_factory=dict)

    def open_sockets(self) -> None:
        """Open the packet sockets; the devices exist by now."""
        self.sender = FrameSender(self.devices[DIRECT], bypass=True)
        self.listeners = {which: MarkerListener(device) for which, device in self.devices.items()}

    def send(self, frame: bytes) -> None:
        """Send a frame towards the NVE."""
        if self.sender is None:
            raise EmulationError(f"the leg to {self.nve} has not been connected")
        self.sender.send(frame)


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
    legs: dict[str, Leg] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._tc = TrafficControl()
        self._next_action = self.first_action
        self._devices: dict[str, int] = {}
        self._pokes: dict[str, FrameSender] = {}
        self._held: set[str] = set()
        self.attached_to: str | None = self.home
        self._outbound = self._new_action()
        self._exits = {holder: self._new_action() for holder in HOLDERS}

    @staticmethod
    def device_lines(vm: str, vm_pid: int, mac: str, mtu_bytes: int) -> list[str]:
        """``ip -batch`` lines for the VM's veth and its holders."""
        port = port_device(vm)
        lines = [
            f"link add {port} mtu {mtu_bytes} type veth peer name eth0 netns {vm_pid} address {mac} mtu {mtu_bytes}",
            f"link set {port} up",
        ]
        for holder in HOLDERS:
            entry, end = _entry(vm, holder), _exit(vm, holder)
            lines += [
                f"link add {entry} mtu {_HOLDER_MTU_BYTES} type veth peer name {end} mtu {_HOLDER_MTU_BYTES}",
                f"link set {entry} up",
                f"link set {end} up",
            ]
        return lines

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
        for holder in HOLDERS:
            burst, limit = self._closed_burst_bytes, self.buffer_bytes
            entry = _entry(self.vm, holder)
            lines.append(f"qdisc add dev {entry} root handle 1: tbf rate 8bit burst {burst} limit {limit}")
            target = self.legs[self.home].devices[DIRECT] if holder == OUTBOUND else port
            lines += _filter_lines(_exit(self.vm, holder), target, self._exits[holder])
        lines += _filter_lines(port, self.legs[self.home].devices[DIRECT], self._outbound)
        commands.batch("tc", lines, node=self.vm)
        for device in (port, *(_exit(self.vm, holder) for holder in HOLDERS)):
            receive_on_one_processor(device, self.processor)
        for leg in self.legs.values():
            self._open(leg)
        self._pokes = {holder: FrameSender(_entry(self.vm, holder), bypass=False) for holder in HOLDERS}
        for holder in HOLDERS:
            self._close(holder)
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
        return [line for which in devices for line in _filter_lines(devices[which], SINK, leg.actions[which])]

    @property
    def _closed_burst_bytes(self) -> int:
        return self.mtu_bytes + 150  # one frame with its header must fit, or the bucket would refuse it

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
        return time.monotonic()

    def _close(self, holder: str) -> None:
        """Close a bucket and use up the tokens it starts with, so that not one frame slips through."""
        entry = self._index(_entry(self.vm, holder))
        burst = self._closed_burst_bytes
        self._tc.set_bucket(entry, _CLOSED_RATE_BYTES_PER_S, burst, self.buffer_bytes)
        self._pokes[holder].send(marker(b"tokens", burst))
        self._held.discard(holder)

    def leg(self, nve: str) -> Leg:
        """The legs to one NVE."""
        try:
            return self.legs[nve]
        except KeyError:
            wired = ", ".join(self.legs)
            raise EmulationError(f"{self.vm} has no leg to {nve}; it is wired to {wired}") from None

    # What a migration does, in its order.

    def close_holders(self) -> None:
        """Make the holders ready to hold; no traffic is touched yet."""
        for holder in HOLDERS:
            self._close(holder)

    def hold_inbound(self, new_nve: str) -> float:
        """From now on what reaches the new NVE's legs is kept; the VM goes on living at the old one."""
        leg = self.leg(new_nve)
        self._held |= {DIRECT, REDIRECTED}
        return self._point(
            [
                (leg.actions[DIRECT], _entry(self.vm, DIRECT)),
                (leg.actions[REDIRECTED], _entry(self.vm, REDIRECTED)),
            ]
        )

    def hold_outbound(self) -> float:
        """From now on what the VM sends is kept."""
        self._held.add(OUTBOUND)
        return self._point([(self._outbound, _entry(self.vm, OUTBOUND))])

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
        self.leg(old_nve).send(ethernet(self.mac, self.mac, MARKER_TYPE, payload))
        if listener.wait_for(payload, timeout_s) is None:
            return None
        return time.monotonic() - start_s

    def switch(self, new_nve: str) -> float:
        """Attach the VM to the new NVE and cut the old leg in both directions, in one message."""
        leg, port = self.leg(new_nve), port_device(self.vm)
        targets = [
            (action, SINK)
            for nve, other in self.legs.items()
            if nve != new_nve
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

    def release(self, holder: str) -> tuple[float, int]:
        """Let a holder's frames out in order; later ones queue behind them. Returns when, and how many."""
        entry = self._index(_entry(self.vm, holder))
        frames, _, _ = self._tc.queued(entry)
        self._tc.set_bucket(entry, _OPEN_RATE_BYTES_PER_S, _OPEN_BURST_BYTES, self.buffer_bytes)
        # A bucket that was closed looks at its queue only when the next frame comes (measured): so one comes.
        self._pokes[holder].send(_POKE)
        return time.monotonic(), frames

    def held_frames(self) -> dict[str, int]:
        """Frames that wait now, for each holder."""
        return {holder: self._tc.queued(self._index(_entry(self.vm, holder)))[0] for holder in HOLDERS}

    def dropped_frames(self) -> int:
        """Frames that found a holder full, since the start."""
        return sum(self._tc.queued(self._index(_entry(self.vm, holder)))[2] for holder in HOLDERS)

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

    def go_back(self, old_nve: str) -> None:
        """Undo of everything up to the switch: the VM hears and speaks through the old NVE, held frames follow."""
        old, port = self.leg(old_nve), port_device(self.vm)
        targets = [
            (action, SINK)
            for nve, leg in self.legs.items()
            if nve != old_nve
            for action in leg.actions.values()
        ]
        targets += [(action, port) for action in old.actions.values()]
        targets.append((self._exits[OUTBOUND], old.devices[DIRECT]))
        self._point(targets)
        self.attached_to = old_nve
        for holder in sorted(self._held):
            self.release(holder)
        self._held.clear()
        self._point([(self._outbound, old.devices[DIRECT])])

    def announce(self, nve: str) -> float:
        """Send a RARP into the NVE's leg, as a hypervisor does for the VM it has resumed."""
        self.leg(nve).send(rarp_announcement(self.mac))
        return time.monotonic()

    def end_markers(self, nve: str) -> MarkerListener:
        """What sees the end markers that come out of an NVE's redirected leg; emptied of earlier ones."""
        listener = self.leg(nve).listeners[REDIRECTED]
        listener.drain()
        return listener


def receive_on_one_processor(device: str, processor: int, root: Path = Path("/")) -> None:
    """Have one processor handle all that a device receives (RPS), so that it stays in order.

    A veth hands a frame to the queue of whichever processor the sender runs on: without this, frames of one flow that
    were sent on two processors overtake each other (measured: in 1 of 8 releases of a holder, at 5,000 packets/s).
    """
    path = root / f"sys/class/net/{device}/queues/rx-0/rps_cpus"
    try:
        path.write_text(f"{1 << processor:x}")
    except OSError as error:
        raise EmulationError(f"{device}: cannot choose its processor ({path}: {error.strerror})") from None


def _filter_lines(device: str, target: str, action: int) -> list[str]:
    """All that arrives on a device goes where the action says; the testbed's own markers go no further."""
    everything = "u32 match u32 0 0"
    return [
        f"qdisc add dev {device} clsact",
        f"filter add dev {device} ingress prio 1 protocol 0x88b5 {everything} "
        f"action mirred egress redirect dev {SINK} index {_SINK_ACTION}",
        f"filter add dev {device} ingress prio 2 protocol all {everything} "
        f"action mirred egress redirect dev {target} index {action}",
    ]
