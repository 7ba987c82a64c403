"""What experiments refuse before anything is built: combinations that cannot be, each with its reason."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from experiments.catalog import EXPERIMENTS
from experiments.console.session import PARAMETERS as CLI
from experiments.deciding.decide import PARAMETERS as DECIDE
from experiments.running.parameters import ParameterError, read_parameters
from mobility.policies import MigrationRefusedError
from topologies import load_topology, topology_file

ROOT = Path(__file__).parents[2]
IMPOSSIBLE = [
    ("hot-l2 policy=forward topology=minimal peer=vm2", "topology minimal has no routes for VMs' addresses"),
    ("hot-l2-v6 policy=forward", "policy=forward with family=ipv6: .* the underlay is IPv4"),
    ("external-client policy=forward", "topology outside has no routes"),
    ("several-moves policy=forward", "topology two_movers has no routes"),
    ("hot-l2 attachment=replug policy=forward", "policy=forward needs attachment=rebind"),
    ("old-nve-policy topology=thin_flows", "topology thin_flows has no routes"),
    ("old-nve-policy downtime=2s", "long_downtime=2s: must be longer than downtime=2s"),
    ("hot-warm-cold real=1 downtime=100ms", "copy_real with downtime_s=0.1: .* choose one of the two"),
    ("cold memory_mib=65536 bandwidth=1Mbit", "one round of the copy takes .* at most .* is allowed"),
    ("hot-warm-cold bandwidth=1bit", "one round of the copy takes"),
    (
        "in-flight-tunnel longest_gap=0s",
        "shortest_gap=1ms longest_gap=0: no thin flow has such a gap up to 1s; there are 1ms, 10ms, 100ms, 1s",
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


@pytest.mark.parametrize("known", [EXPERIMENTS["cold"].parameters, DECIDE], ids=["cold", "decide"])
def test_a_copy_has_a_rate(known):
    """`make decide bandwidth=0` foretold a move of 136 years."""
    with pytest.raises(ParameterError, match="bandwidth=0: allowed is a rate above 0 such as 10Mbit"):
        read_parameters(known, ["bandwidth=0"])
    assert read_parameters(known, ["bandwidth=1Mbit"])["bandwidth"] == 1_000_000


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_each_has_by_default_is_possible(name):
    values = read_parameters(EXPERIMENTS[name].parameters, [])
    EXPERIMENTS[name].check(values, load_topology(topology_file(values["topology"])))


def test_every_mistake_is_told_at_once_with_what_is_allowed_and_the_nearest_name():
    with pytest.raises(ParameterError) as caught:
        read_parameters(
            EXPERIMENTS["hot-l2"].parameters, ["plicy=tunnel", "policy=buffr", "seed=2", "repeat=0", "fast"]
        )
    first, *lines, there = str(caught.value).splitlines()
    assert first == "4 things are wrong:"
    assert lines == [
        "  there is no parameter 'plicy'; did you mean 'policy'?",
        "  policy=buffr: allowed is one of silent-drop, icmp, tunnel, forward, buffer; did you mean 'buffer'?",
        "  repeat=0: allowed is a whole number from 1 to 10,000",
        "  'fast' is not a parameter: write NAME=value, such as topology=two_racks",
    ]
    assert there.startswith("(there are: topology, vm, ")


VM_PARAMETERS = {"vm", "peer", "near", "stays", "second", "twin", "twin_peer", "routed", "unrouted"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_vm_that_is_not_there_is_told_at_once(name):
    known = EXPERIMENTS[name].parameters
    asked = [one.name for one in known if one.name in VM_PARAMETERS]
    values = read_parameters(known, [f"{one}=no-{one.replace('_', '-')}" for one in asked])
    with pytest.raises(ParameterError) as caught:
        EXPERIMENTS[name].check(values, load_topology(topology_file(values["topology"])))
    first, *lines = str(caught.value).splitlines()
    assert first == f"{len(asked)} things are wrong:"
    assert sorted(line.split("=")[0].strip() for line in lines) == sorted(asked)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("several-moves topology=minimal", ["peer=", "stays=", "topology="]),
        ("hot-l2 attachment=replug fault=old-leg-open", ["policy=", "fault="]),
        ("hot-l2 attachment=replug pcap=nowhere", ["policy=", "pcap=nowhere"]),
        (
            "old-nve-policy topology=minimal peer=vm2 downtime=3s",
            ["topology=", "long_downtime=", "policy=forward"],
        ),
        ("cold topology=minimal peer=vm2 memory_mib=65536 bandwidth=1Mbit", ["topology=", "memory_mib="]),
    ],
)
def test_a_check_does_not_end_at_its_first_refusal(asked, told):
    name, *words = asked.split()
    values = read_parameters(EXPERIMENTS[name].parameters, words)
    with pytest.raises(ParameterError) as caught:
        EXPERIMENTS[name].check(values, load_topology(topology_file(values["topology"])))
    lines = [line.strip() for line in caught.value.mistakes]
    assert len(lines) == len(told)
    assert all(line.startswith(begin) for line, begin in zip(lines, told, strict=True))


def test_tenants_says_what_each_vm_is_for_and_which_would_do():
    known = EXPERIMENTS["tenants"]
    values = read_parameters(known.parameters, ["twin=peer3", "routed=red1", "unrouted=red2"])
    with pytest.raises(ParameterError) as caught:
        known.check(values, load_topology(topology_file("two_tenants")))
    twin, routed, unrouted = caught.value.mistakes
    assert "to see that neither gets the other's packets (topology two_tenants has: red1)" in twin
    assert "for the traffic through the gateway (topology two_tenants has: green2)" in routed
    assert unrouted.startswith(
        "unrouted=red2: there is no VM 'red2'; it must be a VM in another network that is not"
    )


def make_n(*words):
    """What make would do, without doing it."""
    return subprocess.run(
        ["make", "--no-print-directory", "-n", *words], cwd=ROOT, capture_output=True, text=True, timeout=30
    )


def would_run(*words):
    """The words of the last command that make would run."""
    done = make_n(*words)
    assert done.returncode == 0, done.stderr
    return shlex.split(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("hot-l2 EXP=cold", "make cold"),
        ("hot-l2 TOPO=minimal", "did you mean 'topology'?"),
        ("hot-l2 RUN=latest", "make report"),
        ("cli topo=two_racks", "TOPO=NAME in capitals"),
        ("cli RUN=latest", "make report"),
        ("hot-l2 JOBS=2", "make sweep takes JOBS=N"),
        ("hot-l2 ACCEL=tcg", "make image-run EXP=NAME"),
        ("decide TOPO=two_racks", "TOPO=NAME in capitals"),
    ],
)
def test_a_word_of_another_target_is_refused_with_a_hint(asked, told):
    """Through `make -n`, which starts nothing: such words were lost there."""
    target, word = asked.split()
    command = would_run(target, word)
    words = command[command.index("experiments") + 1 :]
    given = next(number for number, word in enumerate(words) if "=" in word)
    known = {"cli": CLI, "decide": DECIDE}.get(words[0]) or EXPERIMENTS[words[1]].parameters
    with pytest.raises(ParameterError, match=re.escape(told)):
        read_parameters(known, words[given:])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("report RNU=hot-l2", "make report takes RUN=, not 'RNU=hot-l2'"),
        ("gate BASELINE=a RUNS=b", "make gate takes BASELINE= RUN=, not 'RUNS=b'"),
        ("validate FILE=my.yaml", "make validate takes TOPO=, not 'FILE=my.yaml'"),
        ("answers RUN=a", "make answers takes no parameters, not 'RUN=a'"),
        ("runs", ""),
        ("compare A=a B=b RESULTS=here", ""),
    ],
)
def test_a_misspelt_word_does_not_mean_the_default(asked, told):
    """`make gate BASELINE=a RUNS=b` passed a gate on another run."""
    done = make_n(*asked.split())
    assert done.returncode == (2 if told else 0)
    assert told in done.stderr


@pytest.mark.parametrize("asked", ["evaluate EXP=cold", "image-run EXP=cold TOPO=a", "sweep EXP=cold TOPO=a"])
def test_words_that_a_target_would_drop_reach_what_refuses_them(asked):
    """`make evaluate EXP=cold` began to run every experiment."""
    target, *words = asked.split()
    assert words[-1] in would_run(target, *words)
