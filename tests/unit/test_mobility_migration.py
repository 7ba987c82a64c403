"""A migration's phases against a network, an NVA and a wiring that only write down what they are asked."""

from __future__ import annotations

from typing import Any

import pytest

from mobility import draining, order
from mobility import move as move_context
from mobility.migration import PHASES, Migration, MoveOptions
from mobility.policies import MigrationRefusedError, policy_for
from tests.fake_move_world import World
from vocabulary.policies import POLICIES

BEFORE = PHASES[: PHASES.index("switch") + 1]
AFTER = PHASES[PHASES.index("switch") + 1 :]


@pytest.fixture
def end_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All end markers come at once; how they are awaited is checked with real frames elsewhere."""
    monkeypatch.setattr(draining, "_await_end_markers", lambda *_: 0.002)


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
    "forward": [
        "nva.prepare_move",
        "wiring.close_holders",
        "network.open_host_route",
        "nva.redirect",
        "wiring.switch",
        "wiring.announce",
        "nva.commit_move",
        "wiring.straighten",
        "nva.finish_move",
        "network.close_host_route",
    ],
    "icmp": [
        "nva.prepare_move",
        "wiring.close_holders",
        "nva.redirect",
        "wiring.switch",
        "wiring.announce",
        "nva.commit_move",
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
    with pytest.raises(RuntimeError, match="injected") as raised:
        move.run()
    assert move.record.outcome == f"failed in {phase}: injected; undone"
    told = f"the move of vm1 from nve1 to nve2 failed in {phase}: injected; undone"
    assert raised.value.__notes__ == [told]  # which the record of the run then has
    assert [event["text"] for event in world.events if event["kind"] == "note"][-1] == told
    assert [one.name for one in move.record.phases] == list(PHASES[: PHASES.index(phase) + 1])
    assert world.network.location["vm1"] == "nve1"
    undone = [step for step in world.steps() if step in ("nva.abort_move", "wiring.go_back")]
    # Nothing to take back before the NVA was asked for anything.
    assert undone == ([] if phase in ("allocate", "prepare") else ["nva.abort_move", "wiring.go_back"])
    assert "wiring.switch" not in world.steps()


@pytest.mark.parametrize("phase", AFTER)
def test_a_failure_after_the_switch_is_told_and_rolled_forward(phase: str) -> None:
    world = World()

    def fail() -> None:
        raise RuntimeError("injected")

    move = world.migration(hooks={phase: fail})
    with pytest.raises(RuntimeError, match="injected"):
        move.run()
    assert move.record.outcome == f"failed in {phase}: injected; rolled forward"
    assert world.network.location["vm1"] == "nve2"
    assert not {"nva.abort_move", "wiring.go_back"} & set(world.steps())
    # Everything that the VM needs there, once; only announcement and end markers may be missing.
    skipped = {"wiring.announce", "nva.send_end_markers"}
    assert [step for step in world.steps() if step not in skipped] == [
        step for step in ORDER["buffer"] if step not in skipped
    ]


def test_what_cannot_be_rolled_forward_is_told_and_the_rest_done() -> None:
    world = World()

    def fail() -> None:
        world.journal.fail_at = "nva.commit_move"
        raise RuntimeError("injected")

    move = world.migration(hooks={"announce": fail})
    with pytest.raises(RuntimeError, match="injected"):
        move.run()
    trouble = "not rolled forward yet (commit: nva.commit_move failed)"
    assert move.record.outcome == f"failed in announce: injected; {trouble}"
    assert world.steps()[-3:] == ["wiring.release direct", "wiring.straighten", "nva.finish_move"]


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
    assert {event["vm"] for event in world.events} == {"vm1"}
    assert [e["holder"] for e in world.events if e["kind"] == "hold"] == ["redirected", "direct", "outbound"]
    releases = [(e["holder"], e["frames"]) for e in world.events if e["kind"] == "release"]
    assert releases == [("outbound", 7), ("redirected", 7), ("direct", 7)]
    assert (kinds.count("switch"), kinds.count("rarp")) == (1, 5)
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
    ({"kind": "tepid"}, "'tepid' is not a kind of move; allowed: hot, warm, cold"),
    ({"speed": 3}, "speed: no such option of a move; there are kind, policy, order"),
    (
        {"policy": "hope"},
        "policy=hope: there is no such old-NVE policy; allowed: silent-drop, icmp, tunnel, forward, buffer",
    ),
    ({"vm": "peer1"}, "policy=buffer needs attachment=rebind"),
]


@pytest.mark.parametrize(("change", "text"), REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_touched(change: dict[str, Any], text: str) -> None:
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
    needs_port = policy.holds or name == "forward"
    assert ("replug" in policy.attachments) is not needs_port
    assert policy.meaning


def test_a_policy_without_a_port_to_hold_at_names_the_others() -> None:
    with pytest.raises(MigrationRefusedError, match="with replug choose silent-drop, icmp, tunnel"):
        policy_for("buffer", "replug")


def test_the_phases_are_as_the_documents_have_them() -> None:
    for phase in PHASES:
        assert f"    {phase} " in (order.__doc__ or "")


# Kinds, orders and pauses.

WIRE = ("wiring.", "nva.", "group.")

STOPPED = {
    ("hot", "buffer", "hold"): [
        "wiring.hold_inbound",
        "nva.redirect",
        "wiring.hold_outbound",
        "wiring.await_old_path_clear",
        "wiring.cut_inbound",
        "group.freeze",
        "wiring.switch",
        "wiring.release outbound",
        "wiring.release redirected",
        "group.thaw",
    ],
    ("hot", "tunnel", "hold"): [
        "nva.redirect",
        "wiring.hold_outbound",
        "wiring.cut_inbound",
        "group.freeze",
        "wiring.switch",
        "wiring.release outbound",
        "group.thaw",
    ],
    ("hot", "silent-drop", "drop"): [
        "wiring.sink_outbound",
        "wiring.cut_inbound",
        "group.freeze",
        "wiring.switch",
        "group.thaw",
    ],
    ("cold", "silent-drop", "freeze"): ["group.freeze", "wiring.switch", "group.thaw"],
}


@pytest.mark.parametrize(("kind", "policy", "pause"), STOPPED)
def test_a_vm_that_stops_is_paused_network_first(kind: str, policy: str, pause: str) -> None:
    world = World()
    move = world.migration(kind=kind, policy=policy, pause=pause, downtime_s=0.001, sample_s=0)
    record = move.run()
    done = world.steps()
    assert done[2 : done.index("wiring.announce")] == STOPPED[kind, policy, pause]
    assert record.downtime_s > 0
    assert record.paused_s is not None
    made = record.as_dict()
    assert (made["pause"], made["pause_faithful"]) == (pause, pause != "freeze")


def test_a_hot_move_without_a_copy_stops_no_process() -> None:
    world = World()
    record = world.migration().run()
    assert not [step for step in world.journal if step.startswith("group.")]
    assert (record.downtime_s, record.as_dict()["pause"]) == (0.0, None)
    assert record.copied_bytes == 0


def test_a_failure_while_the_vm_stands_still_lets_it_go_on_and_goes_back() -> None:
    world = World()
    world.journal.fail_at = "wiring.switch"
    move = world.migration(downtime_s=0.001, sample_s=0)
    with pytest.raises(RuntimeError):
        move.run()
    assert world.steps()[-3:] == ["group.thaw", "nva.abort_move", "wiring.go_back"]


def test_a_failure_after_the_switch_does_not_leave_the_vm_standing() -> None:
    world = World()
    world.journal.fail_at = "wiring.release redirected"
    with pytest.raises(RuntimeError):
        world.migration(downtime_s=0.001, sample_s=0).run()
    assert world.steps().index("group.thaw") < world.steps().index("nva.commit_move")
    assert world.steps()[-1] == "nva.finish_move"


def test_update_first_holds_and_changes_the_mapping_before_the_stop() -> None:
    world = World()
    record = world.migration(order="update-first").run()
    names = [phase.name for phase in record.phases]
    assert names.index("converge") < names.index("stop") < names.index("switch")
    wanted = ["hold_inbound", "redirect", "commit_move", "hold_outbound", "await_old_path_clear", "switch"]
    assert [step.partition(".")[2] for step in world.steps()][2:8] == wanted


def test_resume_first_opens_both_before_it_cuts_the_old() -> None:
    world = World()
    record = world.migration(order="resume-first", policy="tunnel").run()
    done = [step.partition(".")[2] for step in world.steps()]
    assert done[2:] == [
        "open_both",
        "announce",
        "redirect",
        "commit_move",
        "silence_old",
        "switch",
        "send_end_markers",
        "straighten",
        "finish_move",
    ]
    assert record.downtime_s == 0


@pytest.mark.parametrize("order", ["update-first", "resume-first"])
def test_a_failure_after_the_update_but_before_the_switch_is_undone_too(order: str) -> None:
    world = World()
    world.journal.fail_at = "wiring.switch"
    with pytest.raises(RuntimeError):
        world.migration(order=order, policy="tunnel").run()
    assert world.steps()[-2:] == ["nva.abort_move", "wiring.go_back"]
    assert world.network.location["vm1"] == "nve1"


def test_replug_with_a_stop_is_unplugged_first_and_plugged_back_on_failure() -> None:
    world = World("replug")
    record = world.migration(policy="tunnel", pause="drop", downtime_s=0.001).run()
    assert world.steps()[1:6] == [
        "nva.redirect",
        "network.unplug",
        "group.freeze",
        "network.replug",
        "nva.set_port",
    ]
    assert record.outcome == "done"
    world = World("replug")
    world.journal.fail_at = "group.freeze"
    with pytest.raises(RuntimeError):
        world.migration(policy="tunnel", pause="drop", downtime_s=0.001).run()
    assert world.steps()[-4:] == ["group.thaw", "network.replug", "nva.set_port", "nva.abort_move"]


def test_the_copy_is_in_the_record() -> None:
    world = World()
    record = world.migration(bandwidth_bps=8e6, dirty_rate_bps=4e6, downtime_limit_s=0.0003, sample_s=0).run()
    assert [one.bytes for one in record.copy_rounds] == [1000, 500]
    assert (record.copy_ended, record.stop_bytes, record.copied_bytes) == ("converged", 250, 1750)
    assert record.phase("copy").end_s - record.phase("copy").start_s >= 0.0015
    assert record.downtime_s >= 0 or record.paused_s is not None


def test_cold_copies_everything_after_the_stop() -> None:
    world = World()
    record = world.migration(kind="cold", bandwidth_bps=8e6, sample_s=0).run()
    names = [phase.name for phase in record.phases]
    assert names[names.index("stop") + 1] == "copy"
    assert (record.copied_bytes, record.copy_rounds) == (1000, [])
    assert world.steps().index("group.freeze") < world.steps().index("wiring.switch")


# The end of the redirect.


def test_a_rule_ends_the_redirect_and_counts_what_comes_later() -> None:
    world = World()
    record = world.migration(policy="tunnel", drain="fixed:1ms", observe_s=0.001).run()
    done = world.steps()
    assert done[-5:] == [
        "nva.misdirected",
        "nva.end_redirect",
        "nva.misdirected",
        "wiring.straighten",
        "nva.finish_move",
    ]
    assert "nva.send_end_markers" not in done
    assert record.misdirected is not None
    assert record.misdirected.pop("window_s") >= 0.001
    assert record.misdirected.pop("slack_s") >= 0
    cause = {"not told": 0, "told, on the way": 3}
    assert record.misdirected == {
        "packets": 3,
        "by_nve": {"nve3": 3},
        "by_cause": cause,
        "while_redirected": 3,
    }
    assert record.drain_ended == "fixed"
    assert record.drain_s is not None
    assert record.drain_s >= 0.001


def test_with_buffer_direct_packets_do_not_wait_for_the_rule() -> None:
    world = World()
    world.migration(policy="buffer", drain="idle:1ms").run()
    done = world.steps()
    assert done.index("nva.send_end_markers") < done.index("wiring.release direct")
    assert done.index("wiring.release direct") < done.index("nva.end_redirect")


def test_options_and_single_choices_go_together() -> None:
    world = World()
    move = world.migration(options=MoveOptions(policy="tunnel", announcements=0), kind="warm", downtime_s=0.0)
    assert (move.record.policy, move.record.kind, move.options.announcements) == ("tunnel", "warm", 0)


def test_what_was_lost_at_cut_legs_in_this_move_is_in_the_record() -> None:
    record = World().migration().run()
    assert record.sunk_frames == {nve: {"direct": 2, "redirected": 0} for nve in ("nve1", "nve2")}


@pytest.mark.parametrize(("port_type", "noted"), [("afxdp", 1), ("afpacket", 0)])
def test_a_holder_behind_an_af_xdp_port_has_a_bound_that_is_told(
    port_type: str, noted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_context, "AF_XDP_FRAMES", 7)
    world = World()
    world.network.options.datapath.port_type = port_type
    world.migration().run()
    assert sum("AF_XDP" in e["text"] for e in world.events if e["kind"] == "note") == noted


def test_forward_is_refused_where_the_underlay_has_no_way_or_another_vm_has_the_address() -> None:
    world = World()
    world.network.topology.underlay.routes_tenants = False
    with pytest.raises(
        MigrationRefusedError, match=r"no routes for VMs' addresses.*set `routes_tenants: true`"
    ):
        world.migration(policy="forward")
    world = World()
    twin = type(world.network.topology.vms[0])(name="red1", ipv4="10.1.0.10", virtual_network="red")
    world.network.topology.vms.append(twin)
    with pytest.raises(
        MigrationRefusedError, match=r"red1 of network red has vm1's address 10\.1\.0\.10 too"
    ):
        world.migration(policy="forward")
    assert world.steps() == []


def test_a_host_route_is_taken_back_with_the_move() -> None:
    world = World()
    world.journal.fail_at = "nva.redirect"
    with pytest.raises(RuntimeError):
        world.migration(policy="forward").run()
    steps = world.steps()
    assert steps.index("network.close_host_route") > steps.index("network.open_host_route")
