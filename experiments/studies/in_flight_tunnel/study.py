"""in-flight-tunnel: how much buffer does a move need, and when may the tunnel from the old NVE stop? (Q5)

Question   The draft has the old NVE tunnel to the new one: "a huge buffer?", asks the review, and when is it
           safe to stop? What of a flow that is silent while the tunnel stands and speaks after it has gone?
Varies     First, the rate and the time the VM stands still. Then, the rule that ends the tunnel (a fixed time, an idle
           time, the last peer's acknowledgement, the end of the VM's flows) with the way in which peers learn (push,
           pull, timeout), beside thin flows that speak every 1 ms to every 1 s, each from an NVE of its own. Last, each
           way of learning with acknowledgement alone, beside flows that speak every 10 s and every 60 s, too.
Held fixed The policy (buffer), the path. The first part has UDP towards the VM alone, so that what is held is what was
           sent. In the second the main traffic is slow and both ways; the VM never ends a flow by itself, so flow-end
           always comes to its bound. Every thin flow speaks at least once after the tunnel has gone.
Answer     Frames held: of those that come through the old NVE as rate x (downtime + constant), fitted, and of those
           that come directly. Per rule and way of learning how long the tunnel stood, which thin flows still spoke to
           the old NVE after that (misdirected) and lost packets.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from experiments.designs.comparing import Group, checker, places, traffic_parameters
from experiments.designs.schedules import NULL, Mix
from experiments.running.beside import SideFlow
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.parameters import ParameterError, duration_s, repetitions, whole
from experiments.running.run import Run
from experiments.running.sentences import milliseconds
from experiments.running.traffic import UDP_PORT, address_of
from experiments.studies.in_flight_tunnel.fit import fit_buffer
from mobility.migration import MigrationRecord
from mobility.options import MoveOptions
from topologies.model import Topology
from topologies.units import format_duration

RATES_PPS, QUICK_RATES_PPS = (500, 2000, 5000), (500, 2000)
DOWNTIMES_S, QUICK_DOWNTIMES_S = (0.01, 0.05, 0.2), (0.01, 0.2)
RULES_LONGEST_S = 1.0
"""Every rule is tried beside flows with gaps up to this: as long as the longest-lived tunnel stands (``BOUND_S``)."""
GAPS_S = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0)
ACKNOWLEDGED = "acknowledged"
RULES = ("fixed:50ms", "idle:5ms", ACKNOWLEDGED, "flow-end")
LEARNING = ("push", "pull", "timeout")
AGE_S = 2
"""Of a mapping under `timeout`; between the gaps of 1 s and 10 s, so that it ends in the silence of some flows."""
BOUND_S = 1.0
"""For rules that would wait on; flow-end always does here."""
SPOKEN_S = 0.1  # after the longest gap: until the packet has arrived
GUARDED_S = 1.0
"""What comes later than this in a trial is one packet at a time: a late one is not a lost one."""
BUFFER_SAMPLE_S = 0.002


def gaps(values: Mapping[str, Any], *, rare: bool = False) -> list[float]:
    """The gaps of the thin flows, in seconds; ``rare``: those of the last part."""
    longest_s = values["longest_gap"] if rare else min(values["longest_gap"], RULES_LONGEST_S)
    return [gap_s for gap_s in GAPS_S if values["shortest_gap"] <= gap_s <= longest_s]


def has_rare(values: Mapping[str, Any]) -> bool:
    """Whether there is a last part: it takes minutes, so not in the quick form."""
    return not values["quick"] and gaps(values, rare=True) != gaps(values)


def buffer_groups(values: Mapping[str, Any]) -> Sequence[Group]:
    """Every downtime; each rate is a session of its own."""
    return [
        Group(
            {"downtime_s": downtime_s},
            MoveOptions(policy="buffer", downtime_s=downtime_s, announcements=1, sample_s=BUFFER_SAMPLE_S),
        )
        for downtime_s in (QUICK_DOWNTIMES_S if values["quick"] else DOWNTIMES_S)
    ]


def stop_groups(values: Mapping[str, Any], *, rare: bool = False) -> Sequence[Group]:
    """Every rule with every way of learning; ``rare``: acknowledgement alone, for flows that speak rarely."""
    watched_s = max(gaps(values, rare=rare)) + SPOKEN_S
    options = MoveOptions(policy="buffer", drain_bound_s=BOUND_S, observe_s=watched_s, announcements=1)
    return [
        Group(
            {"learning": learning, "rule": rule, "watched_s": watched_s},
            MoveOptions.of(options, {"drain": rule}),
        )
        for learning in LEARNING
        for rule in ((ACKNOWLEDGED,) if rare else RULES)
    ]


def _all_groups(values: Mapping[str, Any]) -> Sequence[Group]:
    return [*buffer_groups(values), *stop_groups(values), *stop_groups(values, rare=True)]


def label(gap_s: float) -> str:
    """What ends the names of a thin flow's measures."""
    return f"gap_{format_duration(gap_s)}"


