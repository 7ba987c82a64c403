"""The patterns of several-moves, what it refuses, the measures of several moves and the sentence made of them."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.catalog import EXPERIMENTS
from experiments.running.move_measures import move_measures, moves_measures
from experiments.running.parameters import ParameterError, read_parameters
from experiments.studies.several_moves import PATTERNS, conclude, flows, patterns
from mobility.record import MigrationRecord, Phase
from mobility.several import check
from results.timeline.data import build
from topologies import load_topology, topology_file

TOPOLOGY = load_topology(topology_file("two_movers"))
NVES = ["nve1", "nve2", "nve3"]


def values(*words: str) -> dict[str, Any]:
    return read_parameters(EXPERIMENTS.find("several-moves").parameters, words)


@pytest.mark.parametrize("turns", [1, 3])
def test_every_pattern_can_be_done_from_where_it_begins(turns: int) -> None:
    known = patterns("vm1", "vm2", NVES, turns)
    assert [one.name for one in known] == list(PATTERNS)
    for pattern in known:
        assert set(pattern.begin) == {"vm1", "vm2"}
        check(pattern.itineraries, pattern.begin, NVES)


def test_the_patterns_are_what_they_are_called() -> None:
    known = {one.name: one for one in patterns("vm1", "vm2", NVES, 2)}
    ways = {name: [one.nves for one in pattern.itineraries] for name, pattern in known.items()}
    assert ways["back and forth"] == [("nve3", "nve1", "nve3", "nve1")]
    assert known["back and forth"].begin["vm1"] == "nve1"
    assert ways["chain"] == [("nve2", "nve3")]
    at_once, towards = known["two at once"], known["towards each other"]
    assert (
        at_once.begin["vm1"] == at_once.begin["vm2"] != ways["two at once"][0][0] == ways["two at once"][1][0]
    )
    assert ways["towards each other"] == [(towards.begin["vm2"],), (towards.begin["vm1"],)]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_every_flow_has_a_number_of_its_own(family: str) -> None:
    EXPERIMENTS.find("several-moves").check(values(f"family={family}"), TOPOLOGY)
    found = flows(values(f"family={family}"), TOPOLOGY)
    assert {one.stream for one in found} == {1, 2, 3, 4}  # 0 is that of the two VMs with each other
    assert {(one.sender, one.receiver) for one in found} == {
        ("peer3", "vm1"),
        ("vm1", "peer3"),
        ("peer3", "vm2"),
        ("vm2", "peer3"),
    }


@pytest.mark.parametrize(
    ("words", "topology", "told"),
    [
        (["peer=peer1"], "two_movers", "peer=peer1: moves too, and is not pre-wired"),
        (["peer=peer1"], "two_racks", "take the topology two_movers"),
        (["stays=vm2"], "two_movers", "stays=vm2: must be a third VM"),
        (["stays=nobody"], "two_movers", "stays=nobody"),
        (["vm=vm2"], "two_movers", "peer=vm2: is the VM that moves itself"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(words: list[str], topology: str, told: str) -> None:
    with pytest.raises(ParameterError) as refused:
        EXPERIMENTS.find("several-moves").check(values(*words), load_topology(topology_file(topology)))
    assert told in str(refused.value)


def migration(vm: str, start_s: float, **changes: Any) -> dict[str, Any]:
    names = ("stop", "switch", "resume", "drain")
    phases = [Phase(name, start_s + n, start_s + n + 1) for n, name in enumerate(names)]
    made = MigrationRecord("m", "hot", vm, "nve1", "nve2", "buffer", "rebind", phases=phases)
    for name, value in changes.items():
        setattr(made, name, value)
    return made.as_dict()


def test_one_moves_measures_are_its_own() -> None:
    one = migration("vm1", 10.0, held_frames={"direct": 3})
    assert moves_measures([one]) == move_measures(one)


def test_of_several_moves_counts_are_summed_and_of_times_the_longest_is_taken() -> None:
    first = migration("vm1", 10.0, held_frames={"direct": 3}, paused_s=11.0, resumed_s=11.5)
    second = migration("vm2", 11.0, held_frames={"direct": 4}, paused_s=12.0, resumed_s=12.2)
    third = migration("vm1", 16.0, paused_s=17.0, resumed_s=17.1)
    found = moves_measures([first, second, third])
    assert (found["held_frames"], found["moves_count"]) == (7, 3)
    assert found["downtime_s"] == pytest.approx(0.5)
    assert found["move_total_s"] == 10.0  # 10 to 16 + 4 phases of 1 s
    assert found["overlap_s"] == 3.0  # 11 to 14


def test_a_timeline_of_several_moves_says_which_vms_phases() -> None:
    moved = [migration("vm1", 10.0), migration("vm2", 10.5)]
    trial = {"index": 3, "valid": True, "null": False, "parameters": {}, "measures": {}}
    made = build({**trial, "migration": moved[0], "migrations": moved}, [], {})
    assert [name for name, *_ in made.phases][:3] == ["vm1: stop", "vm2: stop", "vm1: switch"]
    assert "hot moves vm1 nve1 → nve2, vm2 nve1 → nve2" in made.title


def trial(pattern: str | None, lost: int = 0, stall_s: float = 0.01, valid: bool = True) -> dict[str, Any]:
    parameters = {} if pattern is None else {"pattern": pattern}
    measures = {"lost_packets_to_vm": 0, "lost_packets_stays_to_peer": lost, "lost_packets_elsewhere": 99}
    measures |= {"tcp_stall_s_to_vm": 0.001, "tcp_stall_s_from_vm": stall_s}
    if pattern == "two at once":
        measures["overlap_s"] = 0.05
    return {"valid": valid, "null": pattern is None, "parameters": parameters, "measures": measures}


def test_the_sentence_has_every_pattern_and_the_null_trials() -> None:
    trials = [trial("chain"), trial("two at once", stall_s=0.02), trial("chain", 5, valid=False), trial(None)]
    said = conclude(trials)
    assert said == (
        "No packet was lost, duplicated or reordered on any flow in any pattern. The longest TCP pause was a median: "
        "chain 10 ms, two at once 20 ms, without a move 10 ms. Two moves were under way at once for: two at once "
        "50 ms. Valid trials: chain 1, two at once 1."
    )


def test_the_sentence_says_what_was_lost_on_the_flows_of_the_pattern() -> None:
    trials = [trial("chain", lost) for lost in (0, 4, 7)] + [trial("one move")]
    said = conclude(trials)
    assert said is not None
    assert "packets lost in a trial, on all flows: chain 4 [0, 7], else none" in said
    assert said.startswith("No packet was duplicated or reordered on any flow in any pattern; packets lost")
    said = conclude([trial("chain", 4), trial("one move", 1)])
    assert said is not None
    assert "one move 1, chain 4. The longest" in said  # nobody is left for "else none"
