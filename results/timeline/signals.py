"""What a timeline shows beside traffic: TCP's retransmissions and timeouts, and lags of the machine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

CA_LOSS = 4  # TCP_CA_Loss of linux/tcp.h: what the sender is in from a retransmission timeout on


@dataclass(frozen=True)
class Resent:
    """Moments in ms at which the poller first saw a retransmission, or a timeout (RTO), of one direction."""

    retransmit_ms: list[float]
    rto_ms: list[float]


@dataclass(frozen=True)
class Lag:
    """One late wake-up: a process of this CPU should have run from `start_ms` on and did at `end_ms`."""

    cpu: int
    start_ms: float
    end_ms: float


def resent_of(columns: Mapping[str, Array], zero_s: float) -> dict[str, Resent]:
    """`tcp_info` samples (results/FORMAT.md) as moments per side, `to_vm` and `from_vm`.

    A timeout is a poll with a larger backoff, or the first in TCP_CA_Loss; a retransmission any other with a
    larger retrans_total. Connections are told apart by `direction` and, where there is one, `connection`; the
    first poll of each has nothing before it and shows neither.
    """
    import numpy as np

    found: dict[str, Resent] = {}
    if "direction" not in columns or not len(columns["direction"]):
        return found
    names = columns["direction"].astype(str)
    keys = names
    if "connection" in columns:
        keys = np.char.add(np.char.add(names, " "), columns["connection"].astype(str))
    for key in np.unique(keys):
        rows = np.flatnonzero(keys == key)
        side = next((one for one in ("to_vm", "from_vm") if key.startswith(one)), None)
        if side is None:
            continue
        rows = rows[np.argsort(columns["t_s"][rows], kind="stable")]
        t_ms = (columns["t_s"][rows] - zero_s) * 1e3
        loss = columns["ca_state"][rows] == CA_LOSS
        rto = (np.diff(columns["backoff"][rows].astype(np.int64)) > 0) | (loss[1:] & ~loss[:-1])
        more = np.diff(columns["retrans_total"][rows].astype(np.int64)) > 0
        marks = found.setdefault(side, Resent([], []))
        marks.rto_ms.extend(t_ms[1:][rto].tolist())
        marks.retransmit_ms.extend(t_ms[1:][more & ~rto].tolist())
    return {side: Resent(sorted(one.retransmit_ms), sorted(one.rto_ms)) for side, one in found.items()}


def lags_of(columns: Mapping[str, Array], zero_s: float, window: tuple[float, float]) -> list[Lag]:
    """The `lag` samples (t_s: woken) that touch the window, in ms, by CPU and time."""
    if not len(columns.get("t_s", ())):
        return []
    end_ms = (columns["t_s"] - zero_s) * 1e3
    start_ms = end_ms - columns["lag_s"] * 1e3
    near = (end_ms >= window[0]) & (start_ms <= window[1])
    rows = zip(columns["cpu"][near], start_ms[near], end_ms[near], strict=True)
    return sorted(
        (Lag(int(cpu), float(start), float(end)) for cpu, start, end in rows),
        key=lambda lag: (lag.cpu, lag.start_ms),
    )
