"""What samples say happened, as events on the run's clock, so that events.jsonl has all of a trial. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from results.timeline.signals import resent_of
from vocabulary.moves import DIRECTIONS

Columns = Mapping[str, np.ndarray[Any, Any]]


class SampledEvent(NamedTuple):
    """One event of `events.jsonl`; `t_s` on CLOCK_MONOTONIC, `fields` by kind (results/FORMAT.md)."""

    t_s: float
    kind: str
    fields: dict[str, Any]


def sampled_events(
    files: Mapping[str, Columns], trial: int, switch_s: float | None
) -> Iterator[SampledEvent]:
    """A trial's packets next to the switch, each way, and its senders' retransmissions and timeouts, by time.

    `files` are sample files by name with their `trial` column; `switch_s` None for a trial without a move.
    """
    found = [
        *(_around_switch(files, trial, switch_s) if switch_s is not None else ()),
        *_resent(files.get("tcp_info", {}), trial),
    ]
    yield from sorted(found, key=lambda event: event.t_s)


def _around_switch(files: Mapping[str, Columns], trial: int, switch_s: float) -> Iterator[SampledEvent]:
    for direction in DIRECTIONS:
        columns = files.get(f"udp_{direction}")
        if columns is None:
            continue
        own = (columns["trial"] == trial) & ~np.isnan(columns["rx_s"])
        rx_s, seq = columns["rx_s"][own], columns["seq"][own]
        for which, side, pick in (
            ("last before the switch", rx_s < switch_s, np.argmax),
            ("first after the switch", rx_s >= switch_s, np.argmin),
        ):
            if side.any():
                at = int(np.flatnonzero(side)[pick(rx_s[side])])
                fields = {"direction": direction, "which": which, "seq": int(seq[at])}
                yield SampledEvent(float(rx_s[at]), "packet", fields)


def _resent(columns: Columns, trial: int) -> Iterator[SampledEvent]:
    if "trial" not in columns:
        return
    own = columns["trial"] == trial
    for direction, marks in resent_of({name: values[own] for name, values in columns.items()}, 0.0).items():
        for kind, times_ms in (("retransmit", marks.retransmit_ms), ("rto", marks.rto_ms)):
            for at_ms in times_ms:
                yield SampledEvent(at_ms / 1e3, kind, {"direction": direction})
