"""What the packets of one direction say about a span of time: loss, blackout, order, gaps, delay. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from experiments.probes.packets import Integers, Packets

Measure = int | float | str | None
Window = tuple[float, float]
"""Start and end on the monotonic clock, in seconds; the start belongs to it, the end does not."""


class GapClass(StrEnum):
    """Why nothing arrived for a while."""

    NONE = "none"
    LOSS = "loss"
    DELAY = "delay"
    SENDER_STALL = "sender_stall"


@dataclass(frozen=True)
class Blackout:
    """Consecutive packets lost, and for how long the path can have been dark at least and at most, in
    seconds.

    ``upper_s`` is None when nothing arrived before or after: the darkness has no known end. ``begun_s``: when the first
    of them was sent.
    """

    packets: int
    lower_s: float
    upper_s: float | None
    estimate_s: float
    begun_s: float = 0.0


LATER_S = 1.0
"""What begins so long after the VM ran at its new place, and the peers were told, is a gap of its own."""


def udp_measures(
    packets: Packets, window: Window, period_s: float, later_s: float | None = None
) -> dict[str, Measure]:
    """Measure the packets sent within ``window``; each counts as received even when it arrives after the end.

    ``period_s`` is the time between two packets at the sender, the resolution of all this. Values that cannot
    be known are None. Names carry no direction; ``with_direction`` adds it.

    - ``lost_packets``, ``sent_packets``, ``refused_packets`` (not sent by the sender's host, hence not lost).
    - ``duplicated_packets``: arrivals beyond the first of each packet.
    - ``reordered_packets``: RFC 4737 section 3.3, see ``Packets.reordered``.
    - ``blackout_s`` with ``blackout_lower_s`` and ``blackout_upper_s``: the longest of the ``lost_episodes_count``.
      The bounds are tx(last lost) - tx(first lost) and tx(first received after) - tx(last received before);
      the estimate is their middle: a blackout of n periods loses n packets give or take one. Without a loss
      the upper bound is the longest time between two packets sent: a blackout that fits between them is not
      seen.
    - ``arrival_gap_s`` and ``arrival_gap_class``: the longest time between two arrivals, and what made up
      most of it.
    - ``delay_median_s``, ``delay_max_s``: one-way delay of the packets received.

    With ``later_s``, a moment of the window, what begins from then on is a gap of its own: blackout and arrival gap are
    those that began before it, and of the others tell ``later_lost_packets`` (of later episodes), ``later_blackout_s``
    (the longest) and ``later_blackout_after_s`` (how long after ``later_s`` that began; None when there was none).
    """
    low, high = (int(row) for row in np.searchsorted(packets.tx_s, window))
    rows = slice(low, high)
    arrived = packets.order[rows] >= 0
    delays = (packets.rx_s[rows] - packets.tx_s[rows])[arrived]
    refused = int(((packets.refused_s >= window[0]) & (packets.refused_s < window[1])).sum())
    episodes = blackouts(packets, low, high, period_s)
    border_s = window[1] if later_s is None else later_s
    border = high if later_s is None else int(np.searchsorted(packets.tx_s, later_s))
    early = [one for one in episodes if one.begun_s < border_s]
    later = [one for one in episodes if one.begun_s >= border_s]
    if early:
        longest = max(early, key=lambda episode: episode.estimate_s)
    else:
        intervals = np.diff(packets.tx_s[max(low - 1, 0) : border + 1])
        longest = Blackout(0, 0.0, float(intervals.max()) if len(intervals) else None, 0.0)
    gap_s, gap_class = longest_arrival_gap(packets, low, border, period_s)
    return {
        "sent_packets": high - low,
        "refused_packets": refused,
        "lost_packets": int((~arrived).sum()),
        "duplicated_packets": int((packets.copies[rows].astype(np.int64) - 1).clip(min=0).sum()),
        "reordered_packets": int(packets.reordered[rows].sum()),
        "lost_episodes_count": len(episodes),
        "blackout_s": longest.estimate_s,
        "blackout_lower_s": longest.lower_s,
        "blackout_upper_s": longest.upper_s,
        "arrival_gap_s": gap_s,
        "arrival_gap_class": str(gap_class),
        "delay_median_s": float(np.median(delays)) if len(delays) else None,
        "delay_max_s": float(delays.max()) if len(delays) else None,
        **({} if later_s is None else _later(later, later_s)),
    }


def _later(episodes: list[Blackout], later_s: float) -> dict[str, Measure]:
    longest = max(episodes, key=lambda episode: episode.estimate_s, default=None)
    return {
        "later_lost_packets": sum(one.packets for one in episodes),
        "later_blackout_s": 0.0 if longest is None else longest.estimate_s,
        "later_blackout_after_s": None if longest is None else longest.begun_s - later_s,
    }


def _around(packets: Packets, low: int, high: int) -> Integers:
    """Received rows of [low, high) with the nearest received row on each side, where there is one."""
    first, after = (int(at) for at in np.searchsorted(packets.received, (low, high)))
    return packets.received[max(first - 1, 0) : after + 1]


def blackouts(packets: Packets, low: int, high: int, period_s: float) -> list[Blackout]:
    """Return the runs of consecutive lost packets within the rows [low, high), in order of sending.

    What was lost before or after them is another trial's: a silence that spans trials is cut at their ends, and
    then has no upper bound.
    """
    if low >= high:
        return []
    received = _around(packets, low, high)
    last_row = len(packets.tx_s)
    begins = received[0] if len(received) and received[0] < low else -1
    ends = received[-1] if len(received) and received[-1] >= high else last_row
    borders = np.concatenate(([begins], received[(received >= low) & (received < high)], [ends]))
    found = []
    for k in np.flatnonzero(np.diff(borders) > 1):
        before, after = int(borders[k]), int(borders[k + 1])
        if after - 1 < low or before + 1 >= high:
            continue
        first, last = max(before + 1, low), min(after - 1, high - 1)
        begun_s = float(packets.tx_s[first])
        lower_s = float(packets.tx_s[last] - begun_s)
        if before < first - 1 or after > last + 1 or before < 0 or after >= last_row:
            found.append(Blackout(last - first + 1, lower_s, None, lower_s + period_s, begun_s))
        else:
            upper_s = float(packets.tx_s[after] - packets.tx_s[before])
            found.append(Blackout(last - before, lower_s, upper_s, (lower_s + upper_s) / 2, begun_s))
    return found


def longest_arrival_gap(
    packets: Packets, low: int, high: int, period_s: float
) -> tuple[float | None, GapClass]:
    """Return the longest time between two successive arrivals of which one at least is a row in [low, high).

    Between two packets sent one after the other, arrival gap - period = packets lost between x period + stall
    of the sender + growth of the delay; the largest of the three names the gap, and none when all are under
    half a period. A gap in which no packet is missing is therefore never called a loss.
    """
    ranks = packets.order[_around(packets, low, high)]
    if len(ranks) < 2:
        return None, GapClass.NONE
    rows = packets.arrival[ranks.min() : ranks.max() + 1]
    inside = (rows >= low) & (rows < high)
    candidates = np.flatnonzero(inside[1:] | inside[:-1])
    if not len(candidates):  # all of the window's packets are lost: the gap lies around it
        candidates = np.arange(len(rows) - 1)
    gaps = np.diff(packets.rx_s[rows])[candidates]
    at = int(candidates[int(gaps.argmax())])
    return float(gaps.max()), _class_of_gap(packets, int(rows[at]), int(rows[at + 1]), period_s)


def _class_of_gap(packets: Packets, before: int, after: int, period_s: float) -> GapClass:
    tx_s, rx_s = packets.tx_s, packets.rx_s
    parts = {GapClass.DELAY: float((rx_s[after] - tx_s[after]) - (rx_s[before] - tx_s[before]))}
    if after > before:
        lost = int((packets.order[before + 1 : after] < 0).sum())
        parts[GapClass.LOSS] = lost * period_s
        parts[GapClass.SENDER_STALL] = float(np.diff(tx_s[before : after + 1]).max()) - period_s
    largest = max(parts, key=lambda part: parts[part])
    return largest if parts[largest] >= period_s / 2 else GapClass.NONE


def with_direction(measures: Mapping[str, Measure], direction: str) -> dict[str, Measure]:
    """Add ``_to_vm`` or ``_from_vm`` to each name: ``lost_packets`` becomes ``lost_packets_to_vm``."""
    if direction not in ("to_vm", "from_vm"):
        raise ValueError(f"direction '{direction}': allowed are 'to_vm' and 'from_vm'")
    return {f"{name}_{direction}": value for name, value in measures.items()}