def thin_flows(values: Mapping[str, Any], topology: Topology, *, rare: bool = False) -> list[SideFlow]:
    """One flow a gap, each from a VM alone at its NVE, thin1 the first."""
    address = address_of(topology, values["vm"], "ipv4")
    return [
        SideFlow(
            label(gap_s),
            f"thin{number}",
            values["vm"],
            address,
            number,
            UDP_PORT + 100 + number,
            1 / gap_s,
            brief=True,
        )
        for number, gap_s in enumerate(gaps(values, rare=rare), 1)
    ]


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As of every comparison; and thin flows need a VM alone at its NVE each."""
    each = Gathered()
    with each:
        _check_gaps(values)
    with each:
        checker(_all_groups if gaps(values) else buffer_groups)(values, topology)
    with each:
        if values["vm"] in {vm.name for vm in topology.vms}:
            _check_thin_flows(values, topology)
    each.tell()


def _check_gaps(values: Mapping[str, Any]) -> None:
    if not gaps(values):
        allowed = ", ".join(format_duration(gap_s) for gap_s in GAPS_S)
        raise ParameterError(
            f"shortest_gap={format_duration(values['shortest_gap'])} "
            f"longest_gap={format_duration(values['longest_gap'])}: no thin flow has such a gap up to "
            f"{format_duration(RULES_LONGEST_S)}; there are {allowed}"
        )


def _check_thin_flows(values: Mapping[str, Any], topology: Topology) -> None:
    placed = {vm.name: vm.nve for vm in topology.vms}
    for flow in thin_flows(values, topology, rare=has_rare(values)):
        alone = [name for name, nve in placed.items() if nve == placed.get(flow.sender)]
        if flow.sender not in placed or len(alone) > 1:
            raise ParameterError(
                f"topology={values['topology']}: needs a VM {flow.sender} alone at its NVE for the flow with gaps of "
                f"{format_duration(1 / flow.rate_pps)}; take thin_flows as an example, or a shorter longest_gap"
            )


def trials(run: Run) -> None:
    """A session for each rate, then one with the thin flows, then one with those that speak rarely."""
    values = run.values
    rates = QUICK_RATES_PPS if values["quick"] else RATES_PPS
    groups = {group.name: group for group in buffer_groups(values)}
    mixes = {rate: Mix(list(groups), repetitions(values), values["seed"] + n) for n, rate in enumerate(rates)}
    sessions = [(False, 1 if values["quick"] else values["thin_repeat"])]
    sessions += [(True, values["rare_repeat"])] if has_rare(values) else []
    stops = {rare: {group.name: group for group in stop_groups(values, rare=rare)} for rare, _ in sessions}
    stop_mixes = {rare: Mix(list(stops[rare]), repeat, values["seed"]) for rare, repeat in sessions}
    run.expect(sum(mix.wanted() for mix in (*mixes.values(), *stop_mixes.values())))
    if run.laboratory.network.location[values["vm"]] not in places(run):
        run.laboratory.move(values["vm"], _target(run), policy="buffer")
    for rate, mix in mixes.items():
        with run.traffic(directions=("to_vm",), udp_pps=rate):
            for name in _steps(run, mix):
                group = groups[name]
                move = partial(run.laboratory.move, values["vm"], _target(run), options=group.options)
                mix.count(name, run.trial({"rate_pps": rate, **group.parameters}, move))
    for rare, stop_mix in stop_mixes.items():
        flows = thin_flows(values, run.laboratory.topology, rare=rare)
        with run.traffic(flows, udp_pps=values["main_pps"], tcp_bps=0):
            for name in _steps(run, stop_mix):
                stop_mix.count(name, _stop_trial(run, flows, stops[rare][name]))


def _steps(run: Run, mix: Mix) -> Iterator[str]:
    """The moves of a mix; null trials are done on the way."""
    for name in mix.steps():
        if name == NULL:
            mix.count(name, run.trial({}, None))
        else:
            yield name


def _target(run: Run) -> str:
    here, there = places(run)
    return there if run.laboratory.network.location[run.values["vm"]] == here else here


def _stop_trial(run: Run, flows: Sequence[SideFlow], group: Group) -> bool:
    laboratory, learning = run.laboratory, group.parameters["learning"]
    laboratory.set_strategy(learning, AGE_S if learning == "timeout" else None)
    late = _Late(run, {laboratory.network.location[flow.sender]: flow.label for flow in flows})
    run.observe = late
    move = partial(late.move, _target(run), group.options)
    valid = run.trial(group.parameters, move, guarded_s=GUARDED_S)
    run.observe = None
    laboratory.set_strategy("push")
    return valid


class _Late:
    """Moves the VM; at the trial's end, how many packets of each thin flow came to the old NVE after the stop."""

    def __init__(self, run: Run, label_of: Mapping[str, str]) -> None:
        self._run, self._label_of = run, label_of
        self._record: MigrationRecord | None = None

    def __call__(self) -> Callable[[], Mapping[str, float]]:
        return self._late

    def move(self, new_nve: str, options: MoveOptions) -> MigrationRecord:
        self._record = self._run.laboratory.move(self._run.values["vm"], new_nve, options=options)
        return self._record

    def _late(self) -> Mapping[str, float]:
        found = (self._record.misdirected if self._record else None) or {"by_nve": {}}
        return {
            f"misdirected_packets_{name}": float(found["by_nve"].get(nve, 0))
            for nve, name in self._label_of.items()
        }


