"""What a migration's own record adds to a trial's measures. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.probes.measures import LATER_S
from mobility.several import overlap_s

Measure = int | float | None
_CAUSES = {"not told": "not_told", "told, on the way": "on_the_way"}
_COUNTS = {"bytes", "count", "frames", "packets"}


def moves_measures(migrations: Sequence[Mapping[str, Any]]) -> dict[str, Measure]:
    """``move_measures`` of a trial with one move; of several, counts are summed and of times the longest is taken.

    But ``move_total_s`` is from the first one's start to the last one's end. Besides there are then ``moves_count`` and
    ``overlap_s``, the time in which at least two were under way.
    """
    if len(migrations) == 1:
        return move_measures(migrations[0])
    found: dict[str, Measure] = {}
    for one in map(move_measures, migrations):
        for name, value in one.items():
            before = found.get(name)
            if before is None or value is None:
                found[name] = value if before is None else before
            else:
                found[name] = before + value if _COUNTS & set(name.split("_")) else max(before, value)
    spans = [(one["phases"][0]["start_s"], one["phases"][-1]["end_s"]) for one in migrations]
    return found | {
        "move_total_s": max(end_s for _, end_s in spans) - min(start_s for start_s, _ in spans),
        "moves_count": len(migrations),
        "overlap_s": overlap_s(spans),
    }


def move_measures(migration: Mapping[str, Any]) -> dict[str, Measure]:
    """Measures of one move, from the ``migration`` object of its trial.

    - ``move_total_s``, ``downtime_s``, ``copied_bytes``, ``copy_rounds_count``
    - ``copied_again_bytes``: what was copied more than once, so all but the memory itself
    - ``held_frames``: what was released from all holders together, when each was opened; of these
      ``held_frames_redirected`` had come through the old NVE, ``held_frames_direct`` from peers that had been told
    - ``held_frames_peak``: the most that all holders kept at one moment; only of moves that were sampled
    - ``packets_at_old_nve``: frames that came out of the old NVE's legs after they had been cut
    - ``misdirected_packets``: what still came to the old NVE after its redirect had ended, as the NVA counted;
      ``.._not_told``: from NVEs that the commit did not tell, ``.._on_the_way``: from those that it told
    - ``tunnel_s``: from the switch to the end of the redirect, when a stop rule ended it
    - ``redirected_frames``: came through the old NVE; ``stale_peers_count``: NVEs that the commit did not tell
    - ``clear_s``: from the switch until the end markers of all peers were out of the old path
    - ``stale_s``: from the switch until the last frame came through the old NVE; at most so long when it came before
      the drain began, or when end markers ended it. Only of moves that redirect
    """
    found: dict[str, Measure] = {
        "move_total_s": migration["total_s"],
        "downtime_s": migration["downtime_s"],
        "copied_bytes": migration["copied_bytes"],
        "copied_again_bytes": migration["copied_bytes"] - _once_bytes(migration),
        "copy_rounds_count": len(migration["copy_rounds"]),
        "packets_at_old_nve": sum(migration["sunk_frames"].get(migration["old_nve"], {}).values()),
    }
    found["redirected_frames"] = migration["redirected_frames"]
    found["stale_peers_count"] = len(migration["stale_peers"])
    switched_s = _end_of(migration, "switch")
    if migration["end_markers_s"] is not None:
        found["clear_s"] = _start_of(migration, "drain") + migration["end_markers_s"] - switched_s
        if not migration["stale_peers"]:
            found["stale_s"] = found["clear_s"]
    if migration["last_redirected_s"] is not None:
        found["stale_s"] = max(0.0, migration["last_redirected_s"] - switched_s)
    if migration["held_frames"]:
        found["held_frames"] = sum(migration["held_frames"].values())
        for holder in ("redirected", "direct"):
            if holder in migration["held_frames"]:
                found[f"held_frames_{holder}"] = migration["held_frames"][holder]
    if migration["buffer_peak"]:
        found["held_frames_peak"] = migration["buffer_peak_frames"]
    if migration["misdirected"] is not None:
        found["misdirected_packets"] = migration["misdirected"]["packets"]
        causes = migration["misdirected"].get("by_cause", {})
        found |= {
            f"misdirected_packets_{name}": causes[cause] for cause, name in _CAUSES.items() if cause in causes
        }
    if migration["redirect_ended_s"] is not None:
        found["tunnel_s"] = migration["redirect_ended_s"] - _start_of(migration, "switch")
    return found


def later_part(migrations: Sequence[Mapping[str, Any]], middle_s: float, end_s: float) -> dict[str, float]:
    """``later_s``: from when on a gap of a trial is one of its own; nothing for a trial that is over before.

    ``LATER_S`` after all VMs ran at their new places and the NVA had told the peers (the drain begins); of a null trial
    after its middle.
    """
    settled_s = max((_start_of(one, "drain") for one in migrations), default=middle_s)
    return {"later_s": settled_s + LATER_S} if settled_s + LATER_S < end_s else {}


def _end_of(migration: Mapping[str, Any], name: str) -> float:
    return next(float(phase["end_s"]) for phase in migration["phases"] if phase["name"] == name)


def _start_of(migration: Mapping[str, Any], name: str) -> float:
    return next(float(phase["start_s"]) for phase in migration["phases"] if phase["name"] == name)


def _once_bytes(migration: Mapping[str, Any]) -> int:
    """The first time that all of the memory is copied: the first round, or the stop of a move without rounds."""
    rounds = migration["copy_rounds"]
    return int(rounds[0]["bytes"]) if rounds else int(migration["copied_bytes"])
