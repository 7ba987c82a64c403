"""The groups of old-nve-policy, its refusals, and the ICMP errors it counts."""

import pytest

from experiments.running.parameters import ParameterError, read_parameters
from experiments.studies.old_nve_policy import (
    ESTABLISHED_ALONE,
    EXPERIMENT,
    IPV6_CODES,
    NO_FORWARD,
    check,
    conclude,
    groups,
    icmp_received,
)
from mobility.policies import MigrationRefusedError
from tests.ipv4_only import without_ipv6
from topologies import load_topology, topology_file


def values(*words):
    return read_parameters(EXPERIMENT.parameters, words)


def names(*words):
    return [(group.parameters["policy"], group.parameters["downtime_s"]) for group in groups(values(*words))]


def test_all_five_policies_and_the_two_that_drop_for_longer():
    assert names() == [
        *((name, 0.05) for name in ("silent-drop", "icmp", "tunnel", "forward", "buffer")),
        ("silent-drop", 2.0),
        ("icmp", 2.0),
        ("icmp", 2.0),
    ]
    assert ("forward", 0.05) not in names("family=ipv6")


def test_errors_are_rationed_below_the_probes_rate_and_not_rationed_above_it():
    limits = {
        group.parameters["error_limit_pps"]: group.packet_in_limit_pps
        for group in groups(values("rate_pps=3000"))
        if group.parameters["policy"] == "icmp" and group.parameters["downtime_s"] == 2.0
    }
    assert limits == {500: 500, 6500: 6500}
    others = [one for one in groups(values()) if one.parameters["policy"] != "icmp"]
    assert {one.packet_in_limit_pps for one in others} == {None}


def test_a_long_trial_lasts_until_the_timeout_behind_the_downtime():
    """Timeouts at 0.2, 0.6, 1.4, 3.0, 6.2 s: 1 s after 2 s, and not 0 s but 3.2 s after 3 s; 1.5 s to go on."""
    after = {
        downtime: max(group.after_s or 0 for group in groups(values(f"long_downtime={downtime}")))
        for downtime in ("1s", "2s", "3s")
    }
    assert after == pytest.approx({"1s": 1.5 + 0.4, "2s": 1.5 + 1.0, "3s": 1.5 + 3.2})


def test_without_a_plain_underlay_or_an_address_it_says_so():
    check(values(), load_topology(topology_file("two_racks")))
    check(values("family=ipv6"), load_topology(topology_file("two_racks")))
    with pytest.raises(ParameterError, match="family=ipv6: vm1 has no ipv6 address in topology two_racks"):
        check(values("family=ipv6"), without_ipv6("two_racks"))
    with pytest.raises(MigrationRefusedError, match=r"policy=forward: .* has no routes for VMs' addresses"):
        check(values("topology=dhcp"), load_topology(topology_file("dhcp")))


def trial(
    policy, downtime_s, lost, stall_s, rto_s, alive=4, errors=0, limit_pps=None, gap_s=0.06, doublings=0
):
    own = {} if policy is None else {"policy": policy, "downtime_s": downtime_s}
    return {
        "valid": True,
        "null": policy is None,
        "parameters": own if limit_pps is None else own | {"error_limit_pps": limit_pps},
        "measures": {
            "lost_packets_to_vm": lost,
            "blackout_s_to_vm": gap_s,
            "tcp_stall_s_to_vm": stall_s,
            "tcp_backoff_max_count_to_vm_by_peer": doublings,
            "tcp_rto_max_s_to_vm_by_peer": rto_s,
            "icmp_errors_count": errors,
            "went_on_connections_count": alive,
            "ended_connections_count": 4 - alive,
            "silent_connections_count": 0,
        },
    }


def moved(rationed_doublings=(3, 1), alive=4):
    return [
        trial(None, None, 0, 0.006, 0.2),
        trial("tunnel", 0.05, 104, 0.056, 0.2, gap_s=0.052),
        trial("silent-drop", 0.05, 130, 0.2, 0.2),
        trial("silent-drop", 2.0, 4018, 3.3, 1.6, doublings=3),
        trial("icmp", 2.0, 4030, 2.1, 0.4, errors=4100, limit_pps=4500, doublings=1),
        *(
            trial("icmp", 2.0, 4040, 2.7, 0.2 * 2**doublings, alive, 1100, 500, doublings=doublings)
            for doublings in rationed_doublings
        ),
    ]


def test_the_answer_says_what_is_lost_and_why():
    said = conclude(moved())
    assert "stands still for 50 ms, lost: silent-drop 130, tunnel 104." in said
    assert "before the VM runs there, 52 ms of the traffic. Policies that drop also lose" in said
    assert "until the peers are told, together 60 ms. Only buffer keeps them." in said
    assert "TCP to the VM waits: silent-drop 200 ms, tunnel 56 ms (without a move 6 ms)" in said
    assert NO_FORWARD in said


def test_the_answer_says_what_errors_did_to_the_backoff_at_each_limit():
    said = conclude(moved())
    assert (
        "a sender that hears nothing (silent-drop) has up to 3 doublings of its RTO in force, 1.6 s, and"
        in said
    )
    assert "and TCP goes on 1.3 s after the VM. With icmp and at most 4,500 errors/s (4,100 came for" in said
    assert (
        "up to 1, 400 ms, fewer than without errors in 1 of 1 moves, and TCP goes on 100 ms after the" in said
    )
    assert "after the VM; and at most 500 errors/s (1,100 came for 4,040 UDP packets and some of TCP)" in said
    assert (
        "up to 2, 1 s, fewer than without errors in 1 of 2 moves, and TCP goes on 700 ms after the VM."
        in said
    )
    assert "fewer than without errors in 0 of 2 moves" in conclude(moved((3, 3)))


def test_connections_that_ended_and_what_ipv6_is_like():
    said = conclude(moved())
    assert "All 4 TCP connections, established before, went on in 6 of 6 moves" in said
    assert said.endswith(ESTABLISHED_ALONE)
    assert "went on in 4 of 6 moves" in conclude(moved(alive=3))
    assert IPV6_CODES in conclude(moved())
    assert IPV6_CODES not in conclude([*moved(), trial("forward", 0.05, 100, 0.05, 0.2)])


def test_without_the_long_downtime_nothing_is_said_of_backoff():
    assert "RFC 6069" not in conclude(moved()[:3])


SNMP = """Ip: Forwarding DefaultTTL
Ip: 2 64
Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds
Icmp: 9 0 0 7 2
"""


def test_errors_of_both_versions_are_counted():
    assert icmp_received(SNMP) == 7
    assert icmp_received(SNMP + "Icmp6InMsgs 4\nIcmp6InDestUnreachs 3\n") == 10
    assert icmp_received("") == 0
