"""The cause of a packet's fate, case by case: what was seen of it, what the move did, and what must come of that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.attribution.causes import (
    Cause,
    Facts,
    Hold,
    MoveFacts,
    Packet,
    Sighting,
    cause_of_copies,
    cause_of_disorder,
    cause_of_loss,
)
from experiments.attribution.tap_points import Stage

# One move of vm1 from nve1 to nve2 with everything at round times; its peer is at nve3.
MOVE = MoveFacts(
    vm="vm1",
    old_nve="nve1",
    new_nve="nve2",
    start_s=10.0,
    left_s=10.5,
    there_s=10.6,
    policy_s=10.7,
    over_s=11.0,
    redirects=False,
)
NO_DROPS = {
    (nve, table): 0 for nve in ("nve1", "nve2", "nve3") for table in ("CLASSIFY", "ANTI_SPOOF", "FORWARD")
}
SIZES = {(stage, nve): 200 for stage in (Stage.ON_UNDERLAY, Stage.AT_NVE) for nve in ("nve1", "nve2", "nve3")}
FACTS = Facts([MOVE], {"vm1": "nve2", "peer3": "nve3"}, SIZES, NO_DROPS)

LEFT, IN, UNDER = Stage.LEFT_VM, Stage.INTO_NVE, Stage.ON_UNDERLAY
AT, OUT, TO = Stage.AT_NVE, Stage.OUT_OF_NVE, Stage.TO_VM


def seen(t_s: float, *stages: tuple[Stage, str] | tuple[Stage, str, str]) -> tuple[Sighting, ...]:
    """Sightings a tenth of a millisecond apart, the last one at ``t_s``."""
    first_s = t_s - 1e-4 * (len(stages) - 1)
    return tuple(
        Sighting(first_s + 1e-4 * number, stage, nve, which=(rest or ["direct"])[0], bytes=106)
        for number, (stage, nve, *rest) in enumerate(stages)
    )


def to_vm(tx_s: float, sightings: tuple[Sighting, ...]) -> Packet:
    return Packet("peer3", "vm1", tx_s, sightings)


def from_vm(tx_s: float, sightings: tuple[Sighting, ...]) -> Packet:
    return Packet("vm1", "peer3", tx_s, sightings)


TO_OLD = ((LEFT, ""), (UNDER, "nve3"), (AT, "nve1"))
TO_NEW = ((LEFT, ""), (UNDER, "nve3"), (AT, "nve2"))
BY_OLD = (*TO_OLD, (UNDER, "nve1"), (AT, "nve2"))
BUFFERS = replace(
    MOVE, redirects=True, policy_s=10.4, holds=(Hold("redirected", 10.3, 10.6), Hold("direct", 10.3, 10.9))
)
TUNNELS = replace(BUFFERS, holds=())
WITH_MISSES = {**NO_DROPS, ("nve2", "FORWARD"): 40, ("nve2", "CLASSIFY"): 0}

CASES: list[tuple[str, Packet, Facts, Cause]] = [
    # At the sender.
    ("never seen", to_vm(10.0, ()), FACTS, Cause.SENDER),
    (
        "still in its old NVE's port when that was closed",
        from_vm(10.55, seen(10.56, (LEFT, ""), (IN, "nve1"))),
        replace(FACTS, moves=[replace(MOVE, over_s=10.65)], rule_drops={**NO_DROPS, ("nve1", "CLASSIFY"): 74}),
        Cause.IN_FLIGHT,
    ),
    (
        "its old NVE's rules dropped nothing",
        from_vm(10.55, seen(10.56, (LEFT, ""), (IN, "nve1"))),
        replace(FACTS, moves=[replace(MOVE, over_s=10.65)]),
        Cause.OVERRUN,
    ),
    ("asking for a neighbour", to_vm(10.0, ()), replace(FACTS, asked_s={"peer3": [9.5]}), Cause.NEIGHBOUR),
    ("another asks", to_vm(10.0, ()), replace(FACTS, asked_s={"vm1": [9.5]}), Cause.SENDER),
    ("asked long before", to_vm(10.0, ()), replace(FACTS, asked_s={"peer3": [5.0]}), Cause.SENDER),
    # To the VM, without a buffer.
    ("old leg, on its way at the stop", to_vm(10.49, seen(10.501, *TO_OLD, (OUT, "nve1"))), FACTS, Cause.IN_FLIGHT),
    ("old leg, sent later", to_vm(10.55, seen(10.551, *TO_OLD, (OUT, "nve1"))), FACTS, Cause.MISDIRECTED),
    ("old leg, still waiting for its processor", to_vm(10.48, seen(10.49, *TO_OLD, (OUT, "nve1"))), FACTS,
     Cause.IN_FLIGHT),
    ("old leg before the stop", to_vm(10.2, seen(10.201, *TO_OLD, (OUT, "nve1"))), FACTS, Cause.UNKNOWN),
    ("the policy took it", to_vm(10.75, seen(10.751, *TO_OLD)), FACTS, Cause.POLICY),
    ("to the old NVE after the move", to_vm(11.2, seen(11.201, *TO_OLD)), FACTS, Cause.MISDIRECTED),
    ("new leg before the VM", to_vm(10.52, seen(10.521, *TO_NEW, (OUT, "nve2"))), FACTS, Cause.EARLY),
    # Tunnel: what the old NVE sends on comes before the VM.
    ("sent on, launched before the stop", to_vm(10.49, seen(10.502, *BY_OLD, (OUT, "nve2", "redirected"))),
     replace(FACTS, moves=[TUNNELS]), Cause.IN_FLIGHT),
    ("sent on, launched later", to_vm(10.55, seen(10.552, *BY_OLD, (OUT, "nve2", "redirected"))),
     replace(FACTS, moves=[TUNNELS]), Cause.EARLY),
    ("not sent on, though it should", to_vm(10.45, seen(10.451, *TO_OLD)),
     replace(FACTS, moves=[TUNNELS], rule_drops={}), Cause.UNKNOWN),
    # Buffer.
    ("kept and gone", to_vm(10.45, seen(10.452, *BY_OLD, (OUT, "nve2", "redirected"))),
     replace(FACTS, moves=[BUFFERS]), Cause.HELD),
    ("the port had no room", to_vm(10.55, seen(10.552, *BY_OLD)), replace(FACTS, moves=[BUFFERS]), Cause.HELD),
    ("no rule at the new NVE", to_vm(10.65, seen(10.651, *BY_OLD)),
     replace(FACTS, moves=[BUFFERS], rule_drops=WITH_MISSES), Cause.UNPROGRAMMED),
    ("some got through by the same way with the VM there", replace(to_vm(10.8, seen(10.801, *TO_NEW)), passed_s=10.79),
     replace(FACTS, rule_drops=WITH_MISSES), Cause.UNKNOWN),
    ("some got through before the VM was there", replace(to_vm(10.8, seen(10.801, *TO_NEW)), passed_s=10.2),
     replace(FACTS, rule_drops=WITH_MISSES), Cause.UNPROGRAMMED),
    ("a full queue at the new NVE", replace(to_vm(10.65, seen(10.651, *BY_OLD)), queue_s=0.02),
     replace(FACTS, moves=[BUFFERS], rule_drops=WITH_MISSES), Cause.OVERRUN),
    # At the sender's NVE, which has no mapping for the VM and asks the NVA.
    ("beyond what may be asked", to_vm(9.0, seen(9.001, (LEFT, ""))), replace(FACTS, not_asked={"nve3": 7}),
     Cause.NOT_ASKED),
    ("what got through went by the NVA", replace(to_vm(9.0, seen(9.001, (LEFT, ""))), queue_s=0.02),
     replace(FACTS, not_asked={"nve3": 7}), Cause.NOT_ASKED),
    ("another NVE may not ask", to_vm(9.0, seen(9.001, (LEFT, ""))), replace(FACTS, not_asked={"nve3": 0, "nve1": 7}),
     Cause.OVERRUN),
    ("none asks for what comes from a tunnel", to_vm(10.75, seen(10.751, *TO_OLD)),
     replace(FACTS, not_asked={"nve1": 7}), Cause.POLICY),
    # From the VM.
    ("outbound held", from_vm(10.5, seen(10.501, (LEFT, ""))),
     replace(FACTS, moves=[replace(MOVE, holds=(Hold("outbound", 10.45, 10.6),))]), Cause.HELD),
    ("attached nowhere", from_vm(10.55, seen(10.551, (LEFT, ""))), FACTS, Cause.STOPPED),
    ("behind the port for no reason", from_vm(10.2, seen(10.201, (LEFT, ""))), FACTS, Cause.UNKNOWN),
    ("no rule for the VM's port", from_vm(10.65, seen(10.651, (LEFT, ""), (IN, "nve2"))),
     replace(FACTS, rule_drops={**NO_DROPS, ("nve2", "CLASSIFY"): 12}), Cause.UNPROGRAMMED),
    ("refused as a spoof", from_vm(9.0, seen(9.001, (LEFT, ""), (IN, "nve1"))),
     replace(FACTS, rule_drops={**NO_DROPS, ("nve1", "ANTI_SPOOF"): 12}), Cause.SPOOF),
    # Without any move.
    ("in an NVE whose rules dropped nothing", to_vm(9.0, seen(9.001, (LEFT, ""))), replace(FACTS, moves=[]),
     Cause.OVERRUN),
    ("in an NVE that says nothing of its rules", to_vm(9.0, seen(9.001, (LEFT, ""))),
     replace(FACTS, moves=[], rule_drops={}), Cause.UNKNOWN),
    ("on the underlay", to_vm(9.0, seen(9.001, (LEFT, ""), (UNDER, "nve3"))), replace(FACTS, moves=[]),
     Cause.UNDERLAY),
    ("too large for the tunnel", to_vm(9.0, seen(9.001, (LEFT, ""))),
     replace(FACTS, moves=[], largest_bytes={(UNDER, "nve3"): 124}), Cause.TOO_LARGE),
    ("too large for the underlay", to_vm(9.0, seen(9.001, (LEFT, ""), (UNDER, "nve3"))),
     replace(FACTS, moves=[], largest_bytes={(AT, "nve1"): 90}), Cause.TOO_LARGE),
    ("handed to the VM", to_vm(9.0, seen(9.001, *TO_OLD, (OUT, "nve1"), (TO, ""))), FACTS, Cause.RECEIVER),
    # The taps themselves were blind.
    ("while a tap lost frames", to_vm(9.0, seen(9.001, (LEFT, ""))), replace(FACTS, blind_s=[(8.9, 9.1)]),
     Cause.UNOBSERVED),
]  # fmt: skip


@pytest.mark.parametrize(("what", "packet", "facts", "cause"), CASES, ids=[case[0] for case in CASES])
def test_a_lost_packet_has_its_cause(what: str, packet: Packet, facts: Facts, cause: Cause) -> None:
    assert cause_of_loss(packet, facts) is cause, what


def test_replug_leaves_no_leg_to_look_at() -> None:
    facts = replace(FACTS, moves=[replace(MOVE, wired=False)])
    assert cause_of_loss(to_vm(10.49, seen(10.501, *TO_OLD)), facts) is Cause.IN_FLIGHT
    assert cause_of_loss(to_vm(10.75, seen(10.751, *TO_OLD)), facts) is Cause.MISDIRECTED
    assert cause_of_loss(from_vm(10.55, seen(10.551, (LEFT, ""))), facts) is Cause.STOPPED
    assert cause_of_loss(from_vm(10.55, ()), facts) is Cause.STOPPED
    assert cause_of_loss(from_vm(10.65, ()), facts) is Cause.SENDER
    at_its_peers = Packet("peer2", "vm1", 10.55, seen(10.551, (LEFT, "nve2")))
    assert cause_of_loss(at_its_peers, facts) is Cause.EARLY
    assert (
        cause_of_loss(
            replace(at_its_peers, sightings=seen(10.65, (LEFT, "nve2"))),
            replace(facts, rule_drops=WITH_MISSES),
        )
        is Cause.UNPROGRAMMED
    )


def test_two_copies_of_the_vm_send_everything_twice() -> None:
    twice = from_vm(10.3, seen(10.3, (LEFT, ""), (IN, "nve1"), (IN, "nve2")))
    assert cause_of_copies(twice, replace(FACTS, moves=[replace(MOVE, both_run=True)])) is Cause.TWO_COPIES
    assert cause_of_copies(twice, FACTS) is Cause.UNKNOWN


def test_a_packet_is_overtaken_by_one_on_another_way_or_behind_a_holder_or_on_its_own_way() -> None:
    late = to_vm(10.5, seen(10.61, *BY_OLD, (OUT, "nve2", "redirected"), (TO, "")))
    direct = to_vm(10.51, seen(10.60, *TO_NEW, (OUT, "nve2"), (TO, "")))
    assert cause_of_disorder(late, direct, FACTS) is Cause.PATH_CHANGE
    held = to_vm(10.52, seen(10.60, *TO_NEW, (OUT, "nve2"), (TO, "")))
    assert cause_of_disorder(held, direct, replace(FACTS, moves=[BUFFERS])) is Cause.RELEASED
    assert cause_of_disorder(held, direct, FACTS) is Cause.SAME_PATH
    assert cause_of_disorder(to_vm(10.5, ()), direct, FACTS) is Cause.UNKNOWN
