"""The two legs of a pre-wired VM to one NVE: devices, redirect actions, sockets, and what was lost at a cut leg.

A *leg* is a veth between the sandbox's own namespace and an NVE. Where its frames go is said by a tc mirred action,
known by its number. A leg whose action points at the *sink* is cut: what still comes is counted and seen by nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from emulation.errors import EmulationError
from emulation.packet_sockets import FrameSender, MarkerListener
from topologies.names import interface_name

SINK, SINK_END = "sink0", "sink1"
DIRECT, REDIRECTED = "direct", "redirected"
MAXIMUM_MTU_BYTES = 9500
# Every action has a number that is said: one without it takes the lowest free number, which may be another's.
_SINK_ACTION = 1


def sink_lines() -> list[str]:
    """``ip -batch`` lines for the sink; once a sandbox."""
    return [
        f"link add {SINK} type veth peer name {SINK_END}",
        f"link set {SINK} mtu {MAXIMUM_MTU_BYTES} up",
        f"link set {SINK_END} mtu {MAXIMUM_MTU_BYTES} up",
    ]


def port_device(vm: str) -> str:
    """The sandbox's end of the VM's own veth."""
    return interface_name(vm, behind="-p")


def leg_device(vm: str, number: int, which: str) -> str:
    """The sandbox's end of a leg to NVE ``number``."""
    return interface_name(vm, behind=f"-{'l' if which == DIRECT else 'r'}{number}")


def nve_device(vm: str, which: str) -> str:
    """The NVE's end of a leg: the port's name on br-int."""
    return vm if which == DIRECT else interface_name(vm, behind="-r")


def filter_lines(device: str, target: str, action: int) -> list[str]:
    """All that arrives on a device goes where the action says; the testbed's own markers go no further.

    Priority 2 stays free for a filter that doubles what the device receives (``doubling_line``).
    """
    everything = "u32 match u32 0 0"
    return [
        f"qdisc add dev {device} clsact",
        f"filter add dev {device} ingress prio 1 protocol 0x88b5 {everything} "
        f"action mirred egress redirect dev {SINK} index {_SINK_ACTION}",
        f"filter add dev {device} ingress prio 3 protocol all {everything} "
        f"action mirred egress redirect dev {target} index {action}",
    ]


def doubling_line(device: str, target: str, action: int, copy_to: str, copy_action: int) -> str:
    """A ``tc -batch`` line: besides going where ``action`` (now ``target``) says, frames go to ``copy_to`` too.

    One filter with both actions: after a filter that only mirrors, no later one is asked (measured).
    """
    return (
        f"filter add dev {device} ingress prio 2 protocol all u32 match u32 0 0 "
        f"action mirred egress mirror dev {copy_to} index {copy_action} "
        f"action mirred egress redirect dev {target} index {action}"
    )


def undoubling_line(device: str) -> str:
    """A ``tc -batch`` line: the end of ``doubling_line``; the action that both filters name stays."""
    return f"filter del dev {device} ingress prio 2"


def received_frames(device: str, root: Path = Path("/")) -> int:
    """Frames that a device has received since it was made."""
    path = root / f"sys/class/net/{device}/statistics/rx_packets"
    try:
        return int(path.read_text())
    except OSError as error:
        raise EmulationError(f"{device}: cannot read its counter ({path}: {error.strerror})") from None


def receive_on_one_processor(device: str, processor: int, root: Path = Path("/")) -> None:
    """Have one processor handle all that a device receives (RPS), so that it stays in order.

    A veth hands a frame to the queue of whichever processor the sender runs on: without this, frames of one flow that
    were sent on two processors overtake each other (measured: in 1 of 8 releases of a holder, at 5,000 packets/s).
    """
    path = root / f"sys/class/net/{device}/queues/rx-0/rps_cpus"
    try:
        # The kernel's form of a set of processors: 32 bits in hexadecimal to a comma, the highest first.
        path.write_text(f"{1 << processor % 32:x}" + ",00000000" * (processor // 32))
    except OSError as error:
        raise EmulationError(f"{device}: cannot choose its processor ({path}: {error.strerror})") from None


@dataclass
class Leg:
    """One NVE's two legs: devices, actions and packet sockets, by ``direct`` and ``redirected``.

    The sockets stay open: to close one takes the kernel 8 to 15 ms (measured), as long as a whole move.
    """

    nve: str
    devices: dict[str, str]
    actions: dict[str, int]
    sender: FrameSender | None = None
    listeners: dict[str, MarkerListener] = field(default_factory=dict)
    counter: Callable[[str], int] = received_frames
    _sunk: dict[str, int] = field(default_factory=dict)
    _cut_at: dict[str, int] = field(default_factory=dict)

    def open_sockets(self) -> None:
        """Open the packet sockets; the devices exist by now, and the legs are cut."""
        self.sender = FrameSender(self.devices[DIRECT], bypass=True)
        self.listeners = {which: MarkerListener(device) for which, device in self.devices.items()}
        for which in self.devices:
            self.pointed(which, SINK)

    def send(self, frame: bytes) -> None:
        """Send a frame towards the NVE."""
        if self.sender is None:
            raise EmulationError(f"the leg to {self.nve} has not been connected")
        self.sender.send(frame)

    def pointed(self, which: str, target: str) -> None:
        """Keep account: the action of that leg points at ``target`` from now on.

        The counter is read some 50 us after the action was changed; what came in between counts on the wrong side.
        """
        if target == SINK:
            if which not in self._cut_at:
                self._cut_at[which] = self.counter(self.devices[which])
        elif which in self._cut_at:
            self._sunk[which] = self.sunk_frames()[which]
            del self._cut_at[which]

    def sunk_frames(self) -> dict[str, int]:
        """Frames that came out of each leg while it was cut, since the start: nobody got them."""
        return {
            which: self._sunk.get(which, 0)
            + (self.counter(device) - self._cut_at[which] if which in self._cut_at else 0)
            for which, device in self.devices.items()
        }

    def received_frames(self, which: str) -> int:
        """All frames that came out of one leg since the start, wherever they went."""
        return self.counter(self.devices[which])
