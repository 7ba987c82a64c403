"""What one trial's timeline shows, on one clock: ms relative to `switch`. Reading apart, the rest is pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from results.figures.grouping import label_of, without_unset
from results.record.contract import DEFAULT_GROUP_BY, RecordError
from results.record.reading import Record, read_events
from results.record.samples import read_samples, sample_names
from results.timeline.signals import Lag, Resent, lags_of, resent_of

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

BEFORE_MS, AFTER_MS = 5.0, 15.0  # shown before the first phase and after the last
NULL_WINDOW_MS = 60.0  # shown of a trial without a move, from the middle of its samples
POINTS = (
    "flow_mods",
    "barrier",
    "end_marker",
    "rarp",
    "garp",
    "unsolicited_na",
    "peer_updated",
    "port",
    "link",
    "neighbour",
)


@dataclass(frozen=True)
class Packets:
    """Probes of one direction by transmission time: delay in ms (NaN: lost), and what befell them (masks)."""

    tx_ms: Array
    delay_ms: Array
    lost: Array
    reordered: Array
    duplicated: Array


@dataclass(frozen=True)
class Progress:
    """Bytes the TCP receiver has read since the trial's first read, at each read."""

    t_ms: Array
    total_bytes: Array

    def longest_gap(self, window: tuple[float, float]) -> tuple[float, float] | None:
        """(from, to) in ms of the longest gap between reads that touches the window; None below two reads."""
        import numpy as np

        near = np.flatnonzero((self.t_ms[1:] >= window[0]) & (self.t_ms[:-1] <= window[1]))
        if not near.size:
            return None
        at = near[np.argmax(self.t_ms[near + 1] - self.t_ms[near])]
        return float(self.t_ms[at]), float(self.t_ms[at + 1])


@dataclass(frozen=True)
class Timeline:
    """Everything of one trial in ms relative to `zero_s` on the run's monotonic clock. Parts may be empty."""

    title: str
    zero_s: float
    zero_name: str
    window: tuple[float, float]
    phases: list[tuple[str, float, float]] = field(default_factory=list)
    calls: list[tuple[str, float, float]] = field(default_factory=list)
    points: dict[str, list[tuple[float, str, str]]] = field(default_factory=dict)  # kind: [(ms, row, text)]
    holds: list[tuple[str, float, float, int | None]] = field(
        default_factory=list
    )  # holder, from, to, frames
    packets: dict[str, Packets] = field(default_factory=dict)
    tcp: dict[str, Progress] = field(default_factory=dict)
    resent: dict[str, Resent] = field(default_factory=dict)
    lags: list[Lag] | None = None  # within the window; None: not recorded
    old_nve: str = ""
    new_nve: str = ""

    @property
    def empty(self) -> bool:
        """True when there is nothing to draw: no phases, no events, no traffic."""
        control = any(self.points.values()) or self.calls or self.holds
        return not (self.phases or control or self.packets or self.tcp)


def trial_of(record: Record, index: int) -> dict[str, Any]:
    """The trial with that index. Raises RecordError that says which there are."""
    for trial in record.trials:
        if trial["index"] == index:
            return trial
    indexes = [trial["index"] for trial in record.trials]
    allowed = f"{min(indexes)} to {max(indexes)}" if indexes else "it has none"
    raise RecordError(f"{record.name}: no trial {index}; allowed: {allowed}")


def gather(record: Record, index: int, events: Sequence[Mapping[str, Any]] | None = None) -> Timeline:
    """Read one trial's samples (and the events, unless given) and build its timeline. Raises RecordError."""
    trial = trial_of(record, index)
    folder = record.folder
    if "run" in trial:  # of a sweep, whose runs beneath it have the samples
        folder, index, events = folder / "runs" / trial["run"], trial["run_index"], None
    if events is None:
        events = read_events(folder)
    there = set(sample_names(folder))
    names = [f"{kind}_{side}" for kind in ("udp", "tcp") for side in ("to_vm", "from_vm")]
    names.append("tcp_info")
    samples = {name: read_samples(folder, name, trial=index) for name in names if name in there}
    if "lag" in there:  # of the machine, not of a trial
        samples["lag"] = read_samples(folder, "lag")
    own = [event for event in events if event.get("trial") == index]
    return build(trial, own, samples, group_by=record.group_by)


def build(
    trial: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    samples: Mapping[str, Mapping[str, Array]],
    *,
    group_by: Sequence[str] = DEFAULT_GROUP_BY,
) -> Timeline:
    """The timeline of one trial from its own events and samples; missing parts stay empty.

    `group_by`: the trial parameters that its title tells.
    """
    events = list(events)
    lag = samples.get("lag")
    samples = {name: columns for name, columns in samples.items() if name != "lag"}
    migration = trial["migration"] or {}
    phases = _phases_of(trial) or [
        event for event in events if event["kind"] == "phase" and {"name", "start_s", "end_s"} <= event.keys()
    ]
    zero_s, zero_name = _zero(phases, events, samples)

    def ms(t_s: float) -> float:
        return (t_s - zero_s) * 1e3

    spans = [(str(phase["name"]), ms(phase["start_s"]), ms(phase["end_s"])) for phase in phases]
    if spans:
        window = min(start for _, start, _ in spans) - BEFORE_MS, max(end for *_, end in spans) + AFTER_MS
    else:
        window = -NULL_WINDOW_MS / 2, NULL_WINDOW_MS / 2
    points: dict[str, list[tuple[float, str, str]]] = {kind: [] for kind in POINTS}
    for event in events:
        if event["kind"] in points:
            row = str(event.get("nve") or event.get("node") or "?")
            points[event["kind"]].append((ms(event["t_s"]), row, _beside(event)))
    calls = [
        (str(event.get("method", "?")), ms(event["start_s"]), ms(event["end_s"]))
        for event in events
        if event["kind"] == "northbound" and {"start_s", "end_s"} <= event.keys()
    ]
    return Timeline(
        title=_title(trial, group_by),
        zero_s=zero_s,
        zero_name=zero_name,
        window=window,
        phases=spans,
        calls=calls,
        points=points,
        holds=_holds(events, ms, window[1]),
        packets={
            side: packets_of(samples[f"udp_{side}"], zero_s)
            for side in ("to_vm", "from_vm")
            if len(samples.get(f"udp_{side}", {}).get("seq", ()))
        },
        tcp={
            side: _progress(samples[f"tcp_{side}"], zero_s)
            for side in ("to_vm", "from_vm")
            if len(samples.get(f"tcp_{side}", {}).get("t_s", ()))
        },
        resent=resent_of(samples.get("tcp_info", {}), zero_s),
        lags=None if lag is None else lags_of(lag, zero_s, window),
        old_nve=str(migration.get("old_nve", "")),
        new_nve=str(migration.get("new_nve", "")),
    )


