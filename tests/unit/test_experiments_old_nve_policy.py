"""The groups of old-nve-policy, its refusals, and the ICMP errors it counts."""

import pytest

from experiments.old_nve_policy import (
    EXPERIMENT,
    IPV6_CODES,
    NO_FORWARD,
    check,
    conclude,
    groups,
    icmp_received,
)
from experiments.running.parameters import ParameterError, read_parameters
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
        ("silent-drop", 1.0),
        ("icmp", 1.0),
    ]
    assert ("forward", 0.05) not in names("family=ipv6")


def test_without_a_plain_underlay_or_an_address_it_says_so():
    check(values(), load_topology(topology_file("two_racks")))
    check(values("family=ipv6"), load_topology(topology_file("two_racks")))
    with pytest.raises(ParameterError, match="family=ipv6: vm1 has no ipv6 address in topology two_racks"):
        check(values("family=ipv6"), without_ipv6("two_racks"))
    with pytest.raises(MigrationRefusedError, match=r"policy=forward: .* has no routes for VMs' addresses"):
        check(values("topology=dhcp"), load_topology(topology_file("dhcp")))


def trial(policy, downtime_s, lost, stall_s, rto_s, alive=4, errors=0):
    return {
        "valid": True,
        "null": policy is None,
        "parameters": {} if policy is None else {"policy": policy, "downtime_s": downtime_s},
        "measures": {
            "lost_packets_to_vm": lost,
            "tcp_stall_s_to_vm": stall_s,
            "tcp_rto_max_s_to_vm_by_peer": rto_s,
            "icmp_errors_count": errors,
            "alive_connections_count": alive,
        },
    }


def test_the_answer_says_lost_waited_backoff_and_connections():
    trials = [
        trial(None, None, 0, 0.006, 0.2),
        trial("tunnel", 0.05, 104, 0.056, 0.2),
        trial("silent-drop", 0.05, 130, 0.2, 0.2),
        trial("silent-drop", 1.0, 2018, 1.5, 0.8),
        trial("icmp", 1.0, 2038, 1.1, 0.4, errors=600),
    ]
    said = conclude(trials)
    assert "stands still for 50 ms, lost: silent-drop 130, tunnel 104." in said
    assert "TCP to the VM waits: silent-drop 200 ms, tunnel 56 ms (without a move 6 ms)" in said
    assert (
        "grows to 800 ms with silent-drop and to 400 ms with icmp (600 errors came): the errors take" in said
    )
    assert "TCP waits 1.5 s and 1.1 s." in said
    assert "All 4 TCP connections went on in 4 of 4 moves" in said
    assert NO_FORWARD in said
    trials[-1] = trial("icmp", 1.0, 2038, 1.5, 0.8, alive=3, errors=600)
    assert f"no backoff was seen to be taken back (RFC 6069{IPV6_CODES})" in conclude(trials)
    assert IPV6_CODES not in conclude([*trials, trial("forward", 0.05, 100, 0.05, 0.2)])
    assert "went on in 3 of 4 moves" in conclude(trials)


SNMP = """Ip: Forwarding DefaultTTL
Ip: 2 64
Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds
Icmp: 9 0 0 7 2
"""


def test_errors_of_both_versions_are_counted():
    assert icmp_received(SNMP) == 7
    assert icmp_received(SNMP + "Icmp6InMsgs 4\nIcmp6InDestUnreachs 3\n") == 10
    assert icmp_received("") == 0
