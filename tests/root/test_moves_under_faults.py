"""Moves on real Open vSwitches while an NVE's switch daemon stops or is killed, or the NVA is killed: all ends well."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from controller.client import NvaError
from emulation import commands
from emulation.errors import EmulationError
from experiments.console.audit import audit
from experiments.console.whereabouts import names_at, wire_of
from experiments.running.laboratory import Laboratory
from mobility.migration import MigrationRefusedError
from tests.root.sandboxed import in_sandbox, laboratory, pings, topology

pytestmark = pytest.mark.root

ROLES = {"old NVE": 0, "new NVE": 1, "bystander": 2}
END_BOUND_S = 20.0

# What fails in which phase, and where the VM is to be afterwards: up to the switch at its old NVE, then at the new.
NVE_CASES = [
    ("stop", "prepare", "bystander", "old"),
    ("stop", "converge", "bystander", "new"),
    ("kill", "converge", "bystander", "new"),
    ("kill", "prepare", "new NVE", "old"),
    ("stop", "stop", "old NVE", "old"),
    ("kill", "converge", "old NVE", "new"),
    ("stop", "converge", "new NVE", "new"),
    ("kill", "release", "bystander", "new"),
    ("stop", "release", "old NVE", "new"),
]
NVA_CASES = [
    ("prepare", "old"),
    ("stop", "old"),
    ("converge", "new"),
    ("drain", "new"),
    ("release", "new"),
]


def broken(lab: Laboratory, nve: str, how: str) -> Callable[[], None]:
    """A hook that stops or kills an NVE's switch daemon."""
    number = signal.SIGSTOP if how == "stop" else signal.SIGKILL
    return lambda: os.kill(lab.network.nves[nve].daemons[-1].pid, number)


def mend(lab: Laboratory, nve: str, how: str) -> None:
    if how == "stop":
        os.kill(lab.network.nves[nve].daemons[-1].pid, signal.SIGCONT)
    else:
        lab.restart_nve(nve)


def failed(lab: Laboratory, vm: str, new_nve: str, **options: Any) -> str:
    """How a move failed; "" when it did not."""
    try:
        lab.move(vm, new_nve, **options)
    except (NvaError, EmulationError) as error:
        return "; ".join(error.__notes__)
    return ""


def ended(lab: Laboratory) -> None:
    """Until no move is unfinished, by itself, and every NVE is programmed."""
    commands.wait_until(lambda: not lab.unfinished.moves(), END_BOUND_S, "no move to be unfinished", 0.02)
    lab.nva.wait_programmed(END_BOUND_S)


def disagreements(lab: Laboratory) -> list[str]:
    """Where an NVE's tables or datapath are not what the NVA believes them to be."""

    def book(nve: str) -> list[str]:
        flows: list[str] = lab.nva.desired_flows(nve)["flows"]
        return flows

    found = [audit(nve, book, partial(names_at, lab.network, name)) for name, nve in lab.network.nves.items()]
    return [line for one in found for line in one.lines]


def whole(lab: Laboratory, vm: str) -> dict[str, Any]:
    """Where a VM is, to everybody, and whether each NVE has exactly the flows that the NVA believes it to have."""
    told, wire = lab.nva.where(vm), wire_of(lab.network, vm)
    return {
        "places": {
            told["nve"],
            lab.network.location[vm],
            *([wire.speaks] if vm in lab.network.wirings else []),
        },
        "move": told["move"],
        "differing": disagreements(lab),
        "heard": pings(lab.network["peer2"].pid, str(lab.topology.vm(vm).ipv4)),
    }


def nve_cases() -> list[dict[str, Any]]:
    found = []
    with laboratory(topology()) as lab:
        lab.warm_up()
        for how, phase, role, _ in NVE_CASES:
            old, new = ("nve1", "nve3") if lab.network.location["vm1"] == "nve1" else ("nve3", "nve1")
            nve = (old, new, "nve2")[ROLES[role]]
            told = failed(lab, "vm1", new, hooks={phase: broken(lab, nve, how)})
            open_now = [move.waits_for for move in lab.unfinished.moves()]
            mend(lab, nve, how)
            ended(lab)
            found.append({"old": old, "new": new, "told": told, "open": open_now, **whole(lab, "vm1")})
    return found


