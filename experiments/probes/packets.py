"""The packets of one direction: what was sent joined with what arrived."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from experiments.probes.logs import ProbeLog, seconds

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Packets:
    """One row for each packet that left the sender, by sequence number (and hence by time of sending).

    ``rx_s`` is NaN for a lost packet, ``order`` the rank of its first arrival (-1: lost), ``copies`` how
    often it arrived. Times are CLOCK_MONOTONIC seconds. ``refused_s`` holds when the sender's host refused to
    send: such packets are not sent, hence not lost, and have no row.
    """

    seq: Integers
    tx_s: Floats
    rx_s: Floats
    copies: npt.NDArray[np.int16]
    order: Integers
    refused_s: Floats

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """The rows as named columns, as they go into the samples file."""
        return {
            "seq": self.seq,
            "tx_s": self.tx_s,
            "rx_s": self.rx_s,
            "copies": self.copies,
            "order": self.order,
        }

    @cached_property
    def received(self) -> Integers:
        """Rows of the packets that arrived, in order of sending."""
        return np.flatnonzero(self.order >= 0)

    @cached_property
    def arrival(self) -> Integers:
        """Rows of the packets that arrived, in order of first arrival."""
        rows = np.empty(len(self.received), np.int64)
        rows[self.order[self.received]] = self.received
        return rows

    @cached_property
    def reordered(self) -> npt.NDArray[np.bool_]:
        """Per row, whether the packet is reordered: its number is smaller than one that came before it.

        RFC 4737 section 3.3 (Type-P-Reordered); only first arrivals count.
        """
        arrived = self.seq[self.arrival]
        flags = np.zeros(len(self.seq), np.bool_)
        if len(arrived):
            flags[self.arrival] = arrived < np.maximum.accumulate(arrived)
        return flags


def match(sent: ProbeLog, received: ProbeLog, stream: int = 0) -> Packets:
    """Join a sender's log with a receiver's, for one stream.

    An arrival counts when its time of sending is the one the sender logged under its number, so that packets
    of an earlier sender with the same stream number are left out. When the sender's log is incomplete,
    packets known only by their arrival are rows too; those lost after its end are unknown.
    """
    log, arrivals = sent.records, received.records
    arrivals = arrivals[(arrivals["stream"] == stream) & (arrivals["seq"] >= 0)]
    seq = arrivals["seq"].astype(np.int64)
    logged = np.zeros(len(seq), np.bool_)
    inside = seq < len(log)
    logged[inside] = log["tx_ns"][seq[inside]] == arrivals["tx_ns"][inside]
    valid = logged if sent.complete else logged | ~inside
    arrivals, seq = arrivals[valid], seq[valid]

    number = max(len(log), int(seq.max()) + 1 if len(seq) else 0)
    position = np.arange(len(seq))
    first = np.full(number, -1, np.int64)
    first[seq[::-1]] = position[::-1]
    is_first = first[seq] == position
    rank = np.cumsum(is_first) - 1

    came = np.flatnonzero(first >= 0)
    tx_ns = np.zeros(number, np.int64)
    tx_ns[came] = arrivals["tx_ns"][first[came]]
    tx_ns[: len(log)] = log["tx_ns"]
    refused = np.zeros(number, np.bool_)
    refused[: len(log)] = log["error"] != 0
    rx_s = np.full(number, np.nan)
    rx_s[came] = seconds(arrivals["rx_ns"][first[came]])
    order = np.full(number, -1, np.int64)
    order[came] = rank[first[came]]
    copies = np.bincount(seq, minlength=number).clip(max=np.iinfo(np.int16).max).astype(np.int16)

    rows = np.flatnonzero((tx_ns != 0) & ~refused)
    return Packets(rows, seconds(tx_ns[rows]), rx_s[rows], copies[rows], order[rows], seconds(tx_ns[refused]))
