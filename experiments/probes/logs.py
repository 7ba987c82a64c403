"""Reads a probe's log into numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.probes.log_format import HEADER_BYTES, LogError, decode_header

NS_PER_S = 1e9


@dataclass(frozen=True)
class ProbeLog:
    """A log's records (a structured array) and counters; ``problem`` says what is missing, if anything."""

    records: npt.NDArray[np.void]
    counters: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether the probe ended in order and all it wrote is here."""
        return not self.problem


def record_type(layout: str) -> np.dtype[np.void]:
    """Return the numpy type for a layout such as ``t_ns:<i8,bytes:<i8``."""
    pairs: list[Any] = [tuple(entry.split(":")) for entry in layout.split(",")]
    return np.dtype(pairs)


def read_log(data: bytes, layout: str) -> ProbeLog:
    """Read a log whose records have ``layout``.

    Empty or truncated data gives what can be read and a ``problem``; LogError is raised only for data that is
    something else (no log, another version, the log of another probe).
    """
    kind = record_type(layout)
    if len(data) < HEADER_BYTES:
        return ProbeLog(
            np.empty(0, kind), {}, "the log is empty" if not data else f"the log ends after {len(data)} bytes"
        )
    header = decode_header(data)
    if header.layout != layout or header.record_bytes != kind.itemsize:
        raise LogError(f"the log has the fields '{header.layout}', wanted were '{layout}'")
    number, rest = divmod(len(data) - HEADER_BYTES, kind.itemsize)
    records = np.frombuffer(data, kind, number, HEADER_BYTES)
    problem = ""
    if rest:
        problem = f"the log ends within record {number}"
    elif not header.finished:
        problem = f"its probe did not end in order; {number} records are there"
    elif number < header.records:
        problem = f"{header.records - number} of {header.records} records are missing at the end"
    return ProbeLog(records, header.counters, problem)


def seconds(values_ns: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Nanoseconds as float seconds."""
    return np.asarray(values_ns, np.float64) / NS_PER_S
