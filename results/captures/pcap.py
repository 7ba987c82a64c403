"""Capture files as columns: where each record lies is found one by one, all the rest is numpy over the mapped file.

Reads what tcpdump writes (Ethernet, micro- or nanoseconds, either byte order). Of each frame: addresses of the tunnel
and of what is inside it (VXLAN, RFC 7348 section 5; Geneve, RFC 8926 section 3.4), and the number of a probe packet.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from results.record.contract import RecordError

ETHERNET = 1  # LINKTYPE_ETHERNET
NO_VALUE = -1
PROBE_MAGIC = 0x4F564C50  # of experiments/probes/udp_probe.c, in the host's byte order
GENEVE_PORT = 6081  # IANA
_NANOSECONDS = {b"\xa1\xb2\x3c\x4d": ">", b"\x4d\x3c\xb2\xa1": "<"}
_MICROSECONDS = {b"\xa1\xb2\xc3\xd4": ">", b"\xd4\xc3\xb2\xa1": "<"}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_FILE_HEADER_BYTES, _RECORD_HEADER_BYTES = 24, 16
_MOST_FRAME_BYTES = 1 << 18  # as libpcap: a larger one is a damaged file
_AT_ONCE = 1 << 17  # frames whose columns are made together: they stay in the processor's cache
_IPV4, _IPV6, _UDP = 0x0800, 0x86DD, 17

Integers = npt.NDArray[np.int64]
Unsigned = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frames:
    """One row a frame, in the order of the file. Addresses are 128 bits in two halves, IPv4 as ::ffff:a.b.c.d.

    ``t_ns``: CLOCK_REALTIME. ``size_bytes``: on the link, however little was kept. ``outer_*``: IPv4 addresses of the
    tunnel's ends, 0 without one. ``vni``, and of a probe packet ``stream``, ``seq`` and ``tx_ns`` (its sender's stamp),
    are -1 where there is none. ``ttl``, ``protocol`` and addresses are those of the packet inside.
    """

    t_ns: Integers
    size_bytes: Integers
    outer_src: Integers
    outer_dst: Integers
    vni: Integers
    ethertype: Integers
    src_high: Unsigned
    src_low: Unsigned
    dst_high: Unsigned
    dst_low: Unsigned
    protocol: Integers
    ttl: Integers
    stream: Integers
    seq: Integers
    tx_ns: Integers


_KINDS: dict[str, Any] = {
    name: np.uint64 if name.endswith(("_high", "_low")) else np.int64 for name in Frames.__dataclass_fields__
}


@dataclass(frozen=True)
class Capture:
    """A capture file; ``cut``: it ends within a record, as that of a killed run does."""

    path: Path
    snap_bytes: int
    frames: Frames
    cut: bool


def read_pcap(path: Path, tunnel_port: int) -> Capture:
    """A capture file; ``tunnel_port``: UDP port of the tunnels.

    Raises RecordError: no capture, pcapng, not Ethernet, damaged. One that ends within a record is read up to there.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_FILE_HEADER_BYTES)
            order, scale = _byte_order(path, head)
            snap, link_type = struct.unpack_from(order + "II", head, 16)
            if link_type != ETHERNET:
                raise RecordError(f"{path}: link type {link_type}, wanted Ethernet ({ETHERNET})")
            if path.stat().st_size == _FILE_HEADER_BYTES:
                return Capture(
                    path, snap, _columns(np.empty(0, np.uint8), np.empty(0, np.int64), order, 1, 0), False
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                offsets, cut = _offsets(path, mapped, order)
                data = np.frombuffer(mapped, np.uint8)
                try:
                    frames = _joined(
                        [_columns(data, part, order, scale, tunnel_port) for part in _parts(offsets)]
                    )
                finally:
                    del data  # the map cannot be closed while an array shows it
    except FileNotFoundError:
        raise RecordError(f"{path}: no such capture") from None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
    return Capture(path, snap, frames, cut)


def _byte_order(path: Path, head: bytes) -> tuple[str, int]:
    """The file's byte order and the nanoseconds in its smaller unit of time."""
    magic = head[:4]
    if magic == _PCAPNG:
        raise RecordError(f"{path}: is pcapng; convert it: editcap -F nsecpcap {path.name} OTHER.pcap")
    if len(head) < _FILE_HEADER_BYTES or magic not in _NANOSECONDS | _MICROSECONDS:
        raise RecordError(f"{path}: is not a capture (pcap); it begins with {magic.hex() or 'nothing'}")
    return (_NANOSECONDS[magic], 1) if magic in _NANOSECONDS else (_MICROSECONDS[magic], 1000)


def _offsets(path: Path, data: mmap.mmap, order: str) -> tuple[Integers, bool]:
    """Where each whole record begins, and whether one is cut at the end."""
    found: list[int] = []
    add, length_at, end = found.append, struct.Struct(order + "I").unpack_from, len(data)
    position = _FILE_HEADER_BYTES
    while position + _RECORD_HEADER_BYTES <= end:
        (kept,) = length_at(data, position + 8)
        if kept > _MOST_FRAME_BYTES:
            raise RecordError(f"{path}: damaged at byte {position:,}: a frame of {kept:,} bytes")
        add(position)
        position += _RECORD_HEADER_BYTES + kept
    cut = position != end
    if position > end:
        found.pop()
    return np.array(found, np.int64), cut


def _parts(offsets: Integers) -> Iterator[Integers]:
    for begin in range(0, max(len(offsets), 1), _AT_ONCE):
        yield offsets[begin : begin + _AT_ONCE]


def _joined(parts: list[Frames]) -> Frames:
    if len(parts) == 1:
        return parts[0]
    return Frames(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _KINDS})


