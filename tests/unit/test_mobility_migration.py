"""A migration's phases against a network, an NVA and a wiring that only write down what they are asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mobility import migration
from mobility.migration import PHASES, Migration
from mobility.policies import POLICIES, MigrationRefusedError, policy_for

BEFORE = PHASES[: PHASES.index("switch") + 1]
AFTER = PHASES[PHASES.index("switch") + 1 :]


class Journal(list[str]):
    """What was asked of whom, in order; ``fail_at`` makes one of them fail."""

    fail_at: str | None = None

    def note(self, what: str) -> None:
        self.append(what)
        if what == self.fail_at:
            self.fail_at = None
            raise RuntimeError(f"{what} failed")


class Nva:
    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any, **params: Any) -> dict[str, Any]:
            self.journal.note(f"nva.{method}")
            if method == "send_end_markers":
                return {"nves": ["nve1", "nve2"], "sent_s": 1.0}
            timing = {"flow_mods": 2, "prepared_s": 10.0, "committed_s": 11.0}
            return {"last_barrier_s": 11.0, "nves": {"nve1": timing}}

        return call


class Wiring:
    def __init__(self, journal: Journal, legs: list[str]) -> None:
        self.journal, self.legs = journal, dict.fromkeys(legs)

    def __getattr__(self, name: str) -> Any:
        def act(*args: Any) -> Any:
            self.journal.note(f"wiring.{name}" + (f" {args[0]}" if name == "release" else ""))
            return {"release": (5.0, 7), "dropped_frames": 0, "await_old_path_clear": 0.001}.get(name, 4.0)

        return act


class Network:
    def __init__(self, journal: Journal, attachment: str) -> None:
        self.journal = journal
        self.location = {"vm1": "nve1", "peer1": "nve1"}
        self.nves = {"nve1": None, "nve2": None, "nve3": None}
        self.wirings = {"vm1": Wiring(journal, ["nve1", "nve2"])} if attachment == "rebind" else {}
        self.topology = SimpleNamespace(
            vm=lambda name: SimpleNamespace(mac="02:00:00:00:00:0a"),
            nve=lambda name: SimpleNamespace(underlay_ip="192.0.2.1"),
        )

    def add_legs(self, vm: str, nve: str) -> dict[str, int]:
        self.journal.note("network.add_legs")
        return {"direct": 9, "redirected": 10}

    def replug(self, vm: str, nve: str) -> int:
        self.journal.note("network.replug")
        self.location[vm] = nve
        return 9

    def settle(self, nves: Any, stale: Any) -> None:
        self.journal.note("network.settle")


@pytest.fixture
def end_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All end markers come at once; how they are awaited is checked with real frames elsewhere."""
    monkeypatch.setattr(Migration, "_await_end_markers", lambda self, *_: 0.002)


class World:
    def __init__(self, attachment: str = "rebind") -> None:
        self.journal = Journal()
        self.events: list[dict[str, Any]] = []
        self.network: Any = Network(self.journal, attachment)
        self.nva: Any = Nva(self.journal)

    def emit(self, t_s: float, kind: str, **fields: Any) -> None:
        self.events.append({"t_s": t_s, "kind": kind, **fields})

    def migration(self, new_nve: str = "nve2", **options: Any) -> Migration:
        return Migration(self.network, self.nva, "vm1", new_nve, emit=self.emit, **options)

    def steps(self) -> list[str]:
        """What was done to traffic, without the waiting and the book-keeping."""
        quiet = ("network.settle", "wiring.end_markers", "wiring.dropped_frames")
        return [step for step in self.journal if step not in quiet]


pytestmark = pytest.mark.usefixtures("end_markers")

ORDER = {
    "buffer": [
        "nva.prepare_move",
        "wiring.close_holders",
        "wiring.hold_inbound",
        "nva.redirect",
        "wiring.hold_outbound",
        "wiring.await_old_path_clear",
        "wiring.switch",
        "wiring.release outbound",
        "wiring.release redirected",
        "wiring.announce",
        "nva.commit_move",
        "nva.send_end_markers",
        "wiring.release direct",
        "wiring.straighten",
        "nva.finish_move",
    ],
    "tunnel": [
        "nva.prepare_move",
        "wiring.close_holders",
        "nva.redirect",
        "wiring.switch",
        "wiring.announce",
        "nva.commit_move",
        "nva.send_end_markers",
        "wiring.straighten",
        "nva.finish_move",
    ],
    "silent-drop": [
        "nva.prepare_move",
        "wiring.close_holders",
        "wiring.switch",
        "wiring.announce",
        "nva.commit_move",
        "wiring.straighten",
        "nva.finish_move",
    ],
}


@pytest.mark.parametrize("policy", POLICIES)
def test_each_policy_takes_its_steps_in_order(policy: str) -> None:
    world = World()
    record = world.migration(policy=policy).run()
    assert world.steps() == ORDER[policy]
    assert (record.outcome, world.network.location["vm1"]) == ("done", "nve2")
    assert [phase.name for phase in record.phases] == list(PHASES)
    held = {"outbound": 7, "redirected": 7, "direct": 7} if policy == "buffer" else {}
    assert record.held_frames == held


def test_replug_plugs_and_tells_the_nva_the_port() -> None:
    world = World("replug")
    record = world.migration(policy="silent-drop").run()
    assert world.steps() == [
        "nva.prepare_move",
        "network.replug",
        "nva.set_port",
        "nva.commit_move",
        "nva.finish_move",
    ]
    assert (record.outcome, record.attachment) == ("done", "replug")


