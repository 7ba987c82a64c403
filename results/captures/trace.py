"""What a run's captures say together: what each link carried, and where a probe packet was last seen. Pure.

A packet has no name but its flow and its number, so it is followed by those from link to link; a link sees it once or
more (a redirected packet passes the old NVE's link twice).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from results.captures.pcap import NO_VALUE, Capture, Frames

Integers = npt.NDArray[np.int64]
_LOW = (1 << 64) - 1


@dataclass(frozen=True)
class Flow:
    """Probe packets from one address to another under one stream number; ends are named as the topology does."""

    src: str
    dst: str
    stream: int
    family: str

    @property
    def label(self) -> str:
        """'peer1 -> vm1'; IPv6 and further streams are said."""
        more = [self.family] if self.family == "ipv6" else []
        more += [f"stream {self.stream}"] if self.stream else []
        return f"{self.src} -> {self.dst}" + (f" ({', '.join(more)})" if more else "")


@dataclass(frozen=True)
class Sighting:
    """One packet on one link. ``t_ns``: CLOCK_REALTIME; ``vni`` None: not in a tunnel."""

    t_ns: int
    link: str
    outer_src: str
    outer_dst: str
    vni: int | None
    ttl: int


@dataclass(frozen=True)
class Lost:
    """Packets of a flow that did not come to their end, by the link on which they were last seen."""

    link: str
    packets: int
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class FlowSeen:
    """One flow in all captures. ``sent``, ``arrived``: None where the capture of that end's link is missing."""

    flow: Flow
    sent: int | None
    arrived: int | None
    twice: int
    lost: tuple[Lost, ...]


@dataclass(frozen=True)
class Carried:
    """What a link carried from one NVE to another (``ends``) in one virtual network; both None: without a tunnel."""

    link: str
    ends: tuple[str, str] | None
    vni: int | None
    packets: int
    size_bytes: int


@dataclass(frozen=True)
class Names:
    """What addresses are called; others are shown as they are."""

    nodes: Mapping[str, str] = field(default_factory=dict)
    nves: Mapping[int, str] = field(default_factory=dict)

    def node(self, high: int, low: int) -> tuple[str, str]:
        """The name and the IP version of a VM's address."""
        address = ipaddress.IPv6Address(high << 64 | low)
        plain = address.ipv4_mapped or address
        return self.nodes.get(str(plain), str(plain)), f"ipv{plain.version}"

    def nve(self, address: int) -> str:
        """The NVE of an underlay address."""
        return self.nves.get(address, str(ipaddress.IPv4Address(address)))


def names_of(topology: Mapping[str, Any]) -> Names:
    """The names of a record's topology: VMs, clients outside, NVEs."""
    nodes = [*topology.get("vms", ()), *((topology.get("outside") or {}).get("clients", ()))]
    addresses = {
        str(ipaddress.ip_address(node[version])): str(node["name"])
        for node in nodes
        for version in ("ipv4", "ipv6")
        if node.get(version)
    }
    nves = {
        int(ipaddress.IPv4Address(nve["underlay_ip"])): str(nve["name"]) for nve in topology.get("nves", ())
    }
    return Names(addresses, nves)


