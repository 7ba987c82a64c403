"""The verbs of a VM's life as the hypervisor's side has them, against an NVA that may refuse."""

from types import SimpleNamespace
from typing import Any

import pytest

import emulation.wiring
from controller.client import NvaClient, NvaError
from emulation.errors import EmulationError
from experiments.studies.lifecycle import conclude, way
from mobility.lifecycle import Life
from mobility.policies import MigrationRefusedError
from tests.faithful import like
from vocabulary.lifecycle import STATES, VERBS


@pytest.mark.parametrize("now", STATES)
@pytest.mark.parametrize("wanted", STATES)
def test_every_state_is_reached_from_every_other_by_allowed_verbs(now, wanted):
    state = now
    for verb in way(now, wanted):
        assert state in VERBS[verb].before
        state = VERBS[verb].after
    assert state == wanted
    assert len(way(now, wanted)) <= 3


class Nva:
    def __init__(self, state="running", refuses=False):
        self.state, self.refuses, self.asked = state, refuses, []

    def where(self, vm):
        return {"state": self.state}

    def __getattr__(self, verb: str) -> Any:
        def call(vm, **params):
            self.asked.append(verb)
            if self.refuses:
                raise NvaError(-32000, f"{verb} {vm!r}: wrong state")

        return like(NvaClient, verb, call)


class Wiring:
    def __init__(self, fails=False):
        self.done, self.fails, self.legs = [], fails, {"nve1": None, "nve2": None}

    def __getattr__(self, name: str) -> Any:
        def act(*args):
            if self.fails:
                raise EmulationError(f"{name} failed")
            self.done.append(name)

        return like(emulation.wiring.Wiring, name, act)


def life(nva, wiring):
    network = SimpleNamespace(
        wirings={"vm1": wiring}, location={"vm1": "nve1"}, nves={"nve1": None, "nve2": None}, groups={}
    )
    return Life(network, nva, "vm1")


@pytest.mark.parametrize("verb", ["allocate", "start", "stop", "release"])
def test_a_refusal_of_the_nva_touches_no_wire(verb):
    wiring = Wiring()
    with pytest.raises(NvaError, match="wrong state"):
        life(Nva(refuses=True), wiring).do(verb)
    assert wiring.done == []


def test_when_the_wire_fails_the_nva_is_told_the_opposite():
    nva = Nva("allocated")
    with pytest.raises(EmulationError, match="switch failed"):
        life(nva, Wiring(fails=True)).do("start")
    assert nva.asked == ["start", "stop"]


@pytest.mark.parametrize(("state", "hint"), [("released", "allocate and start it"), ("paused", "resume it")])
def test_only_a_running_vm_moves_and_the_refusal_says_what_to_do(state, hint):
    with pytest.raises(MigrationRefusedError, match=f"it is {state}; .*{hint} first"):
        life(Nva(state), Wiring()).do("move", "nve2")


def test_an_unknown_verb_or_nve_is_refused_before_the_nva_is_asked():
    nva = Nva("released")
    with pytest.raises(MigrationRefusedError, match="there are allocate, start"):
        life(nva, Wiring()).do("fly")
    with pytest.raises(MigrationRefusedError, match="there is no NVE 'nve9'; this network has nve1, nve2"):
        life(nva, Wiring()).do("allocate", "nve9")
    assert nva.asked == []


def test_the_sentence_counts_what_was_wrong():
    def trial(verb, state, **measures):
        return {"parameters": {"verb": verb, "state": state}, "measures": measures}

    said = conclude(
        [
            trial("start", "allocated", accepted_count=1, wrong_count=0, misreached_count=0, call_s=0.004),
            trial("start", "running", accepted_count=1, wrong_count=1, misreached_count=1, call_s=0.004),
            trial(
                "stop", "released", accepted_count=0, wrong_count=0, unnamed_count=1, changed_parts_count=2
            ),
        ]
    )
    assert (
        "1 of 3 pairs of verb and state are allowed; of 3 calls 2 were accepted and 1 refused, 1 of them wrongly."
        in said
    )
    assert "1 refusals did not name the state, 2 changed anything" in said
    assert "start 4 ms" in said