def _beside(event: Mapping[str, Any]) -> str:
    """What is told of an event when one points at it."""
    if "change" in event:
        what = event.get("port") or event.get("device") or event.get("address") or "?"
        return f"{what} {event['change']}"
    return str(event.get("count") or event.get("step") or event.get("vm") or "")


def _phases_of(trial: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The phases of the trial's move; of several moves with the VM's name in front, in the order of time."""
    several = trial.get("migrations")
    if not several:
        return list((trial["migration"] or {}).get("phases") or ())
    named = [
        {**phase, "name": f"{one.get('vm', '?')}: {phase['name']}"}
        for one in several
        for phase in one["phases"]
    ]
    return sorted(named, key=lambda phase: float(phase["start_s"]))


def _zero(
    phases: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
    samples: Mapping[str, Mapping[str, Array]],
) -> tuple[float, str]:
    """(zero in s, what happens there): switch, else the first phase, else the middle of the samples."""
    for event in events:
        if event["kind"] == "switch":
            return float(event["t_s"]), "switch"
    for phase in phases:
        if phase["name"] == "switch":
            return float(phase["start_s"]), "switch"
    if phases:
        first = min(phases, key=lambda phase: float(phase["start_s"]))
        return float(first["start_s"]), f"start of {first['name']}"
    times = [
        columns[key] for columns in samples.values() for key in ("tx_s", "t_s") if len(columns.get(key, ()))
    ]
    if times:
        return (
            float(min(t.min() for t in times)) + float(max(t.max() for t in times))
        ) / 2, "middle of the trial"
    return (float(events[0]["t_s"]), "first event") if events else (0.0, "start of the clock")


def _title(trial: Mapping[str, Any], group_by: Sequence[str]) -> str:
    parts = [f"Trial {trial['index']}"]
    migration = trial["migration"]
    if trial["null"]:
        parts.append("null, nothing moves")
    if migration:
        several = trial.get("migrations") or []
        moves = [f"{one.get('vm', '?')} {one['old_nve']} → {one['new_nve']}" for one in several]
        moves = moves or [f"{migration['old_nve']} → {migration['new_nve']}"]
        parts.append(f"{migration['kind']} move{'s' if len(moves) > 1 else ''} {', '.join(moves)}")
    if not trial["null"] and any(name in trial["parameters"] for name in group_by):
        parts.append(without_unset(label_of(trial, group_by)))
    if not trial["valid"]:
        parts.append(f"INVALID: {trial['invalid_reason']}")
    return ", ".join(parts)


def _holds(
    events: Sequence[Mapping[str, Any]], ms: Any, end: float
) -> list[tuple[str, float, float, int | None]]:
    """Pairs hold and release of each holder; a hold without release lasts to the end of the picture."""
    since: dict[str, float] = {}
    found: list[tuple[str, float, float, int | None]] = []
    for event in events:
        holder = str(event.get("holder", "holder"))
        if event["kind"] == "hold":
            since.setdefault(holder, ms(event["t_s"]))
        elif event["kind"] == "release" and holder in since:
            frames = event.get("frames")
            found.append(
                (holder, since.pop(holder), ms(event["t_s"]), None if frames is None else int(frames))
            )
    return found + [(holder, start, end, None) for holder, start in since.items()]


def packets_of(columns: Mapping[str, Array], zero_s: float) -> Packets:
    """UDP sample columns (results/FORMAT.md) as delays and masks.

    Reordered as in RFC 4737 section 3: a packet that arrives after one with a larger sequence number did.
    """
    import numpy as np

    by_seq = np.argsort(columns["seq"], kind="stable")
    tx_s, rx_s = columns["tx_s"][by_seq], columns["rx_s"][by_seq]
    lost = np.isnan(rx_s)
    rank = np.where(lost | (columns["order"][by_seq] < 0), np.iinfo(np.int64).max, columns["order"][by_seq])
    earliest_later = np.minimum.accumulate(rank[::-1])[::-1]  # smallest rank among this packet and later ones
    return Packets(
        tx_ms=(tx_s - zero_s) * 1e3,
        delay_ms=(rx_s - tx_s) * 1e3,
        lost=lost,
        reordered=~lost & (earliest_later < rank),
        duplicated=columns["copies"][by_seq] > 1,
    )


def _progress(columns: Mapping[str, Array], zero_s: float) -> Progress:
    import numpy as np

    by_time = np.argsort(columns["t_s"], kind="stable")
    return Progress((columns["t_s"][by_time] - zero_s) * 1e3, np.cumsum(columns["bytes"][by_time]))
