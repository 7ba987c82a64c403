"""The life cycle: every verb from every state, and what an NVE does for a VM in each."""

from __future__ import annotations

from typing import Any

import pytest

from controller import mapping
from controller.config import state_from_json, state_to_json
from controller.flows import delta, desired_flows, diff
from controller.model import Refused, State
from controller.operations import apply
from tests.fake_flow_table import FakeNetwork
from tests.fake_nva_world import PEER_MACS, arp, at_stage, config, from_mover, from_peer, world
from vocabulary.lifecycle import TRANSITIONS, TSI_STATES, VERBS

REACHED_BY: dict[str, tuple[str, ...]] = {
    "running": (),
    "paused": ("pause",),
    "allocated": ("stop",),
    "released": ("stop", "release"),
}


def vm1(state_name: str, state: State | None = None) -> State:
    found = world() if state is None else state
    for verb in REACHED_BY[state_name]:
        found = apply(found, verb, {"vm": "vm1"})
    assert found.vms["vm1"].state == state_name
    return found


@pytest.mark.parametrize("state_name", TSI_STATES)
@pytest.mark.parametrize("verb", TRANSITIONS)
def test_every_verb_from_every_state(verb: str, state_name: str) -> None:
    before, same = vm1(state_name), vm1(state_name)
    if state_name in VERBS[verb].before:
        after = apply(before, verb, {"vm": "vm1"})
        assert after.vms["vm1"].state == VERBS[verb].after
        assert after.version == before.version + 1
        return
    with pytest.raises(Refused) as refused:
        apply(before, verb, {"vm": "vm1"})
    assert f"'vm1' is {state_name} (its interface is {TSI_STATES[state_name]}, RFC 8394)" in refused.value.now  # type: ignore[index]
    assert " or ".join(VERBS[verb].before) in refused.value.allowed
    assert before == same


def ways(state: State, nve: str, packet: dict[str, int | str]) -> list[tuple[tuple[str, ...], int | str]]:
    return [(a.path, a.port) for a in FakeNetwork(state).send(nve, packet)]


@pytest.mark.parametrize("state_name", TSI_STATES)
def test_only_a_running_vm_sends_and_receives(state_name: str) -> None:
    state = vm1(state_name)
    running = state_name == "running"
    assert bool(ways(state, "nve3", from_peer("nve3"))) == running
    assert bool(ways(state, "nve1", from_peer("nve1"))) == running
    assert bool(ways(state, "nve1", from_mover("nve3"))) == running
    ask = arp(20, PEER_MACS["nve3"], PEER_MACS["nve3"], "10.0.0.13", "10.0.0.1")
    # A paused VM is still in its peers' mapping, a stopped one is not.
    assert bool(ways(state, "nve3", ask)) == (state_name in ("running", "paused"))


def about_vm1(state: State, nve: str) -> list[str]:
    without = {**config(), "vms": [vm for vm in config()["vms"] if vm["name"] != "vm1"]}
    return sorted(f.table for f in desired_flows(state, nve) - desired_flows(world(without), nve))


def test_allocated_reserves_the_ports_at_its_nve_and_released_nothing_anywhere() -> None:
    assert [about_vm1(vm1("allocated"), f"nve{n}") for n in (1, 2, 3)] == [["OUTPUT", "OUTPUT"], [], []]
    assert [about_vm1(vm1("released"), f"nve{n}") for n in (1, 2, 3)] == [[], [], []]


def test_released_vm_may_be_allocated_elsewhere() -> None:
    state = apply(vm1("released"), "allocate", {"vm": "vm1", "nve": "nve2"})
    state = apply(state, "start", {"vm": "vm1"})
    assert ways(state, "nve3", from_peer("nve3")) == [(("nve3", "nve2"), 10)]
    with pytest.raises(Refused, match="there is no NVE 'nve9'"):
        apply(vm1("released"), "allocate", {"vm": "vm1", "nve": "nve9"})


@pytest.mark.parametrize("state_name", [name for name in TSI_STATES if name != "running"])
def test_only_a_running_vm_moves(state_name: str) -> None:
    with pytest.raises(Refused, match=f"'vm1' is {state_name} .*move is allowed when it is running"):
        mapping.prepare(vm1(state_name), "m1", "vm1", "nve2", "tunnel")


def test_a_vm_that_was_paused_while_it_moved_is_at_its_new_place() -> None:
    state = vm1("paused", at_stage("committed"))
    for nve in ("nve1", "nve2", "nve3"):
        assert ways(state, nve, from_peer(nve)) == []
    state = apply(state, "resume", {"vm": "vm1"})
    assert ways(state, "nve3", from_peer("nve3")) == [(("nve3", "nve2"), 10)]


def test_a_moving_vm_is_not_released() -> None:
    moving = apply(mapping.prepare(vm1("running"), "m1", "vm1", "nve2", "tunnel"), "stop", {"vm": "vm1"})
    with pytest.raises(Refused, match=r"it is moving \('m1' to 'nve2', stage prepared\)"):
        apply(moving, "release", {"vm": "vm1"})


def test_release_forgets_counts_and_beliefs() -> None:
    state = world({**config(), "strategy": "pull"})
    state = mapping.redirect(mapping.prepare(state, "m1", "vm1", "nve2", "tunnel"), "m1")
    state = mapping.finish(mapping.end_redirect(mapping.commit(state, "m1"), "m1"), "m1")
    assert state.believed
    assert state.counted
    released = vm1("released", state)
    assert (released.believed, released.counted) == ({}, {})


@pytest.mark.parametrize("state_name", TSI_STATES)
@pytest.mark.parametrize("verb", TRANSITIONS)
def test_delta_and_json(verb: str, state_name: str) -> None:
    before = vm1(state_name)
    assert state_from_json(state_to_json(before)) == before
    if state_name not in VERBS[verb].before:
        return
    params: dict[str, Any] = {"vm": "vm1"}
    after = apply(before, verb, params)
    for nve in after.nves:
        assert delta(before, after, nve) == diff(desired_flows(before, nve), desired_flows(after, nve))


def test_members_of_a_network_follow_the_life_of_its_last_vm() -> None:
    # thief is blue's only VM at nve2.
    stopped = apply(world(), "stop", {"vm": "thief"})
    reserved = [f for f in desired_flows(stopped, "nve2") if f.table == "OUTPUT" and ("reg0", 30) in f.match]
    assert len(reserved) == 1
    assert 200 not in stopped.members["nve2"]
    for nve in stopped.nves:
        assert delta(world(), stopped, nve) == diff(desired_flows(world(), nve), desired_flows(stopped, nve))
