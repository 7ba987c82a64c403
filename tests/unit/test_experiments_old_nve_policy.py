"""The groups of old-nve-policy, its refusals, and the ICMP errors it counts."""

import pytest

from experiments.old_nve_policy import EXPERIMENT, check, groups, icmp_received
from experiments.parameters import ParameterError, read_parameters
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


SNMP = """Ip: Forwarding DefaultTTL
Ip: 2 64
Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds
Icmp: 9 0 0 7 2
"""


def test_errors_of_both_versions_are_counted():
    assert icmp_received(SNMP) == 7
    assert icmp_received(SNMP + "Icmp6InMsgs 4\nIcmp6InDestUnreachs 3\n") == 10
    assert icmp_received("") == 0