def _buffer(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each of the two holders kept, against rate and downtime; and the most of both at one moment."""
    moves = [
        (trial["parameters"]["rate_pps"], trial["measures"])
        for trial in trials
        if trial["valid"] and "rate_pps" in trial["parameters"]
    ]
    through, direct = "held_frames_redirected", "held_frames_direct"
    fit = fit_buffer(
        [(rate, one["downtime_s"], one[through]) for rate, one in moves if one.get(through) is not None]
    )
    told_s = [one[direct] / rate for rate, one in moves if one.get(direct) is not None]
    if fit is None or not told_s:
        return []
    return [
        f"{fit.sentence} What came directly from peers that had been told waited for the last end marker: rate x "
        f"{milliseconds(told_s)}, whatever the downtime. The one was released before the other came, so a move holds "
        f"the larger of the two. The first is a mean and no size to be safe with.{most_held(trials)}"
    ]


def most_held(trials: Sequence[Mapping[str, Any]]) -> str:
    """The most frames at one moment in any move, as the traffic of how long beyond the downtime; '' if not known."""
    beyond_s = [
        trial["measures"]["held_frames_peak"] / own["rate_pps"] - own["downtime_s"]
        for trial in trials
        if trial["valid"]
        and {"rate_pps", "downtime_s"} <= (own := trial["parameters"]).keys()
        and trial["measures"].get("held_frames_peak") is not None
    ]
    if not beyond_s:
        return ""
    return (
        f" No move of {len(beyond_s)} held more at one moment than rate x (downtime as asked for + "
        f"{milliseconds([max(beyond_s)])})."
    )


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """The fitted buffer; per rule and way of learning the tunnel's time and the thin flows that lost packets."""
    moves = [trial for trial in trials if trial["valid"] and not trial["null"]]
    lines = _buffer(trials)
    stops = [trial for trial in moves if "rule" in trial["parameters"]]
    watched = sorted({trial["parameters"]["watched_s"] for trial in stops})
    for watched_s in watched:
        for learning in LEARNING:
            told = []
            for rule in RULES:
                group = {"learning": learning, "rule": rule, "watched_s": watched_s}
                own = [trial["measures"] for trial in stops if trial["parameters"] == group]
                if own:
                    stood = milliseconds([one["tunnel_s"] for one in own if one.get("tunnel_s") is not None])
                    told.append(f"{rule} (tunnel {stood}) {_losers(own)}")
            if told:
                age = f" of {AGE_S} s" if learning == "timeout" else ""
                lines.append(
                    f"With {learning}{age}, misdirected in the {watched_s:.0f} s after the stop: {'; '.join(told)}."
                )
    return " ".join([*lines, *_safe(stops)]) or None


def _safe(stops: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the stop rules are worth, by what came after them: a sentence, or none where nothing was tried."""
    late = {}
    for learning in LEARNING:
        own = [trial["measures"] for trial in stops if trial["parameters"]["learning"] == learning]
        if own:
            late[learning] = (sum(one.get("misdirected_packets", 0) > 0 for one in own), len(own))
    told = [name for name, (count, _) in late.items() if not count]
    untold = [f"{name} in {count} of {moves}" for name, (count, moves) in late.items() if count]
    on_the_way = sum(trial["measures"].get("misdirected_packets_on_the_way") or 0 for trial in stops)
    said = [f"With {' and '.join(told)} nothing came to the old NVE after any stop."] if told else []
    if untold:
        said.append(
            f"Something came after the stop with {', with '.join(untold)} moves: an NVE whose flow was silent while "
            "the tunnel stood had not learned, and no rule at the old NVE can know of it. "
            f"From NVEs that had been told {on_the_way:,.0f} packets came too late."
        )
    return said


def _losers(own: Sequence[Mapping[str, Any]]) -> str:
    """'1ms 1,950, 10ms 195' of the thin flows with misdirected packets (medians), 'none' without."""
    named = [
        (name.removeprefix("misdirected_packets_gap_"), statistics.median(one[name] for one in own))
        for name in own[0]
        if name.startswith("misdirected_packets_gap_")
    ]
    return ", ".join(f"gap {name} {count:,.0f}" for name, count in named if count) or "none"


EXPERIMENT = Experiment(
    name="in-flight-tunnel",
    questions=("Q5",),
    question="How much buffer does a move need, and when may the tunnel from the old NVE stop?",
    answer="frames held at most against rate and downtime; thin flows at the old NVE after each stop rule",
    parameters=(
        *(
            parameter
            for parameter in traffic_parameters(topology="thin_flows", repeat=6, after=0.3)
            if parameter.name not in ("rate_pps", "tcp_rate", "congestion_control")
        ),
        whole("main_pps", 500, "UDP packets a second each way beside the thin flows", 1, 50_000),
        duration_s("shortest_gap", GAPS_S[0], "the least thin flow's gap"),
        duration_s("longest_gap", 60.0, "the thinnest flow's gap; every trial of the last part waits for it"),
        whole("thin_repeat", 4, "valid trials of each stop rule and way of learning", 1, 1000),
        whole("rare_repeat", 2, "valid trials of each way of learning in the last part", 1, 1000),
    ),
    trials=trials,
    check=check,
    conclude=conclude,
    group_by=("learning", "rule", "watched_s", "rate_pps", "downtime_s"),
    shown_measures=(
        "held_frames_redirected",
        "held_frames_direct",
        "held_frames_peak",
        "tunnel_s",
        "misdirected_packets",
        "misdirected_packets_not_told",
        "misdirected_packets_on_the_way",
        *(f"misdirected_packets_{label(gap_s)}" for gap_s in GAPS_S),
        *(f"lost_packets_{label(gap_s)}" for gap_s in GAPS_S),
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "reordered_packets_to_vm",
    ),
)
