"""What a run shows to be set wrongly, named from what was observed. Pure: a record in, sentences out.

Nothing here asks for a run's parameters to know what is wrong: a finding stands on packets that were followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from results.figures.causes import attributed, counted
from results.figures.display import count_text
from results.figures.statistics import Trials
from results.record.reading import Record

UNKNOWN_SHARE = 0.01
"""More lost packets than this without a cause are themselves a finding."""

Place = Mapping[str, Any]


def findings(record: Record) -> list[str]:
    """The findings of a run's valid trials, the gravest first; none of a clean run."""
    trials = attributed(record.trials)
    return [
        *_old_leg_open(trials),
        *_unprogrammed(trials),
        *_too_large(trials),
        *_nothing_large(trials),
        *_spoofs(trials),
        *_unexplained(trials),
    ]


def _places(trials: Trials, cause: str) -> Iterator[tuple[Mapping[str, Any], Place]]:
    """Each trial's places at which packets were lost for a cause."""
    for trial in trials:
        for place in trial["causes"].get("places", ()):
            if place["cause"] == cause:
                yield trial, place


def _switch_s(trial: Mapping[str, Any]) -> float | None:
    phases = (trial["migration"] or {}).get("phases", ())
    return next((phase["start_s"] for phase in phases if phase["name"] == "switch"), None)


def _named(names: Sequence[str]) -> str:
    *others, last = sorted(set(names))
    return f"{', '.join(others)} and {last}" if others else last


def _old_leg_open(trials: Trials) -> Iterator[str]:
    moves = [trial for trial in trials if not trial["null"]]
    betrayed = [trial for trial in moves if trial["causes"].get("old_leg_packets", 0) > 0]
    if betrayed:
        packets = sum(trial["causes"]["old_leg_packets"] for trial in betrayed)
        nves = _named([trial["migration"]["old_nve"] for trial in betrayed])
        yield (
            f"The old leg was left open: in {len(betrayed)} of {len(moves)} moves the VM received {packets:,} packets "
            f"through the leg of its old NVE ({nves}) after it had been switched to the new one. No data centre has "
            "that leg, so the loss of these moves is understated: cut the leg at the switch."
        )


def _unprogrammed(trials: Trials) -> Iterator[str]:
    # With replug nobody can program the new NVE in time: the port's number is known only after the plug.
    wired = [trial for trial in trials if (trial["migration"] or {}).get("attachment") != "replug"]
    found = list(_places(wired, "new_nve_unprogrammed"))
    if not found:
        return
    number = len({trial["index"] for trial, _ in found})
    packets = sum(place["packets"] for _, place in found)
    nves = _named([place["nve"] or trial["migration"]["new_nve"] for trial, place in found])
    late_ms = [
        1e3 * (place["last_s"] - switched_s)
        for trial, place in found
        if (switched_s := _switch_s(trial)) is not None and place["last_s"] is not None
    ]
    until = f", up to {max(late_ms):.0f} ms after the switch" if late_ms else ""
    yield (
        f"The new NVE was not programmed when the VM ran there: in {count_text(number, 'move')} "
        f"{packets:,} packets went into {nves} and matched no rule{until}. Wait for the barrier of prepare_move, and "
        "for the datapath, before the VM is switched."
    )


def _too_large(trials: Trials) -> Iterator[str]:
    found = list(_places(trials, "too_large"))
    if not found:
        return
    packets = sum(place["packets"] for _, place in found)
    sizes = sorted({place["frame_bytes"] for _, place in found})
    nves = _named([place["nve"] or "the sender's NVE" for _, place in found])
    still = sum(1 for index in {trial["index"] for trial, _ in found} if _is_null(trials, index))
    passed = max(trial["causes"].get("largest_on_underlay_bytes", 0) for trial in trials)
    between = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    yield (
        f"The MTU of the underlay is too small: {packets:,} packets in frames of {between} bytes vanished at {nves}, "
        f"{'in trials without a move too, ' if still else ''}while the largest frame that passed the underlay had "
        f"{passed:,} bytes. The tunnel adds 50 bytes to each frame: raise the underlay's MTU, or lower the network's."
    )


def _is_null(trials: Trials, index: int) -> bool:
    return any(trial["index"] == index and trial["null"] for trial in trials)


def _nothing_large(trials: Trials) -> Iterator[str]:
    """TCP's segments are as large as the MTU lets them be: UDP's small packets pass after the moves, TCP's data never.

    Not asked of null trials: there the VM may be at its peer's own NVE, and nothing crosses the underlay.
    """
    spoken = [
        trial
        for trial in trials
        if not trial["null"] and trial["measures"].get("alive_connections_count") is not None
    ]
    lost = counted(spoken, "lost").total()
    if not spoken or lost or any(trial["measures"]["alive_connections_count"] for trial in spoken):
        return
    passed = max(trial["causes"].get("largest_on_underlay_bytes", 0) for trial in trials)
    yield (
        f"The MTU of the underlay is too small: TCP stood still at the end of {count_text(len(spoken), 'move')}, "
        f"while every UDP packet arrived, in frames of {passed:,} bytes at most. What is as large as the network's "
        "MTU vanishes with the tunnel's 50 bytes: raise the underlay's MTU, or lower the network's."
    )


def _spoofs(trials: Trials) -> Iterator[str]:
    found = list(_places(trials, "spoof_drop"))
    if found:
        packets = sum(place["packets"] for _, place in found)
        nves = _named([place["nve"] or "its NVE" for _, place in found])
        yield (
            f"An NVE refused the VM's own packets: {packets:,} went into {nves}, whose anti-spoofing rules dropped "
            "them. Its rules for that attachment are missing or name another address."
        )


def _unexplained(trials: Trials) -> Iterator[str]:
    lost = counted(trials, "lost")
    unknown, unseen = lost["unknown"], lost["unobserved"]
    if unknown > UNKNOWN_SHARE * lost.total():
        share = 100 * unknown / lost.total()
        yield f"{unknown:,} of {lost.total():,} lost packets ({share:.1f} %) have no known cause."
    if unseen:
        yield f"{unseen:,} lost packets have no cause because the taps themselves lost frames at that time."