class Trace:
    """The captures of one run by link."""

    def __init__(self, captures: Mapping[str, Capture], names: Names) -> None:
        self.captures, self.names = captures, names

    def carried(self) -> list[Carried]:
        """Per link, what it carried: tunnelled by ends and VNI, then the rest in one row."""
        rows = []
        for link, capture in self.captures.items():
            frames = capture.frames
            keys = np.stack([frames.outer_src, frames.outer_dst, frames.vni], axis=1)
            kinds, of = np.unique(keys, axis=0, return_inverse=True)
            of = of.reshape(-1)
            packets = np.bincount(of, minlength=len(kinds))
            sizes = np.bincount(of, weights=frames.size_bytes, minlength=len(kinds))
            for (src, dst, vni), count, size in zip(
                kinds.tolist(), packets.tolist(), sizes.tolist(), strict=True
            ):
                ends = None if vni == NO_VALUE else (self.names.nve(src), self.names.nve(dst))
                rows.append(Carried(link, ends, vni if ends else None, count, int(size)))
        return rows

    @cached_property
    def flows(self) -> list[Flow]:
        """All flows of probe packets on any link, by label."""
        found = {flow for capture in self.captures.values() for flow in self._flows_of(capture.frames)}
        return sorted(found, key=lambda flow: flow.label)

    def _flows_of(self, frames: Frames) -> Iterator[Flow]:
        own = frames.stream != NO_VALUE
        ends = np.stack(
            [
                *(part[own] for part in (frames.src_high, frames.src_low, frames.dst_high, frames.dst_low)),
                frames.stream[own].astype(np.uint64),
            ],
            axis=1,
        )
        for src_high, src_low, dst_high, dst_low, stream in np.unique(ends, axis=0).tolist():
            src, family = self.names.node(src_high, src_low)
            yield Flow(src, self.names.node(dst_high, dst_low)[0], stream, family)

    def _rows(self, frames: Frames, flow: Flow) -> Integers:
        """The rows of a link's frames that are of the flow."""
        own = np.flatnonzero(frames.stream == flow.stream)
        for part, end in (("src", flow.src), ("dst", flow.dst)):
            high, low = self._address(end, flow.family)
            own = own[
                (getattr(frames, f"{part}_low")[own] == low) & (getattr(frames, f"{part}_high")[own] == high)
            ]
        return own

    def _address(self, end: str, family: str) -> tuple[np.uint64, np.uint64]:
        texts = [text for text, name in self.names.nodes.items() if name == end] or [end]
        found = next(one for one in map(ipaddress.ip_address, texts) if f"ipv{one.version}" == family)
        whole = int(found) if found.version == 6 else 0xFFFF << 32 | int(found)
        return np.uint64(whole >> 64), np.uint64(whole & _LOW)

    def seen(self, flow: Flow) -> FlowSeen:
        """How many of a flow's packets each end's link saw, and where those that did not arrive were last seen."""
        stamps: list[Integers] = []
        numbers: list[Integers] = []
        times: list[Integers] = []
        links: list[Integers] = []
        names = list(self.captures)
        for place, link in enumerate(names):
            frames = self.captures[link].frames
            rows = self._rows(frames, flow)
            for column, part in ((stamps, frames.tx_ns), (numbers, frames.seq), (times, frames.t_ns)):
                column.append(part[rows])
            links.append(np.full(len(rows), place))
        # The sender's stamp tells packets apart; numbers begin again where a run starts its traffic anew.
        tx_ns, seq, t_ns, place_of = (np.concatenate(parts) for parts in (stamps, numbers, times, links))
        at = {end: tx_ns[place_of == names.index(end)] for end in (flow.src, flow.dst) if end in names}
        sent = None if flow.src not in at else len(np.unique(at[flow.src]))
        if flow.dst not in at:
            return FlowSeen(flow, sent, None, 0, ())
        arrived = np.unique(at[flow.dst])
        missing = ~np.isin(tx_ns, arrived)
        order = np.lexsort((t_ns[missing], tx_ns[missing]))
        stamps_lost, seq_lost, place_lost = (part[missing][order] for part in (tx_ns, seq, place_of))
        last = np.flatnonzero(np.diff(stamps_lost, append=NO_VALUE))  # the latest sighting of each packet
        lost = [
            Lost(names[place], int(np.sum(own)), tuple(ranges(seq_lost[last][own])))
            for place in np.unique(place_lost[last]).tolist()
            for own in [place_lost[last] == place]
        ]
        twice = len(at[flow.dst]) - len(arrived)
        return FlowSeen(flow, sent, len(arrived), twice, tuple(sorted(lost, key=lambda one: -one.packets)))

    def way(self, flow: Flow, number: int) -> list[Sighting]:
        """Every sighting of one packet, by time."""
        found = []
        for link, capture in self.captures.items():
            frames = capture.frames
            rows = self._rows(frames, flow)
            for row in rows[frames.seq[rows] == number].tolist():
                vni = int(frames.vni[row])
                tunnelled = vni != NO_VALUE
                found.append(
                    Sighting(
                        int(frames.t_ns[row]),
                        link,
                        self.names.nve(int(frames.outer_src[row])) if tunnelled else "",
                        self.names.nve(int(frames.outer_dst[row])) if tunnelled else "",
                        vni if tunnelled else None,
                        int(frames.ttl[row]),
                    )
                )
        return sorted(found, key=lambda one: one.t_ns)


def ranges(numbers: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """Numbers as (first, last) of each run that goes up by one. Pure."""
    if not len(numbers):
        return []
    breaks = np.flatnonzero(np.diff(numbers) != 1)
    firsts = numbers[np.concatenate(([0], breaks + 1))]
    lasts = numbers[np.concatenate((breaks, [len(numbers) - 1]))]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def range_text(spans: Sequence[tuple[int, int]], most: int = 4) -> str:
    """'120-249, 300 and 2 more ranges'. Pure."""
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans[:most])
    more = len(spans) - most
    return shown + (f" and {more} more range{'s' if more > 1 else ''}" if more > 0 else "")