def test_switch_daemons_stop_or_are_killed_in_the_middle_of_moves() -> None:
    cases = in_sandbox(nve_cases, 280.0)
    for (how, phase, role, place), case in zip(NVE_CASES, cases, strict=True):
        what = f"{how} the {role} in {phase}: {case}"
        # What comes behind the commit needs no NVE, and the old one only has to forget the VM.
        if phase == "release" or (role == "old NVE" and place == "new"):
            assert case["told"] == "", what
        else:
            assert f"failed in {phase}" in case["told"], what
        assert (case["places"], case["move"], case["differing"]) == ({case[place]}, None, []), what
        assert case["heard"] == 2, what
        waits = phase == "converge" and role == "bystander"
        assert any("nve2" in text for text in case["open"]) is waits, what


def unheard(said: str) -> list[int]:
    """The pings without an answer, up to the last one with one: those behind it were under way when ping ended."""
    heard = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", said)}
    assert len(heard) > 10, said[-300:]
    return sorted(set(range(1, max(heard) + 1)) - heard)


def nva_cases() -> list[dict[str, Any]]:
    found = []
    with laboratory(topology()) as lab:
        lab.warm_up()
        address = str(lab.topology.vm("vm1").ipv4)
        for phase, _ in NVA_CASES:
            old, new = ("nve1", "nve3") if lab.network.location["vm1"] == "nve1" else ("nve3", "nve1")
            argv = ["ping", "-n", "-i", "0.01", address]
            streams = [
                lab.network.spawn(peer, argv, stdout=subprocess.PIPE) for peer in ("peer1", "peer2", "peer3")
            ]
            told = failed(lab, "vm1", new, hooks={phase: lab.kill_nva})
            away = pings(lab.network["peer2"].pid, address, 20)
            lab.restart_nva()
            ended(lab)
            for stream in streams:
                stream.send_signal(signal.SIGINT)
            lost = [unheard(stream.communicate()[0].decode()) for stream in streams]
            found.append(
                {"old": old, "new": new, "told": told, "away": away, "lost": lost, **whole(lab, "vm1")}
            )
        lab.kill_nva()
        try:
            lab.move("vm1", "nve2")
        except NvaError as error:
            found.append({"refused": str(error)})
        lab.restart_nva()
        ended(lab)
        found[-1] |= {"moved": failed(lab, "vm1", "nve2"), **whole(lab, "vm1")}
    return found


def test_the_nva_is_killed_in_the_middle_of_moves_and_nothing_is_lost() -> None:
    *cases, idle = in_sandbox(nva_cases, 240.0)
    for (phase, place), case in zip(NVA_CASES, cases, strict=True):
        what = f"the NVA is killed in {phase}: {case}"
        assert f"failed in {phase}" in case["told"], what
        assert (case["places"], case["move"], case["differing"]) == ({case[place]}, None, []), what
        assert (case["away"], case["heard"]) == (20, 2), what
        assert case["lost"] == [[], [], []], what
    assert idle["refused"].startswith("no NVA answers")
    assert (idle["moved"], idle["places"], idle["heard"]) == ("", {"nve2"}, 2)


def replug_cases() -> list[dict[str, Any]]:
    found = []
    with laboratory(topology(), attachment="replug") as lab:
        lab.warm_up()
        told = failed(lab, "vm1", "nve3", policy="tunnel", hooks={"switch": broken(lab, "nve3", "stop")})
        mend(lab, "nve3", "stop")
        ended(lab)
        found.append({"told": told, **whole(lab, "vm1")})
        told = failed(lab, "vm1", "nve3", policy="tunnel", hooks={"switch": lab.kill_nva})
        try:
            lab.move("vm1", "nve2", policy="tunnel")
        except MigrationRefusedError as error:
            found.append({"refused": str(error)})
        lab.restart_nva()
        ended(lab)
        found[-1] |= {"told": told, **whole(lab, "vm1")}
        found.append({"told": failed(lab, "vm1", "nve3", policy="tunnel"), **whole(lab, "vm1")})
    return found


def test_a_replug_that_fails_on_its_way_is_taken_back() -> None:
    stopped, killed, again = in_sandbox(replug_cases, 120.0)
    for case in (stopped, killed):
        assert "failed in switch" in case["told"], case
        assert (case["places"], case["move"], case["differing"], case["heard"]) == ({"nve1"}, None, [], 2), (
            case
        )
    assert killed["refused"].startswith("the move of vm1 from nve1 to nve3 is not taken back")
    assert (again["told"], again["places"], again["heard"]) == ("", {"nve3"}, 2)