def test_a_leg_that_is_missing_is_allocated_first() -> None:
    world = World()
    world.migration("nve3").run()
    assert world.steps()[:3] == ["network.add_legs", "nva.set_port", "nva.prepare_move"]


@pytest.mark.parametrize("phase", BEFORE)
def test_a_hook_that_fails_up_to_the_switch_is_undone(phase: str) -> None:
    world = World()

    def fail() -> None:
        raise RuntimeError("injected")

    move = world.migration(hooks={phase: fail})
    with pytest.raises(RuntimeError, match="injected"):
        move.run()
    assert move.record.outcome == f"failed in {phase}: injected; undone"
    assert [one.name for one in move.record.phases] == list(PHASES[: PHASES.index(phase) + 1])
    assert world.network.location["vm1"] == "nve1"
    undone = [step for step in world.steps() if step in ("nva.abort_move", "wiring.go_back")]
    # Nothing to take back before the NVA was asked for anything.
    assert undone == ([] if phase in ("allocate", "prepare") else ["nva.abort_move", "wiring.go_back"])
    assert "wiring.switch" not in world.steps()


@pytest.mark.parametrize("phase", AFTER)
def test_a_failure_after_the_switch_is_told_and_not_undone(phase: str) -> None:
    world = World()

    def fail() -> None:
        raise RuntimeError("injected")

    move = world.migration(hooks={phase: fail})
    with pytest.raises(RuntimeError, match="injected"):
        move.run()
    assert move.record.outcome == f"failed in {phase}: injected"
    assert world.network.location["vm1"] == "nve2"
    assert not {"nva.abort_move", "wiring.go_back"} & set(world.steps())


@pytest.mark.parametrize("step", ORDER["buffer"][1 : ORDER["buffer"].index("wiring.switch") + 1])
def test_whatever_fails_up_to_the_switch_the_vm_goes_back(step: str) -> None:
    world = World()
    world.journal.fail_at = step
    move = world.migration()
    with pytest.raises(RuntimeError, match=f"{step} failed"):
        move.run()
    assert world.steps()[-2:] == ["nva.abort_move", "wiring.go_back"]
    assert move.record.outcome.endswith("; undone")
    assert world.network.location["vm1"] == "nve1"


def test_hooks_run_when_their_phase_begins() -> None:
    world = World()
    hooks = {name: lambda name=name: world.journal.append(f"hook {name}") for name in PHASES}
    world.migration(hooks=hooks).run()
    steps = world.steps()
    assert [step for step in steps if step.startswith("hook")] == [f"hook {name}" for name in PHASES]
    assert steps[steps.index("hook switch") + 1] == "wiring.switch"
    assert steps[steps.index("hook converge") + 1] == "nva.commit_move"


def test_the_events_of_a_move() -> None:
    world = World()
    record = world.migration().run()
    kinds = [event["kind"] for event in world.events]
    assert [event["name"] for event in world.events if event["kind"] == "phase"] == list(PHASES)
    assert [e["holder"] for e in world.events if e["kind"] == "hold"] == ["redirected", "direct", "outbound"]
    releases = [(e["holder"], e["frames"]) for e in world.events if e["kind"] == "release"]
    assert releases == [("outbound", 7), ("redirected", 7), ("direct", 7)]
    assert kinds.count("switch") == kinds.count("rarp") == 1
    methods = [e["method"] for e in world.events if e["kind"] == "northbound"]
    assert methods == ["prepare_move", "redirect", "commit_move", "send_end_markers", "finish_move"]
    barriers = [(e["nve"], e["step"], e["t_s"]) for e in world.events if e["kind"] == "barrier"]
    assert barriers[:2] == [("nve1", "prepare", 10.0), ("nve1", "commit", 11.0)]
    assert len(barriers) == 2 * 4  # the end markers change no flow
    assert record.end_markers_s == 0.002
    assert record.as_dict()["phases"][0].keys() == {"name", "start_s", "end_s"}


REFUSED = [
    ({"vm": "vm9"}, "there is no VM 'vm9'; this network has vm1, peer1"),
    ({"new_nve": "nve9"}, "there is no NVE 'nve9'; this network has nve1, nve2, nve3"),
    ({"new_nve": "nve1"}, "vm1 is at nve1 already; move it to one of nve2, nve3"),
    ({"kind": "cold"}, "'cold' is not a kind of move; allowed: hot"),
    (
        {"policy": "hope"},
        "policy=hope: there is no such old-NVE policy; allowed: silent-drop, tunnel, buffer",
    ),
    ({"vm": "peer1"}, "policy=buffer needs attachment=rebind"),
]


@pytest.mark.parametrize(("change", "text"), REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_touched(change: dict[str, str], text: str) -> None:
    world = World()
    words: dict[str, Any] = {"vm": "vm1", "new_nve": "nve2"} | change
    with pytest.raises(MigrationRefusedError) as error:
        Migration(world.network, world.nva, words.pop("vm"), words.pop("new_nve"), **words)
    assert str(error.value).startswith(text)
    assert world.journal == []


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_that_holds_redirects_too_and_needs_a_port_before_the_plug(name: str) -> None:
    policy = policy_for(name, "rebind")
    assert policy.redirects or not policy.holds
    assert ("replug" in policy.attachments) is not policy.holds
    assert policy.meaning


def test_a_policy_without_a_port_to_hold_at_names_the_others() -> None:
    with pytest.raises(MigrationRefusedError, match="with replug choose silent-drop, tunnel"):
        policy_for("buffer", "replug")


def test_the_phases_are_as_the_documents_have_them() -> None:
    for phase in PHASES:
        assert phase in (migration.__doc__ or "")
        assert hasattr(Migration, f"_{phase}")
