"""The header every probe's log begins with; standard library only, so that a probe process starts fast.

A log is one 512-byte header and records of equal size, little-endian. The header names the records' fields
(``layout``) and up to twelve counters, so that one reader (``logs.py``) does for all probes. ``udp_probe.c``
writes the same header. A log appears under its name only when its probe is ready.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

MAGIC = b"OVLPROBE"
VERSION = 1
COUNTERS = 12
_HEADER = struct.Struct(f"<8sIIIIq{COUNTERS}q256s128s")
_COUNTERS_AT = struct.calcsize("<8sIIIIq")
HEADER_BYTES = _HEADER.size


class LogError(ValueError):
    """A file that is not a probe's log, or one of another version; the text says which."""


class Header(NamedTuple):  # a dataclass would take a probe 8 ms longer to start
    """What a log says of itself: bytes per record, number of records, whether its probe ended in order."""

    layout: str
    record_bytes: int
    records: int = 0
    finished: bool = False
    counters: Mapping[str, int] = MappingProxyType({})

    def encode(self) -> bytes:
        """Return the header as its 512 bytes; LogError when its names do not fit."""
        if len(self.layout) > 256 or len(",".join(self.counters)) > 128 or len(self.counters) > COUNTERS:
            raise LogError(f"the fields or counters do not fit into the header: {self}")
        values = [*self.counters.values(), *[0] * COUNTERS][:COUNTERS]
        return _HEADER.pack(
            MAGIC,
            VERSION,
            HEADER_BYTES,
            self.record_bytes,
            int(self.finished),
            self.records,
            *values,
            self.layout.encode(),
            ",".join(self.counters).encode(),
        )


def read_counters(path: Path) -> Mapping[str, int]:
    """What a probe that may still run shows of itself; empty when its log is not there yet."""
    try:
        with path.open("rb") as file:
            return decode_header(file.read(HEADER_BYTES)).counters
    except FileNotFoundError:
        return {}


def decode_header(data: bytes) -> Header:
    """Read a header; LogError when ``data`` is shorter than one, or is not a log of this version."""
    if len(data) < HEADER_BYTES:
        raise LogError(f"{len(data)} bytes, a log begins with a header of {HEADER_BYTES}")
    magic, version, header_bytes, record_bytes, finished, records, *rest = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise LogError(f"not a probe's log: it begins with {magic!r} instead of {MAGIC!r}")
    if version != VERSION or header_bytes != HEADER_BYTES:
        raise LogError(f"log format version {version}, this program reads version {VERSION}")
    layout, names = (text.rstrip(b"\0").decode() for text in rest[COUNTERS:])
    counters = dict(zip(names.split(","), rest[:COUNTERS], strict=False)) if names else {}
    return Header(layout, record_bytes, records, bool(finished), counters)


class IntegerLog:
    """A log whose records are int64 fields only, kept in memory and written by ``close``."""

    def __init__(self, path: Path, fields: tuple[str, ...], counters: tuple[str, ...] = ()) -> None:
        self.path, self.fields = path, fields
        self.values = array("q")
        self.counters = dict.fromkeys(counters, 0)
        self._shown: mmap.mmap | None = None

    def show(self, counter: str, value: int) -> None:
        """Set a counter, for whoever looks into the log meanwhile, too."""
        self.counters[counter] = value
        if self._shown is not None:
            at = _COUNTERS_AT + 8 * list(self.counters).index(counter)
            struct.pack_into("<q", self._shown, at, value)

    def _header(self, finished: bool) -> bytes:
        layout = ",".join(f"{name}:<i8" for name in self.fields)
        records = len(self.values) // len(self.fields)
        return Header(layout, 8 * len(self.fields), records, finished, self.counters).encode()

    def announce(self) -> None:
        """Create the file: whoever waits for this probe now sees that it is ready."""
        temporary = self.path.with_name(self.path.name + ".starting")
        temporary.write_bytes(self._header(finished=False))
        with temporary.open("r+b") as file:
            self._shown = mmap.mmap(file.fileno(), HEADER_BYTES)
        temporary.replace(self.path)

    def close(self) -> None:
        """Write everything; the probe ends in order."""
        with self.path.open("r+b") as file:
            file.seek(HEADER_BYTES)
            file.write(self.values.tobytes())
            file.seek(0)
            file.write(self._header(finished=True))
