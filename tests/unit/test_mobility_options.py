"""Which choices of a move go together: all combinations are tried, and what is refused says why and what to do."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from mobility.drain import RULES
from mobility.options import MoveOptions, check
from mobility.order import PHASES, phase_names, plan
from mobility.policies import MigrationRefusedError
from mobility.steps import STEPS
from vocabulary.moves import ATTACHMENTS, KINDS, ORDERS, PAUSES
from vocabulary.policies import POLICIES

DRAINS = ("acknowledged", "fixed:50ms", "idle:5ms", "flow-end")


def combinations() -> list[tuple[str, MoveOptions]]:
    return [
        (attachment, MoveOptions(kind, policy, order, pause, downtime_s=downtime_s, drain=drain))
        for attachment, kind, policy, order, pause, drain, downtime_s in itertools.product(
            ATTACHMENTS, KINDS, POLICIES, ORDERS, PAUSES, DRAINS, (None, 0.1)
        )
    ]


def possible() -> list[tuple[str, MoveOptions]]:
    found = []
    for attachment, options in combinations():
        try:
            options.check(attachment)
        except MigrationRefusedError:
            continue
        found.append((attachment, options))
    return found


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "tepid"}, "rebind", "'tepid' is not a kind of move; allowed: hot, warm, cold"),
    ({"order": "any"}, "rebind", "order=any is unknown; allowed: stop-first, update-first, resume-first"),
    ({"pause": "nap"}, "rebind", "pause=nap is unknown; allowed: hold, drop, freeze"),
    ({"policy": "hope"}, "rebind", "policy=hope: there is no such old-NVE policy"),
    ({"policy": "forward"}, "replug", "policy=forward needs attachment=rebind"),
    ({}, "bond", "attachment=bond is unknown"),
    ({"drain": "fixed"}, "rebind", "drain=fixed: its time is missing; allowed are acknowledged"),
    ({"drain": "idle:5ms", "policy": "silent-drop"}, "rebind", "there is no redirect to stop"),
    ({"drain": "idle:5ms", "policy": "tunnel"}, "replug", "cannot be told apart"),
    ({"drain": "fixed:3h"}, "rebind", "drain=fixed:3h: its time is at most 2h; allowed are"),
    (
        {"drain": "fixed:15s", "drain_bound_s": 10},
        "rebind",
        "choose a drain_bound_s of at least 15, or leave",
    ),
    ({"policy": "buffer"}, "replug", "policy=buffer needs attachment=rebind"),
    ({"order": "resume-first", "policy": "buffer"}, "rebind", "it runs there from the beginning"),
    (
        {"order": "resume-first", "policy": "tunnel", "kind": "cold"},
        "rebind",
        "nothing to resume before that",
    ),
    (
        {"order": "resume-first", "policy": "tunnel", "kind": "warm"},
        "rebind",
        "nothing to resume before that",
    ),
    ({"order": "resume-first", "policy": "tunnel", "downtime_s": 0.1}, "rebind", "there is no downtime"),
    ({"order": "resume-first", "policy": "tunnel"}, "replug", "cannot be at two NVEs at once"),
    ({"policy": "tunnel", "downtime_s": 0.1}, "replug", "pause=hold needs attachment=rebind"),
    ({"copy_real": True}, "rebind", "copy_real without a copy"),
    ({"copy_real": True, "bandwidth_bps": 1e8, "downtime_s": 0.1}, "rebind", "choose one of the two"),
    ({"bandwidth_bps": 1e9, "max_rounds": 0}, "rebind", "at least one round is copied while the VM runs"),
    ({"bandwidth_bps": 0}, "rebind", "bandwidth_bps=0: a finite number over 0"),
    ({"buffer_frames": 0}, "rebind", "buffer_frames=0: a finite number over 0"),
    ({"downtime_s": -1}, "rebind", "downtime_s=-1: a finite number, 0 or more"),
    ({"downtime_s": float("inf")}, "rebind", "downtime_s=inf: a finite number"),
    ({"observe_s": float("nan")}, "rebind", "observe_s=nan: a finite number"),
    ({"announcements": 101}, "rebind", "announcements=101: at most 100"),
]


@pytest.mark.parametrize(("choices", "attachment", "reason"), REFUSED)
def test_what_cannot_be_is_refused_with_the_reason(
    choices: dict[str, Any], attachment: str, reason: str
) -> None:
    with pytest.raises(MigrationRefusedError) as error:
        check(MoveOptions(**choices), attachment)
    assert reason in str(error.value)


def test_the_default_is_the_networks_share_of_a_hot_move() -> None:
    options = MoveOptions()
    assert (options.copies, options.pauses, options.sampling_s) == (False, False, 0.0)
    assert options.check("rebind").name == "buffer"


@pytest.mark.parametrize(
    ("choices", "copies", "pauses"),
    [
        ({"downtime_s": 0.0}, False, False),
        ({"downtime_s": 0.1}, False, True),
        ({"bandwidth_bps": 1e9}, True, True),
        ({"kind": "warm"}, True, True),
        ({"kind": "cold"}, True, True),
        ({"kind": "cold", "downtime_s": 0.1}, False, True),
        ({"kind": "cold", "downtime_s": 0.1, "bandwidth_bps": 1e9}, True, True),
        ({"order": "resume-first", "bandwidth_bps": 1e9}, True, False),
    ],
)
def test_what_follows_from_the_choices(choices: dict[str, Any], copies: bool, pauses: bool) -> None:
    options = MoveOptions(**choices)
    assert (options.copies, options.pauses) == (copies, pauses)


def test_other_choices_overrule_and_unknown_ones_are_named() -> None:
    options = MoveOptions.of(MoveOptions(policy="tunnel"), {"kind": "cold"})
    assert (options.policy, options.kind) == ("tunnel", "cold")
    with pytest.raises(MigrationRefusedError, match="speed: no such option of a move"):
        MoveOptions.of(None, {"speed": 1})


def test_most_combinations_are_possible_and_every_refusal_has_a_way_out() -> None:
    every = combinations()
    assert len(possible()) > 200
    for attachment, options in every:
        try:
            options.check(attachment)
        except MigrationRefusedError as error:
            assert "choose" in str(error) or "needs" in str(error)


# The plan: what must hold in every move that is possible.


def steps_of(options: MoveOptions, attachment: str) -> list[str]:
    return [step for phase in plan(options, attachment) for step in phase.steps]


def before(steps: list[str], first: str, second: str) -> bool:
    return first not in steps or second not in steps or steps.index(first) < steps.index(second)


@pytest.mark.parametrize("attachment", ATTACHMENTS)
def test_every_possible_move_keeps_the_rules(attachment: str) -> None:
    for its, options in possible():
        if its != attachment:
            continue
        policy = POLICIES[options.policy]
        names = [phase.name for phase in plan(options, attachment)]
        steps = steps_of(options, attachment)
        assert sorted(names) == sorted(PHASES)
        assert set(steps) <= set(STEPS), "every step of the tables exists"
        assert len(set(steps)) == len(steps), (options, "no step is done twice")
        for step in ("prepare_nva", "switch", "commit", "finish"):
            assert steps.count(step) == 1
        assert ("redirect" in steps) == policy.acts
        assert before(steps, "redirect", "commit")
        assert before(steps, "hold_inbound", "redirect")
        assert before(steps, "hold_inbound", "commit")
        assert before(steps, "hold_outbound", "clear_old_path")
        assert before(steps, "clear_old_path", "cut_old")
        assert before(steps, "cut_old", "freeze"), "network first, then processes"
        assert before(steps, "sink_outbound", "freeze")
        assert before(steps, "freeze", "switch")
        assert before(steps, "release_outbound", "thaw")
        assert before(steps, "release_redirected", "release_direct")
        assert before(steps, "end_markers", "release_direct")
        assert before(steps, "commit", "end_markers")
        assert before(steps, "end_redirect", "finish")
        assert ("freeze" in steps) == ("thaw" in steps) == options.pauses
        assert ("hold_outbound" in steps) == ("release_outbound" in steps)
        assert ("hold_inbound" in steps) == ("release_direct" in steps) == policy.holds
        assert ("watch_buffer" in steps) == ("unwatch_buffer" in steps)
        if attachment == "replug":
            touching = {"hold_inbound", "hold_outbound", "cut_old", "sink_outbound", "straighten", "announce"}
            assert not touching & set(steps), "without legs there is nothing to hold or cut"
        if options.kind == "cold":
            assert steps.index("freeze") < steps.index("copy_all") < steps.index("switch")
            assert not {"copy_rounds", "copy_rest"} & set(steps)


def test_the_orders_are_what_their_names_say() -> None:
    first = {order: phase_names(MoveOptions(order=order)) for order in ORDERS}
    for order, what in (("stop-first", "stop"), ("update-first", "converge"), ("resume-first", "resume")):
        places = {name: first[order].index(name) for name in ("stop", "converge", "resume")}
        assert min(places, key=places.__getitem__) == what
    assert first["stop-first"] == PHASES


def test_real_bytes_need_a_connection_before_the_stop() -> None:
    steps = steps_of(MoveOptions(kind="cold", copy_real=True), "rebind")
    assert steps.index("open_stream") < steps.index("freeze")
    assert steps.index("close_stream") > steps.index("switch")
    assert "open_stream" not in steps_of(MoveOptions(kind="cold"), "rebind")


def test_the_rules_in_the_text_are_those_that_are_read() -> None:
    assert [rule.partition(":")[0] for rule in RULES] == [drain.partition(":")[0] for drain in DRAINS]
