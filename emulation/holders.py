"""Holders: where frames wait, in order, in the kernel.

A *holder* is a pair of veths with a token-bucket filter on its entry: closed (1 byte/s) it keeps frames, opened it
lets them out in order, and frames that come later queue behind them, so nothing overtakes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from emulation import commands
from emulation.legs import DIRECT, MAXIMUM_MTU_BYTES, REDIRECTED
from emulation.netlink import TrafficControl, interface_index
from emulation.packet_sockets import FrameSender
from topologies.names import interface_name
from wire.markers import marker

OUTBOUND = "outbound"
HOLDERS = (OUTBOUND, DIRECT, REDIRECTED)
TAP_FRAMES = 1000
"""What a tap device keeps for a guest that does not read: its default transmit queue length."""

CLOSED_RATE_BYTES_PER_S = 1
# An open holder lets 50,000 frames/s out, 64 of them at once: the kernel's input queue of a processor takes 1,000
# frames (net.core.netdev_max_backlog) and drops the rest. Of 3,000 frames let out at once 192 were lost, and at 200,000
# frames/s some of 1,300 still were in 1 of 4 releases (measured).
_OPEN_LEAST_BYTES = 1500
_OPEN_RATE_BYTES_PER_S = 50_000 * _OPEN_LEAST_BYTES
_OPEN_BURST_BYTES = 64 * _OPEN_LEAST_BYTES
_POKE = marker(b"poke")


def entry_device(vm: str, holder: str) -> str:
    """Where frames go into a holder."""
    return interface_name(vm, behind=f"-h{holder[0]}")


def exit_device(vm: str, holder: str) -> str:
    """Where they come out."""
    return interface_name(vm, behind=f"-h{holder[0]}x")


def device_lines(vm: str) -> list[str]:
    """``ip -batch`` lines for a VM's holders."""
    lines = []
    for holder in HOLDERS:
        entry, end = entry_device(vm, holder), exit_device(vm, holder)
        lines += [
            f"link add {entry} mtu {MAXIMUM_MTU_BYTES} type veth peer name {end} mtu {MAXIMUM_MTU_BYTES}",
            f"link set {entry} up",
            f"link set {end} up",
        ]
    return lines


class Holders:
    """The buckets of one VM's holders. Limits are in bytes, or in frames once ``limit`` has said so."""

    def __init__(self, vm: str, mtu_bytes: int, buffer_bytes: int, tc: TrafficControl) -> None:
        self._vm, self._tc = vm, tc
        self._closed_burst_bytes = (
            mtu_bytes + 150
        )  # one frame with its header must fit, or it would be refused
        self._buffer_bytes = buffer_bytes
        self._frames: int | None = None
        self._entries: dict[str, int] = {}
        self._pokes: dict[str, FrameSender] = {}

    def bucket_lines(self) -> list[str]:
        """``tc -batch`` lines for the closed buckets."""
        return [
            f"qdisc add dev {entry_device(self._vm, holder)} root handle 1: tbf rate 8bit "
            f"burst {self._closed_burst_bytes} limit {self._buffer_bytes}"
            for holder in HOLDERS
        ]

    def open_sockets(self) -> None:
        """Open what pokes the buckets; their devices exist by now."""
        self._entries = {holder: interface_index(entry_device(self._vm, holder)) for holder in HOLDERS}
        self._pokes = {
            holder: FrameSender(entry_device(self._vm, holder), bypass=False) for holder in HOLDERS
        }

    def limit(self, frames: int | None) -> None:
        """Keep at most so many frames from now on (None: the network's ``buffer_bytes``). Only while they are empty."""
        if frames == self._frames:
            return
        queue = f"bfifo limit {self._buffer_bytes}" if frames is None else f"pfifo limit {frames}"
        lines = [
            f"qdisc replace dev {entry_device(self._vm, holder)} parent 1:1 {queue}" for holder in HOLDERS
        ]
        commands.batch("tc", lines, node=self._vm)
        self._frames = frames

    @property
    def _limit(self) -> int:
        # The kernel hands a bucket's limit on to the queue inside, whose unit decides what it means.
        return self._buffer_bytes if self._frames is None else self._frames

    def close(self, holder: str) -> None:
        """Close a bucket and use up the tokens it starts with, so that not one frame slips through."""
        entry, burst = self._entries[holder], self._closed_burst_bytes
        self._tc.set_bucket(entry, CLOSED_RATE_BYTES_PER_S, burst, self._limit)
        self._pokes[holder].send(marker(b"tokens", burst))

    def release(self, holder: str) -> tuple[float, int]:
        """Let a holder's frames out in order; later ones queue behind them. Returns when, and how many."""
        entry = self._entries[holder]
        frames, _, _ = self._tc.queued(entry)
        self._tc.set_bucket(
            entry, _OPEN_RATE_BYTES_PER_S, _OPEN_BURST_BYTES, self._limit, least_bytes=_OPEN_LEAST_BYTES
        )
        # A bucket that was closed looks at its queue only when the next frame comes (measured): so one comes.
        self._pokes[holder].send(_POKE)
        return time.monotonic(), frames

    def held_frames(self) -> dict[str, int]:
        """Frames that wait now, for each holder."""
        return {holder: self._tc.queued(entry)[0] for holder, entry in self._entries.items()}

    def dropped_frames(self) -> int:
        """Frames that found a holder full, since the start."""
        return sum(self._tc.queued(entry)[2] for entry in self._entries.values())

    def gauge(self) -> HolderGauge:
        """What another thread may read the holders' fill with."""
        return HolderGauge(self._entries)


class HolderGauge:
    """Reads how full holders are, on a netlink socket of its own."""

    def __init__(self, entries: Mapping[str, int]) -> None:
        self._tc, self._entries = TrafficControl(), dict(entries)

    def read(self) -> dict[str, tuple[int, int]]:
        """For each holder: frames and bytes that wait now."""
        return {holder: self._tc.queued(entry)[:2] for holder, entry in self._entries.items()}

    def close(self) -> None:
        """Close the socket."""
        self._tc.close()