class _Reader:
    """Numbers at places in the file; 0 where the place is beyond what was kept of its frame."""

    def __init__(self, data: Bytes, order: str) -> None:
        self._data, self._order = data, order

    def number(self, at: Integers, size: int, end: Integers, order: str = ">") -> Unsigned:
        """``size`` bytes (1, 2, 4, 8) at each place, in the byte order of the wire unless another is given."""
        # A number begins at every byte of the file: one gather each, whatever its size.
        every = np.ndarray((len(self._data) - size + 1,), f"{order}u{size}", self._data.data, 0, (1,))
        inside = at + size <= end
        return np.where(inside, every[np.where(inside, at, 0)], 0).astype(np.uint64)

    def header(self, at: Integers) -> Integers:
        """A field of the capture file itself, four bytes."""
        return self.number(at, 4, at + 4, self._order).astype(np.int64)


@dataclass(frozen=True)
class _Packet:
    """An Ethernet frame and the IP packet in it; ``udp``: where UDP begins, where there is no UDP beyond ``end``."""

    ethertype: Integers
    src: tuple[Unsigned, Unsigned]
    dst: tuple[Unsigned, Unsigned]
    protocol: Integers
    ttl: Integers
    udp: Integers


_MAPPED = np.uint64(0xFFFF_0000_0000)


def _packet(read: _Reader, frame: Integers, end: Integers) -> _Packet:
    ethertype = read.number(frame + 12, 2, end).astype(np.int64)
    ip, v4, v6 = frame + 14, ethertype == _IPV4, ethertype == _IPV6
    header = (read.number(ip, 1, end).astype(np.int64) & 15) * 4
    fragment = read.number(ip + 6, 2, end).astype(np.int64) & 0x1FFF

    def address(v4_at: int, v6_at: int) -> tuple[Unsigned, Unsigned]:
        low = _MAPPED | read.number(ip + v4_at, 4, end)
        if not v6.any():
            return np.zeros(len(frame), np.uint64), np.where(v4, low, np.uint64(0))
        high, six = read.number(ip + v6_at, 8, end), read.number(ip + v6_at + 8, 8, end)
        return np.where(v6, high, np.uint64(0)), np.where(v6, six, np.where(v4, low, np.uint64(0)))

    protocol = np.where(
        v4, read.number(ip + 9, 1, end), np.where(v6, read.number(ip + 6, 1, end), np.uint64(255))
    )
    ttl = np.where(v4, read.number(ip + 8, 1, end), np.where(v6, read.number(ip + 7, 1, end), np.uint64(0)))
    is_udp = (protocol == _UDP) & ~(v4 & (fragment > 0))
    udp = np.where(is_udp, ip + np.where(v4, header, 40), end)
    return _Packet(
        ethertype, address(12, 8), address(16, 24), protocol.astype(np.int64), ttl.astype(np.int64), udp
    )


def _columns(data: Bytes, offsets: Integers, order: str, scale: int, tunnel_port: int) -> Frames:
    read = _Reader(data, order)
    if not len(offsets):
        return Frames(*(np.empty(0, kind) for kind in _KINDS.values()))
    t_ns = read.header(offsets) * 1_000_000_000 + read.header(offsets + 4) * scale
    frame = offsets + _RECORD_HEADER_BYTES
    end = frame + read.header(offsets + 8)
    outer = _packet(read, frame, end)
    tunnelled = (read.number(outer.udp + 2, 2, end) == tunnel_port) & (outer.ethertype == _IPV4)
    options = np.zeros(len(frame), np.int64)
    if tunnel_port == GENEVE_PORT:
        options = (read.number(outer.udp + 8, 1, end).astype(np.int64) & 0x3F) * 4
    vni = np.where(tunnelled, read.number(outer.udp + 12, 4, end).astype(np.int64) >> 8, NO_VALUE)
    inner = _packet(read, np.where(tunnelled, outer.udp + 16 + options, frame), end)
    payload = inner.udp + 8
    probe = read.number(payload, 4, end, "<") == PROBE_MAGIC
    ends = tuple(
        np.where(tunnelled, address[1] & np.uint64(0xFFFF_FFFF), 0).astype(np.int64)
        for address in (outer.src, outer.dst)
    )
    return Frames(
        t_ns=t_ns,
        size_bytes=read.header(offsets + 12),
        outer_src=ends[0],
        outer_dst=ends[1],
        vni=vni,
        ethertype=inner.ethertype,
        src_high=inner.src[0],
        src_low=inner.src[1],
        dst_high=inner.dst[0],
        dst_low=inner.dst[1],
        protocol=inner.protocol,
        ttl=inner.ttl,
        stream=np.where(probe, read.number(payload + 4, 4, end, "<").astype(np.int64), NO_VALUE),
        seq=np.where(probe, read.number(payload + 8, 8, end, "<").astype(np.int64), NO_VALUE),
        tx_ns=np.where(probe, read.number(payload + 16, 8, end, "<").astype(np.int64), NO_VALUE),
    )
