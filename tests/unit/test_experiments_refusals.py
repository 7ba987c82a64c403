"""What experiments refuse before anything is built: combinations that cannot be, each with its reason."""

import pytest

from experiments.catalog import EXPERIMENTS
from experiments.running.parameters import ParameterError, read_parameters
from mobility.policies import MigrationRefusedError
from topologies import load_topology, topology_file

IMPOSSIBLE = [
    ("hot-l2 policy=forward topology=minimal peer=vm2", "topology minimal has no routes for VMs' addresses"),
    ("hot-l2-v6 policy=forward", "policy=forward with family=ipv6: .* the underlay is IPv4"),
    ("external-client policy=forward", "topology outside has no routes"),
    ("several-moves policy=forward", "topology two_movers has no routes"),
    ("hot-l2 attachment=replug policy=forward", "policy=forward needs attachment=rebind"),
    ("old-nve-policy topology=thin_flows", "topology thin_flows has no routes"),
    ("old-nve-policy downtime=2s", "long_downtime=1s: must be longer than downtime=2s"),
    ("hot-warm-cold real=1 downtime=100ms", "copy_real with downtime_s=0.1: .* choose one of the two"),
    ("hot-warm-cold bandwidth=0", "bandwidth_bps=0: a finite number over 0 is wanted"),
    ("cold memory_mib=65536 bandwidth=1Mbit", "one round of the copy takes .* at most .* is allowed"),
    ("hot-warm-cold bandwidth=1bit", "one round of the copy takes"),
    (
        "in-flight-tunnel longest_gap=0s",
        "longest_gap=0: no thin flow has so short a gap; allowed is 1ms or more",
    ),
    ("several-moves stays=vm2", "stays=vm2: must be a third VM"),
    ("standby second=peer2", "choose three VMs at three NVEs"),
]


@pytest.mark.parametrize(("line", "told"), IMPOSSIBLE, ids=[line for line, _ in IMPOSSIBLE])
def test_what_cannot_be_is_refused_with_the_reason(line, told):
    name, *words = line.split()
    values = read_parameters(EXPERIMENTS[name].parameters, words)
    with pytest.raises((ParameterError, MigrationRefusedError), match=told):
        EXPERIMENTS[name].check(values, load_topology(topology_file(values["topology"])))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_each_has_by_default_is_possible(name):
    values = read_parameters(EXPERIMENTS[name].parameters, [])
    EXPERIMENTS[name].check(values, load_topology(topology_file(values["topology"])))
