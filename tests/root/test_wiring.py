"""The wiring of a VM that can move: what is held, what is let out, what is cut; on plain namespaces, no switches.

Frames carry a number; whoever gets them says which, in which order. That nothing came is said only after what was
sent is known to lie elsewhere: in a holder, or counted at the sink.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from emulation import commands
from emulation.errors import EmulationError, WaitError
from emulation.packet_sockets import FrameSender
from emulation.sandbox import network_namespace
from emulation.wiring import DIRECT, OUTBOUND, REDIRECTED, SINK_END, Wiring, nve_device, sink_lines
from tests.root.sandboxed import Capture, in_sandbox
from wire.arp import rarp_announcement
from wire.ethernet import MARKER as MARKER_TYPE
from wire.ethernet import build as ethernet
from wire.markers import marker

pytestmark = pytest.mark.root

MAC, OTHER = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
NUMBERED = 0x88B6  # IEEE 802 local experimental ethertype 2
FRAME_BYTES = 60
COUNT = 300
BOUND_S = 5.0
_SO_SNDBUFFORCE = 32


def numbers_in(frames: list[bytes]) -> list[int]:
    return [struct.unpack_from("!Q", f, 14)[0] for f in frames if f[12:14] == NUMBERED.to_bytes(2, "big")]


class Bench:
    """A VM wired to two NVEs that are nothing but namespaces with the two ports; nve3 joins when asked."""

    def __init__(self, buffer_bytes: int = 1_000_000) -> None:
        for scope in ("all", "default"):  # as the network does it: a router solicitation would be held too
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
        self.pids = {name: self._namespace() for name in ("vm", "nve1", "nve2", "nve3")}
        lines = [] if Path(f"/sys/class/net/{SINK_END}").exists() else sink_lines()
        lines += [*Wiring.device_lines("vm1", self.pids["vm"], MAC, 1450)]
        for number in (1, 2):
            lines += Wiring.leg_lines("vm1", number, self.pids[f"nve{number}"], 1450)
        commands.batch("ip", lines)
        commands.batch("ip", ["link set eth0 up"], pid=self.pids["vm"])
        self.at: dict[tuple[str, str], Capture] = {}
        self._from: dict[tuple[str, str], FrameSender] = {}
        self._open("vm", "", "eth0")
        for nve in ("nve1", "nve2"):
            self._join(nve)
        self.wiring = Wiring("vm1", MAC, "nve1", 1450, buffer_bytes, 1000, 0)
        self.wiring.connect({"nve1": 1, "nve2": 2})

    @staticmethod
    def _namespace() -> int:
        quiet = "cd /proc/sys/net/ipv6/conf && echo 1 > all/disable_ipv6 && echo 1 > default/disable_ipv6"
        process = subprocess.Popen(["unshare", "--net", "sh", "-c", f"{quiet}; exec sleep infinity"])
        own, its = Path("/proc/self/ns/net"), Path(f"/proc/{process.pid}/ns/net")
        commands.wait_until(lambda: its.readlink() != own.readlink(), BOUND_S, "a namespace of its own")
        return process.pid

    def _join(self, nve: str) -> None:
        for which in (DIRECT, REDIRECTED):
            device = nve_device("vm1", which)
            commands.batch("ip", [f"link set {device} up"], pid=self.pids[nve])
            self._open(nve, which, device)

    def _open(self, node: str, which: str, device: str) -> None:
        self.at[node, which] = Capture(self.pids[node], device)
        with network_namespace(self.pids[node]):
            sender = FrameSender(device, bypass=False)
        # A frame in a holder still counts as its sender's: with the default 212,992 bytes the 278th would wait.
        sender._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 64_000_000)
        self._from[node, which] = sender

    def add_nve3(self) -> None:
        commands.batch("ip", Wiring.leg_lines("vm1", 3, self.pids["nve3"], 1450))
        self._join("nve3")
        self.wiring.add_leg("nve3", 3)

    def send(self, node: str, which: str, numbers: range) -> None:
        source, destination = (MAC, OTHER) if node == "vm" else (OTHER, MAC)
        for number in numbers:
            self._from[node, which].send(ethernet(destination, source, NUMBERED, struct.pack("!Q", number)))

    def sunk(self) -> int:
        return int(Path(f"/sys/class/net/{SINK_END}/statistics/rx_packets").read_text())

    def cut(self, node: str, which: str) -> None:
        """What is sent there ends in the sink: counted, and seen by nobody."""
        before = self.sunk()
        self.send(node, which, range(COUNT))
        commands.wait_until(
            lambda: self.sunk() - before >= COUNT, BOUND_S, f"the sink to take all of {node} {which}"
        )
        assert self.nowhere() == {}

    def arrived(self, node: str, which: str, count: int = COUNT) -> list[int]:
        """The numbers that came there, in their order, once so many are there."""
        found: list[int] = []

        def enough() -> bool:
            found.extend(numbers_in(self.at[node, which].frames()))
            return len(found) >= count

        with contextlib.suppress(WaitError):  # the caller's comparison says more
            commands.wait_until(enough, BOUND_S, "frames")
        return found

    def nowhere(self) -> dict[tuple[str, str], list[int]]:
        """What has arrived since the last look, wherever it was."""
        seen = {place: numbers_in(capture.frames()) for place, capture in self.at.items()}
        return {place: numbers for place, numbers in seen.items() if numbers}

    def hold(self, holder: str, node: str, which: str, numbers: range = range(COUNT)) -> None:
        """What is sent there is in the holder, all of it, and nowhere else."""
        before = self.wiring.held_frames()[holder]
        self.send(node, which, numbers)
        commands.wait_until(
            lambda: self.wiring.held_frames()[holder] - before >= len(numbers), BOUND_S, f"{holder} to hold"
        )
        assert self.wiring.held_frames()[holder] - before == len(numbers)
        assert self.nowhere() == {}


ALL = list(range(COUNT))


def at_home() -> None:
    bench = Bench()
    for which in (DIRECT, REDIRECTED):
        bench.send("nve1", which, range(COUNT))
        assert bench.arrived("vm", "") == ALL
        bench.cut("nve2", which)
    bench.send("vm", "", range(COUNT))
    assert bench.arrived("nve1", DIRECT) == ALL
    assert bench.nowhere() == {}
    assert bench.wiring.held_frames() == {OUTBOUND: 0, DIRECT: 0, REDIRECTED: 0}


def a_whole_move() -> None:
    bench = Bench()
    wiring = bench.wiring
    wiring.close_holders()
    wiring.hold_inbound("nve2")
    bench.hold(DIRECT, "nve2", DIRECT)
    bench.hold(REDIRECTED, "nve2", REDIRECTED)
    bench.send("nve1", DIRECT, range(COUNT))
    assert bench.arrived("vm", "") == ALL, "the VM must go on living at the old NVE"
    bench.send("vm", "", range(COUNT))
    assert bench.arrived("nve1", DIRECT) == ALL
    wiring.hold_outbound()
    bench.hold(OUTBOUND, "vm", "")

    wiring.switch("nve2")
    assert wiring.attached_to == "nve2"
    bench.hold(DIRECT, "nve2", DIRECT, range(COUNT, COUNT + 10))
    assert bench.nowhere() == {}, "a switch must release nothing"
    for which in (DIRECT, REDIRECTED):
        bench.cut("nve1", which)

    assert wiring.release(OUTBOUND)[1] == COUNT
    assert bench.arrived("nve2", DIRECT) == ALL
    bench.send("vm", "", range(COUNT))
    assert bench.arrived("nve2", DIRECT) == ALL, "later frames follow through the open holder"
    assert wiring.release(REDIRECTED)[1] == COUNT
    assert bench.arrived("vm", "") == ALL
    assert wiring.held_frames()[DIRECT] == COUNT + 10, "the two must be released apart"
    assert wiring.release(DIRECT)[1] == COUNT + 10
    assert bench.arrived("vm", "", COUNT + 10) == list(range(COUNT + 10))
    assert wiring.held_frames() == {OUTBOUND: 0, DIRECT: 0, REDIRECTED: 0}

    wiring.straighten()
    for which in (DIRECT, REDIRECTED):
        bench.send("nve2", which, range(COUNT))
        assert bench.arrived("vm", "") == ALL
        bench.cut("nve1", which)
    bench.send("vm", "", range(COUNT))
    assert bench.arrived("nve2", DIRECT) == ALL
    assert bench.nowhere() == {}
    assert wiring.dropped_frames() == 0


def a_release_under_way() -> None:
    """Frames keep coming while the holder opens: all in order, each once.

    3 rounds of 800 at full speed: a processor's backlog takes 1,000 frames at once (net.core.netdev_max_backlog).
    """
    bench = Bench()
    bench.wiring.switch("nve2")
    for _ in range(3):
        bench.wiring.close_holders()
        bench.wiring.hold_inbound("nve2")
        sender = threading.Thread(target=bench.send, args=("nve2", DIRECT, range(800)))
        sender.start()
        commands.wait_until(
            lambda bench=bench: bench.wiring.held_frames()[DIRECT] > 100,
            BOUND_S,
            "frames to be held",
            every_s=0.0005,
        )
        bench.wiring.release(DIRECT)
        sender.join(BOUND_S)
        arrived = bench.arrived("vm", "", 800)
        lost, disorder = (
            sorted(set(range(800)) - set(arrived)),
            [n for a, n in itertools.pairwise(arrived) if n < a],
        )
        assert (lost, disorder, len(arrived)) == ([], [], 800)


def a_way_back() -> None:
    """Undo before the switch: what was held goes where it would have gone, the new NVE is cut again."""
    bench = Bench()
    wiring = bench.wiring
    wiring.close_holders()
    wiring.hold_inbound("nve2")
    wiring.hold_outbound()
    bench.hold(OUTBOUND, "vm", "")
    bench.hold(REDIRECTED, "nve2", REDIRECTED)
    wiring.go_back("nve1")
    assert wiring.attached_to == "nve1"
    assert bench.arrived("nve1", DIRECT) == ALL
    assert bench.arrived("vm", "") == ALL
    bench.send("nve1", DIRECT, range(COUNT))
    assert bench.arrived("vm", "") == ALL
    bench.send("vm", "", range(COUNT))
    assert bench.arrived("nve1", DIRECT) == ALL
    bench.cut("nve2", DIRECT)
    bench.cut("nve2", REDIRECTED)
    wiring.close_holders()
    wiring.hold_inbound("nve2")
    bench.hold(DIRECT, "nve2", DIRECT)


def a_switch_without_holding() -> None:
    bench = Bench()
    bench.wiring.switch("nve2")
    for which in (DIRECT, REDIRECTED):
        bench.send("nve2", which, range(COUNT))
        assert bench.arrived("vm", "") == ALL
        bench.cut("nve1", which)
    bench.send("vm", "", range(COUNT))
    assert bench.arrived("nve2", DIRECT) == ALL
    assert bench.nowhere() == {}


def a_full_holder() -> None:
    """100 frames of 60 bytes fit into 6,000; of 300 the first 100 stay, 200 are counted as dropped."""
    bench = Bench(buffer_bytes=100 * FRAME_BYTES)
    bench.wiring.hold_inbound("nve2")
    bench.send("nve2", DIRECT, range(COUNT))
    commands.wait_until(
        lambda: bench.wiring.dropped_frames() >= COUNT - 100, BOUND_S, "200 frames to be dropped"
    )
    assert bench.wiring.dropped_frames() == COUNT - 100
    assert bench.wiring.held_frames()[DIRECT] == 100
    bench.wiring.switch("nve2")
    bench.wiring.release(DIRECT)
    assert bench.arrived("vm", "", 100) == list(range(100))


def detached() -> None:
    bench = Bench()
    bench.wiring.detach()
    assert bench.wiring.attached_to is None
    bench.cut("vm", "")
    bench.cut("nve1", DIRECT)
    bench.cut("nve2", DIRECT)
    with pytest.raises(EmulationError, match="vm1 is attached nowhere; switch it to an NVE first"):
        bench.wiring.straighten()
    bench.wiring.switch("nve2")
    bench.wiring.straighten()
    bench.send("vm", "", range(COUNT))
    assert bench.arrived("nve2", DIRECT) == ALL


def a_leg_that_comes_later() -> None:
    bench = Bench()
    with pytest.raises(EmulationError, match="vm1 has no leg to nve3; it is wired to nve1, nve2"):
        bench.wiring.switch("nve3")
    bench.add_nve3()
    bench.cut("nve3", DIRECT)
    bench.wiring.switch("nve3")
    bench.send("vm", "", range(COUNT))
    assert bench.arrived("nve3", DIRECT) == ALL
    bench.cut("nve1", DIRECT)


def markers_of_the_testbed() -> None:
    """The old path's check and the RARP: what the VM must not see, and what the NVE must."""
    bench = Bench()
    wiring = bench.wiring
    assert wiring.await_old_path_clear("nve1", "nve2", 0.05) is None, "nobody sent the frame on"
    sent = [f for f in bench.at["nve1", DIRECT].frames() if f[12:14] == MARKER_TYPE.to_bytes(2, "big")]
    assert [(f[0:6].hex(":"), f[6:12].hex(":")) for f in sent] == [(MAC, MAC)]
    wiring.announce("nve2", [rarp_announcement(MAC)])
    rarps: list[bytes] = []

    def announced() -> bool:
        rarps.extend(f for f in bench.at["nve2", DIRECT].frames() if f[12:14] == b"\x80\x35")
        return bool(rarps)

    commands.wait_until(announced, BOUND_S, "a RARP at nve2")
    assert rarps[0][0:12].hex(":") == f"ff:ff:ff:ff:ff:ff:{MAC}"
    before = bench.sunk()
    listener = wiring.end_markers("nve1")
    bench._from["nve1", REDIRECTED].send(marker(b"end"))
    assert listener.wait_for(b"end", BOUND_S) is not None
    commands.wait_until(lambda: bench.sunk() > before, BOUND_S, "the marker in the sink")
    assert [f for f in bench.at["vm", ""].frames() if f[12:14] == MARKER_TYPE.to_bytes(2, "big")] == []


@pytest.mark.parametrize(
    "body",
    [
        at_home,
        a_whole_move,
        a_release_under_way,
        a_way_back,
        a_switch_without_holding,
        a_full_holder,
        detached,
        a_leg_that_comes_later,
        markers_of_the_testbed,
    ],
)
def test_wiring(body: Callable[[], None]) -> None:
    in_sandbox(body, 30.0)
